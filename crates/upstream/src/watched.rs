//! The body of a request over HTTP/2, which remembers how it failed: hyper resets the stream then, and what it says of
//! the exchange is that the stream was reset.

use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use steadfast_layers::BodyTooLarge;

use crate::outgoing::OutgoingBody;

/// What any error of a body becomes.
type BoxError = Box<dyn Error + Send + Sync>;

/// A body, and whoever wants to know how it fails.
pub(crate) struct Watched<B> {
    body: B,
    told: Option<Failure>,
}

/// How a body failed, once it has.
pub(crate) type Failure = Arc<OnceLock<BodyFailed>>;

/// How a body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFailed {
    /// It is larger than it may be.
    TooLarge,
    /// It broke off.
    Broken,
}

impl<B: OutgoingBody> Watched<B> {
    /// `body`, which tells how it fails.
    pub(crate) fn new(body: B) -> (Self, Failure) {
        let failure = Failure::default();
        (Self { body, told: Some(Arc::clone(&failure)) }, failure)
    }

    /// A body that cannot fail.
    pub(crate) fn sure(body: B) -> Self {
        Self { body, told: None }
    }
}

impl<B: OutgoingBody> Body for Watched<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        Pin::new(&mut this.body).poll_frame(context).map_err(|error| {
            let error = error.into();
            if let Some(told) = &this.told {
                let too_large = is_too_large(&*error);
                let _ = told.set(if too_large { BodyFailed::TooLarge } else { BodyFailed::Broken });
            }
            error
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether something failed because the caller's body is larger than it may be.
pub(crate) fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<BodyTooLarge>() {
            return true;
        }
        cause = error.source();
    }
    false
}
