//! No more than so many in any stretch of time as long as the period. To remember the instant of each would take as much
//! memory as they are; here each is remembered by the seventh of a period that it came in, and counts until all of
//! that seventh is a period ago. So a stretch never sees more than the count, and what was used comes back up to a
//! seventh of the period late.

use std::time::Duration;

use super::{LimitDecision, Quota, nanos};

/// Slots that a period is divided into, and one more, for a stretch that begins within one ends within another.
const SLOTS_A_PERIOD: u64 = 7;
const SLOTS: usize = SLOTS_A_PERIOD as usize + 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlidingWindow {
    /// When the newest slot began, in nanoseconds.
    began: u64,
    /// How much was used in each, the newest first, in units that make the count fit: see [`Unit`].
    used: [u32; SLOTS],
}

impl SlidingWindow {
    pub(super) fn ask(&mut self, quota: &Quota, cost: u64, now: Duration) -> LimitDecision {
        let slot = self.enter(quota, nanos(now));
        let unit = Unit::of(quota);
        let count = quota.count >> unit.0;
        let used: u64 = self.used.iter().copied().map(u64::from).sum();
        let room = count.saturating_sub(used);
        let needed = unit.up(cost.max(1));
        let until = |nanos: u64| Duration::from_nanos(nanos).saturating_sub(now);
        if needed > count {
            return LimitDecision::Refused { remaining: room << unit.0, after: None };
        }
        if needed > room {
            // The oldest go first.
            let mut left = used;
            for (age, slot_used) in self.used.iter().enumerate().rev() {
                left -= u64::from(*slot_used);
                if left + needed <= count {
                    let gone = self.began.saturating_add((SLOTS - age) as u64 * slot);
                    return LimitDecision::Refused { remaining: room << unit.0, after: Some(until(gone)) };
                }
            }
        }
        let reset = until(self.began.saturating_add(SLOTS as u64 * slot));
        let remaining = (room << unit.0).saturating_sub(cost);
        LimitDecision::Allowed { remaining, reset, wait: Duration::ZERO }
    }

    pub(super) fn charge(&mut self, quota: &Quota, cost: u64, now: Duration) {
        self.enter(quota, nanos(now));
        let cost = u32::try_from(Unit::of(quota).up(cost)).unwrap_or(u32::MAX);
        self.used[0] = self.used[0].saturating_add(cost);
    }

    /// What was charged in which slot is not remembered: the newest give it back, which is where it most likely was.
    pub(super) fn give_back(&mut self, quota: &Quota, cost: u64, now: Duration) {
        self.enter(quota, nanos(now));
        let mut left = u32::try_from(Unit::of(quota).up(cost)).unwrap_or(u32::MAX);
        for used in &mut self.used {
            let given = left.min(*used);
            *used -= given;
            left -= given;
        }
    }

    pub(super) fn idle_at(&self, quota: &Quota) -> Duration {
        let slots = self.used.iter().position(|used| *used > 0).map_or(0, |age| SLOTS - age);
        match slots {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.began.saturating_add(SLOTS as u64 * slot_length(quota))),
        }
    }

    /// Goes on to the slot of `now`; says how long one is.
    fn enter(&mut self, quota: &Quota, now: u64) -> u64 {
        let slot = slot_length(quota);
        let began = now - now % slot;
        // A clock that went back goes on in the newest slot. Slots of another length, from before a reload, are taken
        // for so many of this one.
        let gone = began.saturating_sub(self.began).div_euclid(slot);
        if began > self.began {
            let gone = usize::try_from(gone).unwrap_or(SLOTS).min(SLOTS);
            self.used.copy_within(..SLOTS - gone, gone);
            self.used[..gone].fill(0);
            self.began = began;
        }
        slot
    }
}

/// Rounded up: seven of them are a period at the least.
fn slot_length(quota: &Quota) -> u64 {
    nanos(quota.period.length()).div_ceil(SLOTS_A_PERIOD)
}

/// By how many bits a count is shifted to fit a slot with room to spare. Costs are rounded up.
struct Unit(u32);

impl Unit {
    fn of(quota: &Quota) -> Self {
        Self((u64::BITS - quota.count.leading_zeros()).saturating_sub(30))
    }

    fn up(&self, cost: u64) -> u64 {
        cost.div_ceil(1 << self.0)
    }
}
