//! What the config says of how many requests an upstream is given at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Percent, RawMode};

/// How many requests an upstream is given at once. Others wait, or are refused with 503 and Retry-After.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawConcurrency {
    /// How many at the most. A place is taken until the answer's body has ended.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max: Option<At<u64>>,
    /// How many may wait for a place; as many as `max` unless stated. For how long they wait, `timeout.queue` says.
    #[schemars(range(min = 0, max = 100_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) queue: Option<At<u64>>,
    /// Whether the limit is found by itself, between `min` and `max`, by how long answers take.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) adaptive: Option<At<bool>>,
    /// Where an adaptive limit starts, and what it never goes below. At most `max`.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 20))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) min: Option<At<u64>>,
    /// Which part of the places is for routes of `priority = "critical"` alone, if there are any. Rounded down.
    #[schemars(extend("default" = "10%", "x-max" = "90%"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) reserve: Option<At<Percent>>,
    /// Whether it is acted on.
    #[schemars(extend("default" = "enforce"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<At<RawMode>>,
}

/// How important a route's requests are where not all can be served.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawPriority {
    /// They go before all others, and the reserve is theirs alone.
    Critical,
    /// What is usual.
    Normal,
    /// They come last, and take up half of the places at most.
    Low,
}
