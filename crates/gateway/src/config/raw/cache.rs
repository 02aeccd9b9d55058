//! What the config says of caches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Size, Time};

/// Where answers are kept that routes with `cache` give again.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawCacheStore {
    /// How much memory they take up at most, fields and overheads included, over all routes.
    #[schemars(extend("default" = "64MB", "x-min" = "1MB", "x-max" = "1024GB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) memory_max: Option<At<Size>>,
}

/// How a route's answers to GET are kept and given again (RFC 9111). What the answers' own headers say goes before what
/// is said here.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawCache {
    /// How long an answer stays fresh whose headers do not say so, in whole seconds: those with status 200, 203, 204,
    /// 300, 301 and 308. Unless stated, a tenth of the time since it was last modified, a day at most. `0s` asks the
    /// upstream every time, and keeps its answers for when it fails.
    #[schemars(extend("x-max" = "8760h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) ttl: Option<At<Time>>,
    /// For how long after its time an answer is still given while a new one is fetched, where it does not say so itself
    /// and does not forbid it.
    #[schemars(extend("default" = "0s", "x-max" = "8760h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) stale_while_revalidate: Option<At<Time>>,
    /// For how long after its time an answer is still given where the upstream answers 500, 502, 503 or 504, not at all,
    /// or not by the deadline; where it does not say so itself and does not forbid it.
    #[schemars(extend("default" = "0s", "x-max" = "8760h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) stale_if_error: Option<At<Time>>,
    /// Request headers that tell answers apart, beside those that the answers name in `Vary`.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_headers: Option<At<Vec<At<String>>>>,
    /// Parameters of the query that do not tell answers apart, such as `utm_source`.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) ignore_query: Option<At<Vec<At<String>>>>,
    /// The largest answer that is kept; larger ones stream through. At most a quarter of `cache.memory_max`.
    #[schemars(extend("default" = "1MB", "x-min" = "1B", "x-max" = "8MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) answer_bytes_max: Option<At<Size>>,
    /// Headers of answers that name tags to purge by, separated by spaces or commas.
    #[schemars(extend("default" = ["surrogate-key", "cache-tag"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tag_headers: Option<At<Vec<At<String>>>>,
    /// Whether callers see those headers.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) show_tags: Option<At<bool>>,
}
