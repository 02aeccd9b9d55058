//! How many retries an upstream may be sent: a share of the requests of the last ten seconds, and a few beside it.
//!
//! Retries help against the odd failure and do harm against many: an upstream that fails for everybody would be sent
//! a multiple of what it cannot take. A budget bounds that multiple, whoever asks (after Finagle's `RetryBudget`).
//!
//! What it promises: at the moment of every retry, the retries of the ten seconds before, that one included, are at
//! most `percent` of the requests of those ten seconds, and ten times `per_second_min`.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How many seconds it looks back.
const WINDOW_SECONDS: u64 = 10;
/// How many seconds are kept: those of the window, and the one that has just begun.
const SLOTS: usize = WINDOW_SECONDS as usize + 1;

/// How many retries there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudgetPolicy {
    /// Retries for each hundred requests.
    pub percent: u32,
    /// Retries a second that there may be in any case, or rare requests would never be repeated.
    pub per_second_min: u32,
}

impl Default for RetryBudgetPolicy {
    /// A fifth of the requests, and one a second.
    fn default() -> Self {
        Self { percent: 20, per_second_min: 1 }
    }
}

/// What was asked and what was repeated in the last seconds. A request costs it two atomic instructions.
#[derive(Debug)]
pub struct RetryBudget {
    policy: RetryBudgetPolicy,
    /// Requests by second: the second in the upper half, how many in the lower.
    requests: [AtomicU64; SLOTS],
    /// Retries by second: which, and how many. Retries are rare, so whoever makes one may wait for another.
    retries: Mutex<[(u64, u32); SLOTS]>,
}

impl RetryBudget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub fn new(policy: RetryBudgetPolicy) -> Self {
        Self { policy, requests: Default::default(), retries: Mutex::default() }
    }

    /// A request came, `now` after any origin.
    pub fn deposit(&self, now: Duration) {
        let second = now.as_secs() & u64::from(u32::MAX);
        let slot = &self.requests[slot_of(second)];
        let mut seen = slot.load(Ordering::Relaxed);
        loop {
            let seen_second = seen >> 32;
            if seen_second == second {
                slot.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if seen_second > second {
                // Whoever counts it was held up for ten seconds: it belongs to no window any more.
                return;
            }
            match slot.compare_exchange_weak(seen, second << 32 | 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => seen = changed,
            }
        }
    }

    /// Takes one retry out, if there is one.
    #[must_use]
    pub fn withdraw(&self, now: Duration) -> bool {
        let second = now.as_secs();
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        // Requests of whole seconds that lie within the window; retries of all that it touches.
        let requests: u64 = self.requests.iter().map(|slot| counted(slot, second)).sum();
        let retried = retries.iter().filter(|(at, _)| at + WINDOW_SECONDS >= second);
        let retried: u64 = retried.map(|(_, count)| u64::from(*count)).sum();
        let allowed = requests * u64::from(self.policy.percent) / 100
            + u64::from(self.policy.per_second_min) * WINDOW_SECONDS;
        if retried >= allowed {
            return false;
        }
        let slot = &mut retries[slot_of(second)];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 = slot.1.saturating_add(1);
        true
    }

    /// Gives back a retry that was taken out `now`, and not made.
    pub fn give_back(&self, now: Duration) {
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, count) = &mut retries[slot_of(now.as_secs())];
        if *at == now.as_secs() {
            *count = count.saturating_sub(1);
        }
    }
}

fn slot_of(second: u64) -> usize {
    // Less than eleven.
    (second % SLOTS as u64) as usize
}

/// The requests of a slot, if its second lies wholly within the window that ends in `second`.
fn counted(slot: &AtomicU64, second: u64) -> u64 {
    let seen = slot.load(Ordering::Relaxed);
    let within = (seen >> 32) + WINDOW_SECONDS > second;
    if within { seen & u64::from(u32::MAX) } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn spent(budget: &RetryBudget, now: Duration) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_beside_may_be_repeated() {
        let budget = RetryBudget::new(RetryBudgetPolicy::default());
        (0..500).for_each(|_| budget.deposit(at(1_000)));
        assert_eq!(spent(&budget, at(1_999)), 110);
        assert_eq!(spent(&budget, at(9_000)), 0, "they are spent");
    }

    #[test]
    fn what_was_spent_and_what_was_asked_is_forgotten_after_ten_seconds() {
        let budget = RetryBudget::new(RetryBudgetPolicy::default());
        (0..500).for_each(|_| budget.deposit(at(1_000)));
        assert_eq!(spent(&budget, at(1_500)), 110);
        assert_eq!(spent(&budget, at(11_000)), 0, "the requests are gone before the retries");
        assert_eq!(spent(&budget, at(12_000)), 10);
    }

    #[test]
    fn without_a_share_and_a_minimum_nothing_is_repeated() {
        let budget = RetryBudget::new(RetryBudgetPolicy { percent: 0, per_second_min: 0 });
        budget.deposit(at(0));
        assert!(!budget.withdraw(at(0)));
    }

    #[test]
    fn what_was_not_used_can_be_given_back() {
        let budget = RetryBudget::new(RetryBudgetPolicy { percent: 100, per_second_min: 0 });
        budget.deposit(at(0));
        assert!(budget.withdraw(at(10)));
        assert!(!budget.withdraw(at(20)));
        budget.give_back(at(20));
        assert!(budget.withdraw(at(30)));
    }

    #[test]
    fn requests_counted_by_many_at_once_are_all_counted() {
        let budget = RetryBudget::new(RetryBudgetPolicy { percent: 100, per_second_min: 0 });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|number| budget.deposit(at(number))));
            }
        });
        assert_eq!(spent(&budget, at(1_000)), 4_000);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_and_the_minimum_of_any_ten_seconds(
            percent in 0_u32..=100,
            per_second_min in 0_u32..4,
            events in prop::collection::vec((0_u64..1_500, 0_u32..12, 0_u32..12), 1..120),
        ) {
            let budget = RetryBudget::new(RetryBudgetPolicy { percent, per_second_min });
            let (mut now, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            for (pause, asked, failed) in events {
                now += pause;
                for _ in 0..asked {
                    budget.deposit(at(now));
                    requests.push(now);
                }
                for _ in 0..failed {
                    if budget.withdraw(at(now)) {
                        retries.push(now);
                    }
                    let within = |times: &[u64]| times.iter().filter(|time| **time + 10_000 > now).count() as u64;
                    let allowed = within(&requests) * u64::from(percent) / 100 + u64::from(per_second_min) * 10;
                    if retries.last() == Some(&now) {
                        prop_assert!(within(&retries) <= allowed, "{} > {allowed} at {now}", within(&retries));
                    }
                }
            }
        }
    }
}
