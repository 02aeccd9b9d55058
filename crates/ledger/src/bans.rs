//! Who is banned: kept beside the operations because a ban must hold on every node, and after every restart.
//!
//! As with credentials, no request waits for them: each process keeps all of them in memory and asks from time to time
//! what changed. Of each subject there is one ban, the last.

use steadfast_core::{Ban, BanOrder, BanSubject, Timestamp};

use crate::{BoxFuture, LedgerError, Revision};

/// How many bans there may be, with those that ended within a day. Each process has all of them in memory, at a few hundred
/// bytes each.
pub const BANS_MAX: usize = 100_000;

/// How many of them may be there when one is made that nobody decided about: whoever calls from very many addresses leaves
/// room for people's own.
pub const AUTOMATIC_BANS_MAX: usize = 90_000;

/// What whoever bans, and whoever heeds bans, needs of a ledger.
pub trait Bans: Send + Sync + 'static {
    /// Makes of the order what [`BanOrder::upon`] says; `None` where nothing changes. Bans that ended more than a day ago are
    /// forgotten meanwhile.
    ///
    /// # Errors
    /// [`BanError`]: nothing changed.
    fn ban(&self, order: BanOrder) -> BoxFuture<'_, Result<Option<Ban>, BanError>>;

    /// Ends a ban that holds at this instant; what it was is returned.
    ///
    /// # Errors
    /// [`BanError`]: nothing changed.
    fn lift(&self, subject: BanSubject, at: Timestamp) -> BoxFuture<'_, Result<Ban, BanError>>;

    /// All bans that changed after this revision; after 0, all that there are.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn bans(&self, since: Revision) -> BoxFuture<'_, Result<BanChanges, LedgerError>>;
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanChanges {
    /// Up to which revision this goes.
    pub revision: Revision,
    /// The bans as they are now, the oldest first.
    pub bans: Vec<Ban>,
}

/// A ban could not be made or lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanError {
    /// There is none that holds.
    #[error("there is no such ban")]
    NotFound,
    /// There are as many as there may be.
    #[error(
        "there are as many bans as there may be: {BANS_MAX}, and {AUTOMATIC_BANS_MAX} for one to be made by itself"
    )]
    TooMany,
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// How many bans there may be before this order.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn count_max(order: &BanOrder) -> usize {
    if order.source.is_automatic() { AUTOMATIC_BANS_MAX } else { BANS_MAX }
}

/// Bans that ended before this mean nothing any more at `now`.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn forgotten_before(now: Timestamp) -> i64 {
    let kept = steadfast_core::REPEATED_WITHIN;
    now.as_millis().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}
