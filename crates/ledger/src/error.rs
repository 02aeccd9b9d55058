//! What can go wrong with a ledger: when it is opened, and while it runs.

/// A ledger could not do what it was asked. Nothing was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// More claims are open than the ledger admits; `open_max` says how many.
    #[error("{open_max} operations are under way, as many as the ledger admits")]
    Overloaded {
        /// The bound that was reached.
        open_max: usize,
    },
    /// The disk is full.
    #[error("the disk that holds the ledger is full")]
    Full,
    /// The ledger cannot be written.
    #[error("the ledger is read-only")]
    ReadOnly,
    /// What is on disk contradicts itself.
    #[error("the ledger is damaged: {0}")]
    Corrupt(String),
    /// It did not answer in time, or the connection to it was lost.
    #[error("the ledger cannot be reached: {0}")]
    Unreachable(String),
    /// The ledger has been closed.
    #[error("the ledger is closed")]
    Closed,
    /// The row that the call is about is not there any more.
    #[error("the ledger has no such operation")]
    Missing,
    /// Two names have the same digest. It is more likely that the ledger was tampered with.
    #[error("two operations have the same digest")]
    DigestCollision,
}

/// A ledger could not be opened. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{path} is in use by another process; an SQLite ledger belongs to one process (for many nodes, use Postgres)"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// A newer version of this program wrote it.
    #[error(
        "the ledger has schema version {found}, and this program knows {known} at most: upgrade the program"
    )]
    NewerSchema {
        /// The version found.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// It is not a ledger, or is damaged.
    #[error("{path} cannot be read as a ledger: {reason}")]
    Corrupt {
        /// The file or database.
        path: String,
        /// What was found.
        reason: String,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {reason}")]
    ReadOnly {
        /// The file or database.
        path: String,
        /// Why.
        reason: String,
    },
    /// It is not there, or does not answer.
    #[error("{path} cannot be opened: {reason}")]
    Unreachable {
        /// The file or database, without credentials.
        path: String,
        /// Why.
        reason: String,
    },
}
