//! What the config says of where nodes count together.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// One server, or some nodes of a Cluster.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(in crate::config) enum RawShared {
    Server(String),
    Cluster(Vec<String>),
}

impl JsonSchema for RawShared {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Shared".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
            "x-kind": "text or list of texts",
        })
    }
}
