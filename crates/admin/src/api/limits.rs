//! Limits on callers, as the admin API shows and changes them.

use serde::{Deserialize, Serialize};

/// All limits, and what is raised by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LimitsView {
    /// The limits, by name.
    pub limits: Vec<LimitView>,
    /// What is raised.
    pub raised: Vec<RaisedView>,
}

/// One limit, and what it did since this process began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitView {
    /// Its name.
    pub name: String,
    /// What it is per: `principal`, `ip`, `header:x-tenant`.
    pub per: Vec<String>,
    /// How it counts: `token_bucket`, `leaky_bucket`, `fixed_window`, `sliding_window` or `concurrency`.
    pub algorithm: String,
    /// How much it allows in a period, or at once.
    pub limit: u64,
    /// How long the period is in seconds, `null` where there is none.
    pub period_seconds: Option<f64>,
    /// How much may come at once, of buckets.
    pub burst: Option<u64>,
    /// `enforce`, `shadow`, or on how many in a hundred it is enforced: `10%`.
    pub mode: String,
    /// How many counts there are of it in this process.
    pub tracked: u64,
    /// How many requests it let through.
    pub allowed: u64,
    /// How many it refused.
    pub refused: u64,
    /// How many it would have refused, were it enforced on everybody.
    pub would_refuse: u64,
    /// Whom it refused most, the first ones first; of headers and expressions nobody is named.
    pub most_refused: Vec<RefusedView>,
}

/// Whom a limit refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedView {
    /// A principal, an address: whatever the limit is per first.
    pub subject: String,
    /// How often.
    pub refused: u64,
    /// How often it would have been.
    pub would_refuse: u64,
}

/// Somebody's limits are raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaisedView {
    /// Whose.
    pub subject: String,
    /// Which limit; `null` for all.
    pub limit: Option<String>,
    /// How many times as much is allowed.
    pub factor: f64,
    /// For how many more seconds.
    pub left_seconds: f64,
    /// Why.
    pub reason: String,
    /// Who did it.
    pub by: String,
}

/// One count of a subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitCountView {
    /// The limit's name.
    pub limit: String,
    /// Which of the subject's counts, where the limit is per more than one thing: a digest.
    pub count: String,
    /// How much is left.
    pub remaining: u64,
    /// In how many seconds a request of cost one could go: 0 where it could now.
    pub retry_after_seconds: f64,
    /// In how many seconds nothing of it counts any more; `null` where nothing is left.
    pub reset_seconds: Option<f64>,
}

/// Whose counts are asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitCountsQuery {
    /// A principal, an address: whatever a limit is per first.
    pub subject: String,
    /// Which limit; all of them unless stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// On which plan it is, where the limits allow it other things for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// To forget what was counted of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitResetRequest {
    /// Whose counts.
    pub subject: String,
    /// Of which limit; of all unless stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Why, for the audit log.
    pub reason: String,
    /// Who says so.
    pub by: String,
}

/// To allow somebody more for a time, or to end that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRaiseRequest {
    /// Whom.
    pub subject: String,
    /// Of which limit; of all unless stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// How many times as much, from 0.01 to 1000; 1 ends what was raised.
    pub factor: f64,
    /// For how long: `30m`, `2h`, `24h`, a week at most. 1 h unless stated.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Why, for the audit log.
    pub reason: String,
    /// Who says so.
    pub by: String,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitChangedView {
    /// Whose.
    pub subject: String,
    /// How many counts were forgotten, or how many orders to raise hold or were ended.
    pub changed: usize,
}
