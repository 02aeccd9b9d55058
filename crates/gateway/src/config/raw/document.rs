//! What the config says of the document that the gateway publishes of its routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::At;

/// Publishes what the config says that callers should know: for programs at `/.steadfast/openapi.json` (OpenAPI 3.1), for
/// people at `/.steadfast/api`. Nothing is published without it; `{}` takes all defaults.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawDocument {
    /// The API's name.
    #[schemars(extend("default" = "API"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) title: Option<At<String>>,
    /// The document's version.
    #[schemars(extend("default" = "1"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) version: Option<At<String>>,
    /// What is said of the API as a whole.
    #[schemars(extend("default" = ""))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) description: Option<At<String>>,
}
