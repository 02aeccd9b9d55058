//! The ladder of degradation: what was done before a caller had its answer, said in the answer's header.
//!
//! From the least to the most: the request was tried again, it went to another endpoint, a stale answer was taken from
//! the cache, a fallback was given. What is below all of them is a refusal, which has a code of its own.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that says which rungs were used, in their order: `retry, endpoint`.
pub const DEGRADED_HEADER: HeaderName = HeaderName::from_static("steadfast-degraded");

/// One rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// The answer is that of a later attempt.
    Retry,
    /// The answer is that of another endpoint than was tried first.
    Endpoint,
    /// The answer is one from the cache whose time had passed.
    Stale,
    /// The answer is the route's fallback.
    Fallback,
}

impl Rung {
    /// The rung as the header names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Endpoint => "endpoint",
            Self::Stale => "stale",
            Self::Fallback => "fallback",
        }
    }

    /// Says in an answer's header that this rung was used; once, however often it was.
    pub fn mark(self, headers: &mut HeaderMap) {
        let used = headers.get(&DEGRADED_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if used.split(", ").any(|rung| rung == self.as_str()) {
            return;
        }
        let all =
            if used.is_empty() { self.as_str().to_owned() } else { format!("{used}, {}", self.as_str()) };
        if let Ok(value) = HeaderValue::try_from(all) {
            headers.insert(DEGRADED_HEADER, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_lists_each_rung_once() {
        let mut headers = HeaderMap::new();
        for rung in [Rung::Retry, Rung::Retry, Rung::Endpoint, Rung::Retry] {
            rung.mark(&mut headers);
        }
        assert_eq!(headers[DEGRADED_HEADER], "retry, endpoint");
    }
}
