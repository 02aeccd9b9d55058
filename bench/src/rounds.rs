//! Interleaved rounds: A B C A B C, so that whatever disturbs the machine for a minute disturbs everyone, and medians,
//! so that one bad round does not decide.

use clap::Args;
use serde::Serialize;

use crate::load::{Outcome, Until};
use crate::machine::median;

/// How often and how long is measured.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Rounds {
    /// Rounds of every contestant, interleaved
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Measured seconds of each contestant in each round
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds of load before each measurement
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
}

/// Somebody who is measured: a name, and the load of a round, which is run until then.
pub(crate) struct Contestant<'a> {
    /// The name in the results.
    pub(crate) name: &'static str,
    /// Runs the load of the round with this number.
    pub(crate) run: Box<dyn Fn(u32, Until) -> anyhow::Result<Outcome> + 'a>,
}

/// All rounds of one contestant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// The contestant.
    pub(crate) name: &'static str,
    /// The median of the rounds' answers a second.
    pub(crate) per_second: f64,
    /// The median of the rounds' medians, in milliseconds.
    pub(crate) p50_ms: f64,
    /// The median of the rounds' 99th percentiles, in milliseconds.
    pub(crate) p99_ms: f64,
    /// The median share of the time that each core worked: the contestant's core should be near 1, and the other not.
    pub(crate) busy: Vec<f64>,
    /// Every round.
    pub(crate) rounds: Vec<Outcome>,
}

impl Rounds {
    /// Measures every contestant in every round; says on standard error how far it is.
    ///
    /// # Errors
    /// A contestant gave a wrong answer.
    pub(crate) fn measure(&self, contestants: &[Contestant<'_>]) -> anyhow::Result<Vec<Measured>> {
        let until = Until::Seconds { warm_up: self.warm_up, measured: self.seconds };
        let mut outcomes = vec![Vec::new(); contestants.len()];
        for round in 0..self.rounds.max(1) {
            for (contestant, outcomes) in contestants.iter().zip(&mut outcomes) {
                let outcome = (contestant.run)(round, until)
                    .map_err(|error| error.context(format!("{} in round {}", contestant.name, round + 1)))?;
                eprintln!(
                    "round {}/{}  {:<28} {:>9.0}/s  p50 {:>7.3} ms  busy {}",
                    round + 1,
                    self.rounds.max(1),
                    contestant.name,
                    outcome.per_second,
                    outcome.p50_ms,
                    percents(&outcome.busy)
                );
                outcomes.push(outcome);
            }
        }
        Ok(contestants
            .iter()
            .zip(outcomes)
            .map(|(contestant, rounds)| Measured::of(contestant.name, rounds))
            .collect())
    }
}

impl Measured {
    fn of(name: &'static str, rounds: Vec<Outcome>) -> Self {
        let over = |figure: &dyn Fn(&Outcome) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
        let cores = rounds.first().map_or(0, |round| round.busy.len());
        Self {
            name,
            per_second: over(&|round| round.per_second),
            p50_ms: over(&|round| round.p50_ms),
            p99_ms: over(&|round| round.p99_ms),
            busy: (0..cores)
                .map(|core| over(&|round| round.busy.get(core).copied().unwrap_or(0.0)))
                .collect(),
            rounds,
        }
    }
}

/// Shares of cores as people read them.
pub(crate) fn percents(busy: &[f64]) -> String {
    busy.iter().map(|share| format!("{:.0}%", share * 100.0)).collect::<Vec<_>>().join(" ")
}
