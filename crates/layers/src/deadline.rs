//! The deadline: the instant by which the caller must have an answer. It starts when the request arrives, comes
//! from the route or, shorter, from the caller, and every layer inside counts against the same one.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body;
use steadfast_core::Code;
use tokio::time::{Instant, Sleep};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    Problem,
    body::HeldBody,
    request_id::{RequestId, request_id_of},
};

/// The header in which a caller asks for a shorter deadline: `250ms` or `2s`.
pub const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("steadfast-timeout");

/// The instant by which the caller must have an answer. An extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// How much time is left; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Wraps a service in [`DeadlineService`].
#[derive(Clone, Copy, Debug)]
pub struct DeadlineLayer {
    route: Option<Duration>,
}

impl DeadlineLayer {
    /// A deadline this long after the request's arrival, or sooner where the caller asks for it. `None` leaves it
    /// to the caller.
    #[must_use]
    pub fn new(route: Option<Duration>) -> Self {
        Self { route }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner, route: self.route }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Copy, Debug)]
pub struct DeadlineService<S> {
    inner: S,
    route: Option<Duration>,
}

impl<S, B, R> Service<Request<B>> for DeadlineService<S>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<HeldBody<R>>;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let asked = asked_for(request.headers());
        let allowed = match (self.route, asked) {
            (Some(route), Some(asked)) => Some(route.min(asked)),
            (route, asked) => route.or(asked),
        };
        let Some(allowed) = allowed else {
            return DeadlineFuture { inner: self.inner.call(request), sleep: None, request_id: None };
        };
        let deadline = Instant::now() + allowed;
        request.extensions_mut().insert(Deadline(deadline));
        let request_id = request_id_of(request.extensions());
        // A layer inside that knows more (an operation to point to) answers first; this is the last word.
        let sleep = Some(tokio::time::sleep_until(deadline + LAST_WORD_AFTER));
        DeadlineFuture { inner: self.inner.call(request), sleep, request_id }
    }
}

/// How long after the deadline this layer answers by itself.
const LAST_WORD_AFTER: Duration = Duration::from_millis(10);

/// What the caller asked for, where it is a positive duration.
fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT_HEADER)?.to_str().ok()?.trim();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (text.strip_suffix('s')?, Duration::from_secs(1)),
    };
    let duration = unit.checked_mul(number.parse().ok()?)?;
    // A day is longer than anybody waits, and keeps the arithmetic far from its end.
    (!duration.is_zero()).then_some(duration.min(Duration::from_secs(24 * 3600)))
}

pin_project_lite::pin_project! {
    /// The answer of a [`DeadlineService`].
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: F,
        #[pin]
        sleep: Option<Sleep>,
        request_id: Option<RequestId>,
    }
}

impl<F, R, E> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<HeldBody<R>>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(context) {
            return Poll::Ready(result);
        }
        match this.sleep.as_pin_mut().map(|sleep| sleep.poll(context)) {
            Some(Poll::Ready(())) => {
                let problem = Problem::new(Code::DeadlineExceeded).instance(this.request_id.as_ref());
                Poll::Ready(Ok(problem.into_response()))
            }
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_asks_in_seconds_or_milliseconds() {
        for (text, expected) in [
            ("250ms", Some(Duration::from_millis(250))),
            ("2s", Some(Duration::from_secs(2))),
            ("0s", None),
            ("-1s", None),
            ("2", None),
            ("99999999999999999999s", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT_HEADER, text.parse().expect("a header value"));
            assert_eq!(asked_for(&headers), expected, "{text}");
        }
    }
}
