//! What the config says of how often an upstream is called.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, PerTime};

/// How often an upstream is called. Its 429, its Retry-After and its rate limit headers slow all calls to it; calls wait
/// as long as their deadline allows, 5 seconds without one, or are refused with 503 and Retry-After.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawCourtesy {
    /// How often at the most. As often as there is reason to unless stated.
    #[schemars(extend("x-min" = "1/d", "x-max" = "1000000/s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) rate: Option<At<PerTime>>,
    /// How many calls may go at once after a pause. With `rate`.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) burst: Option<At<u64>>,
}
