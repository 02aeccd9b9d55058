//! Gives every request an id: the caller's own if it is valid, else a new one. It is returned, forwarded, logged
//! and named in every refusal.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::random::next_random;

/// The header that carries it, both ways.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is accepted from a caller, in characters.
const CHARS_MAX: usize = 128;

/// A request's id: 1 to 128 characters of `A-Z a-z 0-9 . _ : -`. An extension of the request and of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The caller's own id, if it is valid.
    pub(crate) fn accept(value: &HeaderValue) -> Option<Self> {
        let valid = (1..=CHARS_MAX).contains(&value.len())
            && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte));
        valid.then(|| Self(value.clone()))
    }

    /// The id of a request with these fields: its own, or a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(REQUEST_ID_HEADER).iter();
        let own = values.next().filter(|_| values.next().is_none()).and_then(Self::accept);
        own.unwrap_or_else(Self::new)
    }

    /// Gives it to a request: in its header, and as an extension.
    pub fn give_to<B>(&self, request: &mut Request<B>) {
        request.headers_mut().insert(REQUEST_ID_HEADER, self.0.clone());
        request.extensions_mut().insert(self.clone());
    }

    /// Says it in the header of an answer.
    pub fn name_in(&self, headers: &mut HeaderMap) {
        headers.insert(REQUEST_ID_HEADER, self.0.clone());
    }

    /// A new one: 32 hexadecimal digits. Unique, not secret.
    fn new() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = u128::from(next_random()) << 64 | u128::from(next_random());
        let text: [u8; 32] = std::array::from_fn(|place| DIGITS[(number >> (124 - place * 4)) as usize & 15]);
        // Hexadecimal digits are always a valid value.
        Self(HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }
}

/// Wraps a service in [`RequestIdService`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestIdLayer;

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestIdService { inner }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Copy, Debug)]
pub struct RequestIdService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for RequestIdService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RequestIdFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let id = RequestId::of(request.headers());
        id.give_to(&mut request);
        RequestIdFuture { inner: self.inner.call(request), id }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`RequestIdService`].
    pub struct RequestIdFuture<F> {
        #[pin]
        inner: F,
        id: RequestId,
    }
}

impl<F, R, E> Future for RequestIdFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(context));
        if let Ok(response) = &mut result {
            this.id.name_in(response.headers_mut());
            response.extensions_mut().insert(this.id.clone());
        }
        Poll::Ready(result)
    }
}

/// Names the request in a refusal that is made before or behind this layer.
pub(crate) fn request_id_of(extensions: &http::Extensions) -> Option<RequestId> {
    extensions.get::<RequestId>().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_id_is_accepted() {
        for (value, accepted) in
            [("abc-1.2_3:4", true), ("", false), ("a b", false), ("a\"b", false), ("a,b", false)]
        {
            let value = HeaderValue::from_str(value).expect("a header value");
            assert_eq!(RequestId::accept(&value).is_some(), accepted, "{value:?}");
        }
        let long = HeaderValue::from_str(&"x".repeat(129)).expect("a header value");
        assert_eq!(RequestId::accept(&long), None);
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(RequestId::new(), RequestId::new());
        assert_eq!(RequestId::new().as_str().len(), 32);
    }
}
