//! So many in each period of the clock: what people mean by a quota of the day, or of the month.

use std::time::Duration;

use super::{LimitDecision, Quota, nanos};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FixedWindow {
    used: u64,
    /// When the window began that it was used in, in nanoseconds.
    began: u64,
}

impl FixedWindow {
    pub(super) fn ask(&mut self, quota: &Quota, cost: u64, now: Duration) -> LimitDecision {
        let ends = self.enter(quota, now);
        let room = quota.count.saturating_sub(self.used);
        let reset = ends.saturating_sub(now);
        let needed = cost.max(1);
        if needed > room {
            let after = (needed <= quota.count).then_some(reset);
            return LimitDecision::Refused { remaining: room, after };
        }
        LimitDecision::Allowed { remaining: room - cost.min(room), reset, wait: Duration::ZERO }
    }

    pub(super) fn charge(&mut self, quota: &Quota, cost: u64, now: Duration) {
        self.enter(quota, now);
        self.used = self.used.saturating_add(cost);
    }

    pub(super) fn give_back(&mut self, quota: &Quota, cost: u64, now: Duration) {
        self.enter(quota, now);
        self.used = self.used.saturating_sub(cost);
    }

    pub(super) fn idle_at(&self, quota: &Quota) -> Duration {
        if self.used == 0 {
            return Duration::ZERO;
        }
        quota.period.around(Duration::from_nanos(self.began)).1
    }

    /// Goes on to the window of `now`; says when it ends. One that lies before the last one is the last one: the clock
    /// went back.
    fn enter(&mut self, quota: &Quota, now: Duration) -> Duration {
        let (began, ends) = quota.period.around(now);
        let began = nanos(began);
        if began > self.began {
            (self.used, self.began) = (0, began);
        }
        ends
    }
}
