//! What the config says of requests that can be explained.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Time};

/// Which requests are remembered with what was decided about them.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawExplain {
    /// How many requests are remembered: half of them refused ones, half slow ones, the newest of each. One takes up
    /// about 1 KB of memory, and 8 KB at the most. With 0 none is.
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) requests_max: Option<At<u64>>,
    /// A request whose answer takes this long to begin is slow.
    #[schemars(extend("default" = "1s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) slow: Option<At<Time>>,
}
