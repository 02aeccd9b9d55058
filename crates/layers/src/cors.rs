//! Cross-origin resource sharing (<https://fetch.spec.whatwg.org/#http-cors-protocol>): which pages of other origins
//! may send requests here and read the answers.
//!
//! A preflight is answered here and goes no further. Every other answer, refusals and replays among them, gets the
//! headers by which a browser shows it to a page of an allowed origin; those of the service inside are replaced.
//! Nobody is kept out by this: what is not a browser sends what it likes.

use std::{
    fmt,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    DEGRADED_HEADER, DEPRECATION, HeldBody, REQUEST_ID_HEADER, SUNSET, idempotency::SENT,
    prefer::PREFERENCE_APPLIED, trace::DECISION_HEADER,
};

/// What pages may read of any answer, beside what browsers always show them and [`SENT`]: what else the layers say
/// in headers, and where a 202 points.
const EXPOSED: [HeaderName; 16] = [
    REQUEST_ID_HEADER,
    DECISION_HEADER,
    DEGRADED_HEADER,
    header::LOCATION,
    header::RETRY_AFTER,
    PREFERENCE_APPLIED,
    header::LINK,
    DEPRECATION,
    SUNSET,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("stripe-should-retry"),
];

/// What the answer to a preflight depends on.
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// Which pages of other origins may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsPolicy {
    /// Where the pages come from.
    pub origins: AllowedOrigins,
    /// Which methods they may use. Where there is none, the one that they ask for.
    pub methods: Vec<Method>,
    /// Which headers they may send. `None`: those that they ask for, `Idempotency-Key` among them.
    pub headers: Option<Vec<HeaderName>>,
    /// Which headers they may read beside those that the layers send.
    pub expose: Vec<HeaderName>,
    /// For how long a browser may keep the answer to a preflight.
    pub max_age: Duration,
}

/// Which origins are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// All of them. Never with credentials: any page could then act as whoever looks at it.
    Any,
    /// These.
    These {
        /// The origins.
        origins: Vec<OriginPattern>,
        /// Whether browsers send cookies and the like, and show the answers.
        credentials: bool,
    },
}

/// An origin, or all origins below a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// This origin: `https://app.example.com`.
    Exact(Box<str>),
    /// Those with this scheme whose host ends with this, which begins with a dot, on that port; written
    /// `https://*.example.com`.
    Below {
        /// The scheme and `://`.
        scheme: Box<str>,
        /// The end of the host, and the port where there is one.
        suffix: Box<str>,
    },
}

/// A text is not an origin, as browsers write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// There is no scheme.
    #[error("it has no scheme")]
    NoScheme,
    /// There is something after the port.
    #[error("it has a path, and an origin ends with its host or port")]
    Path,
    /// The port is its scheme's usual one, which browsers leave out.
    #[error("it names its scheme's usual port, which browsers leave out")]
    UsualPort,
    /// The host is not one.
    #[error("its host or port is not one")]
    Host,
}

impl FromStr for OriginPattern {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        // Browsers write origins in lower case.
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin::NoScheme)?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(InvalidOrigin::NoScheme);
        }
        if authority.contains(['/', '?', '#']) {
            return Err(InvalidOrigin::Path);
        }
        let name_ends = authority.find(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match authority[name_ends..].find(':') {
            Some(colon) => (&authority[..name_ends + colon], Some(&authority[name_ends + colon + 1..])),
            None => (authority, None),
        };
        if matches!((scheme, port), ("https", Some("443")) | ("http", Some("80"))) {
            return Err(InvalidOrigin::UsualPort);
        }
        if port.is_some_and(|port| port.starts_with(['0', '+']) || port.parse::<u16>().is_err()) {
            return Err(InvalidOrigin::Host);
        }
        let bare = host.strip_prefix("*.").unwrap_or(host);
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let address = bare.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
        let is_host = match address {
            Some(address) => bare == host && address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => bare.split('.').all(is_label),
        };
        if !is_host {
            return Err(InvalidOrigin::Host);
        }
        Ok(match authority.strip_prefix('*') {
            Some(suffix) => Self::Below { scheme: format!("{scheme}://").into(), suffix: suffix.into() },
            None => Self::Exact(text.into()),
        })
    }
}

/// As it is written in a config.
impl fmt::Display for OriginPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(origin) => formatter.write_str(origin),
            Self::Below { scheme, suffix } => write!(formatter, "{scheme}*{suffix}"),
        }
    }
}

impl OriginPattern {
    fn allows(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(allowed) => origin == allowed.as_bytes(),
            Self::Below { scheme, suffix } => origin
                .strip_prefix(scheme.as_bytes())
                .and_then(|rest| rest.strip_suffix(suffix.as_bytes()))
                .is_some_and(|labels| {
                    !labels.is_empty()
                        && labels.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
                }),
        }
    }
}

/// The method of the request that a preflight announces; `None` where `request` is not a preflight.
#[must_use]
pub fn announced_method<B>(request: &Request<B>) -> Option<Method> {
    if request.method() != Method::OPTIONS || !request.headers().contains_key(header::ORIGIN) {
        return None;
    }
    let method = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}

/// Wraps a service in [`CorsService`].
#[derive(Clone, Debug)]
pub struct CorsLayer {
    cors: Option<Arc<Cors>>,
}

impl CorsLayer {
    /// What `policy` allows. `None` leaves everything to the service inside, preflights as well.
    #[must_use]
    pub fn new(policy: Option<CorsPolicy>) -> Self {
        Self { cors: policy.map(|policy| Arc::new(Cors::new(policy))) }
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorsService { inner, cors: self.cors.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct CorsService<S> {
    inner: S,
    cors: Option<Arc<Cors>>,
}

impl<S, B, R> Service<Request<B>> for CorsService<S>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>>,
    R: Body<Data = Bytes>,
{
    type Response = Response<HeldBody<R>>;
    type Error = S::Error;
    type Future = CorsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(cors) = &self.cors else {
            return CorsFuture { state: State::Passed { inner: self.inner.call(request), page: None } };
        };
        if let Some(method) = announced_method(&request) {
            let headers = cors.preflight(&method, request.headers());
            return CorsFuture { state: State::Preflight { headers: Some(headers) } };
        }
        let page = Page { cors: Arc::clone(cors), origin: origin_of(request.headers()).cloned() };
        CorsFuture { state: State::Passed { inner: self.inner.call(request), page: Some(page) } }
    }
}

/// Who reads an answer, and what it may.
struct Page {
    cors: Arc<Cors>,
    origin: Option<HeaderValue>,
}

pin_project_lite::pin_project! {
    /// The answer of a [`CorsService`].
    pub struct CorsFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F> {
        // With the headers of its answer.
        Preflight { headers: Option<HeaderMap> },
        Passed {
            #[pin]
            inner: F,
            page: Option<Page>,
        },
    }
}

impl<F, R, E> Future for CorsFuture<F>
where
    F: Future<Output = Result<Response<HeldBody<R>>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Preflight { headers } => {
                let mut response = Response::new(HeldBody::whole(Bytes::new()));
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.headers_mut() = headers.take().unwrap_or_default();
                Poll::Ready(Ok(response))
            }
            StateProjection::Passed { inner, page } => {
                let mut result = ready!(inner.poll(context));
                if let (Ok(response), Some(page)) = (&mut result, page) {
                    page.cors.mark(response.headers_mut(), page.origin.as_ref());
                }
                Poll::Ready(result)
            }
        }
    }
}

/// The origin that a request comes from, where it says one.
fn origin_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

/// A policy, and its headers as they are sent.
#[derive(Debug)]
struct Cors {
    origins: AllowedOrigins,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    exposed: HeaderValue,
    max_age: HeaderValue,
}

impl Cors {
    fn new(policy: CorsPolicy) -> Self {
        let mut exposed: Vec<HeaderName> = Vec::new();
        for name in EXPOSED.into_iter().chain(SENT).chain(policy.expose) {
            if !exposed.contains(&name) {
                exposed.push(name);
            }
        }
        Self {
            origins: policy.origins,
            methods: Some(&policy.methods)
                .filter(|methods| !methods.is_empty())
                .map(|methods| list(methods.iter().map(Method::as_str))),
            headers: policy.headers.map(|headers| list(headers.iter().map(HeaderName::as_str))),
            exposed: list(exposed.iter().map(HeaderName::as_str)),
            max_age: HeaderValue::from(policy.max_age.as_secs()),
        }
    }

    /// The headers of the answer to a preflight. One of an origin that is not allowed gets none that allow anything,
    /// which is how a browser learns of it.
    fn preflight(&self, method: &Method, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, PREFLIGHT_VARY);
        if !self.allow_origin(&mut headers, origin_of(asked)) {
            return headers;
        }
        let echoed = || HeaderValue::from_str(method.as_str()).ok();
        if let Some(methods) = self.methods.clone().or_else(echoed) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        match &self.headers {
            Some(allowed) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
            }
            None => {
                for names in asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                    headers.append(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
                }
            }
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        headers
    }

    /// Puts the headers of an answer in place of those that it came with.
    fn mark(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        let of_inside = |name: &&HeaderName| name.as_str().starts_with("access-control-");
        while let Some(name) = headers.keys().find(of_inside).cloned() {
            headers.remove(name);
        }
        if matches!(self.origins, AllowedOrigins::These { .. }) {
            // Whether the origin is allowed or not: a cache must not show the one's answer to the other.
            vary_by_origin(headers);
        }
        if self.allow_origin(headers, origin) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
    }

    /// Allows `origin`, if it is.
    fn allow_origin(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) -> bool {
        match &self.origins {
            AllowedOrigins::Any => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                true
            }
            AllowedOrigins::These { origins, credentials } => {
                let allowed =
                    |origin: &&HeaderValue| origins.iter().any(|allowed| allowed.allows(origin.as_bytes()));
                let Some(origin) = origin.filter(allowed) else { return false };
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                if *credentials {
                    let yes = HeaderValue::from_static("true");
                    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
                }
                true
            }
        }
    }
}

/// Names of methods and headers, which are always a valid value.
fn list<'n>(names: impl Iterator<Item = &'n str>) -> HeaderValue {
    let names: Vec<&str> = names.collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Adds `Origin` to `Vary`, where it is not said yet.
fn vary_by_origin(headers: &mut HeaderMap) {
    let said = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
    });
    if !said {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(origins: &[&str], credentials: bool) -> AllowedOrigins {
        let origins = origins.iter().map(|origin| origin.parse().expect("an origin")).collect();
        AllowedOrigins::These { origins, credentials }
    }

    fn policy(origins: AllowedOrigins) -> CorsPolicy {
        let max_age = Duration::from_secs(600);
        CorsPolicy { origins, methods: Vec::new(), headers: None, expose: Vec::new(), max_age }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
        headers.get(name).map(|value| value.to_str().expect("text"))
    }

    #[test]
    fn an_origin_is_its_scheme_host_and_port_and_nothing_else() {
        for (pattern, origin, allowed) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("HTTPS://App.example.com", "https://app.example.com", true),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com", "https://app.example.com.evil.org", false),
            ("https://app.example.com", "https://appxexample.com", false),
            ("https://app.example.com", "null", false),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://evil.org/.example.com", false),
            ("https://*.example.com", "https://evil.org:1@a.example.com", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com", "https://a.example.com:8443", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
        ] {
            let parsed: OriginPattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.allows(origin.as_bytes()), allowed, "{pattern} {origin}");
            assert_eq!(parsed.to_string(), pattern.to_lowercase());
        }
    }

    #[test]
    fn what_no_browser_writes_is_no_origin() {
        for (text, why) in [
            ("app.example.com", InvalidOrigin::NoScheme),
            ("*.example.com", InvalidOrigin::NoScheme),
            ("://a", InvalidOrigin::NoScheme),
            ("null", InvalidOrigin::NoScheme),
            ("*", InvalidOrigin::NoScheme),
            ("https://a/", InvalidOrigin::Path),
            ("https://a?b", InvalidOrigin::Path),
            ("https://a:443", InvalidOrigin::UsualPort),
            ("http://a:80", InvalidOrigin::UsualPort),
            ("https://", InvalidOrigin::Host),
            ("https://*", InvalidOrigin::Host),
            ("https://*.", InvalidOrigin::Host),
            ("https://*a.b", InvalidOrigin::Host),
            ("https://a.*.b", InvalidOrigin::Host),
            ("https://a..b", InvalidOrigin::Host),
            ("https://a:b", InvalidOrigin::Host),
            ("https://a:", InvalidOrigin::Host),
            ("https://a:+80", InvalidOrigin::Host),
            ("https://a:99999", InvalidOrigin::Host),
            ("https://me@a", InvalidOrigin::Host),
            ("https://*.[::1]", InvalidOrigin::Host),
            ("https://ö", InvalidOrigin::Host),
        ] {
            assert_eq!(text.parse::<OriginPattern>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_allowed_what_it_asks_for() {
        let cors = Cors::new(policy(these(&["https://a"], false)));
        let asked = headers(&[
            ("origin", "https://a"),
            ("access-control-request-headers", "idempotency-key,x-own"),
            ("access-control-request-headers", "x-more"),
        ]);
        let answer = cors.preflight(&Method::PUT, &asked);
        assert_eq!(text(&answer, "access-control-allow-origin"), Some("https://a"));
        assert_eq!(text(&answer, "access-control-allow-methods"), Some("PUT"));
        let allowed: Vec<_> = answer.get_all("access-control-allow-headers").iter().collect();
        assert_eq!(allowed, ["idempotency-key,x-own", "x-more"]);
        assert_eq!(text(&answer, "access-control-max-age"), Some("600"));
        assert_eq!(text(&answer, "access-control-allow-credentials"), None);
        for part in ["origin", "access-control-request-method", "access-control-request-headers"] {
            assert!(text(&answer, "vary").is_some_and(|vary| vary.contains(part)), "{part}");
        }
    }

    #[test]
    fn a_preflight_is_told_what_the_policy_lists() {
        let listed = CorsPolicy {
            methods: vec![Method::GET, Method::POST],
            headers: Some(vec![HeaderName::from_static("x-own"), HeaderName::from_static("idempotency-key")]),
            ..policy(these(&["https://a"], true))
        };
        let asked = headers(&[("origin", "https://a"), ("access-control-request-headers", "x-other")]);
        let answer = Cors::new(listed).preflight(&Method::DELETE, &asked);
        assert_eq!(text(&answer, "access-control-allow-methods"), Some("GET, POST"));
        assert_eq!(text(&answer, "access-control-allow-headers"), Some("x-own, idempotency-key"));
        assert_eq!(text(&answer, "access-control-allow-credentials"), Some("true"));
    }

    #[test]
    fn another_origin_is_allowed_nothing_and_its_answer_is_kept_apart() {
        let cors = Cors::new(policy(these(&["https://a"], true)));
        for origins in
            [&[][..], &[("origin", "https://b")], &[("origin", "https://a"), ("origin", "https://a")]]
        {
            let preflight = cors.preflight(&Method::PUT, &headers(origins));
            assert_eq!(preflight.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["vary"]);
            let mut answer = headers(&[("access-control-allow-origin", "*"), ("x-own", "1")]);
            cors.mark(&mut answer, origin_of(&headers(origins)));
            assert_eq!(answer.len(), 2, "{answer:?}");
            assert_eq!((text(&answer, "vary"), text(&answer, "x-own")), (Some("origin"), Some("1")));
        }
    }

    #[test]
    fn what_the_service_inside_says_of_it_is_replaced() {
        let expose = vec![HeaderName::from_static("x-total"), HeaderName::from_static("retry-after")];
        let cors = Cors::new(CorsPolicy { expose, ..policy(these(&["https://a"], true)) });
        let mut answer = headers(&[
            ("access-control-allow-origin", "https://other"),
            ("access-control-allow-origin", "https://more"),
            ("access-control-expose-headers", "x-inside"),
            ("access-control-max-age", "1"),
            ("access-control-new-one", "1"),
            ("vary", "accept-encoding"),
        ]);
        cors.mark(&mut answer, Some(&HeaderValue::from_static("https://a")));
        let origins: Vec<_> = answer.get_all("access-control-allow-origin").iter().collect();
        assert_eq!(origins, ["https://a"]);
        assert_eq!(text(&answer, "access-control-allow-credentials"), Some("true"));
        let exposed: Vec<_> =
            text(&answer, "access-control-expose-headers").expect("some").split(", ").collect();
        assert!(exposed.contains(&"steadfast-operation") && exposed.contains(&"x-request-id"), "{exposed:?}");
        assert_eq!(exposed.iter().filter(|name| **name == "retry-after").count(), 1, "{exposed:?}");
        assert_eq!(exposed.last(), Some(&"x-total"));
        assert_eq!(
            (text(&answer, "access-control-max-age"), text(&answer, "access-control-new-one")),
            (None, None)
        );
        assert_eq!(answer.get_all("vary").iter().collect::<Vec<_>>(), ["accept-encoding", "origin"]);
    }

    #[test]
    fn vary_is_not_said_twice() {
        for vary in ["Origin", "accept, ORIGIN", "*"] {
            let mut answer = headers(&[("vary", vary)]);
            vary_by_origin(&mut answer);
            assert_eq!(answer.get_all("vary").iter().collect::<Vec<_>>(), [vary]);
        }
    }

    #[test]
    fn where_any_origin_is_allowed_all_get_the_same_answer() {
        let cors = Cors::new(policy(AllowedOrigins::Any));
        for origin in
            [None, Some(HeaderValue::from_static("https://a")), Some(HeaderValue::from_static("null"))]
        {
            let mut answer = HeaderMap::new();
            cors.mark(&mut answer, origin.as_ref());
            assert_eq!(text(&answer, "access-control-allow-origin"), Some("*"));
            assert_eq!(
                (text(&answer, "vary"), text(&answer, "access-control-allow-credentials")),
                (None, None)
            );
        }
    }
}
