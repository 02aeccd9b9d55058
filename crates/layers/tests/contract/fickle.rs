//! A ledger that can be lost and found again, and stopped just before it writes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steadfast_core::{
    Answer, AttemptEnd, Ban, BanOrder, BanSubject, CredentialId, Fence, OperationDigest, OperationId,
    StateName, Timestamp,
};
use steadfast_ledger::{
    AttemptRecord, Backlog, BanChanges, BanError, Bans, BoxFuture, Cancelled, ChangeError, Claim,
    ClaimOutcome, ClaimRequest, Claims, Conclusion, Counts, CredentialChanges, CredentialError, Credentials,
    Cursor, DeadLetters, Duties, Enqueue, Enqueued, Erase, Erased, Erasure, Filter, Finished, Issue,
    KeptWork, LedgerError, LetterFilter, Letters, LiveClaims, OperationRecord, Operations, Page, PauseError,
    PauseOrder, Pauses, Reaped, Redrive, RedriveRun, Redrives, Revision, RouteBacklog, RoutePause, RunError,
    RunId, RunOrder, RunTurn, SettleError, Settled, Settlement, Settlements, SharedLedger, Step, Swept,
    Taken, TooManyWaiters, Upkeep, Watch, Wish,
};
use tokio::sync::watch;

use super::backend::Gate;

/// What was asked of it so far.
#[derive(Default)]
struct Tally {
    claims: usize,
    accepts: usize,
    outcomes: usize,
    outcomes_written: usize,
}

/// Any ledger, and what the test does to it.
pub(crate) struct Fickle {
    ledger: SharedLedger,
    /// What every claim fails with.
    claim_error: Mutex<Option<LedgerError>>,
    /// What every outcome fails with.
    finish_error: Mutex<Option<LedgerError>>,
    claim_gate: Mutex<Option<Gate>>,
    finish_gate: Mutex<Option<Gate>>,
    /// What every question about credentials fails with.
    credentials_error: Mutex<Option<LedgerError>>,
    /// What every question about bans fails with.
    bans_error: Mutex<Option<LedgerError>>,
    tally: watch::Sender<Tally>,
}

impl Fickle {
    pub(crate) fn new(ledger: SharedLedger) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            claim_error: Mutex::default(),
            finish_error: Mutex::default(),
            claim_gate: Mutex::default(),
            finish_gate: Mutex::default(),
            credentials_error: Mutex::default(),
            bans_error: Mutex::default(),
            tally: watch::Sender::new(Tally::default()),
        })
    }

    /// From now on claims fail with this, or do not.
    pub(crate) fn fail_claims(&self, error: Option<LedgerError>) {
        *self.claim_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// From now on outcomes cannot be written, or can.
    pub(crate) fn fail_outcomes(&self, error: Option<LedgerError>) {
        *self.finish_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// From now on nobody is told of bans, or is again.
    pub(crate) fn fail_bans(&self, error: Option<LedgerError>) {
        *self.bans_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// From now on nobody is told of credentials, or is again.
    pub(crate) fn fail_credentials(&self, error: Option<LedgerError>) {
        *self.credentials_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// From now on claims wait for this gate before they are written.
    pub(crate) fn hold_claims(&self, gate: &Gate) {
        *self.claim_gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate.clone());
    }

    /// From now on outcomes wait for this gate before they are written.
    pub(crate) fn hold_outcomes(&self, gate: &Gate) {
        *self.finish_gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate.clone());
    }

    /// Waits until so many claims were asked for.
    pub(crate) async fn claims_asked(&self, count: usize) {
        let _ = self.tally.subscribe().wait_for(|tally| tally.claims >= count).await;
    }

    /// Waits until work was to be kept for later so many times.
    pub(crate) async fn accepts_asked(&self, count: usize) {
        let _ = self.tally.subscribe().wait_for(|tally| tally.accepts >= count).await;
    }

    /// Waits until so many outcomes were to be written.
    pub(crate) async fn outcomes_asked(&self, count: usize) {
        let _ = self.tally.subscribe().wait_for(|tally| tally.outcomes >= count).await;
    }

    /// Waits until so many outcomes are written.
    pub(crate) async fn outcomes_written(&self, count: usize) {
        let _ = self.tally.subscribe().wait_for(|tally| tally.outcomes_written >= count).await;
    }
}

async fn pass(gate: Option<Gate>) {
    if let Some(gate) = gate {
        gate.opened().await;
    }
}

impl Claims for Fickle {
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<ClaimOutcome, LedgerError>> {
        let gate = self.claim_gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let error = self.claim_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            self.tally.send_modify(|tally| tally.claims += 1);
            pass(gate).await;
            match error {
                Some(error) => Err(error),
                None => self.ledger.claim(request).await,
            }
        })
    }

    fn finish(&self, claim: &Claim, end: AttemptEnd) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        let claim = claim.clone();
        let gate = self.finish_gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let error = self.finish_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            self.tally.send_modify(|tally| tally.outcomes += 1);
            pass(gate).await;
            match error {
                Some(error) => Err(error),
                None => {
                    let finished = self.ledger.finish(&claim, end).await;
                    self.tally.send_modify(|tally| tally.outcomes_written += 1);
                    finished
                }
            }
        })
    }

    fn watch(&self, digest: OperationDigest) -> Result<Watch, TooManyWaiters> {
        self.ledger.watch(digest)
    }

    fn live(&self) -> &LiveClaims {
        self.ledger.live()
    }
}

impl Operations for Fickle {
    fn operation(&self, id: OperationId) -> BoxFuture<'_, Result<Option<OperationRecord>, LedgerError>> {
        self.ledger.operation(id)
    }

    fn attempts(&self, id: OperationId) -> BoxFuture<'_, Result<Vec<AttemptRecord>, LedgerError>> {
        self.ledger.attempts(id)
    }

    fn answer(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Answer>, LedgerError>> {
        self.ledger.answer(id)
    }

    fn list(&self, filter: Filter) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.ledger.list(filter)
    }

    fn of_request(
        &self,
        request_id: Box<str>,
        before: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.ledger.of_request(request_id, before)
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, LedgerError>> {
        self.ledger.counts()
    }
}

impl Settlements for Fickle {
    fn settle(&self, id: OperationId, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        self.ledger.settle(id, settlement)
    }
}

impl Erasure for Fickle {
    fn erase(&self, order: Erase) -> BoxFuture<'_, Result<Erased, LedgerError>> {
        self.ledger.erase(order)
    }

    fn scour(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.scour()
    }
}

impl Credentials for Fickle {
    fn issue(&self, order: Issue) -> BoxFuture<'_, Result<(), CredentialError>> {
        self.ledger.issue(order)
    }

    fn revoke(&self, id: CredentialId, at: Timestamp) -> BoxFuture<'_, Result<(), CredentialError>> {
        self.ledger.revoke(id, at)
    }

    fn credentials(&self, since: Revision) -> BoxFuture<'_, Result<CredentialChanges, LedgerError>> {
        match &*self.credentials_error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Box::pin(std::future::ready(Err(error.clone()))),
            None => self.ledger.credentials(since),
        }
    }

    fn note_used(&self, uses: Vec<(CredentialId, Timestamp)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.note_used(uses)
    }
}

impl Bans for Fickle {
    fn ban(&self, order: BanOrder) -> BoxFuture<'_, Result<Option<Ban>, BanError>> {
        match &*self.bans_error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Box::pin(std::future::ready(Err(error.clone().into()))),
            None => self.ledger.ban(order),
        }
    }

    fn lift(&self, subject: BanSubject, at: Timestamp) -> BoxFuture<'_, Result<Ban, BanError>> {
        self.ledger.lift(subject, at)
    }

    fn bans(&self, since: Revision) -> BoxFuture<'_, Result<BanChanges, LedgerError>> {
        match &*self.bans_error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Box::pin(std::future::ready(Err(error.clone()))),
            None => self.ledger.bans(since),
        }
    }
}

impl Duties for Fickle {
    fn take_on(
        &self,
        duty: Box<str>,
        node: Fence,
        time: Duration,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        self.ledger.take_on(duty, node, time)
    }

    fn lay_down(&self, duty: Box<str>, node: Fence) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.lay_down(duty, node)
    }

    fn mark(&self, of: Box<str>) -> BoxFuture<'_, Result<Option<Timestamp>, LedgerError>> {
        self.ledger.mark(of)
    }

    fn set_mark(&self, of: Box<str>, at: Timestamp) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.set_mark(of, at)
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, LedgerError>> {
        self.ledger.now()
    }
}

impl Backlog for Fickle {
    fn enqueue(&self, work: Enqueue) -> BoxFuture<'_, Result<Enqueued, LedgerError>> {
        let error = self.claim_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let enqueued = match error {
                Some(error) => Err(error),
                None => self.ledger.enqueue(work).await,
            };
            self.tally.send_modify(|tally| tally.accepts += 1);
            enqueued
        })
    }

    fn take(&self, wishes: Vec<Wish>) -> BoxFuture<'_, Result<Taken, LedgerError>> {
        self.ledger.take(wishes)
    }

    fn conclude(
        &self,
        claim: &Claim,
        conclusion: Conclusion,
    ) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        self.ledger.conclude(claim, conclusion)
    }

    fn cancel(&self, id: OperationId) -> BoxFuture<'_, Result<Cancelled, ChangeError>> {
        self.ledger.cancel(id)
    }

    fn redrive(&self, id: OperationId, order: Redrive) -> BoxFuture<'_, Result<StateName, ChangeError>> {
        self.ledger.redrive(id, order)
    }

    fn purge(&self, id: OperationId) -> BoxFuture<'_, Result<StateName, ChangeError>> {
        self.ledger.purge(id)
    }

    fn kept_work(&self, id: OperationId) -> BoxFuture<'_, Result<Option<KeptWork>, LedgerError>> {
        self.ledger.kept_work(id)
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Vec<RouteBacklog>, LedgerError>> {
        self.ledger.backlog()
    }

    fn dead_letters(&self) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>> {
        self.ledger.dead_letters()
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.ledger.arrivals()
    }
}

impl Upkeep for Fickle {
    fn renew(&self, claims: Vec<(Fence, OperationId)>) -> BoxFuture<'_, Result<Vec<Fence>, LedgerError>> {
        self.ledger.renew(claims)
    }

    fn reap(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Reaped>, LedgerError>> {
        self.ledger.reap(limit)
    }

    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, LedgerError>> {
        self.ledger.sweep(limit)
    }

    fn lease(&self) -> Duration {
        self.ledger.lease()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.check()
    }
}

impl Redrives for Fickle {
    fn letters(
        &self,
        of: LetterFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Letters, LedgerError>> {
        self.ledger.letters(of, after, limit)
    }

    fn count_letters(&self, of: LetterFilter) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>> {
        self.ledger.count_letters(of)
    }

    fn begin_run(&self, order: RunOrder) -> BoxFuture<'_, Result<RedriveRun, RunError>> {
        self.ledger.begin_run(order)
    }

    fn runs(&self) -> BoxFuture<'_, Result<Vec<RedriveRun>, LedgerError>> {
        self.ledger.runs()
    }

    fn redrive_next(
        &self,
        run: RunId,
        letter: OperationId,
        chance: Option<Redrive>,
        is_canary: bool,
    ) -> BoxFuture<'_, Result<Step, LedgerError>> {
        self.ledger.redrive_next(run, letter, chance, is_canary)
    }

    fn turn_run(&self, run: RunId, turn: RunTurn) -> BoxFuture<'_, Result<RedriveRun, RunError>> {
        self.ledger.turn_run(run, turn)
    }
}

impl Pauses for Fickle {
    fn pause(&self, order: PauseOrder) -> BoxFuture<'_, Result<RoutePause, PauseError>> {
        self.ledger.pause(order)
    }

    fn resume(&self, route: Box<str>) -> BoxFuture<'_, Result<Option<RoutePause>, LedgerError>> {
        self.ledger.resume(route)
    }

    fn pauses(&self) -> BoxFuture<'_, Result<Vec<RoutePause>, LedgerError>> {
        self.ledger.pauses()
    }
}
