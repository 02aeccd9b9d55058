//! What is asked of the writer: something to run in a batch, and whom to answer when the batch is on disk.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use rusqlite::Result;
use steadfast_core::{AttemptEnd, NotSentCause};
use tokio::sync::oneshot;

use super::desk::Desk;
use crate::{Claim, ClaimOutcome, ClaimRequest, Durability, LedgerError};

/// What the writer takes from its channel.
pub(super) enum Message {
    /// Something to do.
    Job(Box<dyn Job>),
    /// Finish what was asked before this, then end.
    Stop,
}

/// One thing to do in a batch.
pub(super) trait Job: Send {
    /// Does it, in the transaction that is open, and keeps the result. It may be run again after the batch was
    /// rolled back.
    fn run(&mut self, desk: &mut Desk) -> Result<()>;

    /// How durable the batch must be before the answer goes out.
    fn durability(&self) -> Durability {
        Durability::Synced
    }

    /// Answers with what the last run kept, or with what went wrong.
    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>);
}

/// A job that is a function.
pub(super) struct Task<F, R> {
    run: F,
    result: Option<R>,
    reply: oneshot::Sender<R>,
}

impl<F, T, E> Task<F, std::result::Result<T, E>>
where
    F: FnMut(&mut Desk) -> Result<std::result::Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<LedgerError> + Send + 'static,
{
    /// The job, and where its answer comes.
    pub(super) fn boxed(run: F) -> (Box<dyn Job>, oneshot::Receiver<std::result::Result<T, E>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { run, result: None, reply }), answer)
    }
}

impl<F, T, E> Job for Task<F, std::result::Result<T, E>>
where
    F: FnMut(&mut Desk) -> Result<std::result::Result<T, E>> + Send,
    T: Send,
    E: From<LedgerError> + Send,
{
    fn run(&mut self, desk: &mut Desk) -> Result<()> {
        self.result = Some((self.run)(desk)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>) {
        let result = match (outcome, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(LedgerError::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        // Nobody waits any more: what was done stands.
        let _ = self.reply.send(result);
    }
}

/// A claim. Unlike anything else it is taken back where nobody is there to hear that it was granted.
pub(super) struct ClaimJob {
    request: ClaimRequest,
    result: Option<std::result::Result<ClaimOutcome, LedgerError>>,
    reply: oneshot::Sender<Granting>,
    slot: Slot,
    writer: mpsc::Sender<Message>,
}

impl ClaimJob {
    /// The job, and where its answer comes.
    pub(super) fn boxed(
        request: ClaimRequest,
        slot: Slot,
        writer: mpsc::Sender<Message>,
    ) -> (Box<dyn Job>, oneshot::Receiver<Granting>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { request, result: None, reply, slot, writer }), answer)
    }
}

impl Job for ClaimJob {
    fn run(&mut self, desk: &mut Desk) -> Result<()> {
        self.result = Some(desk.claim(&self.request)?);
        Ok(())
    }

    fn durability(&self) -> Durability {
        self.request.durability
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>) {
        let Self { result, reply, slot, writer, .. } = *self;
        let outcome = outcome.and_then(|()| result.unwrap_or(Err(LedgerError::Closed)));
        // Where nobody waits any more, the answer comes back, and taking it back begins with its drop.
        let _ = reply.send(Granting { outcome: Some(outcome), writer, _slot: slot });
    }
}

/// The answer to a claim on its way to whoever asked. A grant that nobody takes in is given back: not a byte of
/// its attempt can have been sent.
pub(super) struct Granting {
    outcome: Option<std::result::Result<ClaimOutcome, LedgerError>>,
    writer: mpsc::Sender<Message>,
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
            let (job, _) = Task::boxed(move |desk: &mut Desk| desk.finish(operation, fence, &end));
            // A writer that has ended leaves the claim to whoever opens the file next.
            let _ = self.writer.send(Message::Job(job));
        }
    }
}

/// A place among the claims that wait; dropping it frees it.
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
