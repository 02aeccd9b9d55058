//! A ledger whose answers a test decides, and which writes down what it was asked.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use steadfast_core::{
    Answer, AttemptEnd, Ban, BanOrder, BanSubject, Bucket, CredentialId, Fence, Key, Namespace,
    OperationDigest, OperationId, Timestamp,
};
use steadfast_ledger::{
    AttemptRecord, BanChanges, BanError, Bans, BoxFuture, Claim, ClaimOutcome, ClaimRequest, Claims, Clock,
    Counts, CredentialChanges, CredentialError, Credentials, Cursor, Erase, Erased, Erasure, Filter,
    Finished, Issue, LedgerError, LiveClaims, OperationRecord, Operations, Page, Reaped, Revision,
    SettleError, Settled, Settlement, Settlements, Swept, TooManyWaiters, Upkeep, Watch,
};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// What the ledger was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Renew(usize),
    Reap,
    Sweep,
    Check,
}

/// How the ledger takes the next questions, until it is told otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// It fails.
    Failing,
    /// It answers, but this much time passes first.
    Slow(Duration),
    /// It answers, but reaping takes this much time.
    SlowToReap(Duration),
    /// It never answers.
    Silent,
    /// It has a defect.
    Panicking,
}

pub(crate) struct Scripted {
    clock: Clock,
    live: LiveClaims,
    script: Mutex<Script>,
}

struct Script {
    mood: Mood,
    asked: Vec<Asked>,
    expired: u32,
    sweepable: u32,
    lost: Vec<Fence>,
}

impl Scripted {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        let script =
            Script { mood: Mood::Well, asked: Vec::new(), expired: 0, sweepable: 0, lost: Vec::new() };
        Arc::new(Self { clock, live: LiveClaims::default(), script: Mutex::new(script) })
    }

    pub(crate) fn feel(&self, mood: Mood) {
        self.script.lock().unwrap().mood = mood;
    }

    /// This many claims' leases have run out.
    pub(crate) fn expire(&self, claims: u32) {
        self.script.lock().unwrap().expired += claims;
    }

    /// This many operations are past their retention.
    pub(crate) fn outlive(&self, operations: u32) {
        self.script.lock().unwrap().sweepable += operations;
    }

    /// The claim with this fence is somebody else's.
    pub(crate) fn lose(&self, fence: Fence) {
        self.script.lock().unwrap().lost.push(fence);
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.script.lock().unwrap().asked)
    }

    fn answer<T: Send + 'static>(
        &self,
        asked: Asked,
        answer: impl FnOnce(&mut Script) -> T,
    ) -> BoxFuture<'_, Result<T, LedgerError>> {
        let mut script = self.script.lock().unwrap();
        let reaping = asked == Asked::Reap;
        script.asked.push(asked);
        let mood = script.mood.clone();
        let answer = answer(&mut script);
        drop(script);
        match mood {
            Mood::Well => Box::pin(std::future::ready(Ok(answer))),
            Mood::Failing => {
                Box::pin(std::future::ready(Err(LedgerError::Unreachable("it is away".to_owned()))))
            }
            Mood::SlowToReap(_) if !reaping => Box::pin(std::future::ready(Ok(answer))),
            Mood::Slow(time) | Mood::SlowToReap(time) => {
                self.clock.advance(time);
                Box::pin(std::future::ready(Ok(answer)))
            }
            Mood::Silent => Box::pin(std::future::pending()),
            Mood::Panicking => panic!("a defect"),
        }
    }
}

/// The id and a fence of some operation.
pub(crate) fn claim(number: u64) -> (OperationId, Fence) {
    let namespace = Namespace::global();
    let digest = OperationDigest::of(&namespace, &Key::new(&number.to_string()).unwrap());
    (OperationId::new(Bucket::of(&namespace), number, &digest), Fence::random())
}

/// A clock that stands still until the test moves it.
pub(crate) fn still() -> Clock {
    Clock::manual(Timestamp::from_millis(1_700_000_000_000))
}

impl Upkeep for Scripted {
    fn renew(&self, claims: Vec<(Fence, OperationId)>) -> BoxFuture<'_, Result<Vec<Fence>, LedgerError>> {
        self.answer(Asked::Renew(claims.len()), |script| {
            let (lost, kept) =
                script.lost.iter().partition(|lost| claims.iter().any(|(fence, _)| fence == *lost));
            script.lost = kept;
            lost
        })
    }

    fn reap(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Reaped>, LedgerError>> {
        self.answer(Asked::Reap, |script| {
            let batch = script.expired.min(limit);
            script.expired -= batch;
            let reaped = (0..batch).map(|number| {
                let (operation, _) = claim(number.into());
                Reaped { operation, digest: OperationDigest::from_bytes([7; 16]) }
            });
            reaped.collect()
        })
    }

    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, LedgerError>> {
        self.answer(Asked::Sweep, |script| {
            let batch = script.sweepable.min(limit);
            script.sweepable -= batch;
            Swept { removed: batch - batch / 4, entombed: batch / 4 }
        })
    }

    fn lease(&self) -> Duration {
        LEASE
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.answer(Asked::Check, |_| ())
    }
}

impl Claims for Scripted {
    fn claim(&self, _: ClaimRequest) -> BoxFuture<'_, Result<ClaimOutcome, LedgerError>> {
        closed()
    }

    fn finish(&self, _: &Claim, _: AttemptEnd) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        closed()
    }

    fn watch(&self, _: OperationDigest) -> Result<Watch, TooManyWaiters> {
        Err(TooManyWaiters { waiters_max: 0 })
    }

    fn live(&self) -> &LiveClaims {
        &self.live
    }
}

impl Operations for Scripted {
    fn operation(&self, _: OperationId) -> BoxFuture<'_, Result<Option<OperationRecord>, LedgerError>> {
        closed()
    }

    fn attempts(&self, _: OperationId) -> BoxFuture<'_, Result<Vec<AttemptRecord>, LedgerError>> {
        closed()
    }

    fn answer(&self, _: OperationId) -> BoxFuture<'_, Result<Option<Answer>, LedgerError>> {
        closed()
    }

    fn list(&self, _: Filter) -> BoxFuture<'_, Result<Page, LedgerError>> {
        closed()
    }

    fn of_request(&self, _: Box<str>, _: Option<Cursor>) -> BoxFuture<'_, Result<Page, LedgerError>> {
        closed()
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, LedgerError>> {
        let well = self.script.lock().unwrap().mood == Mood::Well;
        let counts = Counts { in_doubt: 3, ..Counts::default() };
        Box::pin(std::future::ready(if well { Ok(counts) } else { Err(LedgerError::Full) }))
    }
}

impl Settlements for Scripted {
    fn settle(&self, _: OperationId, _: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        Box::pin(std::future::ready(Err(SettleError::NotFound)))
    }
}

impl Erasure for Scripted {
    fn erase(&self, _: Erase) -> BoxFuture<'_, Result<Erased, LedgerError>> {
        closed()
    }

    fn scour(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        closed()
    }
}

impl Credentials for Scripted {
    fn issue(&self, _: Issue) -> BoxFuture<'_, Result<(), CredentialError>> {
        Box::pin(std::future::ready(Err(CredentialError::NotFound)))
    }

    fn revoke(&self, _: CredentialId, _: Timestamp) -> BoxFuture<'_, Result<(), CredentialError>> {
        Box::pin(std::future::ready(Err(CredentialError::NotFound)))
    }

    fn credentials(&self, _: Revision) -> BoxFuture<'_, Result<CredentialChanges, LedgerError>> {
        closed()
    }

    fn note_used(&self, _: Vec<(CredentialId, Timestamp)>) -> BoxFuture<'_, Result<(), LedgerError>> {
        closed()
    }
}

impl Bans for Scripted {
    fn ban(&self, _: BanOrder) -> BoxFuture<'_, Result<Option<Ban>, BanError>> {
        Box::pin(std::future::ready(Err(BanError::NotFound)))
    }

    fn lift(&self, _: BanSubject, _: Timestamp) -> BoxFuture<'_, Result<Ban, BanError>> {
        Box::pin(std::future::ready(Err(BanError::NotFound)))
    }

    fn bans(&self, _: Revision) -> BoxFuture<'_, Result<BanChanges, LedgerError>> {
        closed()
    }
}

pub(crate) fn closed<T: Send + 'static>() -> BoxFuture<'static, Result<T, LedgerError>> {
    Box::pin(std::future::ready(Err(LedgerError::Closed)))
}
