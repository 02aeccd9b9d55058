//! What a route says about its cache.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, header};

/// The largest answer that is kept, unless stated: 1 MB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How a route's answers are kept and used again. The answers' own headers say most of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long an answer stays fresh that does not say so itself: those with status 200, 203, 204, 300, 301 and 308.
    pub ttl: Option<Duration>,
    /// How long after its time an answer is given while a new one is fetched, where it does not say so itself.
    pub stale_while_revalidate: Duration,
    /// How long after its time an answer is given where the upstream fails, where it does not say so itself.
    pub stale_if_error: Duration,
    /// Request headers that tell answers apart, beside those that the answers name in `Vary`.
    pub key_headers: Vec<HeaderName>,
    /// Parameters of the query that do not tell answers apart.
    pub ignore_query: Vec<String>,
    /// The largest answer that is kept, in bytes; a larger one streams through.
    pub answer_bytes_max: usize,
    /// Headers of answers that name their tags, separated by spaces or commas.
    pub tag_headers: Vec<HeaderName>,
    /// Whether callers see those headers.
    pub show_tags: bool,
    /// Request headers that carry a credential: answers to requests with one are shared only where they say that they
    /// may be.
    pub credential_headers: Vec<HeaderName>,
    /// What sets this route's answers apart from those of others in the same store.
    pub space: Arc<str>,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self {
            ttl: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            key_headers: Vec::new(),
            ignore_query: Vec::new(),
            answer_bytes_max: ANSWER_BYTES_MAX,
            tag_headers: vec![HeaderName::from_static("surrogate-key"), HeaderName::from_static("cache-tag")],
            show_tags: true,
            credential_headers: vec![header::AUTHORIZATION],
            space: "".into(),
        }
    }
}

impl CachePolicy {
    /// Whether an answer that says nothing about caches is worth keeping.
    pub(super) fn keeps_what_is_silent(&self) -> bool {
        self.ttl.is_some() || !self.stale_while_revalidate.is_zero() || !self.stale_if_error.is_zero()
    }

    /// Whether anything in `headers` has a say in how a request is answered from here, beside what tells answers apart. Nearly
    /// every request has nothing of it, and a look over its few fields is quicker than a search for each.
    pub(super) fn matters_to_it(&self, headers: &HeaderMap) -> bool {
        const ASKED_ABOUT: [HeaderName; 8] = [
            header::CACHE_CONTROL,
            header::PRAGMA,
            header::RANGE,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_MATCH,
            header::IF_UNMODIFIED_SINCE,
            header::UPGRADE,
        ];
        headers.keys().any(|name| ASKED_ABOUT.contains(name) || self.credential_headers.contains(name))
    }

    /// Whether `headers` say who is calling.
    pub(super) fn has_credential(&self, headers: &HeaderMap) -> bool {
        self.credential_headers.iter().any(|name| headers.contains_key(name))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn whatever_the_cache_asks_about_matters_to_it_and_nothing_else() {
        let with = |name: &str| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            HeaderMap::from_iter([
                (header::HOST, HeaderValue::from_static("a")),
                (name, "1".parse().expect("a value")),
            ])
        };
        let mut policy = CachePolicy::default();
        policy.credential_headers.push(HeaderName::from_static("x-api-key"));
        for name in [
            "cache-control",
            "pragma",
            "range",
            "if-none-match",
            "if-modified-since",
            "if-match",
            "if-unmodified-since",
            "upgrade",
            "authorization",
            "x-api-key",
        ] {
            assert!(policy.matters_to_it(&with(name)), "{name}");
        }
        for name in ["accept", "accept-language", "if-range", "x-other"] {
            assert!(!policy.matters_to_it(&with(name)), "{name}");
        }
    }
}
