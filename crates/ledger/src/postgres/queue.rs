//! What callers ask for, waiting to be taken in batches by whichever connection is free.
//!
//! No two commands about one operation are ever taken at once: the second waits until the first is done, so
//! that their order is kept and a node never waits for its own locks.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use steadfast_core::{AnswerDigest, AttemptEnd, Bucket, Fence, Next, OperationDigest};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{BootInstant, Claim, ClaimOutcome, ClaimRequest, Enqueue, Enqueued, Finished, LedgerError};

/// The most commands that one transaction takes.
pub(super) const BATCH_MAX: usize = 128;

/// The most bytes of answers that one transaction takes, unless a single one is larger.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How many waiting commands are looked at for one batch, past those whose operation is busy.
const LOOK_MAX: usize = 1_024;

/// Where a caller waits.
pub(super) type Reply<T> = oneshot::Sender<Result<T, LedgerError>>;

/// Something to be done about one operation.
#[derive(Debug)]
pub(super) struct Command {
    /// The operation's bucket.
    pub(super) bucket: Bucket,
    /// The operation's digest.
    pub(super) digest: OperationDigest,
    /// What is to be done.
    pub(super) work: Work,
    /// Until when it waits for a connection, should there be none.
    pub(super) wait_until: Instant,
    /// When its caller gives up.
    pub(super) deadline: Instant,
    /// Not to be tried before this instant.
    pub(super) not_before: Option<Instant>,
    /// Set once a connection took it up.
    pub(super) started: Arc<AtomicBool>,
    /// When it was first sent in a transaction whose fate is not known: it may have been written.
    pub(super) maybe_written: Option<BootInstant>,
    /// It failed in company or met somebody's lock: waits for no lock this time.
    pub(super) cautious: bool,
}

/// What is to be done about an operation.
#[derive(Debug)]
pub(super) enum Work {
    /// A claim.
    Claim {
        /// What is asked.
        request: Box<ClaimRequest>,
        /// The name is there already and may be claimable: its row is to be locked.
        lock: bool,
        /// Where the caller waits.
        reply: Reply<ClaimOutcome>,
    },
    /// An attempt's end.
    Finish {
        /// Whose.
        claim: Box<Claim>,
        /// How it ended.
        end: Box<AttemptEnd>,
        /// The digest of its answer, where there is one.
        answer: Option<AnswerDigest>,
        /// What follows, where a worker says so.
        next: Option<Next>,
        /// The beginning of an answer that was not final, for people.
        excerpt: Option<Box<str>>,
        /// Where the caller waits.
        reply: Reply<Finished>,
    },
    /// Work for later.
    Enqueue {
        /// What is to be accepted.
        work: Arc<Enqueue>,
        /// The name is there already and may have room: its row is to be locked.
        lock: bool,
        /// Where the caller waits.
        reply: Reply<Enqueued>,
    },
    /// A claim that may have been written and that nobody knows of: nothing was sent.
    TakeBack {
        /// Its fence.
        fence: Fence,
        /// Told whether it is certain now that the claim does not stand.
        reply: Reply<bool>,
    },
}

impl Command {
    /// Whether its caller has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.work {
            Work::Claim { reply, .. } => reply.is_closed(),
            Work::TakeBack { reply, .. } => reply.is_closed(),
            Work::Enqueue { reply, .. } => reply.is_closed(),
            // An outcome is worth writing also when nobody waits for the word of it.
            Work::Finish { .. } => false,
        }
    }

    /// Whether its row must be locked.
    pub(super) fn locks(&self) -> bool {
        !matches!(self.work, Work::Claim { lock: false, .. } | Work::Enqueue { lock: false, .. })
    }

    /// Which names it would take that nobody has, by the statement that does it. Each statement takes names in their order,
    /// so that nodes never wait for each other in a circle; two statements in one transaction would not.
    fn inserts(&self) -> Option<Inserts> {
        match self.work {
            Work::Claim { lock: false, .. } => Some(Inserts::Claims),
            Work::Enqueue { lock: false, .. } => Some(Inserts::Work),
            Work::Claim { .. } | Work::Enqueue { .. } | Work::Finish { .. } | Work::TakeBack { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match &self.work {
            Work::Finish { end, .. } => match &**end {
                AttemptEnd::Answered(answer) => answer.body.as_ref().map_or(0, bytes::Bytes::len),
                _ => 0,
            },
            Work::Enqueue { work, .. } => {
                work.request.body.len() + work.request.headers.as_packed().len() + work.request.target.len()
            }
            Work::Claim { .. } | Work::TakeBack { .. } => 0,
        }
    }
}

/// What a command takes names for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inserts {
    Claims,
    Work,
}

/// The commands of one process. Bounded by `open_max` claims and as many finishes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Command>,
    busy: HashSet<OperationDigest>,
}

impl Queue {
    /// Adds a command.
    pub(super) fn push(&self, command: Command) {
        self.lock().waiting.push_back(command);
        self.more.notify_one();
    }

    /// Puts commands back that were taken and not done, before those that came later.
    pub(super) fn put_back(&self, commands: Vec<Command>) {
        let mut inner = self.lock();
        for command in commands.into_iter().rev() {
            inner.busy.remove(&command.digest);
            inner.waiting.push_front(command);
        }
        drop(inner);
        self.more.notify_one();
    }

    /// Says that nothing more is done about this operation for now.
    pub(super) fn done(&self, digest: OperationDigest) {
        self.lock().busy.remove(&digest);
    }

    /// Says that a batch is over: commands that waited for its operations can be taken.
    pub(super) fn batch_done(&self) {
        if !self.lock().waiting.is_empty() {
            self.more.notify_one();
        }
    }

    /// Waits for commands and takes as many as fit into one transaction.
    pub(super) async fn take(&self) -> Vec<Command> {
        loop {
            let more = self.more.notified();
            let (batch, due, left) = self.take_now(Instant::now());
            if !batch.is_empty() {
                if left {
                    self.more.notify_one();
                }
                return batch;
            }
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, more).await;
                }
                None => more.await,
            }
        }
    }

    /// What can be taken now, when the next command that waits for its time is due, and whether any is left
    /// that could be taken.
    fn take_now(&self, now: Instant) -> (Vec<Command>, Option<Instant>, bool) {
        let mut inner = self.lock();
        let Inner { waiting, busy } = &mut *inner;
        let (mut batch, mut due, mut bytes, mut index) = (Vec::new(), None::<Instant>, 0, 0);
        let (mut inserts, mut left) = (None, false);
        while index < waiting.len().min(LOOK_MAX) && batch.len() < BATCH_MAX {
            let command = &waiting[index];
            if let Some(at) = command.not_before.filter(|at| *at > now) {
                due = Some(due.map_or(at, |due| due.min(at)));
                index += 1;
                continue;
            }
            let other_kind = inserts.is_some() && command.inserts().is_some_and(|kind| inserts != Some(kind));
            if busy.contains(&command.digest) || other_kind {
                left |= other_kind;
                index += 1;
                continue;
            }
            inserts = inserts.or(command.inserts());
            bytes += command.bytes();
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                break;
            }
            if let Some(command) = waiting.remove(index) {
                busy.insert(command.digest);
                command.started.store(true, Ordering::Relaxed);
                batch.push(command);
            }
        }
        left |= index < waiting.len();
        (batch, due, left)
    }

    /// Takes out what nobody waits for any more, and what has waited for a connection for too long. So callers
    /// learn in time that there is none, and a queue that nothing drains stays bounded.
    pub(super) fn purge(&self) -> Vec<Command> {
        let now = Instant::now();
        let mut inner = self.lock();
        let gone = |command: &Command| command.is_abandoned() || command.wait_until <= now;
        let (gone, kept): (VecDeque<_>, _) = std::mem::take(&mut inner.waiting).into_iter().partition(gone);
        inner.waiting = kept;
        Vec::from(gone)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn take_back(digest: u8) -> (Command, oneshot::Receiver<Result<bool, LedgerError>>) {
        let (reply, receiver) = oneshot::channel();
        let command = Command {
            bucket: Bucket::from_number(1).expect("a bucket"),
            digest: OperationDigest::from_bytes([digest; 16]),
            work: Work::TakeBack { fence: Fence::from_bytes([digest; 16]), reply },
            wait_until: Instant::now() + Duration::from_secs(60),
            deadline: Instant::now() + Duration::from_secs(60),
            not_before: None,
            started: Arc::default(),
            maybe_written: None,
            cautious: false,
        };
        (command, receiver)
    }

    fn digests(batch: &[Command]) -> Vec<u8> {
        batch.iter().map(|command| command.digest.as_bytes()[0]).collect()
    }

    #[tokio::test]
    async fn one_operation_is_in_one_batch_at_a_time() {
        let queue = Queue::default();
        for digest in [1, 2, 1, 3] {
            queue.push(take_back(digest).0);
        }
        let first = queue.take().await;
        assert_eq!(digests(&first), [1, 2, 3]);
        assert!(queue.take_now(Instant::now()).0.is_empty());
        first.iter().for_each(|command| queue.done(command.digest));
        assert_eq!(digests(&queue.take().await), [1]);
    }

    #[tokio::test]
    async fn what_is_put_back_keeps_its_place() {
        let queue = Queue::default();
        for digest in 1..=3 {
            queue.push(take_back(digest).0);
        }
        let batch = queue.take().await;
        queue.push(take_back(1).0);
        queue.put_back(batch);
        assert_eq!(digests(&queue.take().await), [1, 2, 3]);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_purged() {
        let queue = Queue::default();
        let (waited_for, _receiver) = take_back(1);
        queue.push(waited_for);
        queue.push(take_back(2).0);
        assert_eq!(digests(&queue.purge()), [2]);
        assert!(queue.purge().is_empty());
    }

    #[tokio::test]
    async fn batches_are_bounded() {
        let queue = Queue::default();
        for digest in 0..=255 {
            queue.push(take_back(digest).0);
        }
        assert_eq!(queue.take().await.len(), BATCH_MAX);
        assert_eq!(queue.take().await.len(), BATCH_MAX);
    }
}
