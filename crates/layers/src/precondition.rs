//! Refuses changes that do not say what they are based on (428, RFC 6585, section 3): whoever writes over what he has
//! not seen may undo what somebody else did meanwhile. Whether the precondition holds is the business of the service
//! inside.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use steadfast_core::Code;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Problem, RequestId, refusable::RefusableFuture};

/// The methods that change what is there already.
pub const PRECONDITION_METHODS: [Method; 2] = [Method::PUT, Method::PATCH];

/// Wraps a service in [`PreconditionService`].
#[derive(Clone, Copy, Debug)]
pub struct PreconditionLayer {
    required: bool,
}

impl PreconditionLayer {
    /// Lets everything through unless a precondition is `required`.
    #[must_use]
    pub fn new(required: bool) -> Self {
        Self { required }
    }
}

impl<S> Layer<S> for PreconditionLayer {
    type Service = PreconditionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PreconditionService { inner, required: self.required }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct PreconditionService<S> {
    inner: S,
    required: bool,
}

impl<S, B, R> Service<Request<B>> for PreconditionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = RefusableFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !self.required || says_what_it_changes(request.method(), request.headers()) {
            return RefusableFuture::passed(self.inner.call(request));
        }
        let problem = Problem::new(Code::PreconditionRequired)
            .detail(format!("The {} has no If-Match.", request.method()))
            .instance(request.extensions().get::<RequestId>());
        RefusableFuture::refused(problem.into_response())
    }
}

/// Whether a request changes nothing that is there, or says by its ETag what, or that nothing must be there yet. A list of
/// ETags in `If-None-Match` does not: it is how caches ask.
fn says_what_it_changes(method: &Method, headers: &HeaderMap) -> bool {
    let is_said = |value: &http::HeaderValue| !value.as_bytes().trim_ascii().is_empty();
    let is_any = |value: &http::HeaderValue| value.as_bytes().trim_ascii() == b"*";
    !PRECONDITION_METHODS.contains(method)
        || headers.get_all(header::IF_MATCH).iter().any(is_said)
        || headers.get_all(header::IF_NONE_MATCH).iter().any(is_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_by_an_etag_what_it_changes_or_that_it_creates() {
        for (method, fields, expected) in [
            ("PUT", vec![], false),
            ("PATCH", vec![], false),
            ("PUT", vec![("if-match", "\"1\"")], true),
            ("PATCH", vec![("if-match", "W/\"1\", \"2\"")], true),
            ("PATCH", vec![("if-match", "*")], true),
            ("PUT", vec![("if-match", "")], false),
            ("PUT", vec![("if-match", " ")], false),
            ("PUT", vec![("if-match", ""), ("if-match", "\"2\"")], true),
            ("PUT", vec![("if-none-match", "*")], true),
            ("PUT", vec![("if-none-match", " * ")], true),
            ("PATCH", vec![("if-none-match", "\"1\"")], false),
            ("PUT", vec![("if-unmodified-since", "Sun, 30 Jun 2024 23:59:59 GMT")], false),
            ("POST", vec![], true),
            ("GET", vec![], true),
            ("DELETE", vec![], true),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(*name, value.parse().expect("a value"));
            }
            let method = method.parse().expect("a method");
            assert_eq!(says_what_it_changes(&method, &headers), expected, "{method} {fields:?}");
        }
    }
}
