//! Answers, and requests that are kept for later, encrypted before a ledger sees them, and decrypted after it gives them
//! back. Wrapped round any ledger:
//! neither its tables nor its logs, evidence or backups ever hold a plain answer.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steadfast_core::{
    Answer, AttemptEnd, Ban, BanOrder, BanSubject, CredentialId, Fence, HeaderFields, Next, NotSentCause,
    OperationDigest, OperationId, StateName, Timestamp,
};

use tokio::sync::watch;

use crate::{
    AttemptRecord, Backlog, BanChanges, BanError, Bans, BoxFuture, Cancelled, ChangeError, Claim,
    ClaimOutcome, ClaimRequest, Claims, Conclusion, Counts, CredentialChanges, CredentialError, Credentials,
    Cursor, DeadLetters, Duties, Enqueue, Enqueued, Erase, Erased, Erasure, Filter, Finished, Issue,
    KeptRequest, KeptWork, Keys, LedgerError, LetterFilter, Letters, LiveClaims, Occupied, OperationRecord,
    Operations, Page, PauseError, PauseOrder, Pauses, Reaped, Redrive, RedriveRun, Redrives, Revision,
    RouteBacklog, RoutePause, RunError, RunId, RunOrder, RunTurn, SettleError, Settled, Settlement,
    Settlements, Standing, Step, Swept, Taken, TooManyWaiters, Upkeep, Verdict, Watch, Wish,
    sealing::{self, Unreadable, Whose},
};

/// How many different reasons for an unreadable answer are told; the rest would be noise.
const TOLD_MAX: usize = 100;

/// How long a request that cannot be decrypted rests before it is looked at again: its key may be put back.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);

/// A ledger whose answers and kept requests are encrypted.
#[derive(Debug)]
pub struct Encrypting<L> {
    ledger: L,
    keys: Keys,
    /// What was said in the log, so that it is said once.
    told: Mutex<HashSet<String>>,
}

impl<L> Encrypting<L> {
    /// Wraps `ledger`. New answers are encrypted with the first of `keys`, and answers under any of them are read, as
    /// are those that were never encrypted. Without keys nothing is encrypted, and what was is unavailable.
    pub fn new(ledger: L, keys: Keys) -> Self {
        Self { ledger, keys, told: Mutex::default() }
    }

    fn sealed(&self, whose: Whose, answer: Answer) -> Answer {
        match self.keys.first() {
            Some(key) => sealing::seal(key, whose, &answer),
            None => answer,
        }
    }

    /// The answer as it was, or, where it cannot be decrypted, as one whose body was not kept.
    fn opened(&self, whose: Whose, answer: Answer) -> Answer {
        let status = answer.status;
        sealing::open(&self.keys, whose, answer).unwrap_or_else(|unreadable| {
            self.tell_once(whose, &unreadable);
            Answer { status, headers: HeaderFields::default(), body: None }
        })
    }

    fn tell_once(&self, whose: Whose, unreadable: &Unreadable) {
        let about = match unreadable {
            Unreadable::NoKey(key) => format!("key {key}"),
            Unreadable::Changed => whose.operation.to_string(),
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX || !told.insert(about) {
            return;
        }
        match unreadable {
            Unreadable::NoKey(key) => tracing::error!(
                %key,
                "answers are encrypted with a key that is not in the key file: their replays are unavailable until it \
                 is put back"
            ),
            Unreadable::Changed => tracing::error!(
                operation = %whose.operation,
                "an encrypted answer was changed, or belongs to another operation: its replay is unavailable"
            ),
        }
    }

    fn opened_outcome(&self, outcome: ClaimOutcome) -> ClaimOutcome {
        match outcome {
            ClaimOutcome::Occupied(standing) => ClaimOutcome::Occupied(self.opened_standing(standing)),
            granted @ ClaimOutcome::Granted(_) => granted,
        }
    }

    fn opened_standing(&self, standing: Arc<Standing>) -> Arc<Standing> {
        if !has_sealed_answer(&standing) {
            return standing;
        }
        let mut standing = Arc::unwrap_or_clone(standing);
        let whose = Whose { operation: standing.operation, digest: standing.name.digest() };
        if let Occupied::Completed { answer, .. } = &mut standing.occupied {
            *answer = answer.take().map(|answer| self.opened(whose, answer));
        }
        Arc::new(standing)
    }

    fn sealed_end(&self, claim: &Claim, end: AttemptEnd) -> AttemptEnd {
        match end {
            AttemptEnd::Answered(answer) => {
                let whose = Whose { operation: claim.operation, digest: claim.digest };
                AttemptEnd::Answered(self.sealed(whose, answer))
            }
            AttemptEnd::NotSent(_) | AttemptEnd::Refused { .. } | AttemptEnd::Unknown { .. } => end,
        }
    }
}

impl<L: Backlog> Encrypting<L> {
    /// Gives back what was taken and cannot be sent.
    async fn put_off(&self, claim: &Claim) {
        let conclusion = Conclusion {
            end: AttemptEnd::NotSent(NotSentCause::HeldBack),
            next: Next::Again { after: UNREADABLE_PAUSE, counts: false },
            excerpt: Some("the kept request cannot be decrypted".into()),
        };
        if let Err(error) = self.ledger.conclude(claim, conclusion).await {
            tracing::warn!(operation = %claim.operation, %error, "what cannot be decrypted waits for its lease to end");
        }
    }
}

fn has_sealed_answer(standing: &Standing) -> bool {
    matches!(&standing.occupied, Occupied::Completed { answer: Some(answer), .. } if sealing::is_sealed(answer))
}

impl<L: Claims> Claims for Encrypting<L> {
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<ClaimOutcome, LedgerError>> {
        let claiming = self.ledger.claim(request);
        if self.keys.first().is_none() {
            // Whoever replays refuses what is encrypted, so this need not look at every claim.
            return claiming;
        }
        Box::pin(async move { claiming.await.map(|outcome| self.opened_outcome(outcome)) })
    }

    fn finish(&self, claim: &Claim, end: AttemptEnd) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        self.ledger.finish(claim, self.sealed_end(claim, end))
    }

    fn watch(&self, digest: OperationDigest) -> Result<Watch, TooManyWaiters> {
        self.ledger.watch(digest)
    }

    fn live(&self) -> &LiveClaims {
        self.ledger.live()
    }
}

impl<L: Operations> Operations for Encrypting<L> {
    fn operation(&self, id: OperationId) -> BoxFuture<'_, Result<Option<OperationRecord>, LedgerError>> {
        self.ledger.operation(id)
    }

    fn attempts(&self, id: OperationId) -> BoxFuture<'_, Result<Vec<AttemptRecord>, LedgerError>> {
        self.ledger.attempts(id)
    }

    fn answer(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Answer>, LedgerError>> {
        Box::pin(async move {
            let Some(answer) = self.ledger.answer(id).await? else { return Ok(None) };
            if !sealing::is_sealed(&answer) {
                return Ok(Some(answer));
            }
            // An id holds half of the digest. An operation that went meanwhile has no answer any more.
            let record = self.ledger.operation(id).await?;
            Ok(record
                .map(|record| self.opened(Whose { operation: id, digest: record.name.digest() }, answer)))
        })
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

impl<L: Settlements + Operations> Settlements for Encrypting<L> {
    fn settle(&self, id: OperationId, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        let Settlement { verdict: Verdict::Happened(Some(answer)), by, reason } = settlement else {
            return self.ledger.settle(id, settlement);
        };
        Box::pin(async move {
            let record = self.ledger.operation(id).await?.ok_or(SettleError::NotFound)?;
            let whose = Whose { operation: id, digest: record.name.digest() };
            let verdict = Verdict::Happened(Some(self.sealed(whose, answer)));
            self.ledger.settle(id, Settlement { verdict, by, reason }).await
        })
    }
}

impl<L: Erasure> Erasure for Encrypting<L> {
    fn erase(&self, order: Erase) -> BoxFuture<'_, Result<Erased, LedgerError>> {
        self.ledger.erase(order)
    }

    fn scour(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.ledger.scour()
    }
}

impl<L: Credentials> Credentials for Encrypting<L> {
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

impl<L: Bans> Bans for Encrypting<L> {
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

impl<L: Backlog> Backlog for Encrypting<L> {
    fn enqueue(&self, mut work: Enqueue) -> BoxFuture<'_, Result<Enqueued, LedgerError>> {
        if let Some(key) = self.keys.first() {
            work.request = sealing::seal_request(key, work.name.digest(), &work.request);
        }
        Box::pin(async move {
            Ok(match self.ledger.enqueue(work).await? {
                Enqueued::Occupied(standing) => Enqueued::Occupied(self.opened_standing(standing)),
                accepted @ Enqueued::Accepted { .. } => accepted,
            })
        })
    }

    /// What cannot be decrypted is not handed out: it waits for its key.
    fn take(&self, wishes: Vec<Wish>) -> BoxFuture<'_, Result<Taken, LedgerError>> {
        Box::pin(async move {
            let mut taken = self.ledger.take(wishes).await?;
            let mut readable = Vec::with_capacity(taken.jobs.len());
            for mut job in taken.jobs {
                let whose = Whose { operation: job.claim.operation, digest: job.claim.digest };
                match sealing::open_request(&self.keys, whose.digest, job.request) {
                    Ok(request) => {
                        job.request = request;
                        readable.push(job);
                    }
                    Err(unreadable) => {
                        self.tell_once(whose, &unreadable);
                        self.put_off(&job.claim).await;
                    }
                }
            }
            taken.jobs = readable;
            Ok(taken)
        })
    }

    fn conclude(
        &self,
        claim: &Claim,
        mut conclusion: Conclusion,
    ) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        conclusion.end = self.sealed_end(claim, conclusion.end);
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
        Box::pin(async move {
            let Some(mut work) = self.ledger.kept_work(id).await? else { return Ok(None) };
            let digest = work.digest;
            work.request =
                sealing::open_request(&self.keys, digest, work.request).unwrap_or_else(|unreadable| {
                    self.tell_once(Whose { operation: id, digest }, &unreadable);
                    KeptRequest::default()
                });
            Ok(Some(work))
        })
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

impl<L: Redrives> Redrives for Encrypting<L> {
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

impl<L: Pauses> Pauses for Encrypting<L> {
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

impl<L: Duties> Duties for Encrypting<L> {
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

impl<L: Upkeep> Upkeep for Encrypting<L> {
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
