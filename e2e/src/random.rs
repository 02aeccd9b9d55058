//! Chance that can be repeated: every draw comes from one printed seed.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
    time::Duration,
};

/// A small generator (SplitMix64); tests need spread, not secrecy.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a test: seeded by `STEADFAST_SEED` or anew, and the seed is returned to be printed.
    ///
    /// # Panics
    /// `STEADFAST_SEED` is not a number.
    #[must_use]
    pub fn of_test() -> (Self, u64) {
        let seed = match std::env::var("STEADFAST_SEED") {
            Ok(text) => text.parse().expect("STEADFAST_SEED is a number"),
            Err(_) => RandomState::new().hash_one("seed") >> 32,
        };
        (Self(seed), seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of a range that is not empty.
    pub fn pick(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next_u64() % (range.end - range.start)
    }

    /// True this often in a hundred.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.pick(0..100) < chance
    }

    /// A time of up to so many milliseconds.
    pub fn millis(&mut self, max: u64) -> Duration {
        Duration::from_micros(self.pick(0..max * 1_000 + 1))
    }

    /// A generator of its own for another task.
    pub fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }
}
