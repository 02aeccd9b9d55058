//! What was counted while the traffic ran, for the live display and the report.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Counts that everybody adds to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Clicks: calls that customers made, each with its own retries.
    pub(super) asked: Count,
    /// Requests sent, retries included.
    pub(super) requests: Count,
    /// Successes that were no replay.
    pub(super) first_answers: Count,
    /// Answers that were replays.
    pub(super) replayed: Count,
    /// 409 while the first request was running, and 422 for a key that was used for something else.
    pub(super) conflicts: Count,
    /// Calls that ended with "in doubt".
    pub(super) told_in_doubt: Count,
    /// Requests whose answer never reached the customer.
    pub(super) unanswered: Count,
    /// Times the gateway was killed.
    pub(super) kills: Count,
    /// Times it came back.
    pub(super) restarts: Count,
    /// What customers were told of their orders outside of the bank's bad minute.
    pub(super) quiet_orders: Seen,
    /// And in it.
    pub(super) bad_orders: Seen,
    is_bad: AtomicBool,
    event: Mutex<String>,
}

/// What customers were told, request by request.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) answered: Count,
    pub(super) replayed: Count,
    /// Nothing was executed: come again.
    pub(super) refused: Count,
    pub(super) in_doubt: Count,
    pub(super) unanswered: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// Says whether it is the bank's bad minute.
    pub(super) fn in_bad_minute(&self, is_bad: bool) {
        self.is_bad.store(is_bad, Ordering::Relaxed);
    }

    /// Where it is counted what is told of orders just now.
    pub(super) fn orders(&self) -> &Seen {
        if self.is_bad.load(Ordering::Relaxed) { &self.bad_orders } else { &self.quiet_orders }
    }

    /// Says in words what happened last.
    pub(super) fn tell(&self, event: impl Into<String>) {
        *self.event.lock().unwrap_or_else(PoisonError::into_inner) = event.into();
    }

    /// What happened last.
    pub(super) fn told(&self) -> String {
        self.event.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
