//! Which header fields of an answer are kept, and how a stored answer becomes a response again.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use steadfast_core::{Answer, HeaderFields, OperationId};

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
pub(crate) const SENT: [HeaderName; 5] = [REPLAYED, OPERATION, OUTCOME, PROTECTION, KEY_SOURCE];

/// Whether replays repeat this field: not those of one connection, one caller's session, one moment or one trace.
fn is_kept(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
            | "set-cookie"
            | "authorization"
            | "date"
            | "traceparent"
            | "tracestate"
            | "server-timing"
            | "x-request-id"
            | "x-correlation-id"
            | "x-trace-id"
            | "x-amzn-trace-id"
            | "x-cloud-trace-context"
            | "b3"
            | "steadfast-operation"
            | "steadfast-outcome"
    ) && !name.as_str().starts_with("x-b3-")
}

/// The fields that replays repeat, in the order they came.
pub(super) fn kept(headers: &HeaderMap) -> HeaderFields {
    headers
        .iter()
        .filter(|(name, _)| is_kept(name) && !named_by_connection(headers, name))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

/// Whether `Connection` lists this field as one of this connection's own.
fn named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|list| list.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(name.as_str())))
    })
}

/// The stored answer as a response, or `None` where it has no body to give.
pub(super) fn response<B: From<Bytes>>(answer: &Answer, operation: OperationId) -> Option<Response<B>> {
    let mut response = Response::new(B::from(answer.body.clone()?));
    *response.status_mut() = StatusCode::from_u16(answer.status).ok()?;
    let headers = response.headers_mut();
    for (name, value) in answer.headers.iter() {
        // Both were valid when they came.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value))
        {
            headers.append(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    mark_operation(headers, operation);
    Some(response)
}

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
    fn a_replay_keeps_what_belongs_to_the_answer_and_drops_what_belonged_to_its_moment() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("location", "/orders/1"),
            ("etag", "\"a\""),
            ("content-type", "application/json"),
            ("content-language", "en"),
            ("x-hop", "1"),
            ("connection", "close, X-Hop"),
            ("set-cookie", "session=1"),
            ("date", "now"),
            ("traceparent", "00-1"),
            ("content-length", "3"),
            ("x-b3-traceid", "1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let kept: Vec<_> = kept(&headers).iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(kept, ["location", "etag", "content-type", "content-language"]);
    }

    #[test]
    fn repeated_fields_keep_their_order() {
        let mut headers = HeaderMap::new();
        for value in ["<1>", "<2>"] {
            headers.append("link", HeaderValue::from_static(value));
        }
        let answer = Answer { status: 201, headers: kept(&headers), body: Some(Bytes::from_static(b"x")) };
        let operation = "op_00000000000000000000000000".parse().expect("an id");
        let response: Response<Bytes> = response(&answer, operation).expect("a body");
        let links: Vec<_> = response.headers().get_all("link").iter().collect();
        assert_eq!(links, ["<1>", "<2>"]);
        assert_eq!(response.headers()["idempotent-replayed"], "true");
    }
}
