//! How a service behaves: slow, busy, failing or silent, by a seeded plan.
//!
//! The fate of the n-th request is a function of the seed and n alone, so a bad minute can be had again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::Answer;
use crate::refusal::{Refusal, parse};

/// The slowest a service may be told to be.
const LATENCY_MS_MAX: u64 = 60_000;

/// How a service treats what it is asked for: the bank its charges, the ticket desk its tickets, the sink its mails.
/// The default is perfect health.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Temper {
    /// Where the plan starts; the same seed gives the same fates in the same order.
    pub seed: u64,
    /// The least time a request takes before the service acts, in milliseconds (at most 60,000).
    pub latency_ms_min: u64,
    /// The most time a request takes before the service acts, in milliseconds (at most 60,000, at least the least).
    pub latency_ms_max: u64,
    /// The share of requests answered 503 and not executed, 0 to 1.
    pub refuse_ratio: f64,
    /// The share of requests executed and answered 500, 0 to 1.
    pub fail_after_ratio: f64,
    /// The share of requests executed and never answered: the connection is dropped. 0 to 1.
    pub lose_ratio: f64,
}

/// The bank's temper.
pub type BankTemper = Temper;

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

/// What will become of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Its place in the plan, from 0.
    pub(crate) draw: u64,
    pub(crate) latency: Duration,
    pub(crate) turn: Turn,
}

/// How one request goes.
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
struct Plan {
    temper: Temper,
    drawn: u64,
}

impl Plan {
    /// Checks a temper; its plan starts at the first fate.
    ///
    /// # Errors
    /// [`InvalidTemper`] when a ratio or a latency is out of bounds.
    fn new(temper: Temper) -> Result<Plan, InvalidTemper> {
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

    fn draw(&mut self) -> Fate {
        let draw = self.drawn;
        self.drawn += 1;
        let Temper { seed, latency_ms_min, latency_ms_max, refuse_ratio, fail_after_ratio, lose_ratio } =
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
        Fate { draw, latency: Duration::from_millis(latency_ms), turn }
    }
}

/// The temper a service has at the moment, and the plan that follows from it; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Mood {
    plan: Arc<Mutex<Plan>>,
}

impl Mood {
    /// Checks a temper, and starts its plan.
    ///
    /// # Errors
    /// [`InvalidTemper`] when a ratio or a latency is out of bounds.
    pub(crate) fn new(temper: Temper) -> Result<Mood, InvalidTemper> {
        Ok(Mood { plan: Arc::new(Mutex::new(Plan::new(temper)?)) })
    }

    /// The next request's fate, after its latency has passed.
    pub(crate) async fn befalls(&self) -> Fate {
        let fate = self.plan().draw();
        if !fate.latency.is_zero() {
            tokio::time::sleep(fate.latency).await;
        }
        fate
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /temper`.
pub(crate) async fn show(State(mood): State<Mood>) -> Answer {
    let temper = mood.plan().temper;
    Answer::new(StatusCode::OK, &json!(temper))
}

/// `PUT /temper`: a new temper from the next request on; what the body leaves out is healthy. Its plan starts anew.
pub(crate) async fn change(
    State(mood): State<Mood>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let temper: Temper = parse(body)?;
    let plan = Plan::new(temper).map_err(|error| Refusal::BadInput(error.to_string()))?;
    *mood.plan() = plan;
    Ok(Answer::new(StatusCode::OK, &json!(temper)))
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

    fn turns(temper: Temper, count: usize) -> Vec<Fate> {
        let mut plan = Plan::new(temper).unwrap();
        (0..count).map(|_| plan.draw()).collect()
    }

    #[test]
    fn gives_the_same_fates_for_the_same_seed() {
        let temper = Temper { seed: 7, latency_ms_max: 50, lose_ratio: 0.5, ..Temper::default() };
        assert_eq!(turns(temper, 100), turns(temper, 100));
        assert_ne!(turns(temper, 100), turns(Temper { seed: 8, ..temper }, 100));
    }

    #[test]
    fn keeps_its_ratios_and_its_latency_bounds() {
        let temper = Temper {
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
        assert_eq!(sick(Temper { lose_ratio: 1.1, ..Temper::default() }), InvalidTemper::Ratio);
        assert_eq!(sick(Temper { lose_ratio: f64::NAN, ..Temper::default() }), InvalidTemper::Ratio);
        let both = Temper { lose_ratio: 0.6, refuse_ratio: 0.6, ..Temper::default() };
        assert_eq!(sick(both), InvalidTemper::Ratio);
        assert_eq!(sick(Temper { latency_ms_min: 2, ..Temper::default() }), InvalidTemper::Latency);
    }
}
