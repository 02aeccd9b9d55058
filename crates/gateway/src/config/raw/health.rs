//! What the config says of health checks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Time};

/// Asks every endpoint of an upstream whether it is well, again and again, over a connection of its own. One that is
/// not gets no requests while another one is.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawHealth {
    /// What is asked for with GET, from the root of the server (a path in the upstream's URL is not put before it).
    /// An answer of 2xx or 3xx passes.
    pub(in crate::config) path: At<String>,
    /// How long it is from one check to the next; a tenth of it more or less is left to chance.
    #[schemars(extend("default" = "5s", "x-min" = "100ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) interval: Option<At<Time>>,
    /// How long a check may take, connecting included.
    #[schemars(extend("default" = "1s", "x-min" = "1ms", "x-max" = "1m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timeout: Option<At<Time>>,
    /// How many checks in a row it must pass to be well again.
    #[schemars(range(min = 1, max = 100), extend("default" = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) rise: Option<At<u64>>,
    /// How many checks in a row it must fail to be unwell. The first check of all decides alone.
    #[schemars(range(min = 1, max = 100), extend("default" = 3))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) fall: Option<At<u64>>,
}
