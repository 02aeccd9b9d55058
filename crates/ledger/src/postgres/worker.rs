//! The connections that carry claims and finishes: each takes a batch, runs it as one transaction, and tells
//! the callers. What fails in company is tried again in smaller company, until its caller gives up.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    backoff::Backoff,
    batch::{Batch, Done},
    failure::Failure,
    queue::{Command, Work},
    session::Session,
    shared::Shared,
    take_back::Orphan,
};
use crate::{ClaimOutcome, LedgerError, OpenError};

/// How long a command waits before it meets somebody's lock again.
const BLOCKED_WAIT: Duration = Duration::from_millis(20);

/// Runs one connection for as long as the ledger lives.
pub(super) async fn run(shared: Arc<Shared>, mut session: Option<Session>) {
    let mut backoff = Backoff::default();
    loop {
        let open = match session.take() {
            Some(session) => Ok(session),
            None => Session::open(&shared.config, &shared.path, &shared.options).await,
        };
        match open {
            Ok(session) => {
                backoff.reset();
                shared.seen(&session.server);
                let failure = serve(&shared, &session).await;
                tracing::warn!(ledger = shared.path, reason = %failure.to_error(), "lost a connection to the ledger");
                shared.set_down(failure.to_error());
            }
            Err(error) => {
                tracing::warn!(ledger = shared.path, %error, "the ledger cannot be reached");
                shared.set_down(match error {
                    OpenError::ReadOnly { .. } => LedgerError::ReadOnly,
                    error => LedgerError::Unreachable(error.to_string()),
                });
                let reason = shared.down();
                shared.queue.purge().into_iter().for_each(|command| refuse(&shared, command, &reason));
                backoff.wait().await;
            }
        }
    }
}

/// Runs batches until the connection is lost, and says how.
async fn serve(shared: &Shared, session: &Session) -> Failure {
    loop {
        let batch = shared.queue.take().await;
        if session.is_closed() {
            shared.queue.put_back(batch);
            return Failure::Lost("the connection was closed".into());
        }
        let lost = process(shared, session, batch).await;
        shared.queue.batch_done();
        // Those who were just told come back with their next command: let them, and take those along.
        tokio::task::yield_now().await;
        if let Err(failure) = lost {
            return failure;
        }
    }
}

/// Runs a batch, in halves where it fails as a whole.
async fn process(shared: &Shared, session: &Session, batch: Vec<Command>) -> Result<(), Failure> {
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        let part = weed(shared, part);
        if part.is_empty() {
            continue;
        }
        let transaction = Batch::new(session, &shared.options, &part);
        let began = transaction.began();
        match transaction.run().await {
            Ok(outcome) => {
                shared.answered();
                shared.wake(&outcome.wakes);
                if outcome.brings_work {
                    shared.arrived();
                }
                for (command, done) in part.into_iter().zip(outcome.done) {
                    tell(shared, command, done);
                }
            }
            Err(failure @ (Failure::Lost(_) | Failure::ReadOnly)) => {
                let mut rest = part;
                rest.iter_mut().for_each(|command| {
                    command.maybe_written.get_or_insert(began);
                });
                rest.extend(parts.into_iter().rev().flatten());
                shared.queue.put_back(rest);
                return Err(failure);
            }
            Err(failure) => {
                if let Err(lost) = session.roll_back().await {
                    let mut rest = part;
                    rest.extend(parts.into_iter().rev().flatten());
                    shared.queue.put_back(rest);
                    return Err(lost);
                }
                shared.answered();
                tracing::debug!(commands = part.len(), reason = %failure.to_error(), "a batch failed");
                split(shared, part, &failure, &mut parts);
            }
        }
    }
    Ok(())
}

/// Leaves out what nobody waits for any more, and what came too late.
fn weed(shared: &Shared, part: Vec<Command>) -> Vec<Command> {
    let now = Instant::now();
    let (mut kept, mut late) = (Vec::with_capacity(part.len()), Vec::new());
    for command in part {
        if command.is_abandoned() || now >= command.deadline {
            late.push(command)
        } else {
            kept.push(command)
        }
    }
    for command in late {
        let reason = shared.down();
        fail(shared, command, &reason);
    }
    kept
}

/// A batch that failed and was rolled back: its halves next, and what failed alone waits a little.
fn split(shared: &Shared, mut part: Vec<Command>, failure: &Failure, parts: &mut Vec<Vec<Command>>) {
    if *failure == Failure::Full {
        part.into_iter().for_each(|command| fail(shared, command, &LedgerError::Full));
        return;
    }
    part.iter_mut().for_each(|command| command.cautious = true);
    if part.len() > 1 {
        let second = part.split_off(part.len() / 2);
        parts.push(second);
        parts.push(part);
        return;
    }
    for command in part {
        match failure {
            Failure::Busy(_) => wait_for_lock(shared, command, failure),
            _ => fail(shared, command, &failure.to_error()),
        }
    }
}

/// Puts a command back that met somebody's lock, unless its caller would have given up by then.
fn wait_for_lock(shared: &Shared, mut command: Command, failure: &Failure) {
    let next = Instant::now() + BLOCKED_WAIT;
    if next >= command.deadline {
        return fail(shared, command, &failure.to_error());
    }
    command.not_before = Some(next);
    command.cautious = true;
    shared.queue.put_back(vec![command]);
}

/// Tells a caller what became of its command, or puts the command back for its next step.
fn tell(shared: &Shared, mut command: Command, done: Done) {
    match (done, &mut command.work) {
        (Done::Blocked, _) => {
            let failure = Failure::Busy("somebody else has its row locked".into());
            wait_for_lock(shared, command, &failure);
        }
        (Done::Lock, Work::Claim { lock, .. } | Work::Enqueue { lock, .. }) => {
            *lock = true;
            shared.queue.put_back(vec![command]);
        }
        (Done::Fresh, Work::Claim { lock, .. } | Work::Enqueue { lock, .. }) => {
            *lock = false;
            command.cautious = true;
            shared.queue.put_back(vec![command]);
        }
        (done, _) => {
            shared.queue.done(command.digest);
            answer(shared, command.work, done);
        }
    }
}

fn answer(shared: &Shared, work: Work, done: Done) {
    match (work, done) {
        (Work::Claim { request, reply, .. }, Done::Claim(result)) => {
            // A caller that has gone sent nothing: its claim must not stand until the lease runs out.
            if let Err(Ok(ClaimOutcome::Granted(_))) = reply.send(result) {
                shared.take_back(Orphan::of(&request));
            }
        }
        (Work::Finish { reply, .. }, Done::Finish(result)) => {
            let _ = reply.send(result);
        }
        (Work::Enqueue { reply, .. }, Done::Enqueue(result)) => {
            let _ = reply.send(result);
        }
        (Work::TakeBack { reply, .. }, Done::TakeBack(certain)) => {
            let _ = reply.send(Ok(certain));
        }
        // A batch decides each command in its own terms.
        (
            _,
            Done::Claim(_)
            | Done::Enqueue(_)
            | Done::Finish(_)
            | Done::TakeBack(_)
            | Done::Lock
            | Done::Fresh
            | Done::Blocked,
        ) => {}
    }
}

/// Ends a command that was taken and not done.
fn fail(shared: &Shared, command: Command, error: &LedgerError) {
    shared.queue.done(command.digest);
    refuse(shared, command, error);
}

/// Tells a caller that its command was not done; a claim that may stand all the same is taken back.
fn refuse(shared: &Shared, command: Command, error: &LedgerError) {
    match command.work {
        Work::Claim { request, reply, .. } => {
            if command.maybe_written.is_some() {
                shared.take_back(Orphan::of(&request));
            }
            let _ = reply.send(Err(error.clone()));
        }
        Work::Finish { reply, .. } => {
            let _ = reply.send(Err(error.clone()));
        }
        Work::Enqueue { reply, .. } => {
            let _ = reply.send(Err(error.clone()));
        }
        Work::TakeBack { reply, .. } => {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
