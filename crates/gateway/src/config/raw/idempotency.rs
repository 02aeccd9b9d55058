//! What the config says of a route's retried writes.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::{At, Size, Time};

/// How a route's retried writes take effect once.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawIdempotency {
    /// Whether a request without a key is refused. Otherwise it passes unprotected.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) required: Option<At<bool>>,
    /// For how long a completed answer is replayed. For a key of `window`, the window goes before it.
    #[schemars(extend("default" = "24h", "x-min" = "1s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) keep: Option<At<Time>>,
    /// How long a key stays taken after that: it is answered 410 instead of running afresh. Not at all unless
    /// stated.
    #[schemars(extend("x-min" = "1s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tombstone: Option<At<Time>>,
    /// Whether keyed requests without any credential are accepted.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) anonymous: Option<At<bool>>,
    /// In what room a key is unique. `route` unless stated, and `principal+route` where the route has `authentication` that
    /// is not `optional`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) namespace: Option<At<RawNamespace>>,
    /// Where a request's key comes from.
    #[schemars(extend("default" = "header"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key: Option<At<RawKey>>,
    /// What a duplicate of a running request gets.
    #[schemars(extend("default" = "wait"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) in_progress: Option<At<RawInProgress>>,
    /// How long a duplicate waits at most, never past its deadline. Only with `in_progress = "wait"`.
    #[schemars(extend("default" = "5s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) in_progress_wait: Option<At<Time>>,
    /// How a body counts when two requests with one key are compared.
    #[schemars(extend("default" = "bytes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) fingerprint: Option<At<RawFingerprint>>,
    /// Which headers carry the caller's credential. An answer is disclosed only to the credential that made it.
    /// Never `Cookie`, which changes between a request and its retry.
    #[schemars(extend("default" = ["authorization"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) credential_headers: Option<At<Vec<At<String>>>>,
    /// The largest body of a keyed request. A larger one is refused with 413.
    #[schemars(extend("default" = "10MB", "x-min" = "1B", "x-max" = "64GB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) request_bytes_max: Option<At<Size>>,
    /// Up to what size such a body stays in memory; a larger one waits on disk (see `[spool]`). What has to be read
    /// as a whole may not be larger, and is refused with 413: bodies that a key is read from, and JSON where
    /// `fingerprint` is `json`.
    #[schemars(extend("default" = "1MB", "x-min" = "1KB", "x-max" = "256MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) request_memory_max: Option<At<Size>>,
    /// The largest answer that is kept for replay. A larger one still reaches its caller; a retry gets 409
    /// `replay-unavailable`.
    #[schemars(extend("default" = "1MB", "x-max" = "256MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) answer_bytes_max: Option<At<Size>>,
    /// What of a request and its answer is written down. Everything that a replay needs, unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) kept: Option<At<RawKept>>,
    /// What happens to a keyed request when the ledger cannot be reached.
    #[schemars(extend("default" = "refuse"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) on_ledger_loss: Option<At<RawOnLedgerLoss>>,
}

/// What of a request and its answer is written down. The first caller always gets the upstream's own answer; a
/// replay gets the one that was kept, and where something was left out of that it says so in
/// `Steadfast-Redacted`: `headers`, `body`, or both.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawKept {
    /// Only these header fields of an answer. All that belong to the answer unless stated; those of one connection,
    /// session, moment or trace (such as `Set-Cookie` and `Date`) never are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers: Option<At<Vec<At<String>>>>,
    /// All header fields of an answer but these.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) drop_headers: Option<At<Vec<At<String>>>>,
    /// Whether an answer's header fields and body are kept at all. If not, only its status is, and a retry gets 409
    /// `replay-unavailable`.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) body: Option<At<bool>>,
    /// Values of a JSON body (dotted paths, through arrays) to replace by `"[redacted]"`; its `ETag` and digests go
    /// with them. Of a body that is no JSON, or compressed, only the status is kept.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) redact: Option<At<Vec<At<String>>>>,
    /// Whether the request's path is kept. If not, only the name of the route is.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) path: Option<At<bool>>,
}

/// In what room a key is unique.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum RawNamespace {
    /// All callers of the route share it; on a route with a wildcard among its `hosts`, all callers of one host.
    #[serde(rename = "route")]
    Route,
    /// The verified principal, on every route. Only with `authentication`.
    #[serde(rename = "principal")]
    Principal,
    /// The verified principal, on this route. Only with `authentication`, where it is the default.
    #[serde(rename = "principal+route")]
    PrincipalAndRoute,
    /// Everything shares it.
    #[serde(rename = "global")]
    Global,
}

/// Where a request's key comes from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum RawKey {
    /// The `Idempotency-Key` header.
    Header,
    /// The header, or else this field of a JSON body (a dotted path).
    Field(At<String>),
    /// Derived from these fields of a JSON body (dotted paths), all of which must be there.
    Fields(At<Vec<At<String>>>),
    /// The header, or else: the same request by the same caller within this time is the same operation. At most
    /// 24h.
    Window(At<Time>),
}

/// What a duplicate of a running request gets.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum RawInProgress {
    /// It waits for the answer, `in_progress_wait` at most; then 409 and Retry-After.
    #[serde(rename = "wait")]
    Wait,
    /// 409 and Retry-After, at once.
    #[serde(rename = "409")]
    Conflict,
    /// 429 and Retry-After, at once.
    #[serde(rename = "429")]
    TooManyRequests,
    /// 202 and the operation's Location, at once.
    #[serde(rename = "202")]
    Accepted,
}

/// How a body counts when two requests with one key are compared.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(transform = also_as_a_word)]
pub(in crate::config) enum RawFingerprint {
    /// Byte by byte.
    Bytes,
    /// As JSON in canonical form, where a key's place and white space do not matter.
    Json(RawJson),
    /// As multipart (of a form, say) whose boundary does not matter, since clients make up a new one for every retry.
    /// What is not multipart counts byte by byte.
    Multipart(RawMultipart),
}

/// Lets a choice that is a table be its name alone, where nothing in the table has to be said.
fn also_as_a_word(schema: &mut Schema) {
    let Some(serde_json::Value::Array(choices)) = schema.get_mut("oneOf") else { return };
    let names: Vec<String> = choices
        .iter()
        .filter_map(|choice| choice.get("properties")?.as_object()?.keys().next().cloned())
        .collect();
    choices.extend(names.into_iter().map(|name| {
        let description = format!("The same as `{{ {name} = {{}} }}`.");
        serde_json::json!({ "type": "string", "const": name, "description": description })
    }));
}

/// How a JSON body counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawJson {
    /// Fields (dotted paths) to leave out, such as the time of sending.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) omit: Option<At<Vec<At<String>>>>,
}

/// How a multipart body counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawMultipart {
    /// Parts to leave out, by the name of their form field.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) omit: Option<At<Vec<At<String>>>>,
}

/// What happens to a keyed request when the ledger cannot be reached.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawOnLedgerLoss {
    /// 503 and Retry-After; nothing is sent.
    Refuse,
    /// It is forwarded unprotected, and marked `Steadfast-Protection: none`.
    Forward,
}
