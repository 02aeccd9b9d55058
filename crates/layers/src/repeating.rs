//! Whether a caller says that it is itself trying again. Retries multiply from floor to floor: where a caller repeats
//! three times what the gateway repeats three times, the upstream is asked nine times. So the outermost repeats.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::retry::ATTEMPT_HEADER;

/// The headers in which clients count, and the first number in each that is a retry's.
const COUNTS: [(HeaderName, u32); 5] = [
    // Another gateway of this kind.
    (ATTEMPT_HEADER, 2),
    (HeaderName::from_static("x-retry-attempt"), 1),
    (HeaderName::from_static("x-envoy-attempt-count"), 2),
    (HeaderName::from_static("grpc-previous-rpc-attempts"), 1),
    // The clients of OpenAI, Anthropic and others that Stainless generates.
    (HeaderName::from_static("x-stainless-retry-count"), 1),
];

/// The header of Amazon's clients: `attempt=2; max=3`.
const AMAZON: HeaderName = HeaderName::from_static("amz-sdk-request");

/// Whether the caller of a request with these headers is itself trying again.
pub(crate) fn is_repeating(headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName, first: u32| {
        headers.get_all(name).iter().any(|value| number(value).is_some_and(|said| said >= first))
    };
    COUNTS.iter().any(|(name, first)| says(name, *first))
        || headers.get_all(AMAZON).iter().any(|value| amazon_attempt(value).is_some_and(|said| said > 1))
}

fn number(value: &HeaderValue) -> Option<u32> {
    value.to_str().ok()?.trim().parse().ok()
}

fn amazon_attempt(value: &HeaderValue) -> Option<u32> {
    let mut parts = value.to_str().ok()?.split(';');
    parts.find_map(|part| part.trim().strip_prefix("attempt=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_counts_its_retries_is_believed() {
        for (name, value, expected) in [
            ("steadfast-attempt", "1", false),
            ("steadfast-attempt", "2", true),
            ("x-retry-attempt", "0", false),
            ("x-retry-attempt", "1", true),
            ("x-envoy-attempt-count", "1", false),
            ("x-envoy-attempt-count", "3", true),
            ("grpc-previous-rpc-attempts", "1", true),
            ("x-stainless-retry-count", "0", false),
            ("x-stainless-retry-count", "2", true),
            ("amz-sdk-request", "attempt=1; max=3", false),
            ("amz-sdk-request", "ttl=20260101T000000Z; attempt=2; max=3", true),
            ("amz-sdk-request", "max=3", false),
            ("x-retry-attempt", "many", false),
            ("x-request-id", "7", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_repeating(&headers), expected, "{name}: {value}");
        }
    }
}
