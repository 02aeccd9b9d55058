//! Calling an operation off, by the caller who made it.

use std::time::Duration;

use http::StatusCode;
use steadfast_core::{Code, Mode, Refused, StateName};
use steadfast_layers::Problem;
use steadfast_ledger::{Cancelled, ChangeError, OperationRecord, SharedLedger};

use super::{not_found, unavailable};

/// Calls an operation off; with which status that is answered: 200 where it is called off now, or was, 202 where the attempt
/// that is under way decides.
pub(super) async fn cancel(ledger: &SharedLedger, record: &OperationRecord) -> Result<StatusCode, Problem> {
    match ledger.cancel(record.id).await {
        Ok(Cancelled::Now(_)) => Ok(StatusCode::OK),
        Ok(Cancelled::AfterThisAttempt) => Ok(StatusCode::ACCEPTED),
        Err(ChangeError::NotFound) => Err(not_found()),
        Err(ChangeError::Ledger(error)) => Err(unavailable(error)),
        Err(ChangeError::Refused(refused)) => too_late(record, refused).map(|()| StatusCode::OK),
    }
}

/// Why nothing is left to call off. It may have come to that since `record` was read.
fn too_late(record: &OperationRecord, refused: Refused) -> Result<(), Problem> {
    let state = match refused {
        Refused::Finished(state) | Refused::NoSuchTransition { state, .. } => state,
        Refused::InDoubt => StateName::InDoubt,
        Refused::InProgress | Refused::StaleFence => record.state,
    };
    let problem = match state {
        StateName::Cancelled => return Ok(()),
        StateName::InDoubt => Problem::new(Code::OutcomeInDoubt),
        StateName::Dead => Problem::new(Code::OperationDead),
        StateName::Tombstone => Problem::new(Code::KeyExpired),
        StateName::Claimed if record.mode == Mode::Synchronous => Problem::new(Code::OperationInProgress)
            .detail("The request that brought it makes its attempt now, which cannot be called off.")
            .retry_after(Duration::from_secs(1)),
        _ => Problem::new(Code::OperationFinished),
    };
    Err(problem.operation(record.id))
}
