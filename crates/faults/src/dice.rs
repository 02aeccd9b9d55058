//! Seeded randomness, so that a failing run can be repeated from the seed it printed.
//!
//! A draw depends on the seed and on *what* is decided (which connection, exchange and fault), never on the
//! order in which concurrent connections ask: threads cannot shuffle the outcome.

use std::hash::{BuildHasher, Hasher, RandomState};

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// Dice for one matter, told from all others by `path`.
    pub(crate) fn for_matter(seed: u64, path: [u64; 3]) -> Self {
        let mut dice = Dice { state: seed };
        for step in path {
            let mixed = dice.next();
            dice.state = mixed ^ step;
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in 0 (included) to 1 (excluded).
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits: all that a double holds exactly.
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given chance: never at 0, always at 1.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Uniform in 0 to `max`, both included (to within the rounding of a double).
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        let drawn = (self.fraction() * (max as f64 + 1.0)) as u64;
        drawn.min(max)
    }
}

/// A seed nobody chose: 32 bits, short enough to be copied from a log by hand.
pub(crate) fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_matter_is_always_decided_alike() {
        let draw = |seed, path| Dice::for_matter(seed, path).next();
        assert_eq!(draw(7, [1, 2, 3]), draw(7, [1, 2, 3]));
        let all = [
            draw(7, [1, 2, 3]),
            draw(8, [1, 2, 3]),
            draw(7, [2, 2, 3]),
            draw(7, [1, 3, 3]),
            draw(7, [1, 2, 4]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one));
        }
    }

    #[test]
    fn splitmix_matches_its_published_first_outputs() {
        let mut dice = Dice { state: 1_234_567 };
        let drawn = [dice.next(), dice.next(), dice.next()];
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn chances_are_kept() {
        let hits =
            |probability| (0..10_000).filter(|&n| Dice::for_matter(1, [n, 0, 0]).chance(probability)).count();
        assert_eq!(hits(0.0), 0);
        assert_eq!(hits(1.0), 10_000);
        assert!((2_700..3_300).contains(&hits(0.3)), "{}", hits(0.3));
    }

    #[test]
    fn draws_stay_within_their_bound_and_reach_it() {
        let mut dice = Dice { state: 3 };
        let drawn: Vec<u64> = (0..1000).map(|_| dice.up_to(4)).collect();
        assert!((0..=4).all(|n| drawn.contains(&n)));
        assert!(drawn.iter().all(|&n| n <= 4));
    }
}
