//! What the config says of the end of a route's version.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use steadfast_core::Timestamp;

use super::{
    super::instant::{parse_instant, write_instant},
    At, Time,
};

/// An instant, written `2027-01-01T00:00:00Z`, in quotes or as TOML's own.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Instant(pub(in crate::config) Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // TOML's own instants have become texts when the file's shape was checked.
        let text = Cow::<str>::deserialize(deserializer)?;
        parse_instant(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write_instant(self.0))
    }
}

impl JsonSchema for Instant {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "x-kind": "instant" })
    }
}

/// What every answer of a route says of its version's end, and when it is switched off before that. Who still calls it is
/// counted: `steadfast usage`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawLifecycle {
    /// The version's name, for usage and metrics; several routes may share one. The route's name unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) version: Option<At<String>>,
    /// Since when it is deprecated, or from when on it will be: the `Deprecation` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) deprecated: Option<At<Instant>>,
    /// When it stops being served: the `Sunset` header. Not before `deprecated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) sunset: Option<At<Instant>>,
    /// Whether everything is answered 410 after `sunset`. Otherwise it is served on, and says that its day has passed.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) gone: Option<At<bool>>,
    /// What comes after it, as a URL or a path: `Link` with `rel="successor-version"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) successor: Option<At<String>>,
    /// The page that says how to move: `Link` with `rel="deprecation"`, and with `rel="sunset"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) docs: Option<At<String>>,
    /// A page of its own for `rel="sunset"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) sunset_docs: Option<At<String>>,
    /// When it is switched off for a while, so that whoever still calls it notices: 64 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) brownouts: Option<At<Vec<At<RawBrownout>>>>,
    /// The status of a brownout's refusals: 503, or 410 for clients that repeat every 503 by themselves.
    #[schemars(range(min = 410, max = 503), extend("default" = 503))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) brownout_status: Option<At<u64>>,
}

/// When a version is switched off for a while: from an instant until another, or again and again.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawBrownout {
    /// When it begins, for the first time.
    pub(in crate::config) from: At<Instant>,
    /// When it ends; with `every`, from when on there is none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) until: Option<At<Instant>>,
    /// From the beginning of one to that of the next: `24h` is the same time every day.
    #[schemars(extend("x-min" = "1m", "x-max" = "366d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) every: Option<At<Time>>,
    /// How long each takes; with `every`, and less than that.
    #[schemars(extend("x-min" = "1s", "x-max" = "31d"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) lasts: Option<At<Time>>,
}
