//! What a route changes of messages: the path and header fields of requests on their way to the upstream, and header
//! fields of every answer. A request's key and fingerprint are those of what its caller sent.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, uri::PathAndQuery};
use tower_layer::Layer;
use tower_service::Service;

use crate::Principal;

/// Changes to the header fields of a message, in this order: those removed, those set, those added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Fields that are removed.
    pub remove: Vec<HeaderName>,
    /// Fields that are set; what was there is replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are added to what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderEdits {
    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

/// What is changed of the messages of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewritePolicy {
    /// What is taken from the beginning of the path, where it is there as whole segments. Empty or beginning with `/`,
    /// and not ending with it.
    pub strip_prefix: String,
    /// What is put before the path after that; of the same form.
    pub add_prefix: String,
    /// What is changed of requests' header fields.
    pub requests: HeaderEdits,
    /// What is changed of answers' header fields.
    pub answers: HeaderEdits,
}

impl RewritePolicy {
    /// The path and query that the upstream gets; `None` where they stay as they are.
    fn target(&self, uri: &Uri) -> Option<PathAndQuery> {
        if self.strip_prefix.is_empty() && self.add_prefix.is_empty() {
            return None;
        }
        let target = uri.path_and_query()?.as_str();
        let rest = target.strip_prefix(&*self.strip_prefix);
        let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?'])).unwrap_or(target);
        let slash = if rest.starts_with('/') { "" } else { "/" };
        // Parts of valid targets, put together at a slash, are a valid one.
        PathAndQuery::try_from(format!("{}{slash}{rest}", self.add_prefix)).ok()
    }
}

/// Changes requests on their way to the upstream. Wraps a service in [`OutgoingService`].
#[derive(Clone, Debug)]
pub struct OutgoingLayer {
    policy: Option<Arc<RewritePolicy>>,
    hides_credentials: bool,
}

/// Changes answers on their way to callers. Wraps a service in [`AnswersService`].
#[derive(Clone, Debug)]
pub struct AnswersLayer(Option<Arc<RewritePolicy>>);

impl OutgoingLayer {
    /// `None` changes nothing.
    #[must_use]
    pub fn new(policy: Option<Arc<RewritePolicy>>) -> Self {
        Self { policy, hides_credentials: false }
    }

    /// Credentials that go no further than the gateway ([`Principal::hidden`]) are taken out here, and not before: what is
    /// private to a caller is known by them.
    #[must_use]
    pub fn hiding_credentials(self) -> Self {
        Self { hides_credentials: true, ..self }
    }
}

impl AnswersLayer {
    /// `None` changes nothing.
    #[must_use]
    pub fn new(policy: Option<Arc<RewritePolicy>>) -> Self {
        Self(policy)
    }
}

impl<S> Layer<S> for OutgoingLayer {
    type Service = OutgoingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OutgoingService { inner, policy: self.policy.clone(), hides_credentials: self.hides_credentials }
    }
}

impl<S> Layer<S> for AnswersLayer {
    type Service = AnswersService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AnswersService { inner, policy: self.0.clone() }
    }
}

/// See [`OutgoingLayer`].
#[derive(Clone, Debug)]
pub struct OutgoingService<S> {
    inner: S,
    policy: Option<Arc<RewritePolicy>>,
    hides_credentials: bool,
}

impl<S, B> Service<Request<B>> for OutgoingService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if self.hides_credentials
            && let Some(header) = request.extensions().get::<Principal>().and_then(Principal::hidden).cloned()
        {
            request.headers_mut().remove(header);
        }
        if let Some(policy) = &self.policy {
            policy.requests.apply(request.headers_mut());
            if let Some(target) = policy.target(request.uri()) {
                let mut parts = std::mem::take(request.uri_mut()).into_parts();
                parts.path_and_query = Some(target);
                // Only the path differs from a valid one, and that is valid.
                *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
            }
        }
        self.inner.call(request)
    }
}

/// See [`AnswersLayer`].
#[derive(Clone, Debug)]
pub struct AnswersService<S> {
    inner: S,
    policy: Option<Arc<RewritePolicy>>,
}

impl<S, B, R> Service<Request<B>> for AnswersService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AnswersFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        AnswersFuture { inner: self.inner.call(request), policy: self.policy.clone() }
    }
}

pin_project_lite::pin_project! {
    /// The answer of an [`AnswersService`].
    pub struct AnswersFuture<F> {
        #[pin]
        inner: F,
        policy: Option<Arc<RewritePolicy>>,
    }
}

impl<F, R, E> Future for AnswersFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answered = ready!(this.inner.poll(context));
        if let (Ok(response), Some(policy)) = (&mut answered, this.policy) {
            policy.answers.apply(response.headers_mut());
        }
        Poll::Ready(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(strip_prefix: &str, add_prefix: &str) -> RewritePolicy {
        RewritePolicy {
            strip_prefix: strip_prefix.into(),
            add_prefix: add_prefix.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_prefix_is_taken_away_by_whole_segments_and_another_put_there() {
        for (strip, add, target, expected) in [
            ("/api", "", "/api/orders?x=1", Some("/orders?x=1")),
            ("/api", "", "/api", Some("/")),
            ("/api", "", "/api?x", Some("/?x")),
            ("/api", "", "/apis/1", Some("/apis/1")),
            ("/api/v1", "/v2", "/api/v1/orders", Some("/v2/orders")),
            ("", "/v2", "/orders", Some("/v2/orders")),
            ("", "", "/orders", None),
        ] {
            let uri: Uri = target.parse().expect("a target");
            let found = policy(strip, add).target(&uri);
            assert_eq!(found.as_ref().map(PathAndQuery::as_str), expected, "-{strip} +{add}: {target}");
        }
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let field = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let edits = HeaderEdits {
            remove: vec![HeaderName::from_static("x-gone"), HeaderName::from_static("x-new")],
            set: vec![field("x-new", "1")],
            add: vec![field("x-new", "2")],
        };
        let mut headers: HeaderMap = [field("x-gone", "a"), field("x-new", "b")].into_iter().collect();
        edits.apply(&mut headers);
        assert_eq!(headers.get_all("x-new").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(!headers.contains_key("x-gone"));
    }
}
