//! What the config says of who is calling.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::At;

/// One way of finding out who is calling, which routes name in `authentication.by`. Exactly one of its tables says how.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawAuthentication {
    /// The header that carries nothing but the credential, such as `X-API-Key`. `Authorization: Bearer …` unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header: Option<At<String>>,
    /// What stands before the names of its principals everywhere, so that they are not taken for those of another. All
    /// but one of several must state it; `""` says that equal names are the same principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) name_prefix: Option<At<String>>,
    /// Whether the upstream gets the credential too. Of API keys not, unless stated; all others are passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) pass_on: Option<At<bool>>,
    /// Keys that `steadfast credentials` makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) api_keys: Option<At<RawApiKeys>>,
}

/// Keys that `steadfast credentials` makes. Their digests are in the ledger.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawApiKeys {
    /// What they begin with, by which a leaked one is found: letters, digits and `_`, 20 at most. No two authenticators
    /// share one. To change it is to refuse all keys that there are.
    #[schemars(extend("default" = "sf"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) prefix: Option<At<String>>,
}

/// Who may use a route.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawRouteAuthentication {
    /// Who finds out who is calling: names of `[authentication.NAME]`. The first whose credential it is decides.
    pub(in crate::config) by: At<Vec<At<String>>>,
    /// What callers must be allowed, all of it.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) scopes: Option<At<Vec<At<String>>>>,
    /// What must be said of them: of each attribute one of these values, as in `{ plan = ["pro", "free"] }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) attributes: Option<At<BTreeMap<String, At<Vec<At<String>>>>>>,
    /// Whether a request without any credential is let through, as nobody's. A bad credential is refused either way.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) optional: Option<At<bool>>,
}
