//! The deadline: the instant by which the caller must have an answer. It starts when the request arrives, comes
//! from the route or, shorter, from the caller, and every layer inside counts against the same one.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
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

/// The header in which gRPC says the same.
const GRPC_TIMEOUT_HEADER: HeaderName = HeaderName::from_static("grpc-timeout");

/// The instant by which the caller must have an answer. An extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// How much time is left; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Tells whoever gets these headers how much time is left, in place of what the caller said; in gRPC's own words
    /// too, where the request is one of gRPC. Less than a millisecond counts as one: zero would mean nothing.
    pub fn tell(self, headers: &mut HeaderMap) {
        let ms = u64::try_from(self.remaining().as_millis()).unwrap_or(u64::MAX).max(1);
        let is_grpc = headers.contains_key(GRPC_TIMEOUT_HEADER)
            || headers
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        headers.insert(TIMEOUT_HEADER, milliseconds(ms));
        if is_grpc {
            // Eight digits at most: a deadline is a day at most.
            let value = HeaderValue::from_str(&format!("{}m", ms.min(99_999_999)));
            if let Ok(value) = value {
                headers.insert(GRPC_TIMEOUT_HEADER, value);
            }
        }
    }
}

/// `250ms`, without the detour over formatting: it is said with every request that has a deadline.
fn milliseconds(ms: u64) -> HeaderValue {
    // Twenty digits at most, written from the last one on.
    let mut text = *b"00000000000000000000ms";
    let (mut left, mut from) = (ms, text.len() - 2);
    loop {
        from -= 1;
        text[from] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    // Digits and two letters are always a valid value.
    HeaderValue::from_bytes(&text[from..]).unwrap_or(HeaderValue::from_static("1ms"))
}

/// When a request arrived, where that is not just now: what is left of its time is what counts. An extension of the
/// request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) Instant);

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
        let arrived = request.extensions().get().map_or_else(Instant::now, |Arrived(then)| *then);
        let deadline = arrived + allowed;
        request.extensions_mut().insert(Deadline(deadline));
        let request_id = request_id_of(request.extensions());
        // A layer inside that knows more (an operation to point to) answers first; this is the last word.
        let sleep = Some(Box::pin(tokio::time::sleep_until(deadline + LAST_WORD_AFTER)));
        DeadlineFuture { inner: self.inner.call(request), sleep, request_id }
    }
}

/// How long after the deadline this layer answers by itself.
const LAST_WORD_AFTER: Duration = Duration::from_millis(10);

/// What the caller asked for, where it is a positive duration: the shorter one, where it asked twice.
fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let own = text(TIMEOUT_HEADER).and_then(own_timeout);
    let grpc = text(GRPC_TIMEOUT_HEADER).and_then(grpc_timeout);
    let asked = match (own, grpc) {
        (Some(own), Some(grpc)) => own.min(grpc),
        (own, grpc) => own.or(grpc)?,
    };
    // A day is longer than anybody waits, and keeps the arithmetic far from its end.
    (!asked.is_zero()).then_some(asked.min(Duration::from_secs(24 * 3600)))
}

fn own_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (text.strip_suffix('s')?, Duration::from_secs(1)),
    };
    unit.checked_mul(number.parse().ok()?)
}

/// Up to eight digits and a unit (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = if number.len() <= 8 { number.parse().ok()? } else { return None };
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`DeadlineService`].
    pub struct DeadlineFuture<F> {
        #[pin]
        inner: F,
        sleep: Option<Pin<Box<Sleep>>>,
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
        match this.sleep.as_mut().map(|sleep| sleep.as_mut().poll(context)) {
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
    fn what_is_left_is_said_in_milliseconds() {
        for (ms, text) in
            [(1, "1ms"), (250, "250ms"), (90_000, "90000ms"), (u64::MAX, "18446744073709551615ms")]
        {
            assert_eq!(milliseconds(ms), text);
        }
    }

    #[test]
    fn grpc_asks_in_units_of_its_own_and_the_shorter_wish_counts() {
        for (text, expected) in [
            ("2S", Some(Duration::from_secs(2))),
            ("1M", Some(Duration::from_secs(60))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(24 * 3600))),
            ("0S", None),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("2s", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT_HEADER, text.parse().expect("a header value"));
            assert_eq!(asked_for(&headers), expected, "{text}");
            headers.insert(TIMEOUT_HEADER, "1ms".parse().expect("a header value"));
            assert_eq!(
                asked_for(&headers),
                Some(Duration::from_millis(1)).filter(|_| text != "0S"),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_replaces_what_the_caller_said() {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT_HEADER, HeaderValue::from_static("1h"));
        headers.append(TIMEOUT_HEADER, HeaderValue::from_static("2s"));
        let deadline = Deadline(Instant::now() + Duration::from_millis(850));
        deadline.tell(&mut headers);
        assert_eq!(headers.get_all(TIMEOUT_HEADER).iter().collect::<Vec<_>>(), ["850ms"]);
        assert_eq!(headers.get(GRPC_TIMEOUT_HEADER), None);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        tokio::time::advance(Duration::from_millis(800)).await;
        deadline.tell(&mut headers);
        assert_eq!(
            (&headers[TIMEOUT_HEADER], &headers[GRPC_TIMEOUT_HEADER]),
            (&"50ms".parse().expect("one"), &"50m".parse().expect("one"))
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        deadline.tell(&mut headers);
        assert_eq!(headers[TIMEOUT_HEADER], "1ms");
    }

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
