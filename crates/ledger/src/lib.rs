//! The durable ledger of operations.
//!
//! A claim is on disk before anything is sent, and an outcome is on disk before anybody sees it. The traits are
//! split by who uses them: [`Claims`] by whoever makes attempts, [`Operations`] by whoever reads, [`Settlements`]
//! by whoever finds out what happened, [`Erasure`] by whoever must forget, [`Credentials`] by whoever knows callers, [`Bans`]
//! by whoever keeps some out, [`Backlog`] by whoever leaves work and whoever does it, [`Redrives`] by whoever sends dead
//! letters round again, [`Pauses`] by whoever lets routes rest, [`Duties`] by what one node does for all, [`Upkeep`] by what
//! runs without a caller. Every store implements all of them and passes the same conformance suite. States change only by
//! [`steadfast_core::transition`].

mod backlog;
mod bans;
mod claim;
mod clock;
mod credentials;
mod duties;
#[cfg(feature = "encryption")]
mod encrypting;
mod erasure;
mod error;
#[cfg(feature = "sqlite")]
mod fatal;
#[cfg(feature = "encryption")]
mod keys;
mod live;
mod memory;
mod operation;
mod pauses;
mod redrives;
#[cfg(feature = "encryption")]
mod sealing;
mod settle;
mod upkeep;
mod watch;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::{pin::Pin, sync::Arc};

pub use backlog::{
    Backlog, Cancelled, ChangeError, Conclusion, DeadLetters, EXCERPT_BYTES_MAX, Enqueue, Enqueued, Job,
    KeptRequest, KeptWork, Lane, LaneTrouble, Priority, Redrive, RouteBacklog, TAKEN_AT_ONCE_MAX, Taken,
    Wish,
};
pub use bans::{AUTOMATIC_BANS_MAX, BANS_MAX, BanChanges, BanError, Bans};
pub use claim::{
    Claim, ClaimOutcome, ClaimRequest, Claims, Durability, Finished, KeepFrom, Occupied, OperationName,
    Retention, Standing,
};
pub use clock::{BootInstant, Clock};
pub use credentials::{
    CREDENTIALS_MAX, CredentialChanges, CredentialError, CredentialRecord, Credentials, ENDED_KEPT, Issue,
    Revision,
};
pub use duties::Duties;
#[cfg(feature = "encryption")]
pub use encrypting::Encrypting;
pub use erasure::{ERASED_AT_ONCE_MAX, Erase, Erased, Erasure, Whose};
pub use error::{LedgerError, OpenError};
#[cfg(feature = "encryption")]
pub use keys::{InvalidKeys, Keys};
pub use live::{Held, LiveClaims};
pub use memory::Remembering;
pub use operation::{
    AttemptRecord, Counts, Cursor, Filter, OperationRecord, Operations, PAGE_ROWS_MAX, Page, SettlementRecord,
};
pub use pauses::{PAUSES_MAX, PauseError, PauseOrder, Pauses, RoutePause};
pub use redrives::{
    CANARIES_MAX, Letter, LetterFilter, Letters, RUNS_GOING_MAX, RUNS_KEPT, RedriveRun, Redrives, RunError,
    RunId, RunOrder, RunState, RunTurn, Step,
};
pub use settle::{SettleError, Settled, Settlement, Settlements, Verdict};
pub use upkeep::{Reaped, Swept, Upkeep};
pub use watch::{TooManyWaiters, Watch, WatchHub};

/// A future of a ledger's: boxed, so that a ledger can be chosen at start.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A whole ledger: everything that a gateway wires together.
pub trait Ledger:
    Claims
    + Operations
    + Settlements
    + Erasure
    + Credentials
    + Bans
    + Backlog
    + Redrives
    + Pauses
    + Duties
    + Upkeep
{
}

impl<L> Ledger for L where
    L: Claims
        + Operations
        + Settlements
        + Erasure
        + Credentials
        + Bans
        + Backlog
        + Redrives
        + Pauses
        + Duties
        + Upkeep
{
}

/// A ledger chosen at start.
pub type SharedLedger = Arc<dyn Ledger>;
