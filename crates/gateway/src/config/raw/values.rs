//! The values that stand in a config: where they stand, durations, sizes, shares, rates, statuses.

use std::{borrow::Cow, ops::Range, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use steadfast_core::{Rate, circuit::Ratio};
use toml::Spanned;

use super::super::{
    duration::{parse_duration, write_duration},
    percent::parse_percent,
    rate::{parse_rate, write_rate},
    size::{parse_size, write_size},
};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(in crate::config) struct At<T>(Spanned<T>);

impl<T> At<T> {
    pub(in crate::config) fn new(value: T, span: Range<usize>) -> Self {
        Self(Spanned::new(span, value))
    }

    /// A value that stands nowhere: one that is going to be written.
    pub(in crate::config) fn nowhere(value: T) -> Self {
        Self::new(value, 0..0)
    }

    pub(in crate::config) fn get(&self) -> &T {
        self.0.get_ref()
    }

    pub(in crate::config) fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A duration, written `250ms`, `10s`, `5m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Time(pub(in crate::config) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write_duration(self.0))
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$", "x-kind": "duration" })
    }
}

/// A size in bytes, written `65536`, `64KB` or `10MB`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Size(pub(in crate::config) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => parse_size(&text).map(Self).map_err(D::Error::custom),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write_size(self.0))
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?([KMGkmg][iI]?)?[bB]?$",
            "minimum": 0,
            "x-kind": "size",
        })
    }
}

/// A share of a whole: 0.5 is half of it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(in crate::config) struct Share(f64);

impl Share {
    pub(in crate::config) fn of(ratio: Ratio) -> Self {
        Self(f64::from(ratio.millionths()) / 1e6)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema bounds it: 0 to 1"
    )]
    pub(in crate::config) fn ratio(self) -> Ratio {
        Ratio::from_millionths((self.0 * 1e6).round() as u32)
    }
}

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0.001, "maximum": 1 })
    }
}

/// A share in hundredths, written `10%`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Percent(pub(in crate::config) u32);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse_percent(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0))
    }
}

impl JsonSchema for Percent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ ?%$", "x-kind": "percent" })
    }
}

/// A rate, written `100/s`, `1000/min`, `5000/h` or `10000/d`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct PerTime(pub(in crate::config) Rate);

impl<'de> Deserialize<'de> for PerTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse_rate(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for PerTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write_rate(self.0))
    }
}

impl JsonSchema for PerTime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PerTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ ?/ ?(s|min|h|d)$", "x-kind": "rate" })
    }
}

/// Whether a policy is acted on.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawMode {
    /// It is.
    Enforce,
    /// It is not: what it would refuse is counted, and let through.
    Shadow,
}

impl RawMode {
    /// Whether it only counts.
    pub(in crate::config) fn is_shadow(self) -> bool {
        matches!(self, Self::Shadow)
    }

    /// What to write for it.
    pub(in crate::config) fn of(is_shadow: bool) -> Self {
        if is_shadow { Self::Shadow } else { Self::Enforce }
    }
}

/// A status of an answer.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(in crate::config) struct Status(pub(in crate::config) u16);

impl JsonSchema for Status {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 100, "maximum": 599 })
    }
}
