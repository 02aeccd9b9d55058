//! Settling: writing down what really happened to an operation in doubt.

use steadfast_core::{Answer, OperationId, Refused, StateName};

use crate::{BoxFuture, LedgerError};

/// What whoever finds out needs of a ledger.
pub trait Settlements: Send + Sync + 'static {
    /// Settles an operation that is in doubt, or dead.
    ///
    /// # Errors
    /// [`SettleError`]: nothing changed.
    fn settle(&self, id: OperationId, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>>;
}

/// What was found out, by whom and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What really happened.
    pub verdict: Verdict,
    /// Who says so: a person's name, or a probe's.
    pub by: Box<str>,
    /// Why they say so; 1 to 2,000 characters.
    pub reason: Box<str>,
}

/// What really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect. The answer is what replays will show, where it is known; without one a replay is
    /// unavailable.
    Happened(Option<Answer>),
    /// It took no effect: the next request with its key executes afresh.
    DidNotHappen,
}

/// The operation is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The state it is in now.
    pub state: StateName,
}

/// The operation was not settled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// There is no operation with this id.
    #[error("there is no such operation")]
    NotFound,
    /// The state machine refuses it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
