//! How long to wait before a request is tried again: exponential backoff with full jitter, so that those who failed
//! together do not come back together.
//!
//! After *Exponential Backoff And Jitter* (M. Brooker, AWS Architecture Blog, 2015): the pause before retry *n* is
//! drawn evenly from zero to `min(cap, base · 2ⁿ)`.

use std::time::Duration;

/// How pauses grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause before the first retry.
    pub base: Duration,
    /// The longest pause before any.
    pub cap: Duration,
}

impl Default for Backoff {
    /// Up to 100 ms, then 200 ms, 400 ms, …, and never more than 2 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(100), cap: Duration::from_secs(2) }
    }
}

impl Backoff {
    /// The longest pause before retry number `retry`, from 0.
    #[must_use]
    pub fn ceiling(&self, retry: u32) -> Duration {
        let factor = 1_u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// The pause before retry number `retry`, from 0, where `random` is drawn evenly from all numbers.
    #[must_use]
    pub fn pause(&self, retry: u32, random: u64) -> Duration {
        let ceiling = u64::try_from(self.ceiling(retry).as_nanos()).unwrap_or(u64::MAX);
        let nanoseconds = (u128::from(ceiling) * u128::from(random)) >> 64;
        // The upper half of a product of two numbers of 64 bits.
        Duration::from_nanos(nanoseconds as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(2) };

    #[test]
    fn the_longest_pause_doubles_up_to_the_cap() {
        for (retry, ms) in [(0, 100), (1, 200), (2, 400), (4, 1_600), (5, 2_000), (31, 2_000), (40, 2_000)] {
            assert_eq!(BACKOFF.ceiling(retry), Duration::from_millis(ms), "{retry}");
        }
    }

    #[test]
    fn the_pause_is_drawn_from_zero_to_the_longest() {
        for (retry, random, ms) in [(0, 0, 0), (0, u64::MAX / 2 + 1, 50), (1, u64::MAX / 4 * 3 + 3, 150)] {
            assert_eq!(BACKOFF.pause(retry, random), Duration::from_millis(ms), "{retry} {random}");
        }
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_base_times_two_to_the_n_or_the_cap(
            base_ms in 0_u64..100_000, cap_ms in 0_u64..4_000_000, retry in 0_u32..64, random: u64,
        ) {
            let (base, cap) = (Duration::from_millis(base_ms), Duration::from_millis(cap_ms));
            let pause = Backoff { base, cap }.pause(retry, random);
            prop_assert!(pause <= cap);
            prop_assert!(retry >= 20 || pause <= base * (1 << retry));
        }
    }
}
