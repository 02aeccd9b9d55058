//! What the config says of something that is to be done at certain times.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Time};

/// Something that is done at certain times: at each of them a request of the gateway's own is accepted on a route, once over
/// all nodes, and done in the background.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawSchedule {
    /// When, as a crontab expression of five fields: minute, hour, day of the month, month, day of the week. Either this or
    /// `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) cron: Option<At<String>>,
    /// In which time zone `cron` is meant: a name of the IANA database.
    #[schemars(extend("default" = "UTC"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) time_zone: Option<At<String>>,
    /// Once in each interval of this length, counted from 1970-01-01T00:00:00Z.
    #[schemars(extend("x-min" = "1s", "x-max" = "366d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) every: Option<At<Time>>,
    /// The name of the route on which it is accepted. It must have `async`.
    pub(in crate::config) route: At<String>,
    /// The request's method.
    #[schemars(extend("default" = "POST"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) method: Option<At<String>>,
    /// The request's path and query, as a caller of the route would send them.
    pub(in crate::config) path: At<String>,
    /// Its header fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::config) headers: BTreeMap<String, At<String>>,
    /// Its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) body: Option<At<String>>,
    /// What becomes of times that passed while no node was there: `last` makes up for the newest, `all` for up to 100 of
    /// them, `skip` for none that is later than `late`.
    #[schemars(extend("default" = "last"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) missed: Option<At<RawMissed>>,
    /// With `missed = "skip"`: how late it may still be done.
    #[schemars(extend("default" = "1m", "x-min" = "1s", "x-max" = "30d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) late: Option<At<Time>>,
}

/// What becomes of times that passed while no node was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RawMissed {
    /// The newest is made up for.
    Last,
    /// All are, up to 100.
    All,
    /// None is.
    Skip,
}
