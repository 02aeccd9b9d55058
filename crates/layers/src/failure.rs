//! An attempt that failed becomes the refusal that its caller reads, so that the layers outside see answers only.
//! Keyed requests never come this far: what became of them is the idempotency layer's to say.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    AttemptFailed, HeldBody,
    request_id::{RequestId, request_id_of},
};

/// Wraps a service in [`FailureService`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FailureLayer;

impl<S> Layer<S> for FailureLayer {
    type Service = FailureService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FailureService { inner, failed: None }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct FailureService<S> {
    inner: S,
    /// It failed before there was a request to answer: the next one is answered with that.
    failed: Option<AttemptFailed>,
}

impl<S, B, R> Service<Request<B>> for FailureService<S>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>>,
    S::Error: Into<AttemptFailed>,
    R: Body<Data = Bytes>,
{
    type Response = Response<HeldBody<R>>;
    type Error = Infallible;
    type Future = FailureFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.failed.is_none() {
            self.failed = ready!(self.inner.poll_ready(context)).err().map(Into::into);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request_id = request_id_of(request.extensions());
        match self.failed.take() {
            None => FailureFuture { inner: Some(self.inner.call(request)), failed: None, request_id },
            failed => FailureFuture { inner: None, failed: failed.map(Box::new), request_id },
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`FailureService`].
    pub struct FailureFuture<F> {
        #[pin]
        inner: Option<F>,
        failed: Option<Box<AttemptFailed>>,
        request_id: Option<RequestId>,
    }
}

impl<F, R, E> Future for FailureFuture<F>
where
    F: Future<Output = Result<Response<HeldBody<R>>, E>>,
    E: Into<AttemptFailed>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<HeldBody<R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let failed = match this.inner.as_pin_mut() {
            Some(inner) => match ready!(inner.poll(context)) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err(failed) => failed.into(),
            },
            None => match this.failed.take() {
                Some(failed) => *failed,
                // It was answered, and nobody may ask again.
                None => return Poll::Pending,
            },
        };
        if matches!(failed, AttemptFailed::HeldBack { .. }) {
            // Refused on purpose, and counted; a line for each would cost more than the refusal.
            tracing::debug!(%failed, "an unkeyed request was held back");
        } else {
            tracing::info!(%failed, "an unkeyed request failed");
        }
        Poll::Ready(Ok(failed.unprotected().instance(this.request_id.as_ref()).into_response()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use steadfast_core::NotSentCause;

    use super::*;

    /// A service that is never ready, or fails when it is called.
    struct Failing {
        when_ready: bool,
    }

    fn not_sent() -> AttemptFailed {
        AttemptFailed::NotSent { cause: NotSentCause::ConnectFailed, detail: "secret address".into() }
    }

    impl Service<Request<()>> for Failing {
        type Response = Response<HeldBody<http_body_util::Empty<Bytes>>>;
        type Error = AttemptFailed;
        type Future = Ready<Result<Self::Response, AttemptFailed>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
            Poll::Ready(if self.when_ready { Ok(()) } else { Err(not_sent()) })
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(self.when_ready, "it is not called after it failed");
            ready(Err(not_sent()))
        }
    }

    #[tokio::test]
    async fn what_fails_before_or_after_it_was_called_is_answered() {
        for when_ready in [true, false] {
            let mut service = FailureLayer.layer(Failing { when_ready });
            let Ok(()) = std::future::poll_fn(|context| service.poll_ready(context)).await;
            let mut request = Request::new(());
            request
                .extensions_mut()
                .insert(RequestId::accept(&"req-1".parse().expect("a value")).expect("an id"));
            let Ok(response) = service.call(request).await;
            assert_eq!(response.status(), 502);
            let HeldBody::Whole(Some(body)) = response.into_body() else { panic!("a problem") };
            let document = String::from_utf8_lossy(&body).into_owned();
            assert!(document.contains("upstream-unavailable") && document.contains("req-1"), "{document}");
            assert!(!document.contains("secret address"), "{document}");
        }
    }
}
