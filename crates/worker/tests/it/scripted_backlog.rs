//! The scripted ledger has no backlog, no duties and no dead letters: whoever tests those asks a real one.

use std::time::Duration;

use steadfast_core::{Fence, OperationId, StateName, Timestamp};
use steadfast_ledger::{
    Backlog, BoxFuture, Cancelled, ChangeError, Claim, Conclusion, Cursor, DeadLetters, Duties, Enqueue,
    Enqueued, Finished, KeptWork, LedgerError, LetterFilter, Letters, PauseError, PauseOrder, Pauses,
    Redrive, RedriveRun, Redrives, RouteBacklog, RoutePause, RunError, RunId, RunOrder, RunTurn, Step, Taken,
    Wish,
};
use tokio::sync::watch;

use crate::scripted::{Scripted, closed};

impl Backlog for Scripted {
    fn enqueue(&self, _: Enqueue) -> BoxFuture<'_, Result<Enqueued, LedgerError>> {
        closed()
    }

    fn take(&self, _: Vec<Wish>) -> BoxFuture<'_, Result<Taken, LedgerError>> {
        closed()
    }

    fn conclude(&self, _: &Claim, _: Conclusion) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        closed()
    }

    fn cancel(&self, _: OperationId) -> BoxFuture<'_, Result<Cancelled, ChangeError>> {
        Box::pin(std::future::ready(Err(ChangeError::NotFound)))
    }

    fn redrive(&self, _: OperationId, _: Redrive) -> BoxFuture<'_, Result<StateName, ChangeError>> {
        Box::pin(std::future::ready(Err(ChangeError::NotFound)))
    }

    fn purge(&self, _: OperationId) -> BoxFuture<'_, Result<StateName, ChangeError>> {
        Box::pin(std::future::ready(Err(ChangeError::NotFound)))
    }

    fn kept_work(&self, _: OperationId) -> BoxFuture<'_, Result<Option<KeptWork>, LedgerError>> {
        closed()
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Vec<RouteBacklog>, LedgerError>> {
        closed()
    }

    fn dead_letters(&self) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>> {
        closed()
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

impl Duties for Scripted {
    fn take_on(&self, _: Box<str>, _: Fence, _: Duration) -> BoxFuture<'_, Result<bool, LedgerError>> {
        closed()
    }

    fn lay_down(&self, _: Box<str>, _: Fence) -> BoxFuture<'_, Result<(), LedgerError>> {
        closed()
    }

    fn mark(&self, _: Box<str>) -> BoxFuture<'_, Result<Option<Timestamp>, LedgerError>> {
        closed()
    }

    fn set_mark(&self, _: Box<str>, _: Timestamp) -> BoxFuture<'_, Result<(), LedgerError>> {
        closed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, LedgerError>> {
        Box::pin(std::future::ready(Ok(Timestamp::from_millis(1_700_000_000_000))))
    }
}

impl Redrives for Scripted {
    fn letters(
        &self,
        _: LetterFilter,
        _: Option<Cursor>,
        _: u32,
    ) -> BoxFuture<'_, Result<Letters, LedgerError>> {
        Box::pin(std::future::ready(Ok(Letters::default())))
    }

    fn count_letters(&self, _: LetterFilter) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>> {
        closed()
    }

    fn begin_run(&self, _: RunOrder) -> BoxFuture<'_, Result<RedriveRun, RunError>> {
        Box::pin(std::future::ready(Err(RunError::NotFound)))
    }

    fn runs(&self) -> BoxFuture<'_, Result<Vec<RedriveRun>, LedgerError>> {
        closed()
    }

    fn redrive_next(
        &self,
        _: RunId,
        _: OperationId,
        _: Option<Redrive>,
        _: bool,
    ) -> BoxFuture<'_, Result<Step, LedgerError>> {
        closed()
    }

    fn turn_run(&self, _: RunId, _: RunTurn) -> BoxFuture<'_, Result<RedriveRun, RunError>> {
        Box::pin(std::future::ready(Err(RunError::NotFound)))
    }
}

impl Pauses for Scripted {
    fn pause(&self, _: PauseOrder) -> BoxFuture<'_, Result<RoutePause, PauseError>> {
        Box::pin(std::future::ready(Err(PauseError::TooMany)))
    }

    fn resume(&self, _: Box<str>) -> BoxFuture<'_, Result<Option<RoutePause>, LedgerError>> {
        closed()
    }

    fn pauses(&self) -> BoxFuture<'_, Result<Vec<RoutePause>, LedgerError>> {
        closed()
    }
}
