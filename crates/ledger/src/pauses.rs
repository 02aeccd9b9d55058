//! Routes whose work rests by hand: kept in the ledger because a pause must hold on every node, and after every restart.

use std::time::Duration;

use steadfast_core::Timestamp;

use crate::{BoxFuture, LedgerError};

/// How many routes may rest at once.
pub const PAUSES_MAX: usize = 1_000;

/// What whoever lets routes rest, and whoever heeds that, needs of a ledger.
pub trait Pauses: Send + Sync + 'static {
    /// Lets nothing of a route be taken from now on. Of each route there is one pause, the last.
    ///
    /// # Errors
    /// [`PauseError`]: nothing changed.
    fn pause(&self, order: PauseOrder) -> BoxFuture<'_, Result<RoutePause, PauseError>>;

    /// Ends the pause of a route; what it was, where there was one.
    ///
    /// # Errors
    /// [`LedgerError`]: not known to be written.
    fn resume(&self, route: Box<str>) -> BoxFuture<'_, Result<Option<RoutePause>, LedgerError>>;

    /// The pauses that hold now, by route.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn pauses(&self) -> BoxFuture<'_, Result<Vec<RoutePause>, LedgerError>>;
}

/// A pause that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseOrder {
    /// The route's name.
    pub route: Box<str>,
    /// For how long; until it is resumed where that is not said.
    pub time: Option<Duration>,
    /// Who says so.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

/// A route that rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePause {
    /// The route's name.
    pub route: Box<str>,
    /// Since when.
    pub since: Timestamp,
    /// Until when; until it is resumed where there is no such time.
    pub until: Option<Timestamp>,
    /// Who says so.
    pub by: Box<str>,
    /// Why.
    pub reason: Box<str>,
}

/// A route does not rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// As many routes rest as may.
    #[error("{PAUSES_MAX} routes rest, as many as may")]
    TooMany,
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}
