//! The backlog: operations that were accepted for a worker, and what a worker does with them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use steadfast_core::{
    AttemptEnd, Backoff, Fingerprint, HeaderFields, Next, OperationDigest, OperationId, Owner, Refused,
    Stamina, StateName, Timestamp,
};
use tokio::sync::watch;

use crate::{BoxFuture, Claim, Finished, LedgerError, OperationName, Retention, Standing};

/// The most operations that one call hands out.
pub const TAKEN_AT_ONCE_MAX: u32 = 1_000;

/// The longest excerpt of a failed answer that is kept, in bytes.
pub const EXCERPT_BYTES_MAX: usize = 1_024;

/// What callers who leave work, and workers who do it, need of a ledger.
///
/// An operation that is queued, or waiting and due, is handed out to one worker at a time. One with a [lane](Lane) is
/// handed out only while it is the oldest unfinished one of its lane.
pub trait Backlog: Send + Sync + 'static {
    /// Accepts work for later, or says how the operation of its name stands. When it is accepted it is on disk.
    ///
    /// Names are compared as [`Claims::claim`](crate::Claims::claim) does it: a released or expired operation is
    /// accepted afresh; every other stands as it is.
    ///
    /// # Errors
    /// [`LedgerError`]: not known to be accepted. Asked again, it is accepted once.
    fn enqueue(&self, work: Enqueue) -> BoxFuture<'_, Result<Enqueued, LedgerError>>;

    /// Claims what is due of these routes, the highest priority first, then what has been due for longest. What is handed
    /// out is claimed on disk: it may be sent, and it must be concluded. One whose earlier attempt is in doubt, and whose
    /// upstream may not be asked again any more, is held instead (it is in doubt then).
    ///
    /// # Errors
    /// [`LedgerError`]: nothing is handed out. Where the ledger cannot know whether claims were written, they stand until
    /// their lease ends.
    fn take(&self, wishes: Vec<Wish>) -> BoxFuture<'_, Result<Taken, LedgerError>>;

    /// Writes how the attempt of a worker ended, and what follows. When it returns, that is on disk. An answer completes
    /// the operation whatever is said to follow. Called again, or later with an answer that came after all, it does what
    /// the state machine says.
    ///
    /// # Errors
    /// [`LedgerError`]: not known to be written; the holder tries again for as long as it lives.
    fn conclude(&self, claim: &Claim, conclusion: Conclusion)
    -> BoxFuture<'_, Result<Finished, LedgerError>>;

    /// Calls an operation off. Where an attempt is under way, that decides: if it brings nothing, none follows. Nor does one
    /// where an attempt is in doubt, and it is settled later that it did nothing: then the operation is cancelled.
    ///
    /// # Errors
    /// [`ChangeError`] says why not.
    fn cancel(&self, id: OperationId) -> BoxFuture<'_, Result<Cancelled, ChangeError>>;

    /// Sends a dead operation round again under the same key, with as many attempts and as much time as are given. One
    /// that is dead in doubt goes only where its upstream may be asked again: by the stored and by the given policy.
    ///
    /// # Errors
    /// [`ChangeError`] says why not.
    fn redrive(&self, id: OperationId, order: Redrive) -> BoxFuture<'_, Result<StateName, ChangeError>>;

    /// Removes what a finished or dead operation holds and leaves a tombstone, which ends when the retention of the
    /// operation would have. What is in doubt is not removed.
    ///
    /// # Errors
    /// [`ChangeError`] says why not.
    fn purge(&self, id: OperationId) -> BoxFuture<'_, Result<StateName, ChangeError>>;

    /// The request that an operation keeps for its attempts, as far as it can be read, and how it stands in the backlog; `None` where there is no
    /// such operation (any more), or where the request that brought it made its attempts.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn kept_work(&self, id: OperationId) -> BoxFuture<'_, Result<Option<KeptWork>, LedgerError>>;

    /// How much each route has to do, for metrics; at most 1,000 routes.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn backlog(&self) -> BoxFuture<'_, Result<Vec<RouteBacklog>, LedgerError>>;

    /// The dead letters, by what made them dead; at most 1,000 groups, the largest first.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn dead_letters(&self) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>>;

    /// Counts up whenever there may be something new to take: here, or told by another node. A worker looks again now
    /// and then all the same.
    fn arrivals(&self) -> watch::Receiver<u64>;
}

/// Work for later.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// Which operation.
    pub name: OperationName,
    /// What is asked.
    pub fingerprint: Fingerprint,
    /// Who asks.
    pub owner: Owner,
    /// The route's name.
    pub route: Arc<str>,
    /// The request's method.
    pub method: Box<str>,
    /// The request's path without its query, for people; at most 1,024 bytes are kept.
    pub path: Box<str>,
    /// For how long the upstream repeats safely, by the current policy; `None` where it does not.
    pub repeatable_for: Option<Duration>,
    /// For how long the finished operation is kept.
    pub retention: Retention,
    /// The request as a worker will send it.
    pub request: KeptRequest,
    /// How long from now it is due.
    pub delay: Duration,
    /// Higher goes first.
    pub priority: Priority,
    /// What it must not overtake.
    pub lane: Option<Lane>,
    /// How many attempts it has.
    pub tries_max: u32,
    /// For how long after it is due attempts begin.
    pub age_max: Duration,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Enqueue {
    /// Says anew what was erased of an operation, where it is the one that is asked for.
    pub(crate) fn recall(&self, name: &mut OperationName, fingerprint: &mut Fingerprint) {
        if name.is_erased() && name.digest() == self.name.digest() {
            name.clone_from(&self.name);
            *fingerprint = self.fingerprint;
        }
    }
}

/// As much of an excerpt as is kept. Postgres keeps no NUL in a text.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn kept_excerpt(excerpt: &str) -> Box<str> {
    let mut end = excerpt.len().min(EXCERPT_BYTES_MAX);
    while !excerpt.is_char_boundary(end) {
        end -= 1;
    }
    excerpt[..end].replace('\0', "\u{fffd}").into()
}

/// How long an operation rests whose worker was lost, after so many attempts: whatever killed it may do so again.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn pause_after_loss(tries: u32) -> Duration {
    const AFTER_LOSS: Backoff = Backoff { base: Duration::from_millis(250), cap: Duration::from_secs(10) };
    AFTER_LOSS.ceiling(tries.saturating_sub(1))
}

/// A request, kept until it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptRequest {
    /// Its path and query.
    pub target: Box<str>,
    /// Its header fields, without those that are a connection's alone, and without credentials that are not to be kept.
    pub headers: HeaderFields,
    /// Its body.
    pub body: Bytes,
}

/// Which of two that are due goes first: the higher; 0 unless stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Priority(pub i16);

/// Operations that follow each other, one at a time, in the order in which they were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Digest of the route and the ordering key. A lane lies in the namespace of its operations: two namespaces may use
    /// the same digest for two lanes.
    pub digest: [u8; 16],
    /// What one that is in doubt or dead does to those behind it.
    pub trouble: LaneTrouble,
}

/// What an operation that is in doubt or dead does to those behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LaneTrouble {
    /// They wait until it is settled, redriven and finished, or purged.
    #[default]
    Blocks,
    /// They go on without it. Where it comes back, by a redrive or a settlement, it is the head again, and may be handed
    /// out beside one that was by then.
    Passes,
}

/// What became of work for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is on disk.
    Accepted {
        /// The operation.
        operation: OperationId,
        /// When it is due.
        due_at: Timestamp,
    },
    /// There is an operation of this name already.
    Occupied(Arc<Standing>),
}

/// What a worker would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Operations of the route with this name,
    pub route: Arc<str>,
    /// so many of them at most; at most [`TAKEN_AT_ONCE_MAX`] in all are handed out.
    pub limit: u32,
    /// For how long the route's upstream repeats safely, by the current policy.
    pub repeatable_for: Option<Duration>,
}

/// What was handed out.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// The claimed operations, in the order in which they are to be sent.
    pub jobs: Vec<Job>,
    /// How long until the next one of these routes is due, where that is known and none that is due was left.
    pub next_due_in: Option<Duration>,
}

/// A claimed operation with what its attempt needs.
#[derive(Clone, Debug)]
pub struct Job {
    /// The claim.
    pub claim: Claim,
    /// The operation's full name, of which the forwarded key is made.
    pub name: OperationName,
    /// Who made it.
    pub owner: Owner,
    /// The route that it came by.
    pub route: Arc<str>,
    /// The request's method.
    pub method: Box<str>,
    /// What to send.
    pub request: KeptRequest,
    /// What it has left, this attempt included.
    pub stamina: Stamina,
    /// When its first attempt was claimed: from then on counts how long its upstream repeats safely.
    pub first_sent: Timestamp,
    /// For how long that is, by the policy with which it was accepted.
    pub repeatable_for: Option<Duration>,
    /// When it was claimed, on the ledger's clock.
    pub claimed_at: Timestamp,
    /// Since when it was due: how long it waited for a worker.
    pub due_at: Timestamp,
}

/// How an attempt of a worker ended, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// How it ended.
    pub end: AttemptEnd,
    /// What follows, where it brought no final answer.
    pub next: Next,
    /// The beginning of an answer that was not final, or why none came, for people; at most [`EXCERPT_BYTES_MAX`] bytes are
    /// kept.
    pub excerpt: Option<Box<str>>,
}

/// What became of an operation that was called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is in this state now: cancelled, or in doubt where an earlier attempt is.
    Now(StateName),
    /// An attempt is under way. Nothing follows it if it brings nothing.
    AfterThisAttempt,
}

/// A dead operation's new chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// How many attempts it has.
    pub tries_max: u32,
    /// For how long attempts begin.
    pub age_max: Duration,
    /// For how long its upstream repeats safely, by the current policy.
    pub repeatable_for: Option<Duration>,
}

/// Why an operation was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such operation.
    #[error("there is no such operation")]
    NotFound,
    /// Its state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The ledger failed; not known to be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What is kept of an operation for its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWork {
    /// The digest of the operation's name.
    pub digest: OperationDigest,
    /// The request; empty where it cannot be read.
    pub request: KeptRequest,
    /// What it has left.
    pub stamina: Stamina,
    /// When its first attempt was claimed, or when it was accepted, before that.
    pub first_sent: Timestamp,
    /// For how long from then on its upstream repeats safely, by the policy with which it was accepted.
    pub repeatable_for: Option<Duration>,
    /// When the next attempt is due; `None` where none is to come, and for one behind another of its lane.
    pub due_at: Option<Timestamp>,
    /// Its priority.
    pub priority: Priority,
    /// Its lane.
    pub lane: Option<Lane>,
    /// Whether it was called off while an attempt was under way.
    pub cancel_asked: bool,
}

/// How much a route has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteBacklog {
    /// The route's name.
    pub route: Box<str>,
    /// Operations that could be taken now.
    pub due: u64,
    /// Operations whose time has not come.
    pub later: u64,
    /// Since when the oldest of those that are due has been.
    pub oldest_due_at: Option<Timestamp>,
}

/// Dead letters of a route whose last attempts ended alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// The route's name.
    pub route: Box<str>,
    /// How the last attempt ended (`refused`, `not_sent`, `unknown`),
    pub end: Box<str>,
    /// why,
    pub cause: Option<Box<str>>,
    /// and with which status.
    pub status: Option<u16>,
    /// How many there are.
    pub count: u64,
    /// How many of them are in doubt.
    pub doubtful: u64,
    /// When the oldest became one.
    pub oldest_at: Timestamp,
    /// When the newest became one.
    pub newest_at: Timestamp,
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_cut_between_characters_and_has_no_nul() {
        let long = "ä".repeat(EXCERPT_BYTES_MAX);
        assert_eq!(kept_excerpt(&format!("x{long}")).len(), EXCERPT_BYTES_MAX - 1);
        assert_eq!(&*kept_excerpt("a\0b"), "a\u{fffd}b");
        assert_eq!(&*kept_excerpt("as it came"), "as it came");
    }
}
