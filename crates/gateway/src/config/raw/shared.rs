//! What the config says of where nodes count together.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// One server, or a list of some nodes of a Cluster; which of them is checked later, where it can be said better what is
/// wrong.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct RawShared(pub(in crate::config) toml::Value);

impl JsonSchema for RawShared {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Shared".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "items": { "type": "string" },
            "x-kind": "text or a list",
        })
    }
}
