//! The future of a service that may refuse before it asks the one inside.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;

pin_project_lite::pin_project! {
    /// A refusal, or the future inside as it is.
    pub struct RefusableFuture<F, R> {
        #[pin]
        state: State<F, R>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F, R> {
        // The refusal, until it is given; boxed, so that futures that are passed on do not grow by it.
        Refused { response: Option<Box<Response<R>>> },
        Passed {
            #[pin]
            inner: F,
        },
    }
}

impl<F, R> RefusableFuture<F, R> {
    pub(crate) fn refused(response: Response<R>) -> Self {
        Self { state: State::Refused { response: Some(Box::new(response)) } }
    }

    pub(crate) fn passed(inner: F) -> Self {
        Self { state: State::Passed { inner } }
    }
}

impl<F, R, E> Future for RefusableFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            // It was answered, and nobody may ask again.
            StateProjection::Refused { response } => {
                response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(*response)))
            }
            StateProjection::Passed { inner } => inner.poll(context),
        }
    }
}
