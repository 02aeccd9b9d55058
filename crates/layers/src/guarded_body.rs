//! The body of an answer that holds something until it has ended, or was dropped: a place among those that an upstream
//! serves at once, say.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body, and what is let go of when it ends.
#[derive(Debug)]
pub struct GuardedBody<B, G> {
    body: B,
    guard: Option<G>,
}

impl<B: Body, G> GuardedBody<B, G> {
    /// The body holds `guard`, if there is one and the body has not ended already.
    pub(crate) fn new(body: B, guard: Option<G>) -> Self {
        let guard = guard.filter(|_| !body.is_end_stream());
        Self { body, guard }
    }
}

impl<B: Body<Data = Bytes> + Unpin, G: Unpin> Body for GuardedBody<B, G> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if self.guard.is_some() && (!matches!(frame, Some(Ok(_))) || self.body.is_end_stream()) {
            self.guard = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
