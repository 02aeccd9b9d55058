//! What the config says of doing a route's requests in the background.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Size, Time};

/// How a route's requests are done in the background. `async = "always"` is short for `async = { mode = "always" }`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("type" = ["object", "string"], "x-word" = "mode"))]
pub(in crate::config) struct RawBackground {
    /// When they are.
    pub(in crate::config) mode: At<RawBackgroundMode>,
    /// How many attempts one has. One that a limit, a circuit or a full house held back is none.
    #[schemars(range(min = 1, max = 1000), extend("default" = 10))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) attempts: Option<At<u64>>,
    /// For how long after it is due attempts begin.
    #[schemars(extend("default" = "24h", "x-min" = "1s", "x-max" = "366d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_age: Option<At<Time>>,
    /// The longest pause before the second attempt; it doubles with each. Pauses are drawn evenly from zero to that.
    #[schemars(extend("default" = "1s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) base: Option<At<Time>>,
    /// The longest pause before any attempt. At least `base`.
    #[schemars(extend("default" = "5m", "x-min" = "1ms", "x-max" = "7d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cap: Option<At<Time>>,
    /// How many attempts this process makes at once.
    #[schemars(range(min = 1, max = 10000), extend("default" = 16))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) concurrency: Option<At<u64>>,
    /// How far ahead callers may say that it is due, by `Steadfast-Delay` or `Steadfast-Run-At`.
    #[schemars(extend("default" = "7d", "x-max" = "366d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_delay: Option<At<Time>>,
    /// Which goes first where more is due than can be sent: the route with the higher number.
    #[schemars(range(min = -1000, max = 1000), extend("default" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) priority: Option<At<i64>>,
    /// What requests have in common that are sent one after the other, in the order in which they were accepted. In no
    /// order unless stated; a request without it is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) ordering: Option<At<RawOrdering>>,
    /// What one that is in doubt or dead does to those behind it: `blocks` unless stated. Only with `ordering`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) order_trouble: Option<At<RawOrderTrouble>>,
    /// Which of the headers that carry credentials are kept and sent along. Only where the ledger is encrypted.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) keep_credentials: Option<At<Vec<At<String>>>>,
    /// The largest body that is kept. It stays in memory until it is; a larger one is refused with 413, or, with
    /// `mode = "on_failure"`, never left for later.
    #[schemars(extend("default" = "1MB", "x-min" = "1B", "x-max" = "16MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_body: Option<At<Size>>,
    /// How long a caller is kept waiting at most who would wait for the end (`Prefer: wait=N`), never past its deadline.
    #[schemars(extend("default" = "30s", "x-max" = "10m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) max_wait: Option<At<Time>>,
}

/// When requests are done in the background.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawBackgroundMode {
    /// Always.
    Always,
    /// Where their caller says `Prefer: respond-async`.
    Allowed,
    /// Where they were tried and could not be sent, or the upstream refused them: they are accepted then, in place of the
    /// refusal.
    OnFailure,
}

/// Where the ordering key of a request stands.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum RawOrdering {
    /// In this header.
    Header(At<String>),
    /// In this field of a JSON body (a dotted path).
    Field(At<String>),
}

/// What one that is in doubt or dead does to those behind it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawOrderTrouble {
    /// They wait until it is settled, or sent again and finished, or purged.
    Blocks,
    /// They go on without it.
    Passes,
}
