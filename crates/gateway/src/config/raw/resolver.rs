//! What the config says of how names are found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::At;

/// How the addresses behind upstreams' names are found. Every address is an endpoint of its own; they are looked up
/// again beside requests, and a name that is not found any more keeps those that it had.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawResolver {
    /// The DNS servers that are asked: addresses, with a port where it is not 53; 8 at most. They are asked for
    /// names as they are written, without the hosts file and search lists, and their answers hold for their TTL (1 s
    /// to 60 s). Unless stated the system finds names in its own way, and is asked every 5 s.
    #[schemars(length(min = 1, max = 8))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) servers: Option<At<Vec<At<String>>>>,
}
