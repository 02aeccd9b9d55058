//! Work on its way to whoever asked for it. What nobody takes in is given back: not a byte of it can have been sent.

use std::time::Duration;

use rusqlite::Result;
use steadfast_core::{AttemptEnd, Next, NotSentCause};

use super::{
    desk::Desk,
    inbox::Inbox,
    job::{Job, Task},
    reply::{Replier, Reply, Wakes, reply},
};
use crate::{Claim, Conclusion, LedgerError, Taken, Wish};

/// Takes what is due.
pub(super) struct TakeJob {
    wishes: Vec<Wish>,
    result: Option<Taken>,
    replier: Replier<Handing>,
    inbox: Inbox,
}

impl TakeJob {
    /// The job, and where its answer comes.
    pub(super) fn boxed(wishes: Vec<Wish>, inbox: Inbox) -> (Box<dyn Job>, Reply<Handing>) {
        let (replier, answer) = reply();
        (Box::new(Self { wishes, result: None, replier, inbox }), answer)
    }
}

impl Job for TakeJob {
    fn run(&mut self, desk: &mut Desk) -> Result<()> {
        self.result = Some(desk.take(&self.wishes)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), LedgerError>, wakes: &mut Wakes) {
        let Self { result, replier, inbox, .. } = *self;
        let taken = outcome.and_then(|()| result.ok_or(LedgerError::Closed));
        // Where nobody waits any more, the answer comes back, and giving it back begins with its drop.
        replier.give(Handing { taken: Some(taken), inbox }, wakes);
    }
}

/// What was taken, on its way.
pub(super) struct Handing {
    taken: Option<std::result::Result<Taken, LedgerError>>,
    inbox: Inbox,
}

impl Handing {
    /// Takes it in.
    pub(super) fn take(mut self) -> std::result::Result<Taken, LedgerError> {
        self.taken.take().unwrap_or(Err(LedgerError::Closed))
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        let Some(Ok(taken)) = self.taken.take() else { return };
        for taken in taken.jobs {
            let Claim { operation, fence, .. } = taken.claim;
            let conclusion = Conclusion {
                end: AttemptEnd::NotSent(NotSentCause::HeldBack),
                next: Next::Again { after: Duration::ZERO, counts: false },
                excerpt: None,
            };
            let give_back = move |desk: &mut Desk| desk.conclude(operation, fence, &conclusion);
            // A writer that has ended leaves the claim to whoever opens the file next.
            drop(self.inbox.add(Task::boxed(give_back, false).0));
        }
    }
}
