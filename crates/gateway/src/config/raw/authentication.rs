//! What the config says of who is calling.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Time};

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
    /// Tokens that an issuer signed (JWT, RFC 7519).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) jwt: Option<At<RawJwt>>,
    /// Opaque tokens, about which their issuer is asked (RFC 7662).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) introspection: Option<At<RawIntrospection>>,
    /// Another service, which is shown the head of each request and says whether it is let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) forward: Option<At<RawForward>>,
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

/// Tokens that an issuer signed. Its keys are at `jwks`, or in `jwks_file`; or it shares the secret in `secret_file`.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawJwt {
    /// Who made them: their `iss`, to the letter.
    pub(in crate::config) issuer: At<String>,
    /// Whom they are for: one of these must be in their `aud`.
    pub(in crate::config) audience: At<Vec<At<String>>>,
    /// Where the issuer publishes its keys: a URL. They are fetched every 10 minutes, and when a token names one that is
    /// not known; while they cannot be, those that are known stay good for a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) jwks: Option<At<String>>,
    /// A file with the issuer's keys, a JWK set. A reload reads it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) jwks_file: Option<At<String>>,
    /// A file with the secret that is shared with the issuer, 32 bytes at least. Only with `algorithms = ["HS256"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) secret_file: Option<At<String>>,
    /// How they may be signed: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, or HS256 alone.
    pub(in crate::config) algorithms: At<Vec<At<String>>>,
    /// By how much the issuer's clock may differ.
    #[schemars(extend("default" = "30s", "x-max" = "10m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) leeway: Option<At<Time>>,
    /// The claim with the principal's name: a name, or a dotted path.
    #[schemars(extend("default" = "sub"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) principal: Option<At<String>>,
    /// Attributes of the principal, and the claims that they are read from, as in `{ plan = "plan", tenant = "org" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) attributes: Option<At<BTreeMap<String, At<String>>>>,
    /// The claim with the scopes: a text of words, or a list.
    #[schemars(extend("default" = "scope"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) scopes: Option<At<String>>,
}

/// Opaque tokens, about which their issuer is asked.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawIntrospection {
    /// Where it is asked: a URL.
    pub(in crate::config) url: At<String>,
    /// Who the gateway is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_id: Option<At<String>>,
    /// A file with the gateway's password there. With `client_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_secret_file: Option<At<String>>,
    /// For how long an answer is good, unless the token expires before. That a token was revoked is known that late.
    #[schemars(extend("default" = "30s", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) keep: Option<At<Time>>,
    /// The member of its answers with the principal's name.
    #[schemars(extend("default" = "sub"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) principal: Option<At<String>>,
    /// Attributes of the principal, and the members that they are read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) attributes: Option<At<BTreeMap<String, At<String>>>>,
    /// Whom tokens must be for: one of these must be in `aud`. Anybody unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) audience: Option<At<Vec<At<String>>>>,
}

/// Another service, which is shown the head of each request. A 2xx lets it through; its 401, 403 and redirects go to the
/// caller as they are.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawForward {
    /// Where it is asked: a URL. Method and target of the request are in `X-Forwarded-Method` and `X-Forwarded-Uri`.
    pub(in crate::config) url: At<String>,
    /// The headers of its answers that go upstream. What callers send under these names is taken away.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers: Option<At<Vec<At<String>>>>,
    /// The header of its answers with the principal's name. Without it, whoever is let through has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) principal: Option<At<String>>,
    /// Attributes of the principal, and the headers that they are read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) attributes: Option<At<BTreeMap<String, At<String>>>>,
    /// The header with the scopes, between spaces or commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) scopes: Option<At<String>>,
    /// For how long a yes is good for the same method, target, `Authorization`, `Cookie` and credential.
    #[schemars(extend("default" = "0s", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) keep: Option<At<Time>>,
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
