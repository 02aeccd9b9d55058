//! What the config says of an upstream's circuits, and of how its endpoints share its requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, RawMode, Share, Time};

/// When an endpoint that fails is left alone, and for how long. `{}` takes all defaults.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawCircuit {
    /// Opens it: this share of the calls in the window failed. A caller's own 4xx is no failure.
    #[schemars(extend("default" = 0.5))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) failure_ratio: Option<At<Share>>,
    /// A call is slow whose answer's head takes longer. Unless stated none is.
    #[schemars(extend("x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) slow: Option<At<Time>>,
    /// Opens it: this share of the calls in the window was slow. Of meaning with `slow`.
    #[schemars(extend("default" = 0.8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) slow_ratio: Option<At<Share>>,
    /// How far back it looks.
    #[schemars(extend("default" = "10s", "x-min" = "100ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) window: Option<At<Time>>,
    /// With fewer calls in the window, the shares of failed and slow ones open nothing.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 20))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) volume_min: Option<At<u64>>,
    /// Opens it: this many calls in a row failed, however few they are. At least half of several endpoints stay, as far
    /// as this is concerned. Unless stated a row opens nothing.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) consecutive: Option<At<u64>>,
    /// For how long it opens, up to a tenth less; twice as long after each probe that failed.
    #[schemars(extend("default" = "5s", "x-min" = "10ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) open_for: Option<At<Time>>,
    /// For how long it opens at most. At least `open_for`, and that where it is longer than the default.
    #[schemars(extend("default" = "1m", "x-min" = "10ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) open_for_max: Option<At<Time>>,
    /// How many calls go through when its time is up; when as many have succeeded, it closes.
    #[schemars(range(min = 1, max = 1_000), extend("default" = 3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) probes: Option<At<u64>>,
    /// Whether it is acted on.
    #[schemars(extend("default" = "enforce"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<At<RawMode>>,
}

/// How the endpoints of an upstream share its requests.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawBalance {
    /// For how long an endpoint that is new, or well again, gets less than its share: a tenth of it at first, and
    /// more and more. Unless stated it gets its share at once.
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) slow_start: Option<At<Time>>,
}
