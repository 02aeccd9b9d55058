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
    /// All of them, in the order of the ladder.
    pub const ALL: [Self; 4] = [Self::Retry, Self::Endpoint, Self::Stale, Self::Fallback];

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
        add(headers, self.as_str());
    }

    /// The same, with what made it necessary: a code or a status, `fallback;for=circuit-open`.
    pub fn mark_for(self, headers: &mut HeaderMap, reason: &str) {
        add(headers, &format!("{};for={reason}", self.as_str()));
    }

    /// The rungs that a header names, each once, in the order of the ladder. What it does not know it leaves out.
    #[must_use]
    pub fn used(headers: &HeaderMap) -> Vec<Self> {
        let named: Vec<&str> = said(headers).map(name).collect();
        Self::ALL.into_iter().filter(|rung| named.contains(&rung.as_str())).collect()
    }
}

/// Says on an answer which rungs were used for the one that it replaces: they come first.
pub(crate) fn inherit(headers: &mut HeaderMap, earlier: &HeaderMap) {
    let Some(first) = earlier.get(&DEGRADED_HEADER) else { return };
    if let Some(own) = headers.insert(DEGRADED_HEADER, first.clone()) {
        for rung in own.to_str().unwrap_or_default().split(", ") {
            add(headers, rung);
        }
    }
}

/// Adds a rung, with what is said of it, where it is not there.
fn add(headers: &mut HeaderMap, rung: &str) {
    if said(headers).any(|used| name(used) == name(rung)) {
        return;
    }
    let used = headers.get(&DEGRADED_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let all = if used.is_empty() { rung.to_owned() } else { format!("{used}, {rung}") };
    if let Ok(value) = HeaderValue::try_from(all) {
        headers.insert(DEGRADED_HEADER, value);
    }
}

/// The rungs that the header lists, with what is said of them.
fn said(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let value = headers.get(&DEGRADED_HEADER).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(',').map(str::trim)
}

/// A rung without its parameters.
fn name(rung: &str) -> &str {
    rung.split_once(';').map_or(rung, |(name, _)| name)
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

    #[test]
    fn a_reason_is_told_beside_its_rung_and_makes_no_second_one_of_it() {
        let mut headers = HeaderMap::new();
        Rung::Retry.mark(&mut headers);
        Rung::Fallback.mark_for(&mut headers, "circuit-open");
        Rung::Fallback.mark_for(&mut headers, "503");
        Rung::Fallback.mark(&mut headers);
        assert_eq!(headers[DEGRADED_HEADER], "retry, fallback;for=circuit-open");
        assert_eq!(Rung::used(&headers), [Rung::Retry, Rung::Fallback]);
    }

    #[test]
    fn an_answer_that_replaces_another_tells_of_both() {
        let marked = |rungs: &[Rung]| {
            let mut headers = HeaderMap::new();
            rungs.iter().for_each(|rung| rung.mark(&mut headers));
            headers
        };
        for (earlier, own, together) in [
            (&[Rung::Retry][..], &[Rung::Endpoint, Rung::Retry][..], Some("retry, endpoint")),
            (&[], &[Rung::Endpoint], Some("endpoint")),
            (&[Rung::Retry], &[], Some("retry")),
            (&[], &[], None),
        ] {
            let mut headers = marked(own);
            inherit(&mut headers, &marked(earlier));
            let found = headers.get(DEGRADED_HEADER).map(|value| value.to_str().expect("text"));
            assert_eq!(found, together);
        }
    }

    #[test]
    fn what_the_header_says_beyond_the_ladder_is_not_counted() {
        let headers = [(DEGRADED_HEADER, HeaderValue::from_static("stale;x=1,  teapot, "))];
        assert_eq!(Rung::used(&headers.into_iter().collect()), [Rung::Stale]);
        assert_eq!(Rung::used(&HeaderMap::new()), []);
    }
}
