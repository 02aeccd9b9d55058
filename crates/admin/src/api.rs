//! The admin API's JSON, as types that both of its ends share.
//!
//! Fields are only ever added. Instants are RFC 3339 in UTC with milliseconds. What is not known is `null`; what
//! was not asked for is left out.

mod bans;
mod explain;
mod letters;
mod limits;

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

pub use bans::{BanRequest, BanView, LiftBanRequest};
pub use explain::{ExplainView, ExplainedView, LedgerSearched, RefusalView, StepView};
pub use letters::{
    ByHandRequest, CancelRequest, ChangedView, EditLetterRequest, EditedView, KeptRequestView, LetterDetail,
    LetterGroupView, LetterQuery, LetterView, LettersView, PauseRequest, PauseView, PurgeLettersRequest,
    PurgedLettersView, QueueView, RedriveRequest, RedriveView, RunView,
};
pub use limits::{
    LimitChangedView, LimitCountView, LimitCountsQuery, LimitRaiseRequest, LimitResetRequest, LimitView,
    LimitsView, RaisedView, RefusedView,
};

/// One operation, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationView {
    /// Its id.
    pub id: String,
    /// Its state: `in_doubt`, `completed`, ….
    pub state: String,
    /// Whether some attempt's outcome is unknown.
    pub doubtful: bool,
    /// Who makes its attempts: `synchronous` (the request that brought it) or `asynchronous` (a worker).
    pub mode: String,
    /// Where its key is unique.
    pub namespace: String,
    /// Its key.
    pub key: String,
    /// Who made it, where that was verified.
    pub principal: Option<String>,
    /// The digest of the credential that made it, in hexadecimal.
    #[serde(default)]
    pub credential: Option<String>,
    /// The name of the route it came by.
    pub route: String,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// The digest of what was asked, in hexadecimal.
    pub fingerprint: String,
    /// How many attempts were claimed.
    pub attempt_count: u32,
    /// When it was first claimed.
    pub created_at: String,
    /// When its state last changed.
    pub changed_at: String,
    /// When it expires; `null` while it is unfinished.
    pub expires_at: Option<String>,
    /// The status of its stored answer.
    pub answer_status: Option<u16>,
    /// How many contradictions wait for a person to look.
    pub cases_open: u32,
    /// How it was settled, where it was.
    pub settlement: Option<SettlementView>,
}

/// One endpoint of an upstream, and how its circuit stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointView {
    /// The upstream's name.
    pub upstream: String,
    /// Where it is.
    pub endpoint: String,
    /// Whether checks found it well.
    pub healthy: bool,
    /// How many requests are under way there; counted where the upstream has several endpoints.
    pub in_flight: u64,
    /// What a call costs there in milliseconds (a moving average of latencies and penalties), likewise.
    pub cost_ms: Option<f64>,
    /// Its circuit; `null` where the config gives it none.
    pub circuit: Option<CircuitView>,
}

/// How a circuit stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircuitView {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// For how many seconds it has been so.
    pub for_seconds: f64,
    /// Why.
    pub why: String,
    /// For how many more seconds it is open, or held by hand.
    pub left_seconds: Option<f64>,
    /// Whether somebody holds it so.
    pub by_hand: bool,
    /// `enforce`, or `shadow`.
    pub mode: String,
    /// How many calls its window holds.
    pub calls: u32,
    /// How many of them failed.
    pub failed: u32,
    /// How many of them were slow.
    pub slow: u32,
}

/// What somebody wants of an upstream's circuits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitOrderRequest {
    /// `open` and `closed` hold them so for a time; `automatic` lets them go by what happens.
    pub state: String,
    /// For how long: `30s`, `10m`, `24h` at most. With `open` and `closed`; 10 min unless stated.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Only the circuit of the endpoint there, as the list writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitOrderedView {
    /// The upstream.
    pub upstream: String,
    /// What its circuits are now: `open`, `closed` or `automatic`.
    pub state: String,
    /// How many circuits that were.
    pub circuits: usize,
}

/// A credential that the gateway gave out, without the credential itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialView {
    /// What it is called by; it is also in the middle of the key.
    pub id: String,
    /// Whose it is.
    pub principal: String,
    /// What it begins with.
    pub prefix: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// What is said of the principal.
    pub attributes: BTreeMap<String, String>,
    /// What the principal may do with it.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// From when on it is no good; `null` where it does not expire.
    pub expires_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<String>,
    /// Which one it replaces.
    pub replaces: Option<String>,
}

/// A credential that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedView {
    /// It.
    #[serde(flatten)]
    pub credential: CredentialView,
    /// The key. Nobody can show it again.
    pub key: String,
}

/// The key is in no log.
impl std::fmt::Debug for IssuedView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.credential.fmt(formatter)
    }
}

/// A credential to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCredentialRequest {
    /// Whose it is.
    pub principal: String,
    /// Which authenticator takes it; the only one that takes API keys unless stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticator: Option<String>,
    /// What they may do with it.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What is said of them.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// For how long it is good: `90d`. For ever unless stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub by: String,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
}

/// A credential to replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateCredentialRequest {
    /// For how long the old one goes on; 24 h unless stated, `0s` ends it at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// For how long the new one is good; as long as the old one was to be unless stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub by: String,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
}

/// A credential to revoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeCredentialRequest {
    /// Who says so.
    #[serde(default)]
    pub by: String,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
}

/// One operation with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationDetail {
    /// What lists show.
    #[serde(flatten)]
    pub operation: OperationView,
    /// Its attempts, oldest first, one under way last.
    pub attempts: Vec<AttemptView>,
    /// Its stored answer, where it has one.
    pub answer: Option<AnswerView>,
}

/// One attempt of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Its number, from 1.
    pub number: u32,
    /// Its fence.
    pub fence: String,
    /// When it was claimed.
    pub began_at: String,
    /// When it ended; `null` while it is under way.
    pub ended_at: Option<String>,
    /// How it ended: `answered`, `refused`, `not_sent` or `unknown`; `null` while it is under way.
    pub end: Option<String>,
    /// Why, for `not_sent` and `unknown`.
    pub cause: Option<String>,
    /// The status of the upstream's answer, where there was one.
    pub status: Option<u16>,
    /// Whether an answer of this attempt came late and is kept as evidence.
    pub evidence: bool,
    /// The id of the request that made it, where that is known.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The beginning of an answer that was not final, or why none came, where a worker made it.
    #[serde(default)]
    pub excerpt: Option<String>,
}

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerView {
    /// Its status.
    pub status: u16,
    /// The header fields that replays keep, as name and value.
    pub headers: Vec<(String, String)>,
    /// How long its body is; `null` where the body was not kept.
    pub body_bytes: Option<u64>,
    /// Its body, where it was asked for and is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its body in base 64, where it was asked for and is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

/// How an operation was settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettlementView {
    /// Whether it was found to have happened.
    pub happened: bool,
    /// Who says so.
    pub by: String,
    /// Why they say so.
    pub reason: String,
    /// When.
    pub at: String,
}

/// A page of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageView {
    /// The operations, newest first.
    pub operations: Vec<OperationView>,
    /// What to hand in as `before` for the next page; `null` on the last.
    pub next: Option<String>,
}

/// How many operations need attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsView {
    /// Claimed right now.
    pub claimed: u64,
    /// In doubt.
    pub in_doubt: u64,
    /// Dead.
    pub dead: u64,
    /// Contradictions that wait for a person.
    pub cases_open: u64,
}

/// What is kept of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheView {
    /// How many targets there are answers of.
    pub targets: u64,
    /// How many bytes they take up, about.
    pub bytes: u64,
    /// How many they may.
    pub bytes_max: u64,
}

/// Which kept answers are to be forgotten: exactly one of the four.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// Those of this URL: `https://api.example.com/orders?page=1`, or `/orders?page=1` on every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Those of URLs that begin with this, written likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Those with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// All of them.
    #[serde(default)]
    pub all: bool,
    /// Who asks for it.
    pub by: String,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedView {
    /// How many answers.
    pub purged: u64,
}

/// What was found out about an operation in doubt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// Whether it took effect. If not, the next request with its key executes afresh.
    pub happened: bool,
    /// How that is known; 1 to 2,000 characters.
    pub reason: String,
    /// Who says so; 1 to 200 characters.
    pub by: String,
    /// The answer that replays will show, where it is known; only for what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<SettleAnswer>,
    /// Only say what would become of it.
    #[serde(default)]
    pub dry_run: bool,
}

/// An answer that a person found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleAnswer {
    /// Its status, 200 to 599.
    pub status: u16,
    /// Its header fields as name and value, at most 100.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Its body, where it is text; empty where neither this nor `body_base64` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its body in base 64, instead of `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
}

impl SettleAnswer {
    /// The answer with this body: as it stands where it is text, else in base 64.
    #[must_use]
    pub fn new(status: u16, headers: Vec<(String, String)>, body: &[u8]) -> Self {
        let (body, body_base64) = match std::str::from_utf8(body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(body))),
        };
        Self { status, headers, body, body_base64 }
    }
}

/// What became of a settlement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledView {
    /// The operation.
    pub id: String,
    /// The state it is in now; in a dry run, the one it would be in.
    pub state: String,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// Whose operations to erase: one of `principal`, `credential` and `namespace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// Those that this principal made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Those that were made with the credential of this digest, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Those in this namespace, whoever made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Why; 1 to 2,000 characters. It is logged: name no one.
    pub reason: String,
    /// Who says so; 1 to 200 characters.
    pub by: String,
    /// Where the call before it ended: its `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// What one call erased. Where there is a `next`, more is to be looked at: the same is to be asked with it as `from`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedView {
    /// How many operations were erased; in a dry run, would be.
    pub erased: u64,
    /// The ids of those that were left, because they are unfinished or in doubt.
    pub left: Vec<String>,
    /// From where to go on; `null` where all were looked at, and nothing of what was erased is left in the ledger's logs.
    pub next: Option<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// What one caller did with a version of an API, as this node counted it since it was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageView {
    /// The version's name.
    pub version: String,
    /// What the caller is known by: `principal`, `credential`, `anonymous`, or `others` where there was no room to tell
    /// them apart.
    pub by: String,
    /// The principal's name, or the digest of the credential in hexadecimal.
    pub caller: Option<String>,
    /// How many requests there were.
    pub requests: u64,
    /// How many of them were refused, in a brownout or after the version's end.
    pub refused: u64,
    /// When the first one came.
    pub first_at: String,
    /// When the last one came.
    pub last_at: String,
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// What is worth knowing of it, one sentence each.
    pub notes: Vec<String>,
}

/// The config in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigView {
    /// The config as TOML, with defaults and overrides filled in and secrets left out.
    pub toml: String,
    /// The file that a reload reads; `null` where the gateway was started without one.
    #[serde(default)]
    pub file: Option<String>,
    /// The settings that a flag or a variable of the gateway goes before, whatever the file says.
    #[serde(default)]
    pub overridden: Vec<OverriddenView>,
}

/// A setting that something goes before what the file says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverriddenView {
    /// Where it stands in a config, such as `edge.headers_max`.
    pub path: String,
    /// By what: a flag or a variable.
    pub by: String,
}

/// How the gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// `ok`, `ready` or `not_ready`.
    pub status: String,
    /// What was checked, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckView>,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// What: `gateway` or `ledger`.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// What was found, in words.
    pub detail: String,
    /// How long the check took, in milliseconds.
    pub took_ms: u64,
}

/// A refusal (RFC 9457), as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// Always `about:blank`: the code says more.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What kind of refusal it is, for programs.
    pub code: String,
    /// What is wrong, for people.
    pub detail: String,
    /// What to do next, in a sentence.
    pub next_step: String,
}
