//! Dead letters, runs that redrive them, and the queues they come from, as JSON.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{AttemptView, OperationView};

/// Which dead letters are meant: those that pass all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LetterQuery {
    /// Of this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Whose last attempt ended so: `refused`, `not_sent` or `unknown`,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// for this cause,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// with this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// That have been dead for longer than this: `30m`, `1h`, `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<String>,
    /// In doubt, or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<bool>,
}

impl LetterQuery {
    /// Whether it lets every letter through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Dead letters of a route whose last attempts ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterGroupView {
    /// The route.
    pub route: String,
    /// How the last attempt ended.
    pub end: String,
    /// Why.
    pub cause: Option<String>,
    /// With which status.
    pub status: Option<u16>,
    /// How many there are.
    pub count: u64,
    /// How many of them are in doubt.
    pub in_doubt: u64,
    /// When the oldest died.
    pub oldest_at: String,
    /// When the newest died.
    pub newest_at: String,
}

/// One dead letter, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterView {
    /// The operation; `changed_at` is when it died, `doubtful` whether it is in doubt.
    #[serde(flatten)]
    pub operation: OperationView,
    /// How its last attempt ended.
    pub end: String,
    /// Why.
    pub cause: Option<String>,
    /// With which status.
    pub status: Option<u16>,
    /// For how many seconds it has been dead.
    pub dead_for_seconds: u64,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LettersView {
    /// They, in the order in which they were accepted.
    pub letters: Vec<LetterView>,
    /// What to hand in as `after` for the next page; `null` on the last.
    pub next: Option<String>,
}

/// One background operation with all that a person needs to decide what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterDetail {
    /// The operation.
    #[serde(flatten)]
    pub operation: OperationView,
    /// The request that it keeps.
    pub request: KeptRequestView,
    /// Its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// How many attempts count so far.
    pub tries: u32,
    /// How many it had.
    pub tries_max: u32,
    /// From when on none began any more.
    pub give_up_at: String,
    /// Whether it stands in an order with others.
    pub ordered: bool,
    /// Why it cannot be redriven; `null` where it can.
    pub redrive_refused: Option<String>,
}

/// A request that is kept for its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRequestView {
    /// Its path and query; `null` where it cannot be decrypted.
    pub target: Option<String>,
    /// Its header fields, as name and value; `***` in place of what looks like a secret.
    pub headers: Vec<(String, String)>,
    /// How long its body is.
    pub body_bytes: u64,
    /// Its body, or the beginning of it, where that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its body in base 64, where it was asked for as a whole and is not text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Whether that is all of it.
    pub body_is_whole: bool,
}

/// Who does something by hand, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByHandRequest {
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedView {
    /// The operation.
    pub id: String,
    /// The state it is in now.
    pub state: String,
    /// More that is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Dead letters to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeLettersRequest {
    /// Which.
    #[serde(default)]
    pub of: LetterQuery,
    /// Where the call before it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only count them.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgedLettersView {
    /// How many were removed, or would be.
    pub purged: u64,
    /// How many stay, because they are in doubt.
    pub in_doubt: u64,
    /// What to hand in as `from`, until it is `null`.
    pub next: Option<String>,
    /// Whether they were only counted.
    pub dry_run: bool,
}

/// Dead letters to send round again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedriveRequest {
    /// Which.
    #[serde(default)]
    pub of: LetterQuery,
    /// How many at most: `10/s` unless stated; also `/min` and `/h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// How many are tried first; the rest follows when all of them are completed. None unless stated.
    #[serde(default)]
    pub canary: u32,
    /// Only count them.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
}

/// What is, or would be, sent round again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedriveView {
    /// Whether they were only counted.
    pub dry_run: bool,
    /// How many there are.
    pub matched: u64,
    /// They, by what made them dead.
    pub groups: Vec<LetterGroupView>,
    /// The run that began.
    pub run: Option<RunView>,
}

/// A run that sends dead letters round again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its number.
    pub id: u64,
    /// `running`, `stopped`, `stopped_by_canary` or `finished`.
    pub state: String,
    /// Why it stopped.
    pub why: Option<String>,
    /// Which letters, in words.
    pub of: String,
    /// How many at most: `10/s`.
    pub rate: String,
    /// How many are tried first.
    pub canary: u32,
    /// Those that were.
    pub canaries: Vec<String>,
    /// Whether all of those are completed.
    pub proven: bool,
    /// How many letters there were when it began.
    pub matched: u64,
    /// How many were sent round again.
    pub redriven: u64,
    /// How many stay because they are in doubt.
    pub refused: u64,
    /// How many stay because nobody can send them.
    pub failed: u64,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub started_at: String,
    /// When it last changed.
    pub changed_at: String,
}

/// A dead letter to change and accept anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditLetterRequest {
    /// Its body from now on, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Its body from now on, in base 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Header fields that take the place of those of the same names.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Names of header fields to leave out.
    #[serde(default)]
    pub remove_headers: Vec<String>,
    /// Whether the original is removed then.
    #[serde(default)]
    pub purge: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
}

/// What an edited letter has become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditedView {
    /// The new operation.
    pub id: String,
    /// Its key.
    pub key: String,
    /// The state it is in.
    pub state: String,
    /// The original.
    pub original: String,
    /// The state that it is in.
    pub original_state: String,
    /// More that is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a route has to do in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// The route.
    pub route: String,
    /// Whether it is in the config, and lets something happen in the background.
    pub configured: bool,
    /// Operations that could be taken now.
    pub due: u64,
    /// Operations whose time has not come.
    pub later: u64,
    /// For how many seconds the oldest of those that are due has been.
    pub oldest_due_seconds: Option<u64>,
    /// Whether it rests.
    pub pause: Option<PauseView>,
}

/// A route that rests by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    /// The route.
    pub route: String,
    /// Since when.
    pub since: String,
    /// Until when; until it is resumed where that is `null`.
    pub until: Option<String>,
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// A route to pause, or to resume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// The route.
    pub route: String,
    /// For how long: `30m`, `2h`, `7d`; until it is resumed unless stated. Not with a resumption.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
}

/// An operation to call off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// Its id.
    pub id: String,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: String,
    /// Who says so.
    #[serde(default)]
    pub by: String,
}

impl EditLetterRequest {
    /// A body, as text where it is text.
    #[must_use]
    pub fn body_of(body: Vec<u8>) -> (Option<String>, Option<String>) {
        match String::from_utf8(body) {
            Ok(text) => (Some(text), None),
            Err(error) => (None, Some(BASE64_STANDARD.encode(error.as_bytes()))),
        }
    }
}
