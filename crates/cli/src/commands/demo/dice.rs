//! Seeded randomness: the same seed and matter give the same throws, whatever else is thrown meanwhile.

use std::hash::{BuildHasher, Hasher, RandomState};

/// SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice for one matter of a run: each has a sequence of its own.
    pub(super) fn new(seed: u64, matter: u64) -> Self {
        let mut dice = Self(seed ^ matter.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        // Neighbouring matters begin far apart.
        Self(dice.throw())
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.throw() % (high - low + 1)
    }

    /// True in so many of a hundred throws.
    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }
}

/// A number that nobody chose.
pub(super) fn fresh_seed() -> u64 {
    // The standard library seeds its hash maps from the system's randomness. Cut to six digits, so that a person
    // can repeat it.
    RandomState::new().build_hasher().finish() % 1_000_000
}

/// A short name that no other run has.
pub(super) fn fresh_name() -> String {
    format!("{:08x}", RandomState::new().build_hasher().finish() >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_matter_throw_the_same() {
        let throws = |seed, matter| {
            let mut dice = Dice::new(seed, matter);
            (0..8).map(|_| dice.between(0, 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(throws(7, 1), throws(7, 1));
        assert_ne!(throws(7, 1), throws(7, 2));
        assert_ne!(throws(7, 1), throws(8, 1));
    }

    #[test]
    fn throws_stay_within_their_bounds_and_reach_both() {
        let mut dice = Dice::new(1, 1);
        let throws: Vec<_> = (0..1_000).map(|_| dice.between(3, 5)).collect();
        assert_eq!((throws.iter().min(), throws.iter().max()), (Some(&3), Some(&5)));
    }
}
