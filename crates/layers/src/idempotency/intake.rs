//! Takes in the body of a keyed request, whole, before anything is claimed: into memory where it is small, and else
//! into the spool while it is hashed.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use steadfast_core::{Code, Fingerprint, Resend};

use super::{
    Shared,
    collect::{Collected, collect},
    fingerprint::{self, BodyHasher},
    policy::KeySource,
    spool::{CHUNK_BYTES, Share, SpoolRefused, Spooled, Spooling},
};
use crate::{Problem, RequestBody};

/// When to come again where there is no room now.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// The whole body of a keyed request.
pub(super) enum Kept {
    Memory(Bytes),
    Spooled(Spooled),
}

impl Kept {
    /// What can be looked into. A body on disk is none that a key is read from.
    pub(super) fn in_memory(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Spooled(_) => &[],
        }
    }

    /// The same bytes once more; none where they are on disk.
    pub(super) fn shared(&self) -> Option<Bytes> {
        match self {
            Self::Memory(bytes) => Some(bytes.clone()),
            Self::Spooled(_) => None,
        }
    }
}

impl From<Bytes> for Kept {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(bytes)
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self::Memory(Bytes::new())
    }
}

impl<B> From<Kept> for RequestBody<B> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Memory(bytes) => bytes.into(),
            Kept::Spooled(spooled) => Self::spooled(spooled),
        }
    }
}

/// Reads the body of a request with this head; what it is, and the request's fingerprint.
///
/// `kept_max` is how large it may be where it is kept for a worker: it stays in memory then.
///
/// A body that broke off, stalled, is too large or has no room is a refusal, and leaves nothing behind.
pub(super) async fn take_in<B>(
    shared: &Shared,
    parts: &Parts,
    body: B,
    kept_max: Option<usize>,
) -> Result<(Kept, Fingerprint), Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let policy = &shared.policy;
    let announced = body.size_hint().lower();
    let bytes_max = kept_max.unwrap_or(policy.request_bytes_max);
    if announced > bytes_max as u64 {
        return Err(too_large(bytes_max as u64));
    }
    let memory_max = kept_max.unwrap_or(policy.request_memory_max).min(bytes_max);
    let mut memory: Option<Share> = None;
    let (read, rest) = if announced > memory_max as u64 {
        (Vec::new(), body)
    } else {
        // The first piece stays where its connection read it; what has to be held beside that is counted.
        let mut pieces = 0;
        let fits = |read: usize, held: usize| {
            pieces += 1;
            let mut is_counted = || memory.get_or_insert_with(|| shared.spool.memory()).grow_to(held as u64);
            read <= memory_max && (pieces == 1 || is_counted())
        };
        match collect(body, fits, policy.request_idle_max).await {
            Collected::Whole(bytes) => {
                let fingerprint = fingerprint::fingerprint(&policy.fingerprint, parts, &bytes);
                return Ok((Kept::Memory(counted(bytes, memory)), fingerprint));
            }
            Collected::TooLarge(read, rest) => (read, rest),
            Collected::Stalled => return Err(stalled()),
            Collected::Broken(reason) => return Err(broken(&reason)),
        }
    };
    let read_bytes = read.iter().map(Bytes::len).sum::<usize>();
    if read_bytes > bytes_max {
        return Err(too_large(bytes_max as u64));
    }
    let announced = announced.max(read_bytes as u64);
    if kept_max.is_some() {
        return Err(no_room());
    }
    if let Some(why) = why_in_memory(shared, parts) {
        let has_room = announced <= memory_max as u64;
        return Err(if has_room { no_room() } else { too_large_for_memory(memory_max, why) });
    }
    if announced > shared.spool.bytes_max() {
        return Err(too_large(shared.spool.bytes_max()));
    }
    let hasher = BodyHasher::new(&policy.fingerprint, parts);
    let spooling = shared.spool.begin(announced, hasher).map_err(|refused| not_kept(shared, &refused))?;
    let read = Read { chunks: read, bytes: read_bytes, memory };
    // Boxed, so that requests that stay in memory are not larger for it.
    let (spooled, hasher) = Box::pin(spool(shared, spooling, read, rest)).await?.finish();
    Ok((Kept::Spooled(spooled), hasher.finish()))
}

/// What was read of a body and not written yet.
struct Read {
    chunks: Vec<Bytes>,
    bytes: usize,
    memory: Option<Share>,
}

/// Writes what was read of a body, and then the rest as it comes. While a chunk is written nothing more is read, so
/// that a slow disk slows the caller down.
async fn spool<B>(
    shared: &Shared,
    mut spooling: Spooling,
    read: Read,
    mut rest: B,
) -> Result<Spooling, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let policy = &shared.policy;
    let Read { chunks, mut bytes, memory } = read;
    if !chunks.is_empty() {
        spooling = spooling.write(chunks).await.map_err(|refused| not_kept(shared, &refused))?;
    }
    // From here on it holds a chunk at most.
    drop(memory);
    let (mut chunks, mut unwritten) = (Vec::new(), 0);
    loop {
        let frame = if rest.is_end_stream() {
            None
        } else {
            let frame = tokio::time::timeout(policy.request_idle_max, rest.frame()).await;
            frame.map_err(|_| stalled())?.transpose().map_err(|error| broken(&error.to_string()))?
        };
        let ended = frame.is_none();
        // Trailers are not part of what is stored.
        if let Some(data) = frame.and_then(|frame| frame.into_data().ok()) {
            bytes = bytes.saturating_add(data.len());
            if bytes > policy.request_bytes_max {
                return Err(too_large(policy.request_bytes_max as u64));
            }
            unwritten += data.len();
            chunks.push(data);
        }
        if unwritten >= CHUNK_BYTES || (ended && unwritten > 0) {
            let chunks = std::mem::take(&mut chunks);
            spooling = spooling.write(chunks).await.map_err(|refused| not_kept(shared, &refused))?;
            unwritten = 0;
        }
        if ended {
            return Ok(spooling);
        }
    }
}

/// Bytes that give their share of the memory back when the last copy of them is gone.
fn counted(bytes: Bytes, memory: Option<Share>) -> Bytes {
    struct Counted(Bytes, #[expect(dead_code, reason = "it is there to be dropped")] Share);
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    match memory {
        None => bytes,
        Some(memory) => Bytes::from_owner(Counted(bytes, memory)),
    }
}

/// Why a body must be in memory as a whole, if it must.
fn why_in_memory(shared: &Shared, parts: &Parts) -> Option<&'static str> {
    match &shared.policy.key {
        // Without it, a request would go unprotected, or under another name than its header's.
        KeySource::HeaderOrField(_) | KeySource::Fields(_) => Some("its key is read from it"),
        KeySource::Header | KeySource::Window(_) => {
            if fingerprint::needs_the_whole(&shared.policy.fingerprint, parts) {
                Some("it is compared as JSON")
            } else if shared.spool.is_off() {
                Some("nothing is spooled to disk here")
            } else {
                None
            }
        }
    }
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::new(Code::BodyTooLarge)
        .detail(format!("Such requests may have bodies of {bytes_max} bytes here."))
}

fn too_large_for_memory(memory_max: usize, why: &str) -> Problem {
    Problem::new(Code::BodyTooLarge).detail(format!(
        "This body must be held in memory as a whole ({why}), where it may have {memory_max} bytes: \
         the route's `request_memory_max`.",
    ))
}

fn no_room() -> Problem {
    Problem::new(Code::TemporaryReducedCapacity)
        .detail("As many large bodies are under way as this gateway holds at once.")
        .retry_after(COME_AGAIN)
}

fn not_kept(shared: &Shared, refused: &SpoolRefused) -> Problem {
    match refused {
        SpoolRefused::Full => no_room(),
        SpoolRefused::Disk(error) => {
            tracing::warn!(%error, route = %shared.policy.route, "a body could not be spooled");
            let detail = match error.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "The disk that large bodies are kept on is full."
                }
                _ => "The body could not be kept on disk.",
            };
            Problem::new(Code::TemporaryReducedCapacity).detail(detail).retry_after(COME_AGAIN)
        }
    }
}

fn stalled() -> Problem {
    // Nothing was executed: the same request, sent whole, will be.
    let stalled = Problem::new(Code::BodyInvalid).status(408).resend(Resend::Yes);
    stalled.detail("The body stopped arriving.")
}

fn broken(reason: &str) -> Problem {
    tracing::debug!(reason, "a keyed request broke off");
    Problem::new(Code::BodyInvalid).detail("The body did not arrive whole.")
}
