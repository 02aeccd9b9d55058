//! Keeps web pages away from an API that is protected by where it listens.
//!
//! A page on the internet can make a browser on this machine send requests to a loopback address: by a name that
//! it rebinds to 127.0.0.1, or across sites. So the request must be addressed to a loopback name, and one that
//! changes something must come from no other site and be of a type that no plain form can send.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::problem::Problem;

/// Lets a request through, or refuses it.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match admit(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn admit(request: &Request) -> Result<(), Problem> {
    require_loopback_host(request.uri(), request.headers())?;
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return Ok(());
    }
    require_same_origin(request.headers())?;
    require_json(request.headers())
}

/// Refuses requests that are addressed to anything but this machine.
fn require_loopback_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    let named_loopback = named.is_some_and(|authority| is_loopback(&authority));
    if named_loopback && uri.authority().is_none_or(is_loopback) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host-not-loopback",
        "The request is not addressed to this machine itself.",
        "Use localhost, 127.0.0.1 or [::1] in the address; for another machine's gateway, make a tunnel (ssh -L).",
    ))
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Refuses what another site made a browser send. Browsers that do not send `Sec-Fetch-Site` send `Origin`;
/// programs send neither.
fn require_same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let same = match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin" || site == "none",
        None => headers.get(ORIGIN).is_none_or(|origin| is_own_origin(origin, headers.get(HOST))),
    };
    if same {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "cross-site",
        "A page of another site asked for a change.",
        "Ask from the command line, or from a page that this address itself served.",
    ))
}

fn is_own_origin(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let authority = origin.as_bytes().strip_prefix(b"http://");
    authority.is_some() && authority == host.map(HeaderValue::as_bytes)
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content-type-not-json",
        "What changes something must be application/json.",
        "Send content-type: application/json, also where the body is empty.",
    ))
}
