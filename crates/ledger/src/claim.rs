//! Claiming an operation and finishing an attempt: what stands on the hot path.

use std::{sync::Arc, time::Duration};

use steadfast_core::{
    Answer, AttemptEnd, Bucket, Fence, Fingerprint, Key, Mode, Namespace, OperationDigest, OperationId,
    Owner, StateName, Timestamp,
};

use crate::{BootInstant, BoxFuture, LedgerError, LiveClaims, TooManyWaiters, Watch};

/// What whoever makes attempts needs of a ledger.
pub trait Claims: Send + Sync + 'static {
    /// Claims the operation that `request` names, or says how it stands. When a claim is granted it is on disk.
    ///
    /// The fingerprint is compared first: an operation whose fingerprint differs is never claimed, whatever its
    /// state, and neither is one in doubt that does not disclose to the caller; both come back as
    /// [`ClaimOutcome::Occupied`]. A released or expired operation is claimed with the new fingerprint.
    ///
    /// # Errors
    /// [`LedgerError`]: nothing may be sent. Where the ledger cannot know whether the claim was written, it
    /// finds out or takes it back by itself.
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<ClaimOutcome, LedgerError>>;

    /// Writes how a claim's attempt ended. When it returns, that is on disk. Called again with the same end, or
    /// later with an answer that came after all, it does what the state machine says.
    ///
    /// # Errors
    /// [`LedgerError`]: not known to be written; the holder tries again for as long as it lives.
    fn finish(&self, claim: &Claim, end: AttemptEnd) -> BoxFuture<'_, Result<Finished, LedgerError>>;

    /// Subscribes to changes of the operation with this digest. Subscribe, read again, then wait: so no change
    /// is missed.
    ///
    /// # Errors
    /// [`TooManyWaiters`] where the bound on waiters is reached.
    fn watch(&self, digest: OperationDigest) -> Result<Watch, TooManyWaiters>;

    /// The claims that live holders in this process hold, for the heartbeat to renew.
    fn live(&self) -> &LiveClaims;
}

/// The full name of an operation with what is computed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationName {
    namespace: Namespace,
    key: Key,
    digest: OperationDigest,
    bucket: Bucket,
    erased: bool,
}

impl OperationName {
    /// The operation that `key` names in `namespace`.
    #[must_use]
    pub fn new(namespace: Namespace, key: Key) -> Self {
        let (digest, bucket) = (OperationDigest::of(&namespace, &key), Bucket::of(&namespace));
        Self { namespace, key, digest, bucket, erased: false }
    }

    /// The name of an operation whose own was erased: what is left of it is its digest and its bucket.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn erased(digest: OperationDigest, bucket: Bucket) -> Self {
        Self { namespace: Namespace::erased(), key: Key::erased(), digest, bucket, erased: true }
    }

    /// Whether the name was erased, so that namespace and key only stand for what they were.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.erased
    }

    /// Where the key is unique.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The digest that stores index.
    #[must_use]
    pub fn digest(&self) -> OperationDigest {
        self.digest
    }

    /// The bucket of its namespace.
    #[must_use]
    pub fn bucket(&self) -> Bucket {
        self.bucket
    }
}

/// From when retention counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepFrom {
    /// From the moment the operation finished.
    Finish,
    /// From its claim: a window, within which the same request is the same operation.
    Claim,
}

/// For how long a finished operation is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long a completed operation can be replayed.
    pub keep: Duration,
    /// From when that counts.
    pub from: KeepFrom,
    /// How long its key stays taken after that; `None` keeps no tombstone.
    pub tombstone: Option<Duration>,
}

/// How long the answer of a window's operation is kept at least once it is there: time enough for whoever waits
/// for it to read it, or a duplicate that came within the window would execute again.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "conformance"))]
pub(crate) const WINDOW_READ_TIME: Duration = Duration::from_secs(2);

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Retention {
    /// When an operation expires that was first claimed at `claimed_at` and finishes at `now`.
    pub(crate) fn expiry(&self, claimed_at: Timestamp, now: Timestamp) -> Timestamp {
        match self.from {
            KeepFrom::Finish => now.after(self.keep),
            KeepFrom::Claim => claimed_at.after(self.keep).max(now.after(WINDOW_READ_TIME)),
        }
    }
}

/// When a claim counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it would survive a loss of power.
    Synced,
    /// When it would survive the death of this process. Only for synchronous operations on a repeatable
    /// upstream, where the loss of a claim costs a repeat that is allowed. A store may sync all the same.
    Relaxed,
}

/// A wish to make an attempt.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    /// Which operation.
    pub name: OperationName,
    /// What is asked.
    pub fingerprint: Fingerprint,
    /// Who asks.
    pub owner: Owner,
    /// The attempt's fence.
    pub fence: Fence,
    /// The route's name.
    pub route: Arc<str>,
    /// The request's method, for people.
    pub method: Box<str>,
    /// The request's path without its query, for people; at most 1,024 bytes are kept.
    pub path: Box<str>,
    /// The id of the request that makes the attempt, where it has one; one of more than 128 bytes is not kept.
    pub request_id: Option<Box<str>>,
    /// For how long the upstream repeats safely, by the current policy; `None` where it does not.
    pub repeatable_for: Option<Duration>,
    /// For how long the finished operation is kept.
    pub retention: Retention,
    /// How durable the claim must be.
    pub durability: Durability,
}

/// The longest request id that is kept, in bytes.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const REQUEST_ID_BYTES_MAX: usize = 128;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl ClaimRequest {
    /// The id of the request, as far as it is kept.
    pub(crate) fn kept_request_id(&self) -> Option<&str> {
        self.request_id.as_deref().filter(|id| id.len() <= REQUEST_ID_BYTES_MAX)
    }

    /// Says anew what was erased of an operation, where it is the one that is asked for: of 128 bits of digest no two
    /// names have the same, and if they had, one would be refused, and nothing executed.
    pub(crate) fn recall(&self, name: &mut OperationName, fingerprint: &mut Fingerprint) {
        if name.erased && name.digest == self.name.digest {
            name.clone_from(&self.name);
            *fingerprint = self.fingerprint;
        }
    }
}

/// A claim that was granted. It means: may have been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The operation.
    pub operation: OperationId,
    /// Its digest.
    pub digest: OperationDigest,
    /// The attempt's fence.
    pub fence: Fence,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// Whether the outcome of an earlier attempt is unknown.
    pub after_doubt: bool,
    /// When the operation was first claimed in this life.
    pub claimed_at: Timestamp,
    /// The instant after which the request may no longer be handed to a connection.
    pub send_by: BootInstant,
}

/// What became of a claim request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The claim is on disk: go.
    Granted(Claim),
    /// There is an operation of this name already.
    Occupied(Arc<Standing>),
}

/// How an operation that could not be claimed stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The operation.
    pub operation: OperationId,
    /// Its full name.
    pub name: OperationName,
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// Who made it.
    pub owner: Owner,
    /// Who makes its attempts.
    pub mode: Mode,
    /// Its state.
    pub occupied: Occupied,
}

/// Why a name cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupied {
    /// An attempt is under way.
    Claimed {
        /// Since when.
        since: Timestamp,
    },
    /// It is done.
    Completed {
        /// Its answer; `None` where a person settled it without knowing the answer.
        answer: Option<Answer>,
        /// Until when it can be replayed.
        expires_at: Timestamp,
    },
    /// Its outcome is unknown.
    InDoubt {
        /// Since when.
        since: Timestamp,
    },
    /// A worker will do it.
    Queued,
    /// It ran out of attempts.
    Dead,
    /// It was called off.
    Cancelled,
    /// It is gone, and its key stays taken.
    Tombstone,
}

/// What became of an attempt's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is written, and the operation is now in this state. For an answer that is always `Completed`, also
    /// where it ended doubt, and where the same answer was stored already.
    Recorded(StateName),
    /// The claim was no longer the holder's, and nothing changed. An answer is kept as evidence, but the
    /// operation does not have it: it must not be shown. The operation is in this state.
    Superseded(StateName),
}
