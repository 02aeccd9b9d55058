//! A bucket of tokens by what is missing from it: its debt, which is paid off at the rate. All of it is done in whole
//! numbers, so that neither long uptimes nor odd rates add or lose any: a debt is so many tokens and so many
//! nanoseconds' worth of a `count`-th of one.

use std::time::Duration;

use super::{LimitAlgorithm, LimitDecision, Quota, nanos, nanos_up};

/// What is missing from a full bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Whole tokens.
    tokens: u64,
    /// And of one more so many parts, of which a token has as many as its period has nanoseconds.
    parts: u64,
    /// As of when, in nanoseconds.
    at: u64,
}

impl Bucket {
    pub(super) fn ask(
        &mut self,
        quota: &Quota,
        cost: u64,
        wait_max: Duration,
        now: Duration,
    ) -> LimitDecision {
        let period = nanos(quota.period.length());
        self.pay_off(quota.count, period, nanos(now));
        let debt = self.debt(period);
        let room = quota.burst.saturating_sub(self.tokens).saturating_sub(u64::from(self.parts > 0));
        let needed = cost.max(1);
        if needed > quota.burst {
            return LimitDecision::Refused { remaining: room, after: None };
        }
        if needed > room {
            let over = debt + tokens(period, needed) - tokens(period, quota.burst);
            return LimitDecision::Refused { remaining: room, after: Some(nanos_up(over, quota.count)) };
        }
        let wait = match quota.algorithm {
            LimitAlgorithm::LeakyBucket => nanos_up(debt, quota.count),
            _ => Duration::ZERO,
        };
        if wait > wait_max {
            return LimitDecision::Refused { remaining: room, after: Some(wait - wait_max) };
        }
        let reset = nanos_up(debt + tokens(period, cost), quota.count);
        LimitDecision::Allowed { remaining: room - cost.min(room), reset, wait }
    }

    pub(super) fn charge(&mut self, quota: &Quota, cost: u64, now: Duration) {
        self.pay_off(quota.count, nanos(quota.period.length()), nanos(now));
        // A debt of a whole life is as good as any longer one, and keeps the arithmetic far from its end.
        self.tokens = self.tokens.saturating_add(cost).min(TOKENS_MAX);
    }

    pub(super) fn give_back(&mut self, quota: &Quota, cost: u64, now: Duration) {
        self.pay_off(quota.count, nanos(quota.period.length()), nanos(now));
        if cost > self.tokens {
            self.parts = 0;
        }
        self.tokens = self.tokens.saturating_sub(cost);
    }

    pub(super) fn idle_at(&self, quota: &Quota) -> Duration {
        let debt = self.debt(nanos(quota.period.length()));
        Duration::from_nanos(self.at).saturating_add(nanos_up(debt, quota.count))
    }

    /// At a rate of so much in so many nanoseconds.
    fn pay_off(&mut self, count: u64, period: u64, now: u64) {
        // A clock that went back pays nothing off until it has caught up.
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let paid = u128::from(elapsed) * u128::from(count);
        let debt = self.debt(period);
        if paid >= debt {
            (self.tokens, self.parts) = (0, 0);
            return;
        }
        let left = debt - paid;
        // Mostly it is small, and a division in 128 bits is not.
        (self.tokens, self.parts) = match u64::try_from(left) {
            Ok(left) => (left / period, left % period),
            Err(_) => ((left / u128::from(period)) as u64, (left % u128::from(period)) as u64),
        };
    }

    /// In parts.
    fn debt(&self, period: u64) -> u128 {
        // The period may have become shorter since.
        let parts = self.parts.min(period - 1);
        tokens(period, self.tokens) + u128::from(parts)
    }
}

/// The most that can be missing: no quota is larger.
const TOKENS_MAX: u64 = 1 << 60;

/// So many tokens, in parts.
fn tokens(period: u64, count: u64) -> u128 {
    u128::from(count) * u128::from(period)
}
