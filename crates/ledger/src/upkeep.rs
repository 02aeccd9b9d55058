//! What a ledger needs done from time to time, without a caller.

use steadfast_core::{Fence, OperationDigest, OperationId};

use crate::{BoxFuture, LedgerError};

/// What the heartbeat, the reaper and the sweeper need of a ledger. Each call is bounded; they are repeated
/// until nothing is left.
pub trait Upkeep: Send + Sync + 'static {
    /// Renews the leases of these claims by one lease time, on the ledger's clock. Returns those that are no
    /// longer the holder's.
    ///
    /// # Errors
    /// [`LedgerError`]: nobody knows whether they were renewed, so authority over them counts as lost.
    fn renew(&self, claims: Vec<(Fence, OperationId)>) -> BoxFuture<'_, Result<Vec<Fence>, LedgerError>>;

    /// Ends the claims whose lease ran out, at most `limit`: their attempts count as sent.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be written.
    fn reap(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Reaped>, LedgerError>>;

    /// Removes what has expired, at most `limit` operations, each checked again under lock.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be written.
    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, LedgerError>>;

    /// One lease time of this ledger.
    fn lease(&self) -> std::time::Duration;

    /// Whether the ledger can be written right now: a cheap round trip.
    ///
    /// # Errors
    /// [`LedgerError`] says why not.
    fn check(&self) -> BoxFuture<'_, Result<(), LedgerError>>;
}

/// A claim whose lease had run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The operation.
    pub operation: OperationId,
    /// Its digest.
    pub digest: OperationDigest,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Operations removed.
    pub removed: u32,
    /// Operations that became tombstones.
    pub entombed: u32,
}
