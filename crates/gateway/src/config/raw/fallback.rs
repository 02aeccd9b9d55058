//! What the config says of a route's fallback.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::At;

/// What a GET or HEAD is answered where the upstream brings nothing: an answer that is stated here, or that of another
/// upstream.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawFallback {
    /// The upstream that is asked instead, with the same path and header, in what is left of the deadline. Where that
    /// one brings nothing either, the first refusal stands. It goes with no other key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) upstream: Option<At<String>>,
    /// The status of the stated answer. 200 unless stated.
    #[schemars(range(min = 200, max = 599))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) status: Option<At<u64>>,
    /// Its header fields. Unless stated, `Cache-Control` is `no-store`, and `Content-Type` is `application/json` where
    /// the body is JSON and else `text/plain; charset=utf-8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers: Option<At<BTreeMap<String, At<String>>>>,
    /// Its body, 64 KB at most. None unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) body: Option<At<String>>,
    /// A file whose content is its body, as UTF-8. Instead of `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) body_file: Option<At<String>>,
}
