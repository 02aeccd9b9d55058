//! Reading operations: for the caller who made one, for the people who run the gateway, and for metrics.

use steadfast_core::{Answer, Fence, Fingerprint, Mode, OperationId, Owner, StateName, Timestamp};

use crate::{BoxFuture, LedgerError, OperationName};

/// The most rows a page holds.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// What whoever reads operations needs of a ledger.
pub trait Operations: Send + Sync + 'static {
    /// The operation with this id, or `None` where there is none (any more).
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn operation(&self, id: OperationId) -> BoxFuture<'_, Result<Option<OperationRecord>, LedgerError>>;

    /// The attempts of an operation, oldest first, one under way last; at most [`PAGE_ROWS_MAX`], the newest.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn attempts(&self, id: OperationId) -> BoxFuture<'_, Result<Vec<AttemptRecord>, LedgerError>>;

    /// The stored answer of an operation, where it has one.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn answer(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Answer>, LedgerError>>;

    /// A page of operations, newest first.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn list(&self, filter: Filter) -> BoxFuture<'_, Result<Page, LedgerError>>;

    /// A page of the operations of which the request with this id made an attempt, newest first. A page may hold fewer
    /// than there are, and even none, with a cursor from which the search goes on: it looks through the attempts, so many
    /// at a time.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn of_request(
        &self,
        request_id: Box<str>,
        before: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page, LedgerError>>;

    /// How many operations need attention.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn counts(&self) -> BoxFuture<'_, Result<Counts, LedgerError>>;
}

/// One operation, without its answer's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationRecord {
    /// Its id.
    pub id: OperationId,
    /// Its full name.
    pub name: OperationName,
    /// Where it stands.
    pub state: StateName,
    /// Whether some attempt's outcome is unknown.
    pub doubtful: bool,
    /// Who makes its attempts.
    pub mode: Mode,
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// Who made it.
    pub owner: Owner,
    /// The name of the route it came by.
    pub route: Box<str>,
    /// The request's method.
    pub method: Box<str>,
    /// The request's path.
    pub path: Box<str>,
    /// How many attempts were claimed.
    pub attempts: u32,
    /// When it was first claimed.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// When it expires; `None` while it is unfinished.
    pub expires_at: Option<Timestamp>,
    /// The status of its stored answer.
    pub answer_status: Option<u16>,
    /// How many contradictions wait for a person to look.
    pub cases_open: u32,
    /// How it was settled, where it was.
    pub settlement: Option<SettlementRecord>,
}

/// How an operation was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementRecord {
    /// Whether it was found to have happened.
    pub happened: bool,
    /// Who says so.
    pub by: Box<str>,
    /// Why they say so.
    pub reason: Box<str>,
    /// When.
    pub at: Timestamp,
}

/// One attempt of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Its fence.
    pub fence: Fence,
    /// Its number, from 1.
    pub number: u32,
    /// When it was claimed.
    pub began_at: Timestamp,
    /// When it ended; `None` while it is under way.
    pub ended_at: Option<Timestamp>,
    /// How it ended: `answered`, `refused`, `not_sent` or `unknown`; `None` while it is under way.
    pub end: Option<Box<str>>,
    /// Why, for `not_sent` and `unknown`: the cause's name.
    pub cause: Option<Box<str>>,
    /// The status of the upstream's answer, where there was one.
    pub status: Option<u16>,
    /// Whether an answer of this attempt came late and is kept as evidence.
    pub evidence: bool,
    /// The id of the request that made it, where that is known.
    pub request_id: Option<Box<str>>,
    /// The beginning of an answer that was not final, or why none came, where a worker made the attempt.
    pub excerpt: Option<Box<str>>,
}

/// Which operations to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<StateName>,
    /// Only those of this route.
    pub route: Option<Box<str>>,
    /// Only those with this key.
    pub key: Option<Box<str>>,
    /// Only those with open cases.
    pub with_cases: bool,
    /// Only those older than the last of the page before.
    pub before: Option<Cursor>,
    /// How many at most: 1 to [`PAGE_ROWS_MAX`]; 0 means 100.
    pub limit: u32,
}

/// Where a page ended: the sequence number of its last row. Opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// A page of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The operations, newest first.
    pub operations: Vec<OperationRecord>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Cursor>,
}

/// How many operations need attention. Counted by partial indexes, so it stays cheap however many are finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Claimed right now.
    pub claimed: u64,
    /// In doubt.
    pub in_doubt: u64,
    /// Dead.
    pub dead: u64,
    /// Contradictions that wait for a person.
    pub cases_open: u64,
}
