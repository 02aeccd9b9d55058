//! An operation, as it is shown to the caller who made it.

use serde_json::{Map, Value, json};
use steadfast_core::{Mode, StateName, Timestamp};
use steadfast_ledger::{AttemptRecord, KeptWork, OperationRecord};

use super::OPERATIONS;
use crate::config::write_instant;

/// `work` is what a worker has to go by, where one makes the attempts.
pub(super) fn document(
    record: &OperationRecord,
    attempts: &[AttemptRecord],
    work: Option<&KeptWork>,
) -> Value {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("id", record.id.to_string().into());
    put("state", record.state.as_str().into());
    put("mode", mode(record.mode).into());
    put("in_doubt", record.doubtful.into());
    put("key", record.name.key().as_str().into());
    put("method", (&*record.method).into());
    put("path", (&*record.path).into());
    put("created_at", stamp(record.created_at));
    put("changed_at", stamp(record.changed_at));
    if let Some(expires_at) = record.expires_at {
        put("expires_at", stamp(expires_at));
    }
    if let Some(work) = work.filter(|_| is_unfinished(record.state)) {
        put("attempts_left", work.stamina.tries_max.saturating_sub(work.stamina.tries).into());
        put("gives_up_at", stamp(work.stamina.give_up_at));
        if let Some(at) = work.due_at {
            put("next_attempt_at", stamp(at));
        }
        if work.cancel_asked {
            put("cancel_asked", true.into());
        }
    }
    if let Some(status) = record.answer_status {
        put("answer_status", status.into());
        put("result", format!("{OPERATIONS}{}/result", record.id).into());
    }
    if let Some(settlement) = &record.settlement {
        put("settled", json!({ "happened": settlement.happened, "at": stamp(settlement.at) }));
    }
    put("attempts", attempts.iter().map(attempt).collect());
    document.into()
}

fn attempt(attempt: &AttemptRecord) -> Value {
    let mut shown = json!({
        "number": attempt.number,
        "began_at": stamp(attempt.began_at),
        "ended_at": attempt.ended_at.map(stamp),
        "end": attempt.end,
        "cause": attempt.cause,
        "status": attempt.status,
    });
    // Of an attempt without an answer it says why there was none, by the names of things behind the gateway.
    if let (Some(excerpt), Some(_)) = (&attempt.excerpt, attempt.status) {
        shown["excerpt"] = (&**excerpt).into();
    }
    shown
}

/// Whether attempts of an operation in this state may follow, or one is under way.
pub(super) fn is_unfinished(state: StateName) -> bool {
    matches!(state, StateName::Queued | StateName::Waiting | StateName::Claimed)
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Synchronous => "synchronous",
        Mode::Asynchronous => "asynchronous",
    }
}

fn stamp(at: Timestamp) -> Value {
    write_instant(at).into()
}
