//! What a benchmark prints: ratios first, each beside the bar it is held to, then what they stand on.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::jobs::Drained;
use crate::load::Outcome;
use crate::machine::{Conditions, median};
use crate::rounds::{Measured, percents};
use crate::workplace::OutputFormat;

/// The result of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Which benchmark.
    pub(crate) benchmark: &'static str,
    /// Every ratio, with its bar.
    pub(crate) ratios: BTreeMap<&'static str, Ratio>,
    /// The medians of every contestant, and its rounds.
    pub(crate) contestants: Vec<Measured>,
    /// The backlogs that were worked off, by whom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) drains: Vec<Drained>,
    /// Other figures of this benchmark, with their unit in the name.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// What a reader must know to judge them.
    pub(crate) notes: Vec<String>,
    /// The machine.
    pub(crate) conditions: Conditions,
}

/// A ratio and what is asked of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    /// The ratio.
    value: f64,
    /// What it is held to.
    bar: Bar,
    /// Whether it holds.
    holds: bool,
}

/// What a ratio is held to.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// Nothing: it is reported.
    Reported,
}

impl Ratio {
    /// `ours` in relation to `theirs`; 0 where there is nothing to relate to.
    pub(crate) fn of(ours: f64, theirs: f64, bar: Bar) -> Self {
        let value = if theirs > 0.0 { ours / theirs } else { 0.0 };
        let holds = match bar {
            Bar::AtLeast(least) => value >= least,
            Bar::AtMost(most) => value <= most,
            Bar::Reported => true,
        };
        Self { value, bar, holds }
    }
}

impl Report {
    /// A report without ratios yet.
    pub(crate) fn new(benchmark: &'static str, conditions: Conditions, contestants: Vec<Measured>) -> Self {
        let (ratios, drains, figures, notes) = Default::default();
        Self { benchmark, ratios, contestants, drains, figures, notes, conditions }
    }

    /// What was measured of a contestant, if it took part.
    pub(crate) fn contestant(&self, name: &str) -> Option<&Measured> {
        self.contestants.iter().find(|measured| measured.name == name)
    }

    /// Adds the ratio of two contestants' throughput, if both took part: the median of the rounds' ratios, because
    /// what disturbs the machine disturbs neighbours in a round alike, and rounds differently.
    pub(crate) fn relate(&mut self, ratio: &'static str, ours: &str, theirs: &str, bar: Bar) {
        self.compare(ratio, ours, theirs, bar, |ours, theirs| {
            ours.per_second / theirs.per_second.max(f64::MIN_POSITIVE)
        });
    }

    /// Adds the median of what `of` makes of two contestants' outcomes in a round, if both took part.
    pub(crate) fn compare(
        &mut self,
        ratio: &'static str,
        ours: &str,
        theirs: &str,
        bar: Bar,
        of: impl Fn(&Outcome, &Outcome) -> f64,
    ) {
        if let (Some(ours), Some(theirs)) = (self.contestant(ours), self.contestant(theirs)) {
            let rounds = ours.rounds.iter().zip(&theirs.rounds);
            let ratios: Vec<_> = rounds.map(|(ours, theirs)| of(ours, theirs)).collect();
            self.ratios.insert(ratio, Ratio::of(median(&ratios), 1.0, bar));
        }
    }

    /// Whether every ratio holds what it is held to.
    pub(crate) fn all_hold(&self) -> bool {
        self.ratios.values().all(|ratio| ratio.holds)
    }

    /// Prints it.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(crate) fn print(&self, format: OutputFormat) -> anyhow::Result<()> {
        match format {
            OutputFormat::Json => println!("{}", serde_json::to_string_pretty(self)?),
            OutputFormat::Table => self.print_table(),
        }
        Ok(())
    }

    fn print_table(&self) {
        println!("{}: {}", self.benchmark, self.conditions.in_words());
        if !self.contestants.is_empty() {
            println!(
                "\n{:<28} {:>10} {:>10} {:>10}  busy cores",
                "contestant", "a second", "p50 ms", "p99 ms"
            );
        }
        for measured in &self.contestants {
            println!(
                "{:<28} {:>10.0} {:>10.3} {:>10.3}  {}",
                measured.name,
                measured.per_second,
                measured.p50_ms,
                measured.p99_ms,
                percents(&measured.busy)
            );
        }
        println!();
        for drained in &self.drains {
            println!("{}", drained.in_words());
        }
        for (name, value) in &self.figures {
            println!("{name:<28} {value:>10.3}");
        }
        for (name, ratio) in &self.ratios {
            let bar = match ratio.bar {
                Bar::AtLeast(least) => format!("at least {least}"),
                Bar::AtMost(most) => format!("at most {most}"),
                Bar::Reported => "reported".to_owned(),
            };
            println!("{name:<28} {:>10.3}  {bar}{}", ratio.value, if ratio.holds { "" } else { ": MISSED" });
        }
        for note in &self.notes {
            println!("\n{note}");
        }
    }
}
