//! What every refusal has in common: RFC 9457, an id, a next step, and retry hints that agree with each other.

use serde_json::Value;

use super::wire::Answer;

/// Whether the same request with the same key will later succeed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Helps,
    /// It helps, and the refusal says when.
    HelpsAfter,
    Never,
}

impl Answer {
    /// Holds it to the shape of a refusal with this status and code; its document.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str, again: Again) -> Value {
        assert_eq!(self.status, status, "{code}: {}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{code}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{code}");
        assert_eq!(self.header("idempotent-replayed"), None, "{code}");
        let document: Value = serde_json::from_slice(&self.body).expect("a JSON document");
        assert_eq!(document["code"], code, "{document}");
        assert_eq!(document["status"], status);
        assert_eq!(document["type"], format!("/.steadfast/problems/{code}"));
        for words in ["title", "next_step"] {
            assert!(document[words].as_str().is_some_and(|text| text.len() > 10), "{code}: {words}");
        }
        assert_eq!(document["instance"].as_str(), self.header("x-request-id"), "{code}");
        let hint = if again == Again::Never { "false" } else { "true" };
        for name in ["stripe-should-retry", "x-should-retry"] {
            assert_eq!(self.header(name), Some(hint), "{code}: {name}");
        }
        let seconds = self.header("retry-after").map(|text| text.parse::<u64>().expect("whole seconds"));
        assert_eq!(document["retry_after"].as_u64(), seconds, "{code}");
        assert_eq!(
            seconds.is_some_and(|seconds| seconds > 0),
            again == Again::HelpsAfter,
            "{code}: Retry-After"
        );
        document
    }

    /// Holds it to naming its operation, in a header and in the document alike; the operation's link.
    #[track_caller]
    pub(crate) fn operation_link(&self) -> String {
        let id = self.header("steadfast-operation").expect("an operation");
        let document: Value = serde_json::from_slice(&self.body).expect("a JSON document");
        let link = document["operation"].as_str().expect("a link");
        assert_eq!(link, format!("/.steadfast/operations/{id}"));
        link.to_owned()
    }
}
