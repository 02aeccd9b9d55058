//! Bans, as JSON.

use serde::{Deserialize, Serialize};

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    /// Who: an address, a network, or `principal:` and a name.
    pub subject: String,
    /// What made it: `by_hand`, `config`, `unauthenticated` or `limit_storm`.
    pub source: String,
    /// How it stands: `holds`, `ended`, `lifted`, or `shadow` where it is only noted whom it would refuse.
    pub state: String,
    /// Since when it holds.
    pub began_at: String,
    /// Until when; `null` for ever.
    pub until: Option<String>,
    /// When somebody lifted it.
    pub lifted_at: Option<String>,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: String,
    /// Where they can show that they are welcome.
    pub challenge: Option<String>,
    /// How many automatic ones came before it, each soon upon the one before.
    pub repeats: u32,
}

/// Somebody to ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// Who: an address, a network, or `principal:` and a name.
    pub subject: String,
    /// For how long, such as `2h`; for ever unless stated.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Where they can show that they are welcome: a URL, which they are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// Why; it is listed and logged, and callers are not told.
    pub reason: String,
    /// Who says so.
    pub by: String,
}

/// Somebody to let in again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftBanRequest {
    /// Who, as the ban is listed.
    pub subject: String,
    /// Why; it is logged.
    pub reason: String,
    /// Who says so.
    pub by: String,
}
