//! How a stored answer becomes a response again.

use std::sync::Once;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use steadfast_core::{Answer, OperationId};

use super::kept;

/// Marks a replay.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Names the operation on every keyed answer.
pub(super) const OPERATION: HeaderName = HeaderName::from_static("steadfast-operation");
/// Says `in-doubt` or `refused` on an upstream's own answer.
pub(super) const OUTCOME: HeaderName = HeaderName::from_static("steadfast-outcome");
/// Says `none` where a request was forwarded without the ledger.
pub(super) const PROTECTION: HeaderName = HeaderName::from_static("steadfast-protection");
/// Says where the key came from, if not from the header.
pub(super) const KEY_SOURCE: HeaderName = HeaderName::from_static("steadfast-key-source");

/// All of these.
pub(crate) const SENT: [HeaderName; 6] =
    [REPLAYED, OPERATION, OUTCOME, PROTECTION, KEY_SOURCE, HeaderName::from_static(kept::REDACTED)];

/// The stored answer as a response, marked as a replay; `None` where it has no body to give, or cannot be read.
#[must_use]
pub fn replayed<B: From<Bytes>>(answer: &Answer, operation: OperationId) -> Option<Response<B>> {
    let mut response = Response::new(B::from(answer.body.clone()?));
    *response.status_mut() = StatusCode::from_u16(answer.status).ok()?;
    let headers = response.headers_mut();
    for (name, value) in answer.headers.iter() {
        // Both were valid when they came: others are an encrypted answer's, and its body is no less so.
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value))
        else {
            ENCRYPTED.call_once(|| {
                tracing::error!(
                    %operation,
                    "answers in the ledger are encrypted, and no key is configured: their replays are unavailable"
                );
            });
            return None;
        };
        headers.append(name, value);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    mark_operation(headers, operation);
    Some(response)
}

/// Whether there is a body to give, and it is not encrypted with a key that is not configured: then all its headers are.
pub(super) fn is_readable(answer: &Answer) -> bool {
    let is_plain = |(name, value): (&str, _)| {
        HeaderName::from_bytes(name.as_bytes()).is_ok()
            && HeaderValue::from_maybe_shared::<Bytes>(value).is_ok()
    };
    answer.body.is_some()
        && StatusCode::from_u16(answer.status).is_ok()
        && answer.headers.iter().next().is_none_or(is_plain)
}

/// It is said once that answers are encrypted.
static ENCRYPTED: Once = Once::new();

/// Names the operation in an answer's headers.
pub(super) fn mark_operation(headers: &mut HeaderMap, operation: OperationId) {
    if let Ok(value) = HeaderValue::from_bytes(&operation.to_ascii()) {
        headers.insert(OPERATION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_fields_keep_their_order() {
        let headers = [("link", "<1>"), ("link", "<2>")].into_iter().collect();
        let answer = Answer { status: 201, headers, body: Some(Bytes::from_static(b"x")) };
        let operation = "op_00000000000000000000000000".parse().expect("an id");
        let response: Response<Bytes> = replayed(&answer, operation).expect("a body");
        let links: Vec<_> = response.headers().get_all("link").iter().collect();
        assert_eq!(links, ["<1>", "<2>"]);
        assert_eq!(response.headers()["idempotent-replayed"], "true");
    }

    #[test]
    fn what_is_encrypted_is_not_taken_for_an_answer() {
        let headers = [(":sealed", "x")].into_iter().collect();
        let answer = Answer { status: 201, headers, body: Some(Bytes::from_static(b"x")) };
        let operation = "op_00000000000000000000000000".parse().expect("an id");
        assert!(replayed::<Bytes>(&answer, operation).is_none());
    }
}
