//! A stream that waits only so long for its peer to take what is written: whoever reads nothing holds memory here. And
//! that can be woken by its peer's next byte, without losing it. It puts small writes of several parts together.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// Up to so much is written in one piece: to copy it costs less than to have the kernel gather it. What is larger is not
/// copied.
const GATHERED_BYTES_MAX: usize = 4_096;

thread_local! {
    /// Where the parts of a small write are put together: one place for all connections of a thread, so that it stays
    /// near the processor.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The stream.
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Whether one is, for those who have given the stream away.
    stalled: Arc<AtomicBool>,
    /// What was read of it and is to be read again.
    unread: Bytes,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None, stalled: Arc::default(), unread: Bytes::new() }
    }

    /// Whether something that was written waits to be taken: as it is now, and as it becomes.
    pub(crate) fn is_stalled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stalled)
    }

    /// Lets these bytes be read before the stream's own.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    /// What a write came to, or its end where it was waited for too long.
    fn bounded<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.waiting.take().is_some() {
                self.stalled.store(false, Ordering::Relaxed);
            }
            return written;
        }
        self.stalled.store(true, Ordering::Relaxed);
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Waits for the peer's next byte, which is read again after this. Whether there is one: the peer may have ended.
    pub(crate) async fn wake(&mut self) -> io::Result<bool> {
        let mut byte = [0];
        let read = self.read(&mut byte).await?;
        self.unread = Bytes::copy_from_slice(&byte[..read]);
        Ok(read > 0)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let written = if bytes <= GATHERED_BYTES_MAX {
            GATHERED.with_borrow_mut(|gathered| {
                gathered.clear();
                parts.iter().for_each(|part| gathered.extend_from_slice(part));
                Pin::new(&mut self.stream).poll_write(context, gathered)
            })
        } else {
            Pin::new(&mut self.stream).poll_write_vectored(context, parts)
        };
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_byte_that_woke_it_is_read_again() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut near = Patient::new(near, Duration::from_secs(10));
        far.write_all(b"GET /").await.expect("there is room");
        assert!(near.wake().await.expect("a byte"));
        let mut read = [0; 5];
        near.read_exact(&mut read).await.expect("all of it");
        assert_eq!(&read, b"GET /");
        near.unread(Bytes::from_static(b"ab"));
        drop(far);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.expect("the rest");
        assert_eq!(rest, b"ab");
        assert!(!near.wake().await.expect("an end"));
    }

    #[tokio::test]
    async fn parts_arrive_in_their_order_whether_they_are_put_together_or_not() {
        for bytes in [1, GATHERED_BYTES_MAX / 2, GATHERED_BYTES_MAX] {
            let (near, mut far) = tokio::io::duplex(4 * GATHERED_BYTES_MAX);
            let mut near = Patient::new(near, Duration::from_secs(10));
            let (head, body) = (vec![b'h'; bytes], vec![b'b'; bytes]);
            let parts = [io::IoSlice::new(&head), io::IoSlice::new(&body)];
            let written = near.write_vectored(&parts).await.expect("there is room");
            drop(near);
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.expect("an end");
            assert_eq!(read, [head, body].concat()[..written]);
            assert!(written >= bytes, "{written} of {bytes} twice");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_one_that_is_slow_is_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = Patient::new(near, Duration::from_secs(10));
        let slow = async {
            let mut taken = [0; 4];
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                far.read_exact(&mut taken).await.expect("it is written");
            }
        };
        let (written, ()) = tokio::join!(near.write_all(&[0; 16]), slow);
        written.expect("it was always taken in time");
        near.write_all(&[0; 4]).await.expect("there is room");
        let stuck = near.write_all(&[0; 4]).await.expect_err("nobody takes it");
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
    }
}
