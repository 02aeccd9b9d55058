//! Completed operations kept in memory, so that a replay need not ask the store.
//!
//! A completed operation does not change, so a copy is as good as the row until it expires; and rows outlive
//! every copy. Wrapped round any ledger.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};
use steadfast_core::{
    Answer, AttemptEnd, Ban, BanOrder, BanSubject, CredentialId, Fence, OperationDigest, OperationId,
    StateName, Timestamp,
};

use tokio::sync::watch;

use crate::{
    Backlog, BanChanges, BanError, Bans, BoxFuture, Cancelled, ChangeError, Claim, ClaimOutcome,
    ClaimRequest, Claims, Clock, Conclusion, Counts, CredentialChanges, CredentialError, Credentials, Cursor,
    DeadLetters, Duties, Enqueue, Enqueued, Erase, Erased, Erasure, Filter, Finished, Issue, KeptWork,
    LedgerError, LetterFilter, Letters, LiveClaims, Occupied, OperationName, OperationRecord, Operations,
    Page, PauseError, PauseOrder, Pauses, Reaped, Redrive, RedriveRun, Redrives, Revision, RouteBacklog,
    RoutePause, RunError, RunId, RunOrder, RunTurn, SettleError, Settled, Settlement, Settlements, Standing,
    Step, Swept, Taken, TooManyWaiters, Upkeep, Watch, Wish, operation::AttemptRecord,
};

/// How long before its row a copy expires, so that no clock's haste lets it outlive the row.
const EXPIRY_MARGIN: Duration = Duration::from_secs(1);

/// A ledger that remembers completed operations.
#[derive(Debug)]
pub struct Remembering<L> {
    ledger: L,
    clock: Clock,
    completed: Cache<OperationDigest, Arc<Standing>, ByBytes>,
    /// How many times it was told to forget: what was read before is not remembered after.
    forgotten: AtomicU64,
}

/// Weighs a copy by the bytes it holds.
#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<OperationDigest, Arc<Standing>> for ByBytes {
    fn weight(&self, _: &OperationDigest, standing: &Arc<Standing>) -> u64 {
        const ROW_BYTES: usize = 400;
        let answer = match &standing.occupied {
            Occupied::Completed { answer: Some(answer), .. } => answer,
            _ => return ROW_BYTES as u64,
        };
        (ROW_BYTES + answer.headers.as_packed().len() + answer.body.as_ref().map_or(0, bytes::Bytes::len))
            as u64
    }
}

impl<L: Claims> Remembering<L> {
    /// Wraps `ledger`, remembering at most `bytes_max` of answers, of which at most a sixteenth is one answer.
    pub fn new(ledger: L, clock: Clock, bytes_max: u64) -> Self {
        // A typical answer is about a kilobyte with its row: that many slots are prepared.
        let slots = usize::try_from(bytes_max / 1_024).unwrap_or(usize::MAX).max(16);
        Self {
            ledger,
            clock,
            completed: Cache::with_weighter(slots, bytes_max, ByBytes),
            forgotten: AtomicU64::new(0),
        }
    }

    /// The copy of the operation of this name, if it is still good.
    fn recall(&self, name: &OperationName) -> Option<Arc<Standing>> {
        let standing = self.completed.get(&name.digest())?;
        let Occupied::Completed { expires_at, .. } = &standing.occupied else { return None };
        let good = standing.name == *name && self.clock.wall().after(EXPIRY_MARGIN) < *expires_at;
        if !good {
            self.completed.remove(&name.digest());
        }
        good.then_some(standing)
    }
}

impl<L: Claims> Claims for Remembering<L> {
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<ClaimOutcome, LedgerError>> {
        if let Some(standing) = self.recall(&request.name) {
            return Box::pin(std::future::ready(Ok(ClaimOutcome::Occupied(standing))));
        }
        Box::pin(async move {
            let forgotten = self.forgotten.load(Ordering::SeqCst);
            let outcome = self.ledger.claim(request).await?;
            if let ClaimOutcome::Occupied(standing) = &outcome {
                // One that a person settled without its answer may yet learn it.
                if let Occupied::Completed { answer: Some(_), .. } = &standing.occupied {
                    let digest = standing.name.digest();
                    self.completed.insert(digest, Arc::clone(standing));
                    // It may have been erased after it was read; whoever forgets after this look finds the copy.
                    if self.forgotten.load(Ordering::SeqCst) != forgotten {
                        self.completed.remove(&digest);
                    }
                }
            }
            Ok(outcome)
        })
    }

    fn finish(&self, claim: &Claim, end: AttemptEnd) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        self.ledger.finish(claim, end)
    }

    fn watch(&self, digest: OperationDigest) -> Result<Watch, TooManyWaiters> {
        self.ledger.watch(digest)
    }

    fn live(&self) -> &LiveClaims {
        self.ledger.live()
    }
}

impl<L: Operations> Operations for Remembering<L> {
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

impl<L: Settlements> Settlements for Remembering<L> {
    fn settle(&self, id: OperationId, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        self.ledger.settle(id, settlement)
    }
}

impl<L: Erasure> Erasure for Remembering<L> {
    /// Forgets every copy, also of what another node erased before.
    fn erase(&self, order: Erase) -> BoxFuture<'_, Result<Erased, LedgerError>> {
        Box::pin(async move {
            let dry_run = order.dry_run;
            let erased = self.ledger.erase(order).await;
            // Also where it failed: nobody knows then what was erased.
            if !dry_run {
                self.forgotten.fetch_add(1, Ordering::SeqCst);
                self.completed.clear();
            }
            erased
        })
    }

    fn scour(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.scour()
    }
}

impl<L: Credentials> Credentials for Remembering<L> {
    fn issue(&self, order: Issue) -> BoxFuture<'_, Result<(), CredentialError>> {
        self.ledger.issue(order)
    }

    fn revoke(&self, id: CredentialId, at: Timestamp) -> BoxFuture<'_, Result<(), CredentialError>> {
        self.ledger.revoke(id, at)
    }

    fn credentials(&self, since: Revision) -> BoxFuture<'_, Result<CredentialChanges, LedgerError>> {
        self.ledger.credentials(since)
    }

    fn note_used(&self, uses: Vec<(CredentialId, Timestamp)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.note_used(uses)
    }
}

impl<L: Bans> Bans for Remembering<L> {
    fn ban(&self, order: BanOrder) -> BoxFuture<'_, Result<Option<Ban>, BanError>> {
        self.ledger.ban(order)
    }

    fn lift(&self, subject: BanSubject, at: Timestamp) -> BoxFuture<'_, Result<Ban, BanError>> {
        self.ledger.lift(subject, at)
    }

    fn bans(&self, since: Revision) -> BoxFuture<'_, Result<BanChanges, LedgerError>> {
        self.ledger.bans(since)
    }
}

impl<L: Backlog + Claims + Operations> Backlog for Remembering<L> {
    fn enqueue(&self, work: Enqueue) -> BoxFuture<'_, Result<Enqueued, LedgerError>> {
        match self.recall(&work.name) {
            Some(standing) => Box::pin(std::future::ready(Ok(Enqueued::Occupied(standing)))),
            None => self.ledger.enqueue(work),
        }
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

    /// Forgets the copy of a completed one.
    fn purge(&self, id: OperationId) -> BoxFuture<'_, Result<StateName, ChangeError>> {
        Box::pin(async move {
            let found = self.ledger.operation(id).await?;
            let purged = self.ledger.purge(id).await;
            if let Some(found) = found {
                self.forgotten.fetch_add(1, Ordering::SeqCst);
                self.completed.remove(&found.name.digest());
            }
            purged
        })
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

impl<L: Redrives> Redrives for Remembering<L> {
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

impl<L: Pauses> Pauses for Remembering<L> {
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

impl<L: Duties> Duties for Remembering<L> {
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

impl<L: Upkeep> Upkeep for Remembering<L> {
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
