//! What every answer of a deprecated version says of its end: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and in
//! `Link` (RFC 8288) where to read about either and what comes after it. Refusals and replays say it too.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use steadfast_core::{Lifecycle, Timestamp};
use tower_layer::Layer;
use tower_service::Service;

/// Since when what was asked for is deprecated, as a structured field (RFC 9745).
pub const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");

/// When it stops being served, as a date of HTTP (RFC 8594).
pub const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What a route says of its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecyclePolicy {
    /// The version's name: what its requests are counted under.
    pub version: Arc<str>,
    /// When it ends, and when it is switched off before that.
    pub lifecycle: Lifecycle,
    /// The URI of what comes after it; valid in a header, as the next two.
    pub successor: Option<Box<str>>,
    /// The URI of a page about its deprecation.
    pub docs: Option<Box<str>>,
    /// The URI of a page about its sunset; `docs` unless stated.
    pub sunset_docs: Option<Box<str>>,
    /// The status of a brownout's refusals: 503 or 410.
    pub brownout_status: u16,
}

impl LifecyclePolicy {
    /// What is said in headers, in their order.
    fn fields(&self) -> Vec<(HeaderName, HeaderValue)> {
        let Lifecycle { deprecated, sunset, .. } = &self.lifecycle;
        let link = |uri: &Option<Box<str>>, relation| {
            uri.as_ref().map(|uri| (header::LINK, format!("<{uri}>; rel=\"{relation}\"")))
        };
        let sunset_docs = if self.sunset_docs.is_some() { &self.sunset_docs } else { &self.docs };
        let fields = [
            deprecated.map(|at| (DEPRECATION, format!("@{}", at.as_millis().div_euclid(1_000)))),
            sunset.map(|at| (SUNSET, http_date(at))),
            deprecated.and_then(|_| link(&self.docs, "deprecation")),
            sunset.and_then(|_| link(sunset_docs, "sunset")),
            link(&self.successor, "successor-version"),
        ];
        let valid = |(name, text): (HeaderName, String)| Some((name, HeaderValue::from_str(&text).ok()?));
        fields.into_iter().flatten().filter_map(valid).collect()
    }
}

/// Its date, as HTTP writes it; the config keeps it within the years that have one.
fn http_date(at: Timestamp) -> String {
    let seconds = u64::try_from(at.as_millis().div_euclid(1_000)).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799)))
}

/// Wraps a service in [`LifecycleService`].
#[derive(Clone, Debug)]
pub struct LifecycleLayer(Option<Arc<Vec<(HeaderName, HeaderValue)>>>);

impl LifecycleLayer {
    /// What `policy` says of its version. Answers are passed on as they are where it says nothing.
    #[must_use]
    pub fn new(policy: Option<&LifecyclePolicy>) -> Self {
        Self(policy.map(LifecyclePolicy::fields).filter(|fields| !fields.is_empty()).map(Arc::new))
    }
}

impl<S> Layer<S> for LifecycleLayer {
    type Service = LifecycleService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LifecycleService { inner, fields: self.0.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct LifecycleService<S> {
    inner: S,
    fields: Option<Arc<Vec<(HeaderName, HeaderValue)>>>,
}

impl<S, B, R> Service<Request<B>> for LifecycleService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = LifecycleFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        LifecycleFuture { inner: self.inner.call(request), fields: self.fields.clone() }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`LifecycleService`].
    pub struct LifecycleFuture<F> {
        #[pin]
        inner: F,
        fields: Option<Arc<Vec<(HeaderName, HeaderValue)>>>,
    }
}

impl<F, R, E> Future for LifecycleFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answered = ready!(this.inner.poll(context));
        if let (Ok(response), Some(fields)) = (&mut answered, this.fields) {
            mark(response.headers_mut(), fields);
        }
        Poll::Ready(answered)
    }
}

/// Puts the dates in place of those of the service inside, and the links beside its own.
fn mark(headers: &mut HeaderMap, fields: &[(HeaderName, HeaderValue)]) {
    for (name, value) in fields {
        if *name == header::LINK {
            headers.append(name, value.clone());
        } else {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> LifecyclePolicy {
        LifecyclePolicy {
            version: "v1".into(),
            lifecycle: Lifecycle {
                deprecated: Some(Timestamp::from_millis(1_688_169_599_000)),
                sunset: Some(Timestamp::from_millis(1_719_791_999_000)),
                ..Lifecycle::default()
            },
            successor: Some("/v2/orders".into()),
            docs: Some("https://docs.example/v1".into()),
            sunset_docs: None,
            brownout_status: 503,
        }
    }

    fn written(policy: &LifecyclePolicy) -> Vec<String> {
        let line = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        policy.fields().iter().map(line).collect()
    }

    /// The dates are those of the examples in RFC 9745 and RFC 8594.
    #[test]
    fn a_versions_end_is_said_as_the_standards_write_it() {
        let full = [
            "deprecation: @1688169599",
            "sunset: Sun, 30 Jun 2024 23:59:59 GMT",
            "link: <https://docs.example/v1>; rel=\"deprecation\"",
            "link: <https://docs.example/v1>; rel=\"sunset\"",
            "link: </v2/orders>; rel=\"successor-version\"",
        ];
        assert_eq!(written(&policy()), full);
        let own_page = LifecyclePolicy { sunset_docs: Some("/sunset".into()), ..policy() };
        assert_eq!(written(&own_page)[3], "link: </sunset>; rel=\"sunset\"");
        let undated = LifecyclePolicy { lifecycle: Lifecycle::default(), ..policy() };
        assert_eq!(written(&undated), [full[4]]);
        let bare = LifecyclePolicy { successor: None, docs: None, ..undated };
        assert!(LifecycleLayer::new(Some(&bare)).0.is_none(), "nothing is done where nothing is said");
    }

    #[test]
    fn dates_of_the_service_inside_give_way_and_its_links_stay() {
        let mut headers = HeaderMap::new();
        headers.insert(DEPRECATION, HeaderValue::from_static("?1"));
        headers.insert(header::LINK, HeaderValue::from_static("</page/2>; rel=\"next\""));
        mark(&mut headers, &policy().fields());
        let all = |name: &HeaderName| headers.get_all(name).iter().count();
        assert_eq!((all(&DEPRECATION), all(&SUNSET), all(&header::LINK)), (1, 1, 4));
        assert_eq!(headers[DEPRECATION], "@1688169599");
        assert_eq!(headers[header::LINK], "</page/2>; rel=\"next\"");
    }
}
