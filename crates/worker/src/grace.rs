//! A store that stalls expires nothing: when claims may be ended because their leases ran out.
//!
//! A holder can only renew while the store answers it. After a start, and after any gap in the store's answers,
//! every holder therefore gets one lease time in which to renew before anything is reaped. Time is read on the
//! boot clock, so that a suspended machine counts as a gap too.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steadfast_ledger::BootInstant;

/// Since when the store has answered without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    lease: Duration,
    last_answer: BootInstant,
    quiet_until: BootInstant,
}

impl Grace {
    /// The grace time after a start: one lease.
    #[must_use]
    pub fn starting(now: BootInstant, lease: Duration) -> Self {
        Self { lease, last_answer: now, quiet_until: now.after(lease) }
    }

    /// The store answered `now` what it was asked at `asked`. More than half a lease since then, or since the
    /// answer before, is a gap, and grace begins again. Returns whether it does.
    pub fn answered(&mut self, asked: BootInstant, now: BootInstant) -> bool {
        let gap = now.since(asked).max(now.since(self.last_answer)) > self.lease / 2;
        if gap {
            self.quiet_until = now.after(self.lease);
        }
        self.last_answer = self.last_answer.max(now);
        gap
    }

    /// The store did not answer, or answered with an error: grace begins again.
    pub fn failed(&mut self, now: BootInstant) {
        self.quiet_until = now.after(self.lease);
    }

    /// Whether leases may be ended `now`.
    #[must_use]
    pub fn is_over(&self, now: BootInstant) -> bool {
        now >= self.quiet_until
    }
}

/// The grace that everything in this process that asks the store shares: a renewal that fails holds back the
/// reaper as well.
#[derive(Clone, Debug)]
pub struct SharedGrace(Arc<Mutex<Grace>>);

impl SharedGrace {
    /// Shares `grace`.
    #[must_use]
    pub fn new(grace: Grace) -> Self {
        Self(Arc::new(Mutex::new(grace)))
    }

    /// See [`Grace::answered`].
    pub fn answered(&self, asked: BootInstant, now: BootInstant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answered(asked, now)
    }

    /// See [`Grace::failed`].
    pub fn failed(&self, now: BootInstant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).failed(now);
    }

    /// See [`Grace::is_over`].
    #[must_use]
    pub fn is_over(&self, now: BootInstant) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_over(now)
    }
}

#[cfg(test)]
mod tests {
    use steadfast_core::Timestamp;
    use steadfast_ledger::Clock;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);
    const QUARTER: Duration = Duration::from_millis(7_500);

    fn start() -> BootInstant {
        Clock::manual(Timestamp::from_millis(0)).boot()
    }

    /// Answers every quarter of a lease, `rounds` times, beginning a quarter after `from`.
    fn steady(grace: &mut Grace, mut from: BootInstant, rounds: u32) -> BootInstant {
        for _ in 0..rounds {
            from = from.after(QUARTER);
            assert!(!grace.answered(from, from));
        }
        from
    }

    #[test]
    fn nothing_is_reaped_for_one_lease_after_the_start() {
        let mut grace = Grace::starting(start(), LEASE);
        let now = steady(&mut grace, start(), 3);
        assert!(!grace.is_over(now));
        assert!(!grace.is_over(start().after(LEASE - Duration::from_nanos(1))));
        let now = steady(&mut grace, now, 1);
        assert!(grace.is_over(now));
    }

    #[test]
    fn an_error_begins_the_grace_again_and_the_next_answer_after_a_gap_once_more() {
        let mut grace = Grace::starting(start(), LEASE);
        let now = steady(&mut grace, start(), 8);
        let failed = now.after(QUARTER);
        grace.failed(failed);
        assert!(!grace.is_over(failed.after(LEASE / 2)));
        // The store is away for a whole lease: grace counts from its first answer, not from its first error.
        let back = failed.after(LEASE);
        assert!(grace.answered(back, back));
        assert!(!grace.is_over(back.after(LEASE / 2)));
        let now = steady(&mut grace, back, 4);
        assert!(grace.is_over(now));
    }

    #[test]
    fn a_slow_answer_is_a_gap_even_where_others_were_quick() {
        let mut grace = Grace::starting(start(), LEASE);
        let asked = steady(&mut grace, start(), 8);
        let now = steady(&mut grace, asked, 3);
        assert!(grace.is_over(now));
        assert!(grace.answered(asked, now));
        assert!(!grace.is_over(now));
    }

    #[test]
    fn a_suspended_machine_is_a_gap() {
        let mut grace = Grace::starting(start(), LEASE);
        let now = steady(&mut grace, start(), 8);
        let woken = now.after(Duration::from_secs(3_600));
        assert!(grace.answered(woken, woken));
        assert!(!grace.is_over(woken));
    }

    #[test]
    fn half_a_lease_without_a_question_is_no_gap() {
        let mut grace = Grace::starting(start(), LEASE);
        let now = steady(&mut grace, start(), 8).after(LEASE / 2);
        assert!(!grace.answered(now, now));
        assert!(grace.is_over(now));
    }
}
