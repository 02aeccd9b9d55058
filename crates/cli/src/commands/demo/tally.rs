//! What was counted while the traffic ran, for the live display and the report.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
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
    event: Mutex<String>,
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
    /// Says in words what happened last.
    pub(super) fn tell(&self, event: impl Into<String>) {
        *self.event.lock().unwrap_or_else(PoisonError::into_inner) = event.into();
    }

    /// What happened last.
    pub(super) fn told(&self) -> String {
        self.event.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
