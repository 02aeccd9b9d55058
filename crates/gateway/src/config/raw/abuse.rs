//! What the config says of those who do harm.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, PerTime, RawMode, Time};

/// Who is kept out, and when callers are banned without a person's doing. Bans by hand (`steadfast bans add`) need nothing of
/// this. Nothing is counted unless stated.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawAbuse {
    /// Who is banned for as long as it stands here.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) bans: Option<At<Vec<At<RawBan>>>>,
    /// Bans an address (of IPv6 its /64) whose requests are answered 401 too often, by the gateway or by an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) unauthenticated: Option<At<RawAutomaticBan>>,
    /// Bans a principal, or where none is known the address, that goes on and on after limits refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) limit_storm: Option<At<RawAutomaticBan>>,
    /// Notices principals that ask for far more than they usually do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) baseline: Option<At<RawBaseline>>,
    /// Addresses, networks and principals (`principal:NAME`) that no ban keeps out. Trusted proxies never are.
    #[schemars(extend("default" = ["127.0.0.0/8", "::1/128"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) never: Option<At<Vec<At<String>>>>,
    /// Where those who were banned without a person's doing can show that they are welcome: a URL, which they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) challenge: Option<At<String>>,
}

/// A ban that stands in the config.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawBan {
    /// Who: an address, a network such as `203.0.113.0/24`, or `principal:NAME`.
    pub(in crate::config) of: At<String>,
    /// Why, for those who run the gateway. Callers are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) reason: Option<At<String>>,
    /// Where they can show that they are welcome: a URL, which they are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) challenge: Option<At<String>>,
}

/// When callers are banned without a person's doing.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawAutomaticBan {
    /// After so many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) count: At<u64>,
    /// In this time.
    #[schemars(extend("x-min" = "1s", "x-max" = "1d"))]
    pub(in crate::config) within: At<Time>,
    /// For how long. Each repeat within a day of the end of the one before lasts twice as long.
    #[schemars(extend("x-min" = "1s", "x-max" = "30d"))]
    pub(in crate::config) ban_for: At<Time>,
    /// And at most.
    #[schemars(extend("default" = "1d", "x-min" = "1s", "x-max" = "365d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) ban_for_max: Option<At<Time>>,
    /// Whether it bans.
    #[schemars(extend("default" = "enforce"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<At<RawMode>>,
}

/// When a principal asks for far more than usual.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawBaseline {
    /// How many times as much as it usually does.
    #[schemars(range(min = 2, max = 10_000), extend("default" = 10))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) factor: Option<At<u64>>,
    /// Below so many nothing is far more.
    #[schemars(extend("default" = "60/min"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) at_least: Option<At<PerTime>>,
    /// For how long a principal must be known before anything is said of it.
    #[schemars(extend("default" = "1h", "x-min" = "1s", "x-max" = "7d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) learn: Option<At<Time>>,
    /// Whether what is far more is refused with 429; it is noted either way.
    #[schemars(extend("default" = "shadow"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) mode: Option<At<RawMode>>,
}
