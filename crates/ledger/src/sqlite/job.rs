//! What is asked of the writer: something to do, and whom to answer when it is on disk.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rusqlite::Result;
use steadfast_core::{AttemptEnd, Fence, NotSentCause, OperationId};

use super::{
    desk::Desk,
    inbox::Inbox,
    reply::{Replier, Reply, Wakes, reply},
};
use crate::{Claim, ClaimOutcome, ClaimRequest, Durability, Finished, LedgerError};

/// One thing to do.
pub(super) trait Job: Send {
    /// Does it at once, in memory and in the log, and keeps the result; whether it could.
    fn at_once(&mut self, _: &mut Desk) -> Result<bool> {
        Ok(false)
    }

    /// Does it in the tables, which have everything that the log says, in the transaction that is open, and keeps
    /// the result. It may be run again after the transaction was rolled back.
    fn run(&mut self, desk: &mut Desk) -> Result<()>;

    /// Whether [`Job::run`] does anything.
    fn runs(&self) -> bool {
        true
    }

    /// Whether nothing of what is erased may be left beside the tables before the answer goes out.
    fn scours(&self) -> bool {
        false
    }

    /// How durable what was done must be before the answer goes out.
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    /// Answers with what was kept, or with what went wrong.
    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>, wakes: &mut Wakes);
}

/// A job that is a function.
pub(super) struct Task<F, R> {
    run: F,
    at_once: bool,
    result: Option<R>,
    replier: Replier<R>,
}

impl<F, T, E> Task<F, std::result::Result<T, E>>
where
    F: FnMut(&mut Desk) -> Result<std::result::Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<LedgerError> + Send + 'static,
{
    /// The job, and where its answer comes. With `at_once` it touches nothing but memory.
    pub(super) fn boxed(run: F, at_once: bool) -> (Box<dyn Job>, Reply<std::result::Result<T, E>>) {
        let (replier, answer) = reply();
        (Box::new(Self { run, at_once, result: None, replier }), answer)
    }
}

impl<F, T, E> Job for Task<F, std::result::Result<T, E>>
where
    F: FnMut(&mut Desk) -> Result<std::result::Result<T, E>> + Send,
    T: Send + 'static,
    E: From<LedgerError> + Send + 'static,
{
    fn at_once(&mut self, desk: &mut Desk) -> Result<bool> {
        if self.at_once {
            self.run(desk)?;
        }
        Ok(self.at_once)
    }

    fn run(&mut self, desk: &mut Desk) -> Result<()> {
        self.result = Some((self.run)(desk)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>, wakes: &mut Wakes) {
        let result = match (outcome, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(LedgerError::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        self.replier.give(result, wakes);
    }
}

/// The end of an attempt.
pub(super) struct FinishJob {
    operation: OperationId,
    fence: Fence,
    end: Option<AttemptEnd>,
    result: Option<std::result::Result<Finished, LedgerError>>,
    replier: Replier<std::result::Result<Finished, LedgerError>>,
}

impl FinishJob {
    /// The job, and where its answer comes.
    pub(super) fn boxed(
        operation: OperationId,
        fence: Fence,
        end: AttemptEnd,
    ) -> (Box<dyn Job>, Reply<std::result::Result<Finished, LedgerError>>) {
        let (replier, answer) = reply();
        (Box::new(Self { operation, fence, end: Some(end), result: None, replier }), answer)
    }
}

impl Job for FinishJob {
    fn at_once(&mut self, desk: &mut Desk) -> Result<bool> {
        self.result = desk.finish_at_once(self.operation, self.fence, &mut self.end)?.map(Ok);
        Ok(self.result.is_some())
    }

    fn run(&mut self, desk: &mut Desk) -> Result<()> {
        if let Some(end) = &self.end {
            self.result = Some(desk.finish(self.operation, self.fence, end)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>, wakes: &mut Wakes) {
        let Self { result, replier, .. } = *self;
        replier.give(outcome.and_then(|()| result.unwrap_or(Err(LedgerError::Closed))), wakes);
    }
}

/// Waits until the tables have everything that was done before: for whoever reads them.
pub(super) struct CatchUp(Replier<std::result::Result<(), LedgerError>>);

impl CatchUp {
    /// The job, and where it says that the tables have caught up.
    pub(super) fn boxed() -> (Box<dyn Job>, Reply<std::result::Result<(), LedgerError>>) {
        let (replier, answer) = reply();
        (Box::new(Self(replier)), answer)
    }
}

impl Job for CatchUp {
    fn run(&mut self, _: &mut Desk) -> Result<()> {
        Ok(())
    }

    fn runs(&self) -> bool {
        false
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>, wakes: &mut Wakes) {
        self.0.give(outcome, wakes);
    }
}

/// Waits until nothing of what was erased is left beside the tables.
pub(super) struct Scour(Replier<std::result::Result<(), LedgerError>>);

impl Scour {
    /// The job, and where it says that nothing is left.
    pub(super) fn boxed() -> (Box<dyn Job>, Reply<std::result::Result<(), LedgerError>>) {
        let (replier, answer) = reply();
        (Box::new(Self(replier)), answer)
    }
}

impl Job for Scour {
    fn run(&mut self, _: &mut Desk) -> Result<()> {
        Ok(())
    }

    fn runs(&self) -> bool {
        false
    }

    fn scours(&self) -> bool {
        true
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>, wakes: &mut Wakes) {
        self.0.give(outcome, wakes);
    }
}

/// A claim. Unlike anything else it is taken back where nobody is there to hear that it was granted.
pub(super) struct ClaimJob {
    request: Option<ClaimRequest>,
    durability: Durability,
    result: Option<std::result::Result<ClaimOutcome, LedgerError>>,
    replier: Replier<Granting>,
    slot: Slot,
    inbox: Inbox,
}

impl ClaimJob {
    /// The job, and where its answer comes.
    pub(super) fn boxed(request: ClaimRequest, slot: Slot, inbox: Inbox) -> (Box<dyn Job>, Reply<Granting>) {
        let (replier, answer) = reply();
        let durability = request.durability;
        (Box::new(Self { request: Some(request), durability, result: None, replier, slot, inbox }), answer)
    }
}

impl Job for ClaimJob {
    fn at_once(&mut self, desk: &mut Desk) -> Result<bool> {
        self.result = desk.claim_at_once(&mut self.request)?;
        Ok(self.result.is_some())
    }

    fn run(&mut self, desk: &mut Desk) -> Result<()> {
        if let Some(request) = &self.request {
            self.result = Some(desk.claim(request)?);
        }
        Ok(())
    }

    fn durability(&self) -> Durability {
        // What was read must be on disk; only the loss of what was claimed costs nothing but a repeat.
        match self.result {
            Some(Ok(ClaimOutcome::Granted(_))) => self.durability,
            _ => Durability::Synced,
        }
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>, wakes: &mut Wakes) {
        let Self { result, replier, slot, inbox, .. } = *self;
        let outcome = outcome.and_then(|()| result.unwrap_or(Err(LedgerError::Closed)));
        // Where nobody waits any more, the answer comes back, and taking it back begins with its drop.
        replier.give(Granting { outcome: Some(outcome), inbox, _slot: slot }, wakes);
    }
}

/// The answer to a claim on its way to whoever asked. A grant that nobody takes in is given back: not a byte of
/// its attempt can have been sent.
pub(super) struct Granting {
    outcome: Option<std::result::Result<ClaimOutcome, LedgerError>>,
    inbox: Inbox,
    _slot: Slot,
}

impl Granting {
    /// Takes the answer in.
    pub(super) fn take(mut self) -> std::result::Result<ClaimOutcome, LedgerError> {
        self.outcome.take().unwrap_or(Err(LedgerError::Closed))
    }
}

impl Drop for Granting {
    fn drop(&mut self) {
        if let Some(Ok(ClaimOutcome::Granted(claim))) = self.outcome.take() {
            let Claim { operation, fence, .. } = claim;
            let end = AttemptEnd::NotSent(NotSentCause::HeldBack);
            let (job, _) = FinishJob::boxed(operation, fence, end);
            // A writer that has ended leaves the claim to whoever opens the file next.
            drop(self.inbox.add(job));
        }
    }
}

/// A place among the claims or the reads that wait; dropping it frees it.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// Takes a place. How many were taken before comes with it.
    pub(super) fn take(waiting: &Arc<AtomicUsize>) -> (Self, usize) {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        (Self(Arc::clone(waiting)), before)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
