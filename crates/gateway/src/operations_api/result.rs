//! The result of an operation: the upstream's own answer, as a replay gives it, or why there is none.

use std::time::Duration;

use http::{HeaderValue, header};
use steadfast_core::{Code, StateName, Timestamp};
use steadfast_layers::{Problem, replayed};
use steadfast_ledger::{OperationRecord, SharedLedger};

use super::unavailable;
use crate::stack::EdgeResponse;

/// When to come again for what may be over any moment.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// `now` is what the time of the next attempt is counted from.
pub(super) async fn result(
    ledger: &SharedLedger,
    record: &OperationRecord,
    now: Timestamp,
) -> Result<EdgeResponse, Problem> {
    let refused = |code| Err(Problem::new(code).operation(record.id));
    match record.state {
        StateName::Completed => {}
        StateName::Queued | StateName::Waiting | StateName::Claimed => {
            let work = ledger.kept_work(record.id).await.map_err(unavailable)?;
            let due_in = work.and_then(|work| work.due_at).map(|at| at.since(now)).unwrap_or_default();
            let problem = Problem::new(Code::OperationInProgress).operation(record.id);
            return Err(problem
                .detail("The operation is not over, and has no result yet.")
                .next_step("Come again after the time in Retry-After, or wait here: add `?wait=20s`.")
                .retry_after(due_in.max(COME_AGAIN)));
        }
        StateName::InDoubt => return refused(Code::OutcomeInDoubt),
        StateName::Dead => return refused(Code::OperationDead),
        StateName::Cancelled => return refused(Code::OperationCancelled),
        StateName::Tombstone => return refused(Code::KeyExpired),
        // Nothing was executed, so there is nothing to see.
        StateName::Released | StateName::Absent => return refused(Code::OperationNotFound),
    }
    let answer = ledger.answer(record.id).await.map_err(unavailable)?;
    let Some(mut response) =
        answer.and_then(|answer| replayed::<crate::stack::ReplyBody>(&answer, record.id))
    else {
        return refused(Code::ReplayUnavailable);
    };
    // Whatever the answer says of itself, this address is its caller's alone.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}
