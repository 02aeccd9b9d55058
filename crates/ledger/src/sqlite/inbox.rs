//! What the writer is to do, from all who ask.
//!
//! Whoever asks first on a thread does not wake the writer at once: it lets the other tasks that are ready there ask
//! too, and then rings for all of them. Waking it for each would cost a switch of threads each time, and cut batches
//! into crumbs wherever the two share a core. Should that task put off looking at its answer, the others wait for no
//! longer than the writer sleeps.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    thread::{self, ThreadId},
    time::Duration,
};

use super::job::Job;
use crate::LedgerError;

/// The way to the writer; clones lead to the same one.
#[derive(Clone)]
pub(super) struct Inbox(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Vec<Box<dyn Job>>,
    /// The threads on which somebody is going to ring.
    ringers: Vec<ThreadId>,
    /// Whether the writer sleeps.
    asleep: bool,
    stopping: bool,
    /// Whether the writer is gone.
    closed: bool,
}

/// What the writer found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Something to do.
    Jobs,
    /// Nothing, for as long as it wanted to wait.
    Nothing,
    /// Nothing, and nothing more will come.
    Stop,
}

/// The duty to ring, if it is this task's: once the others have had their turn, or when it is dropped.
pub(super) struct Bell {
    duty: Option<(Inbox, ThreadId)>,
    others_had_their_turn: bool,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), rung: Condvar::new() }))
    }

    /// Adds a job. It is taken in once the bell is rung, at the latest.
    ///
    /// # Errors
    /// [`LedgerError::Closed`] where the writer is gone.
    pub(super) fn add(&self, job: Box<dyn Job>) -> Result<Bell, LedgerError> {
        let thread = thread::current().id();
        let mut state = self.lock();
        if state.closed || state.stopping {
            return Err(LedgerError::Closed);
        }
        state.jobs.push(job);
        let somebody_rings = state.ringers.contains(&thread);
        if !somebody_rings {
            state.ringers.push(thread);
        }
        let duty = (!somebody_rings).then(|| (self.clone(), thread));
        Ok(Bell { duty, others_had_their_turn: false })
    }

    /// Has the writer finish what was asked before this, and end.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.0.rung.notify_one();
    }

    /// Moves at most `max` jobs into `batch`, waiting for one for as long as `patience`.
    pub(super) fn take(&self, batch: &mut Vec<Box<dyn Job>>, max: usize, patience: Duration) -> Found {
        let mut state = self.lock();
        if state.jobs.is_empty() && !state.stopping {
            state.asleep = true;
            let sleeps = |state: &mut State| state.asleep && !state.stopping;
            let woken = self.0.rung.wait_timeout_while(state, patience, sleeps);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        if state.jobs.is_empty() {
            return if state.stopping { Found::Stop } else { Found::Nothing };
        }
        let taken = state.jobs.len().min(max);
        batch.extend(state.jobs.drain(..taken));
        Found::Jobs
    }

    /// Nobody takes jobs any more: those that are left are dropped, which tells whoever waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = mem::take(&mut state.jobs);
        drop(state);
        drop(left);
    }

    fn ring(&self, thread: ThreadId) {
        let mut state = self.lock();
        state.ringers.retain(|ringer| *ringer != thread);
        // One that is awake looks for more by itself.
        if state.asleep && !state.jobs.is_empty() {
            state.asleep = false;
            drop(state);
            self.0.rung.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Future for Bell {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.duty.is_some() && !mem::replace(&mut self.others_had_their_turn, true) {
            // To the end of the queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ring();
        Poll::Ready(())
    }
}

impl Bell {
    fn ring(&mut self) {
        if let Some((inbox, thread)) = self.duty.take() {
            inbox.ring(thread);
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::sqlite::job::CatchUp;

    fn add(inbox: &Inbox) -> Bell {
        inbox.add(CatchUp::boxed().0).expect("an open inbox")
    }

    fn poll(bell: &mut Bell) -> Poll<()> {
        Pin::new(bell).poll(&mut Context::from_waker(Waker::noop()))
    }

    /// The writer, asleep: it says how many jobs it found.
    fn asleep(inbox: &Inbox) -> thread::JoinHandle<usize> {
        let writer = thread::spawn({
            let inbox = inbox.clone();
            move || {
                let mut batch = Vec::new();
                inbox.take(&mut batch, 10, Duration::from_secs(60));
                batch.len()
            }
        });
        while !inbox.lock().asleep {
            thread::yield_now();
        }
        writer
    }

    #[test]
    fn the_first_on_a_thread_rings_for_all_when_they_have_had_their_turn() {
        let inbox = Inbox::new();
        let writer = asleep(&inbox);
        let (mut first, mut second) = (add(&inbox), add(&inbox));
        assert_eq!(poll(&mut second), Poll::Ready(()), "it is not the second's duty");
        assert_eq!(poll(&mut first), Poll::Pending, "others may come");
        assert!(inbox.lock().asleep);
        let _third = add(&inbox);
        assert_eq!(poll(&mut first), Poll::Ready(()));
        assert_eq!(writer.join().expect("no panic"), 3);
    }

    #[test]
    fn a_bell_that_is_dropped_rings() {
        let inbox = Inbox::new();
        let writer = asleep(&inbox);
        drop(add(&inbox));
        assert_eq!(writer.join().expect("no panic"), 1);
    }

    #[test]
    fn a_writer_that_stops_takes_what_was_asked_before_and_nothing_after() {
        let inbox = Inbox::new();
        drop(add(&inbox));
        inbox.stop();
        assert_eq!(inbox.add(CatchUp::boxed().0).err(), Some(LedgerError::Closed));
        let (mut batch, patience) = (Vec::new(), Duration::from_secs(60));
        assert_eq!(inbox.take(&mut batch, 10, patience), Found::Jobs);
        assert_eq!(inbox.take(&mut batch, 10, patience), Found::Stop);
    }

    #[test]
    fn jobs_that_nobody_will_take_are_dropped() {
        let inbox = Inbox::new();
        let (job, mut answer) = CatchUp::boxed();
        drop(inbox.add(job));
        inbox.close();
        assert_eq!(Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(None));
        assert_eq!(inbox.add(CatchUp::boxed().0).err(), Some(LedgerError::Closed));
    }
}
