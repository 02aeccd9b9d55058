//! So many at once.

use std::time::Duration;

use super::{LimitDecision, Quota};

/// How soon a place may be free again; nobody knows.
const AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    taken: u64,
}

impl Places {
    pub(super) fn ask(&self, quota: &Quota, cost: u64) -> LimitDecision {
        let room = quota.count.saturating_sub(self.taken);
        let needed = cost.max(1);
        if needed > room {
            let after = (needed <= quota.count).then_some(AFTER);
            return LimitDecision::Refused { remaining: room, after };
        }
        LimitDecision::Allowed { remaining: room - needed, reset: Duration::ZERO, wait: Duration::ZERO }
    }

    pub(super) fn charge(&mut self, cost: u64) {
        self.taken = self.taken.saturating_add(cost.max(1));
    }

    pub(super) fn give_back(&mut self, cost: u64) {
        self.taken = self.taken.saturating_sub(cost.max(1));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.taken == 0
    }
}
