//! The caller's request as its upstream gets it: the target in the upstream's form, the Host that it is asked for,
//! and no fields of the caller's connection.

use http::{
    HeaderMap, HeaderValue, Method, Request, Uri, Version, header,
    uri::{Authority, PathAndQuery},
};
use steadfast_core::NotSentCause;
use steadfast_layers::AttemptFailed;

use crate::{
    Address, HostPolicy,
    hop_by_hop::{self, Asked},
};

/// How requests to one endpoint are prepared.
pub(crate) struct Preparation {
    address: Address,
    host: HostPolicy,
    /// The Host of its own URL.
    authority: HeaderValue,
}

impl Preparation {
    pub(crate) fn new(address: Address, host: HostPolicy) -> Self {
        let authority = address.authority();
        Self { address, host, authority }
    }

    /// Turns the caller's request into the upstream's, over HTTP/1.1. What the caller asked of its connection is
    /// returned.
    pub(crate) fn prepare<B>(&self, request: &mut Request<B>) -> Result<Asked, AttemptFailed> {
        if request.method() == Method::CONNECT {
            return Err(held_back("CONNECT is not passed on".into()));
        }
        let from_http2 = request.version() == Version::HTTP_2;
        *request.version_mut() = Version::HTTP_11;
        let asked = hop_by_hop::remove(request.headers_mut());
        if from_http2 {
            join_cookies(request.headers_mut());
        }
        // The gateway itself says 100 when it begins to read the body.
        if request.headers().contains_key(header::EXPECT) {
            request.headers_mut().remove(header::EXPECT);
        }
        self.name_host(request)?;
        self.retarget(request)?;
        if asked.trailers {
            let headers = request.headers_mut();
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
        Ok(asked)
    }

    /// Turns a request that was prepared for another endpoint of the same upstream into one for this.
    pub(crate) fn readdress<B>(&self, request: &mut Request<B>) {
        if self.host == HostPolicy::Upstream {
            request.headers_mut().insert(header::HOST, self.authority.clone());
        }
    }

    /// Says which host is asked for. A target that names one outweighs the field (RFC 9112, section 3.2.2).
    fn name_host<B>(&self, request: &mut Request<B>) -> Result<(), AttemptFailed> {
        let host = match &self.host {
            HostPolicy::Upstream => self.authority.clone(),
            HostPolicy::Named(host) => host.clone(),
            HostPolicy::Caller => match request.uri().authority() {
                Some(authority) => host_of(authority)?,
                None if request.headers().contains_key(header::HOST) => return Ok(()),
                None => self.authority.clone(),
            },
        };
        request.headers_mut().insert(header::HOST, host);
        Ok(())
    }

    fn retarget<B>(&self, request: &mut Request<B>) -> Result<(), AttemptFailed> {
        let prefix = self.address.path();
        let uri = request.uri();
        let in_origin_form = uri.scheme().is_none() && uri.authority().is_none();
        if in_origin_form && prefix.is_empty() {
            return Ok(());
        }
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let target = if path == "*" { path.to_owned() } else { format!("{prefix}{path}") };
        *request.uri_mut() = Uri::try_from(target)
            .map_err(|error| held_back(format!("the target cannot be passed on: {error}")))?;
        Ok(())
    }

    /// Turns a prepared request into one over HTTP/2, where target and Host are one.
    pub(crate) fn for_http2<B>(&self, request: &mut Request<B>) -> Result<(), AttemptFailed> {
        let host = request.headers_mut().remove(header::HOST).unwrap_or_else(|| self.authority.clone());
        for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
            request.headers_mut().remove(name);
        }
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.address.scheme());
        let authority = Authority::try_from(host.as_bytes());
        parts.authority =
            Some(authority.map_err(|error| held_back(format!("the Host is no host: {error}")))?);
        *request.uri_mut() = Uri::from_parts(parts)
            .map_err(|error| held_back(format!("the target cannot be passed on: {error}")))?;
        *request.version_mut() = Version::HTTP_2;
        Ok(())
    }
}

/// What could not be sent to anybody.
fn held_back(detail: String) -> AttemptFailed {
    AttemptFailed::NotSent { cause: NotSentCause::HeldBack, detail }
}

/// The Host that a target's authority stands for: whoever's name and password stand before it is nobody's business.
fn host_of(authority: &Authority) -> Result<HeaderValue, AttemptFailed> {
    let text = authority.as_str();
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    HeaderValue::from_str(host).map_err(|error| held_back(format!("the target's host is no host: {error}")))
}

/// HTTP/2 may send a cookie in pieces; HTTP/1.1 knows one field (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut pieces = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (pieces.next(), pieces.next()) else { return };
    let mut whole = [first.as_bytes(), second.as_bytes()].join(&b"; "[..]);
    for piece in pieces {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(piece.as_bytes());
    }
    if let Ok(whole) = HeaderValue::from_bytes(&whole) {
        headers.insert(header::COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(address: &str, host: HostPolicy, request: http::request::Builder) -> Request<()> {
        let mut request = request.body(()).expect("a request");
        let preparation = Preparation::new(address.parse().expect("an address"), host);
        preparation.prepare(&mut request).expect("it can be sent");
        request
    }

    #[test]
    fn the_host_is_the_callers_the_upstreams_or_a_named_one() {
        let named = HostPolicy::Named(HeaderValue::from_static("other.example"));
        for (host, expected) in [
            (HostPolicy::Caller, "shop.example"),
            (HostPolicy::Upstream, "127.0.0.1:9000"),
            (named, "other.example"),
        ] {
            let request = Request::builder().uri("/a").header("host", "shop.example");
            let request = prepared("http://127.0.0.1:9000", host, request);
            assert_eq!(request.headers()[header::HOST], expected);
        }
    }

    #[test]
    fn a_target_that_names_a_host_outweighs_the_field() {
        let request = Request::builder().uri("http://me:secret@a.example/x?y").header("host", "b.example");
        let request = prepared("http://127.0.0.1:9000/v1", HostPolicy::Caller, request);
        assert_eq!(request.headers()[header::HOST], "a.example");
        assert_eq!(request.uri(), "/v1/x?y");
    }

    #[test]
    fn pieces_of_a_cookie_become_one() {
        let request = Request::builder().uri("http://a/").version(Version::HTTP_2);
        let request = request.header("cookie", "a=1").header("cookie", "b=2").header("cookie", "c=3");
        let request = prepared("http://127.0.0.1:9000", HostPolicy::Caller, request);
        let cookies: Vec<_> = request.headers().get_all(header::COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn over_http_2_the_host_is_in_the_target() {
        let preparation =
            Preparation::new("https://b.example/v1".parse().expect("one"), HostPolicy::Upstream);
        let mut request = Request::builder().uri("/x").header("te", "trailers").body(()).expect("a request");
        preparation.prepare(&mut request).expect("it can be sent");
        preparation.for_http2(&mut request).expect("it can be sent");
        assert_eq!(request.uri(), "https://b.example/v1/x");
        assert_eq!(request.headers().len(), 1, "{:?}", request.headers());
        assert_eq!(request.headers()[header::TE], "trailers");
    }
}
