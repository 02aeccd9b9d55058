//! Duties: work that one node at a time does for all, and how far it is.

use std::time::Duration;

use steadfast_core::{Fence, Timestamp};

use crate::{BoxFuture, LedgerError};

/// What whoever does something for all nodes needs of a ledger. That two nodes believe for a moment that a duty is theirs
/// is possible (one was paused), so whatever a duty does must do no harm when it is done twice.
pub trait Duties: Send + Sync + 'static {
    /// Takes on a duty, or goes on with it: whether it is this node's for so long from now, on the ledger's clock. It is
    /// another's until that one's time has run out, or it laid the duty down.
    ///
    /// # Errors
    /// [`LedgerError`]: the duty is not known to be this node's.
    fn take_on(
        &self,
        duty: Box<str>,
        node: Fence,
        time: Duration,
    ) -> BoxFuture<'_, Result<bool, LedgerError>>;

    /// Lays a duty down, so that another node need not wait.
    ///
    /// # Errors
    /// [`LedgerError`]: it ends with its time.
    fn lay_down(&self, duty: Box<str>, node: Fence) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// How far something is, by its name; `None` where that was never written.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn mark(&self, of: Box<str>) -> BoxFuture<'_, Result<Option<Timestamp>, LedgerError>>;

    /// Writes how far something is. A mark only moves on: an earlier one changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`]: not known to be written.
    fn set_mark(&self, of: Box<str>, at: Timestamp) -> BoxFuture<'_, Result<(), LedgerError>>;

    /// The time on the ledger's clock, which all nodes share.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn now(&self) -> BoxFuture<'_, Result<Timestamp, LedgerError>>;
}
