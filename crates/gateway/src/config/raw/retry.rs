//! What the config says of trying requests again, and of what answers mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Percent, RawMode, Time};

/// How requests are tried again. `{}` takes all defaults; without it nothing is tried again.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawRetry {
    /// How many tries there are, the first included. With 1 nothing is tried again.
    #[schemars(range(min = 1, max = 10), extend("default" = 3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) attempts: Option<At<u64>>,
    /// The longest pause before the second try; it doubles with each. Pauses are drawn evenly from zero to that.
    #[schemars(extend("default" = "100ms", "x-min" = "1ms", "x-max" = "1m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) base: Option<At<Time>>,
    /// The longest pause before any try. At least `base`.
    #[schemars(extend("default" = "2s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cap: Option<At<Time>>,
    /// How many retries there may be in any ten seconds, as a share of the requests in them: from `0%` to `100%`.
    #[schemars(extend("default" = "20%", "x-max" = "100%"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) budget: Option<At<Percent>>,
    /// How many retries a second there may be beside that, so that rare requests are repeated too.
    #[schemars(range(min = 0, max = 1000), extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) budget_min: Option<At<u64>>,
    /// Unsafe methods that the upstream executes with the same effect however often it is asked: `["PUT", "DELETE"]`.
    /// Safe ones always count as that.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) methods: Option<At<Vec<At<String>>>>,
    /// Whether the budget keeps retries back.
    #[schemars(extend("default" = "enforce"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<At<RawMode>>,
}

/// What some of an upstream's answers mean. The first rule that is true of an answer counts, before `refused`,
/// `completed` and the defaults.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawAnswer {
    /// Of which answers, in CEL (<https://cel.dev>): `status == 503 && headers["x-reason"] == "busy"`. It may ask about
    /// `status`, `headers` (by their names in lower case), `body` (JSON as what it says, anything else as text; up to
    /// 64KB of it is read for that), `method` and `path` as the upstream got them.
    pub(in crate::config) when: At<String>,
    /// What they mean.
    pub(in crate::config) means: At<RawMeans>,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum RawMeans {
    /// It is final: kept, and never tried again.
    #[serde(rename = "completed")]
    Completed,
    /// Nothing was executed: the next request runs afresh.
    #[serde(rename = "refused")]
    Refused,
    /// Nobody knows whether it was executed.
    #[serde(rename = "unknown")]
    Unknown,
}
