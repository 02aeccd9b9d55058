//! The body of a request behind the idempotency layer: the caller's own, passed through untouched, or one that was
//! read whole before its operation was claimed, from memory or from the spool.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::idempotency::{CHUNK_BYTES, Spooled};

/// What the service inside gets as a request's body.
#[derive(Debug)]
pub struct RequestBody<B>(Kind<B>);

#[derive(Debug)]
enum Kind<B> {
    /// The caller's body.
    Passed(B),
    /// Bytes in memory; `None` once they are sent, or where there are none.
    Whole(Option<Bytes>),
    /// A file, and how many of its bytes were sent.
    Spooled(Box<Reader>),
}

/// A request's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError<E> {
    /// While it was passed through.
    #[error(transparent)]
    Passed(E),
    /// It could not be read back from the spool.
    #[error("a spooled body could not be read back: {0}")]
    Spool(io::Error),
}

impl<B> RequestBody<B> {
    /// The caller's body, as it comes.
    pub(crate) const fn passed(body: B) -> Self {
        Self(Kind::Passed(body))
    }

    /// What was written to the spool. Its space is given back when its last byte has been read.
    pub(crate) fn spooled(body: Spooled) -> Self {
        Self(Kind::Spooled(Box::new(Reader { left: body.len(), state: ReaderState::Resting(body) })))
    }
}

impl<B: Body> RequestBody<B> {
    /// The same body again, where it is whole in memory and nothing of it was taken.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        match &self.0 {
            Kind::Whole(bytes) => Some(Self(Kind::Whole(bytes.clone()))),
            Kind::Passed(body) if body.is_end_stream() => Some(Self(Kind::Whole(None))),
            Kind::Passed(_) | Kind::Spooled(_) => None,
        }
    }
}

impl<B> From<Bytes> for RequestBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole((!bytes.is_empty()).then_some(bytes)))
    }
}

/// Reads a spooled body chunk by chunk, the next one when it is asked for.
#[derive(Debug)]
struct Reader {
    left: u64,
    state: ReaderState,
}

#[derive(Debug)]
enum ReaderState {
    Resting(Spooled),
    Reading(JoinHandle<(Spooled, io::Result<Bytes>)>),
    /// Everything was read, or something could not be.
    Over,
}

impl Reader {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let ReaderState::Resting(_) = &self.state
            && let ReaderState::Resting(body) = std::mem::replace(&mut self.state, ReaderState::Over)
        {
            let at = body.len() - self.left;
            let bytes = usize::try_from(self.left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            // Allocated here, where it will be freed.
            let mut chunk = vec![0; bytes];
            self.state = ReaderState::Reading(tokio::task::spawn_blocking(move || {
                let read = body.read(&mut chunk, at).map(|()| chunk.into());
                (body, read)
            }));
        }
        let ReaderState::Reading(reading) = &mut self.state else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context));
        self.state = ReaderState::Over;
        Poll::Ready(Some(read.map_err(io::Error::other).and_then(|(body, chunk)| {
            let chunk = chunk?;
            self.left -= chunk.len() as u64;
            if self.left > 0 {
                self.state = ReaderState::Resting(body);
            }
            Ok(chunk)
        })))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = RequestBodyError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            Kind::Passed(body) => {
                Pin::new(body).poll_frame(context).map(|frame| Some(frame?.map_err(RequestBodyError::Passed)))
            }
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Spooled(reader) => reader
                .poll_chunk(context)
                .map(|chunk| Some(chunk?.map(Frame::data).map_err(RequestBodyError::Spool))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Passed(body) => body.is_end_stream(),
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Spooled(reader) => reader.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Passed(body) => body.size_hint(),
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Spooled(reader) => SizeHint::with_exact(reader.left),
        }
    }
}
