//! What the workers have done, counted for metrics.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use steadfast_ledger::{Counts, DeadLetters, RouteBacklog};

/// What the workers have done since they started, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// Claims ended because their lease ran out.
    pub reaped: u64,
    /// Operations removed or made tombstones because they expired.
    pub swept: u64,
    /// Renewals of claims that failed, or whose outcome is unknown: one for each claim and try.
    pub renewals_failed: u64,
    /// Claims that were held here, and that a renewal found to be somebody else's.
    pub leases_lost: u64,
    /// Rounds of the sweeper that were left out because the wall clock had jumped.
    pub sweeps_suspended: u64,
    /// Times that a worker ended by itself and was started again: each is a defect, and is logged.
    pub restarts: u64,
    /// How many operations need attention; `None` before the first count, and where the last one failed.
    pub counts: Option<Counts>,
    /// How much each route has to do in the background; `None` likewise.
    pub backlog: Option<Vec<RouteBacklog>>,
    /// The dead letters, by what made them dead; `None` likewise.
    pub dead_letters: Option<Vec<DeadLetters>>,
}

/// Where the workers count what they do.
#[derive(Debug, Default)]
pub struct Tally {
    reaped: AtomicU64,
    swept: AtomicU64,
    renewals_failed: AtomicU64,
    leases_lost: AtomicU64,
    sweeps_suspended: AtomicU64,
    restarts: AtomicU64,
    counts: Mutex<Option<Counts>>,
    backlog: Mutex<Option<Vec<RouteBacklog>>>,
    dead_letters: Mutex<Option<Vec<DeadLetters>>>,
}

impl Tally {
    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> WorkerCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkerCounters {
            reaped: read(&self.reaped),
            swept: read(&self.swept),
            renewals_failed: read(&self.renewals_failed),
            leases_lost: read(&self.leases_lost),
            sweeps_suspended: read(&self.sweeps_suspended),
            restarts: read(&self.restarts),
            counts: *self.counts.lock().unwrap_or_else(PoisonError::into_inner),
            backlog: self.backlog.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            dead_letters: self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(crate) fn reaped(&self, claims: usize) {
        self.reaped.fetch_add(claims as u64, Ordering::Relaxed);
    }

    pub(crate) fn swept(&self, operations: u64) {
        self.swept.fetch_add(operations, Ordering::Relaxed);
    }

    pub(crate) fn renewals_failed(&self, claims: usize) {
        self.renewals_failed.fetch_add(claims as u64, Ordering::Relaxed);
    }

    pub(crate) fn leases_lost(&self, claims: usize) {
        self.leases_lost.fetch_add(claims as u64, Ordering::Relaxed);
    }

    pub(crate) fn sweep_suspended(&self) {
        self.sweeps_suspended.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counted(&self, counts: Option<Counts>) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    pub(crate) fn counted_backlog(&self, backlog: Option<Vec<RouteBacklog>>) {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = backlog;
    }

    pub(crate) fn counted_dead_letters(&self, groups: Option<Vec<DeadLetters>>) {
        *self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner) = groups;
    }
}
