//! Answers encrypted before a ledger sees them, and decrypted after it gives them back. Wrapped round any ledger:
//! neither its tables nor its logs, evidence or backups ever hold a plain answer.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steadfast_core::{
    Answer, AttemptEnd, Ban, BanOrder, BanSubject, CredentialId, Fence, HeaderFields, OperationDigest,
    OperationId, Timestamp,
};

use crate::{
    AttemptRecord, BanChanges, BanError, Bans, BoxFuture, Claim, ClaimOutcome, ClaimRequest, Claims, Counts,
    CredentialChanges, CredentialError, Credentials, Cursor, Erase, Erased, Erasure, Filter, Finished, Issue,
    Keys, LedgerError, LiveClaims, Occupied, OperationRecord, Operations, Page, Reaped, Revision,
    SettleError, Settled, Settlement, Settlements, Standing, Swept, TooManyWaiters, Upkeep, Verdict, Watch,
    sealing::{self, Unreadable, Whose},
};

/// How many different reasons for an unreadable answer are told; the rest would be noise.
const TOLD_MAX: usize = 100;

/// A ledger whose answers are encrypted.
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
            ClaimOutcome::Occupied(standing) if has_sealed_answer(&standing) => {
                let mut standing = Arc::unwrap_or_clone(standing);
                let whose = Whose { operation: standing.operation, digest: standing.name.digest() };
                if let Occupied::Completed { answer, .. } = &mut standing.occupied {
                    *answer = answer.take().map(|answer| self.opened(whose, answer));
                }
                ClaimOutcome::Occupied(Arc::new(standing))
            }
            other => other,
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
        let end = match end {
            AttemptEnd::Answered(answer) => {
                let whose = Whose { operation: claim.operation, digest: claim.digest };
                AttemptEnd::Answered(self.sealed(whose, answer))
            }
            AttemptEnd::NotSent(_) | AttemptEnd::Refused { .. } | AttemptEnd::Unknown { .. } => end,
        };
        self.ledger.finish(claim, end)
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
