//! The body of what a layer answers: the inner service's own, passed through untouched, or bytes held in memory.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body is larger than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is larger than it may be")]
pub struct BodyTooLarge;

/// A body that is whole in memory, or the inner service's stream, or the beginning of one and its rest.
#[derive(Debug)]
pub enum HeldBody<B> {
    /// Bytes in memory; `None` once they are sent, or where there are none.
    Whole(Option<Bytes>),
    /// The inner service's body.
    Passed(B),
    /// The chunks of a body that were read before it turned out too large to hold, the next one last; and the
    /// rest.
    Resumed(Vec<Bytes>, B),
}

impl<B> HeldBody<B> {
    /// A body of these bytes.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// A body that was read up to `read` and goes on with `rest`.
    pub(crate) fn resumed(mut read: Vec<Bytes>, rest: B) -> Self {
        read.reverse();
        Self::Resumed(read, rest)
    }

    /// The same body with what was `read` of it before it again.
    #[must_use]
    pub fn after(self, mut read: Vec<Bytes>) -> Self {
        match self {
            Self::Passed(rest) => Self::resumed(read, rest),
            Self::Resumed(mut unread, rest) => {
                read.reverse();
                unread.extend(read);
                Self::Resumed(unread, rest)
            }
            Self::Whole(rest) => {
                read.extend(rest);
                Self::whole(read.concat().into())
            }
        }
    }
}

impl<B> From<Bytes> for HeldBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for HeldBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(body) => Pin::new(body).poll_frame(context),
            Self::Resumed(read, rest) => match read.pop() {
                Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
                None => Pin::new(rest).poll_frame(context),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passed(body) => body.is_end_stream(),
            Self::Resumed(read, rest) => read.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Passed(body) => body.size_hint(),
            Self::Resumed(read, rest) => {
                let held = read.iter().map(Bytes::len).sum::<usize>() as u64;
                let mut hint = rest.size_hint();
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper + held);
                }
                hint.set_lower(hint.lower() + held);
                hint
            }
        }
    }
}
