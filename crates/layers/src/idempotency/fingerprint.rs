//! The fingerprint of a request, as its route wants bodies to count.

use bytes::Bytes;
use http::{HeaderValue, header, request::Parts};
use steadfast_core::{Fingerprint, FingerprintBuilder, MultipartFingerprint, canonical_json};

use super::policy::BodyFingerprint;

/// The fingerprint of a request whose body is in memory.
pub(super) fn fingerprint(policy: &BodyFingerprint, parts: &Parts, body: &Bytes) -> Fingerprint {
    if let BodyFingerprint::Json { omit } = policy
        && let Ok(canonical) = canonical_json(body, omit)
    {
        // `application/json` and `application/json; charset=utf-8` say the same.
        let mut builder = head(parts, content_type(parts).map(essence).as_deref());
        builder.body(&canonical);
        return builder.finish();
    }
    if let BodyFingerprint::Multipart { .. } = policy {
        let mut hasher = BodyHasher::new(policy, parts);
        hasher.body(body);
        return hasher.finish();
    }
    // On the stack: this is every keyed request's way.
    let mut builder = head(parts, content_type(parts));
    builder.body(body);
    builder.finish()
}

/// Whether a body must be in memory as a whole for its fingerprint: it may be JSON, and JSON counts as what it says.
/// One whose Content-Type says that it is something else counts byte by byte, and may be of any size.
pub(super) fn needs_the_whole(policy: &BodyFingerprint, parts: &Parts) -> bool {
    matches!(policy, BodyFingerprint::Json { .. })
        && content_type(parts).map(essence).is_none_or(|essence| {
            essence.ends_with(b"/json") || essence.ends_with(b"+json") || essence.is_empty()
        })
}

/// Takes a body into a fingerprint while it arrives. It is moved between threads, and its hashers are large.
#[derive(Debug)]
pub(super) enum BodyHasher {
    Bytes(Box<FingerprintBuilder>),
    Multipart(Box<MultipartFingerprint>),
}

impl BodyHasher {
    pub(super) fn new(policy: &BodyFingerprint, parts: &Parts) -> Self {
        match policy {
            BodyFingerprint::Bytes | BodyFingerprint::Json { .. } => {
                Self::Bytes(Box::new(head(parts, content_type(parts))))
            }
            BodyFingerprint::Multipart { omit } => Self::Multipart(Box::new(MultipartFingerprint::new(
                parts.method.as_str(),
                parts.uri.path(),
                parts.uri.query(),
                content_type(parts),
                omit.clone(),
            ))),
        }
    }

    pub(super) fn body(&mut self, bytes: &[u8]) {
        match self {
            Self::Bytes(builder) => builder.body(bytes),
            Self::Multipart(builder) => builder.body(bytes),
        }
    }

    pub(super) fn finish(self) -> Fingerprint {
        match self {
            Self::Bytes(builder) => builder.finish(),
            Self::Multipart(builder) => builder.finish(),
        }
    }
}

fn head(parts: &Parts, content_type: Option<&[u8]>) -> FingerprintBuilder {
    FingerprintBuilder::new(parts.method.as_str(), parts.uri.path(), parts.uri.query(), content_type)
}

fn content_type(parts: &Parts) -> Option<&[u8]> {
    parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes)
}

/// A Content-Type without its parameters.
fn essence(content_type: &[u8]) -> Vec<u8> {
    let end = content_type.iter().position(|byte| *byte == b';').unwrap_or(content_type.len());
    content_type[..end].trim_ascii().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(content_type: &'static str) -> Parts {
        let request = http::Request::post("/a").header("content-type", content_type).body(());
        request.expect("a request").into_parts().0
    }

    fn json_fingerprint(content_type: &'static str, body: &'static str) -> Fingerprint {
        let policy = BodyFingerprint::Json { omit: vec!["sent_at".into()] };
        fingerprint(&policy, &parts(content_type), &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn a_rebuilt_json_body_is_the_same_request() {
        let one = json_fingerprint("application/json", r#"{"a":1,"b":2,"sent_at":1}"#);
        let two = json_fingerprint("application/JSON; charset=utf-8", r#"{ "b": 2, "a": 1, "sent_at": 2 }"#);
        assert_eq!(one, two);
        assert_ne!(one, json_fingerprint("application/json", r#"{"a":1,"b":3}"#));
    }

    #[test]
    fn what_says_that_it_is_no_json_need_not_be_in_memory() {
        let json = BodyFingerprint::Json { omit: Vec::new() };
        for (content_type, needed) in [
            ("application/json", true),
            ("Application/vnd.api+JSON; charset=utf-8", true),
            ("", true),
            ("application/octet-stream", false),
            ("multipart/form-data; boundary=a/json", false),
        ] {
            assert_eq!(needs_the_whole(&json, &parts(content_type)), needed, "{content_type}");
            assert!(!needs_the_whole(&BodyFingerprint::Bytes, &parts(content_type)));
        }
        let unsaid = http::Request::post("/a").body(()).expect("a request").into_parts().0;
        assert!(needs_the_whole(&json, &unsaid));
    }
}
