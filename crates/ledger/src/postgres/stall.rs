//! Whether leases and retention may be taken to have run out: a store that stalls expires nothing.
//!
//! While the store does not answer, no holder can renew, however alive it is. So after a start, a gap in the
//! answers, a change of server or a jump of its clock, every holder is given one whole lease time to renew
//! before anything is reaped or swept. Pure: instants are handed in.

use std::time::Duration;

use steadfast_core::Timestamp;

use crate::BootInstant;

/// Which server answers: it differs after a restart and after a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// When it was started, as it writes that.
    pub(super) started: String,
    /// Its timeline.
    pub(super) timeline: String,
}

/// What is known of the store's answers.
#[derive(Debug)]
pub(super) struct StallGuard {
    lease: Duration,
    answered: Option<BootInstant>,
    suspended_until: Option<BootInstant>,
    server: Option<Server>,
    clocks: Option<(Timestamp, BootInstant)>,
}

impl StallGuard {
    /// Nothing has answered yet.
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, answered: None, suspended_until: None, server: None, clocks: None }
    }

    /// The store answered.
    pub(super) fn answered(&mut self, now: BootInstant) {
        if self.answered.is_none_or(|before| now.since(before) > self.lease / 2) {
            self.suspend(now);
        }
        self.answered = self.answered.max(Some(now));
    }

    /// This server answered.
    pub(super) fn seen(&mut self, server: &Server, now: BootInstant) {
        self.answered(now);
        if self.server.as_ref() != Some(server) {
            self.suspend(now);
            self.server = Some(server.clone());
        }
    }

    /// The store's clock showed `store`.
    pub(super) fn clock_read(&mut self, store: Timestamp, now: BootInstant) {
        if let Some((store_before, before)) = self.clocks {
            let (theirs, ours) =
                (store.as_millis() - store_before.as_millis(), now.since(before).as_millis());
            let jump = theirs.abs_diff(i64::try_from(ours).unwrap_or(i64::MAX));
            if u128::from(jump) > (self.lease / 2).as_millis() {
                self.suspend(now);
            }
        }
        self.clocks = Some((store, now));
    }

    /// Whether what seems to have run out really has.
    pub(super) fn may_expire(&self, now: BootInstant) -> bool {
        self.answered.is_some_and(|answered| now.since(answered) <= self.lease / 2)
            && self.suspended_until.is_none_or(|until| now >= until)
    }

    fn suspend(&mut self, now: BootInstant) {
        self.suspended_until = self.suspended_until.max(Some(now.after(self.lease)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    const LEASE: Duration = Duration::from_secs(30);

    fn server(started: &str) -> Server {
        Server { started: started.into(), timeline: "00000001".into() }
    }

    /// Answers every five seconds for this long.
    fn answer_for(guard: &mut StallGuard, clock: &Clock, seconds: u64) {
        for _ in 0..seconds / 5 {
            clock.advance(Duration::from_secs(5));
            guard.answered(clock.boot());
            guard.clock_read(clock.wall(), clock.boot());
        }
    }

    fn steady() -> (StallGuard, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let mut guard = StallGuard::new(LEASE);
        guard.seen(&server("monday"), clock.boot());
        guard.clock_read(clock.wall(), clock.boot());
        answer_for(&mut guard, &clock, 30);
        (guard, clock)
    }

    #[test]
    fn nothing_expires_for_one_lease_time_after_the_start() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let mut guard = StallGuard::new(LEASE);
        assert!(!guard.may_expire(clock.boot()));
        guard.seen(&server("monday"), clock.boot());
        answer_for(&mut guard, &clock, 25);
        assert!(!guard.may_expire(clock.boot()));
        answer_for(&mut guard, &clock, 5);
        assert!(guard.may_expire(clock.boot()));
    }

    #[test]
    fn a_gap_in_the_answers_suspends_expiry_for_one_lease_time() {
        let (mut guard, clock) = steady();
        clock.advance(LEASE / 2 + Duration::from_millis(1));
        assert!(!guard.may_expire(clock.boot()), "while there is no answer");
        answer_for(&mut guard, &clock, 25);
        assert!(!guard.may_expire(clock.boot()), "and for a lease after the first one");
        answer_for(&mut guard, &clock, 10);
        assert!(guard.may_expire(clock.boot()));
    }

    #[test]
    fn another_server_suspends_expiry() {
        let (mut guard, clock) = steady();
        guard.seen(&server("monday"), clock.boot());
        assert!(guard.may_expire(clock.boot()), "the same one does not");
        guard.seen(&server("tuesday"), clock.boot());
        assert!(!guard.may_expire(clock.boot()));
        let promoted = Server { timeline: "00000002".into(), ..server("tuesday") };
        answer_for(&mut guard, &clock, 30);
        assert!(guard.may_expire(clock.boot()));
        guard.seen(&promoted, clock.boot());
        assert!(!guard.may_expire(clock.boot()));
    }

    #[test]
    fn a_jump_of_the_store_s_clock_suspends_expiry() {
        for jump in [3_600_000, -3_600_000] {
            let (mut guard, clock) = steady();
            guard.clock_read(Timestamp::from_millis(clock.wall().as_millis() + jump), clock.boot());
            assert!(!guard.may_expire(clock.boot()), "{jump}");
        }
    }
}
