//! A write that succeeded: what is kept of its target, and of what its answer says that it changed, is out of date (RFC
//! 9111, section 4.4).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{key::KeyRef, policy::CachePolicy, store::CacheStore};

/// Forgets what an answer with this status and header to a write of `target` at `host` puts out of date.
pub(super) fn invalidate(
    store: &CacheStore,
    policy: &CachePolicy,
    host: &str,
    target: &str,
    status: StatusCode,
    answer: &HeaderMap,
) {
    if status.is_client_error() || status.is_server_error() {
        return;
    }
    store.invalidate(&KeyRef::at(policy, host, target));
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        if let Some(other) = same_host(answer, &name, host, target) {
            store.invalidate(&KeyRef::at(policy, host, &other));
        }
    }
}

/// The path and query that a field names, where its host is the request's own: another one's answers are not this
/// one's to forget.
fn same_host<'a>(answer: &'a HeaderMap, name: &HeaderName, host: &str, target: &str) -> Option<Cow<'a, str>> {
    let text = answer.get(name)?.to_str().ok()?;
    let text = text.split('#').next().unwrap_or_default();
    let after_scheme = text.split_once("://").map(|(_, rest)| rest).or_else(|| text.strip_prefix("//"));
    if let Some(rest) = after_scheme {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (named, path) = rest.split_at(end);
        let path = if path.is_empty() { "/" } else { path };
        return named.eq_ignore_ascii_case(host).then_some(Cow::Borrowed(path));
    }
    if text.starts_with('/') {
        return Some(Cow::Borrowed(text));
    }
    let path = target.split('?').next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(match text {
        "" => Cow::Owned(target.to_owned()),
        text if text.starts_with('?') => Cow::Owned(format!("{path}{text}")),
        text => Cow::Owned(format!("{folder}/{text}")),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_is_of_the_same_host_is_named() {
        for (location, expected) in [
            ("/b?c", Some("/b?c")),
            ("/b#c", Some("/b")),
            ("b", Some("/a/b")),
            ("?q", Some("/a/x?q")),
            ("http://api.example/b", Some("/b")),
            ("https://API.example", Some("/")),
            ("//api.example/b", Some("/b")),
            ("http://other.example/b", None),
            ("http://api.example.evil/b", None),
        ] {
            let mut answer = HeaderMap::new();
            answer.insert(header::LOCATION, HeaderValue::from_static(location));
            let named = same_host(&answer, &header::LOCATION, "api.example", "/a/x?y");
            assert_eq!(named.as_deref(), expected, "{location}");
        }
    }
}
