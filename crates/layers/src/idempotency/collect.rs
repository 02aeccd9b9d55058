//! Reading bodies into memory, within a bound, by the bytes that really come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;

/// What reading a body came to.
pub(super) enum Collected<B> {
    /// All of it.
    Whole(Bytes),
    /// It is larger than the bound: what was read, and the rest.
    TooLarge(Vec<Bytes>, B),
    /// It broke off.
    Broken(String),
    /// Nothing came for too long.
    Stalled,
}

/// Reads `body` for as long as it `fits`, waiting no longer than `idle_max` for each piece of it. `fits` is told with
/// every piece how many bytes were read so far, and how many it takes to hold them.
pub(super) async fn collect<B>(
    mut body: B,
    mut fits: impl FnMut(usize, usize) -> bool,
    idle_max: Duration,
) -> Collected<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut read = 0_usize;
    loop {
        let Ok(frame) = tokio::time::timeout(idle_max, body.frame()).await else { return Collected::Stalled };
        match frame {
            None => return Collected::Whole(joined(chunks, read)),
            Some(Err(error)) => return Collected::Broken(error.to_string()),
            Some(Ok(frame)) => {
                // Trailers are not part of what is stored.
                let Ok(data) = frame.into_data() else { continue };
                read = read.saturating_add(data.len());
                if !data.is_empty() {
                    chunks.push(data);
                }
                if !fits(read, read.saturating_add(chunks.len() * size_of::<Bytes>())) {
                    return Collected::TooLarge(chunks, body);
                }
                if body.is_end_stream() {
                    return Collected::Whole(joined(chunks, read));
                }
            }
        }
    }
}

/// The chunks as one; a single chunk, the usual case, is not copied.
fn joined(mut chunks: Vec<Bytes>, bytes: usize) -> Bytes {
    match chunks.len() {
        0 => Bytes::new(),
        1 => chunks.swap_remove(0),
        _ => {
            let mut whole = BytesMut::with_capacity(bytes);
            chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
            whole.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn the_bound_counts_real_bytes() {
        let collected = async |bytes_max| {
            let body = Full::new(Bytes::from_static(b"12345"));
            collect(body, |read, _| read <= bytes_max, Duration::from_secs(1)).await
        };
        assert!(matches!(collected(5).await, Collected::Whole(bytes) if bytes == "12345"));
        assert!(matches!(collected(4).await, Collected::TooLarge(read, _) if read.len() == 1));
    }
}
