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
    /// forgotten meanwhile, once a minute.
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

/// How often all bans are looked at, to forget and to count them: an order by itself looks at one.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const LOOKED_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// How many bans there are, as of when all were looked at, and with those that this process made since.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    at: Option<Timestamp>,
    pub(crate) count: usize,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Counted {
    /// Whether all are to be looked at again; also where the clock went back. Orders do not come in the order of their times.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_none_or(|at| at.after(LOOKED_EVERY) <= now || now.after(LOOKED_EVERY) <= at)
    }

    /// All were looked at, and so many there are.
    pub(crate) fn as_of(now: Timestamp, count: i64) -> Self {
        Self { at: Some(now), count: usize::try_from(count).unwrap_or(0) }
    }
}

/// A row that cannot be read is passed over: it must not keep all others from being known.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn warn_of_unreadable() {
    tracing::warn!("a ban in the ledger cannot be read, and is passed over: all others hold");
}

/// Bans that ended before this mean nothing any more at `now`.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn forgotten_before(now: Timestamp) -> i64 {
    let kept = steadfast_core::REPEATED_WITHIN;
    now.as_millis().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}
