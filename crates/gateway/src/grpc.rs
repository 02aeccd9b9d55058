//! Refusals for callers that speak gRPC: they read a status in trailers, and take any other answer for "unknown".

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use steadfast_core::Code;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PROBLEM: &str = "application/problem+json";

/// Whether a request speaks gRPC.
pub(crate) fn is_spoken(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| {
        kind.starts_with(b"application/grpc") && !kind.starts_with(b"application/grpc-web")
    })
}

/// Turns a refusal of ours into one that gRPC reads: 200, with the status in what is head and trailers in one. Other
/// answers stay as they are.
pub(crate) fn translate<B: From<bytes::Bytes>>(response: Response<B>) -> Response<B> {
    let is_problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
    if !is_problem {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let (status, name) = match parts.extensions.get() {
        Some(Code::UpstreamUnavailable) => UNAVAILABLE,
        Some(Code::VersionGone) => UNIMPLEMENTED,
        Some(Code::Brownout) if parts.status == StatusCode::GONE => UNIMPLEMENTED,
        _ => meaning(parts.status),
    };
    parts.status = StatusCode::OK;
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(GRPC_STATUS, HeaderValue::from_static(status));
    parts.headers.insert(GRPC_MESSAGE, HeaderValue::from_static(name));
    Response::from_parts(parts, B::from(bytes::Bytes::new()))
}

/// Nothing was executed: a caller repeats that.
const UNAVAILABLE: (&str, &str) = ("14", "unavailable");

/// It is not served here, or no more.
const UNIMPLEMENTED: (&str, &str) = ("12", "unimplemented");

/// What a status means in gRPC (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>): a caller repeats
/// `UNAVAILABLE`, so only what was not executed says that.
fn meaning(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        400 | 422 => ("3", "invalid argument"),
        401 => ("16", "unauthenticated"),
        403 => ("7", "permission denied"),
        404 | 405 => UNIMPLEMENTED,
        408 | 504 => ("4", "deadline exceeded"),
        409 => ("10", "aborted"),
        428 => ("9", "failed precondition"),
        413 | 414 | 429 => ("8", "resource exhausted"),
        503 => UNAVAILABLE,
        _ => ("2", "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use steadfast_layers::Problem;

    use super::*;

    #[test]
    fn a_refusal_is_said_in_trailers_and_an_answer_is_left_alone() {
        let refusal =
            Response::builder().status(503).header("content-type", PROBLEM).header("retry-after", "1");
        let refusal = translate(refusal.body(Bytes::from("{}")).expect("a response"));
        assert_eq!((refusal.status(), refusal.body().len()), (StatusCode::OK, 0));
        assert_eq!(refusal.headers()[GRPC_STATUS], "14");
        assert_eq!(refusal.headers()["retry-after"], "1");
        let answer = Response::builder().status(503).body(Bytes::from("x")).expect("a response");
        assert_eq!(translate(answer).status(), 503);
    }

    #[test]
    fn only_what_was_not_sent_is_unavailable() {
        for (code, http, status) in [
            (Code::UpstreamUnavailable, 502, "14"),
            (Code::UpstreamAnswerLost, 502, "2"),
            (Code::VersionGone, 410, "12"),
            (Code::Brownout, 503, "14"),
            (Code::Brownout, 410, "12"),
            (Code::PreconditionRequired, 428, "9"),
        ] {
            let refusal: Response<Bytes> = Problem::new(code).status(http).into_response();
            assert_eq!(refusal.status(), http);
            assert_eq!(translate(refusal).headers()[GRPC_STATUS], status, "{code:?}");
        }
    }

    #[test]
    fn grpc_is_told_by_the_content_type() {
        for (kind, spoken) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a value"));
            assert_eq!(is_spoken(&headers), spoken, "{kind}");
        }
    }
}
