//! How the bank behaves: slow, busy, failing or silent, by a seeded plan.
//!
//! The fate of the n-th charge is a function of the seed and n alone, so a bad minute can be had again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The slowest a bank may be told to be.
const LATENCY_MS_MAX: u64 = 60_000;

/// How the bank treats the charges it is asked for; the default is a bank in perfect health.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct BankTemper {
    /// Where the plan starts; the same seed gives the same fates in the same order.
    pub seed: u64,
    /// The least time a charge takes before the bank acts, in milliseconds (at most 60,000).
    pub latency_ms_min: u64,
    /// The most time a charge takes before the bank acts, in milliseconds (at most 60,000, at least the least).
    pub latency_ms_max: u64,
    /// The share of charges answered 503 and not executed, 0 to 1.
    pub refuse_ratio: f64,
    /// The share of charges executed and answered 500, 0 to 1.
    pub fail_after_ratio: f64,
    /// The share of charges executed and never answered: the connection is dropped. 0 to 1.
    pub lose_ratio: f64,
}

/// Why a temper cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemper {
    /// A ratio is not a number from 0 to 1, or the three exceed 1 together.
    #[error("each ratio must be from 0 to 1, and the three of them at most 1 together")]
    Ratio,
    /// The latencies are too long, or the wrong way round.
    #[error("latency_ms_min must be at most latency_ms_max, and that at most 60000")]
    Latency,
}

/// What will become of one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) latency: Duration,
    pub(crate) turn: Turn,
}

/// How one charge goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Executed, answered.
    Answer,
    /// Not executed, answered 503.
    Refuse,
    /// Executed, answered 500.
    FailAfter,
    /// Executed, never answered.
    Lose,
}

/// A temper that was checked, and how many of its fates were drawn.
#[derive(Debug)]
pub(crate) struct Plan {
    temper: BankTemper,
    drawn: u64,
}

impl Plan {
    /// Checks a temper; its plan starts at the first fate.
    ///
    /// # Errors
    /// [`InvalidTemper`] when a ratio or a latency is out of bounds.
    pub(crate) fn new(temper: BankTemper) -> Result<Plan, InvalidTemper> {
        let ratios = [temper.refuse_ratio, temper.fail_after_ratio, temper.lose_ratio];
        // A hair of slack: 0.7 + 0.2 + 0.1 is not exactly 1.
        if ratios.iter().any(|ratio| !(0.0..=1.0).contains(ratio)) || ratios.iter().sum::<f64>() > 1.0 + 1e-9
        {
            return Err(InvalidTemper::Ratio);
        }
        if temper.latency_ms_min > temper.latency_ms_max || temper.latency_ms_max > LATENCY_MS_MAX {
            return Err(InvalidTemper::Latency);
        }
        Ok(Plan { temper, drawn: 0 })
    }

    pub(crate) fn temper(&self) -> BankTemper {
        self.temper
    }

    pub(crate) fn draw(&mut self) -> Fate {
        let draw = self.drawn;
        self.drawn += 1;
        let BankTemper { seed, latency_ms_min, latency_ms_max, refuse_ratio, fail_after_ratio, lose_ratio } =
            self.temper;
        let latency_ms = latency_ms_min + scatter(seed, 2 * draw) % (latency_ms_max - latency_ms_min + 1);
        // The top 53 bits, as a fraction in 0..1.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
        let chance = (scatter(seed, 2 * draw + 1) >> 11) as f64 / (1_u64 << 53) as f64;
        let turn = if chance < refuse_ratio {
            Turn::Refuse
        } else if chance < refuse_ratio + fail_after_ratio {
            Turn::FailAfter
        } else if chance < refuse_ratio + fail_after_ratio + lose_ratio {
            Turn::Lose
        } else {
            Turn::Answer
        };
        Fate { latency: Duration::from_millis(latency_ms), turn }
    }
}

/// The `n`-th number of the SplitMix64 sequence that starts at `seed`.
fn scatter(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(temper: BankTemper, count: usize) -> Vec<Fate> {
        let mut plan = Plan::new(temper).unwrap();
        (0..count).map(|_| plan.draw()).collect()
    }

    #[test]
    fn gives_the_same_fates_for_the_same_seed() {
        let temper = BankTemper { seed: 7, latency_ms_max: 50, lose_ratio: 0.5, ..BankTemper::default() };
        assert_eq!(turns(temper, 100), turns(temper, 100));
        assert_ne!(turns(temper, 100), turns(BankTemper { seed: 8, ..temper }, 100));
    }

    #[test]
    fn keeps_its_ratios_and_its_latency_bounds() {
        let temper = BankTemper {
            seed: 1,
            latency_ms_min: 5,
            latency_ms_max: 9,
            refuse_ratio: 0.5,
            fail_after_ratio: 0.2,
            lose_ratio: 0.1,
        };
        let fates = turns(temper, 10_000);
        let share = |turn| fates.iter().filter(|fate| fate.turn == turn).count();
        assert!((4_800..5_200).contains(&share(Turn::Refuse)));
        assert!((1_850..2_150).contains(&share(Turn::FailAfter)));
        assert!((880..1_120).contains(&share(Turn::Lose)));
        let bounds = Duration::from_millis(5)..=Duration::from_millis(9);
        assert!(fates.iter().all(|fate| bounds.contains(&fate.latency)));
    }

    #[test]
    fn refuses_ratios_over_one_and_latencies_the_wrong_way_round() {
        let sick = |temper| Plan::new(temper).unwrap_err();
        assert_eq!(sick(BankTemper { lose_ratio: 1.1, ..BankTemper::default() }), InvalidTemper::Ratio);
        assert_eq!(sick(BankTemper { lose_ratio: f64::NAN, ..BankTemper::default() }), InvalidTemper::Ratio);
        let both = BankTemper { lose_ratio: 0.6, refuse_ratio: 0.6, ..BankTemper::default() };
        assert_eq!(sick(both), InvalidTemper::Ratio);
        assert_eq!(sick(BankTemper { latency_ms_min: 2, ..BankTemper::default() }), InvalidTemper::Latency);
    }
}
