//! Mixed traffic for a while: reads, plain writes, keyed writes, replays, clients that reconnect and clients that hang
//! up. Every answer must be right, and what the gateway holds must stop growing.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::contestants::{self, sqlite_ledger};
use crate::idle::Footprint;
use crate::load::{Expect, Keys, Load, Manners, Outcome, Until};
use crate::machine::Conditions;
use crate::report::{Bar, Ratio, Report};
use crate::server::loopback;
use crate::upstream;
use crate::workplace::Place;

/// How much more the gateway may hold in the last third of the time than it did in the first.
const GROWTH_MAX: f64 = 1.1;
/// The size of request bodies and answers.
const BYTES: usize = 256;
/// The keys that are executed first and replayed then.
const REPLAYED: u64 = 10_000;
const REPLAYED_SEED: u64 = 0x5eed;

/// What the soak may be told.
#[derive(Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    place: Place,
    /// How long
    #[arg(long = "for", default_value = "10m", value_parser = duration)]
    length: Duration,
    /// Connections of each kind of traffic
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests a second of each kind of traffic [default: as fast as they are answered]
    #[arg(long)]
    rate: Option<f64>,
}

impl Soak {
    /// Runs it.
    ///
    /// # Errors
    /// The gateway does not start, gives a wrong answer, or grows.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(BYTES)?;
        let mut gateway =
            contestants::steadfast(&place, "steadfast", upstream.port, &sqlite_ledger(&place, "ledger"))?;
        let mut first = self.post(gateway.port, Keys::Unique { seed: REPLAYED_SEED }, Some(false));
        first.until = Until::Answers(REPLAYED);
        first.rate = None;
        first.run()?;

        let mut traffic = Vec::new();
        for (name, load) in self.kinds(gateway.port) {
            traffic.push((name, load.begin()?));
        }
        let samples = self.watch(&mut gateway)?;
        let outcomes = traffic
            .into_iter()
            .map(|(name, running)| Ok((name, running.end()?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        gateway.server.must_still_run()?;
        let report = judge(conditions, &samples, &outcomes);
        report.print(place.output)?;
        for (name, outcome) in outcomes {
            outcome.without_errors().map_err(|error| error.context(name))?;
        }
        anyhow::ensure!(report.all_hold(), "the gateway holds more and more");
        Ok(())
    }

    fn kinds(&self, port: u16) -> Vec<(&'static str, Load)> {
        let get = Load {
            post_bytes: None,
            path: "/events".to_owned(),
            expect: Expect { status: 200, bytes: BYTES, replayed: Some(false) },
            ..self.post(port, Keys::None, None)
        };
        let reconnecting = Manners { answers_per_connection: Some(50), ..Manners::default() };
        let hanging_up = Manners { hang_up_every: Some(20), ..Manners::default() };
        vec![
            ("read_per_second", get),
            ("plain_per_second", Load { manners: reconnecting, ..self.post(port, Keys::None, Some(false)) }),
            ("first_per_second", self.post(port, Keys::Unique { seed: 1 }, Some(false))),
            (
                "hung_up_per_second",
                Load { manners: hanging_up, ..self.post(port, Keys::Unique { seed: 2 }, Some(false)) },
            ),
            (
                "replay_per_second",
                self.post(port, Keys::Pool { seed: REPLAYED_SEED, size: REPLAYED }, Some(true)),
            ),
        ]
    }

    fn post(&self, port: u16, keys: Keys, replayed: Option<bool>) -> Load {
        Load {
            to: loopback(port),
            path: "/orders".to_owned(),
            post_bytes: Some(BYTES),
            connections: self.connections,
            until: Until::Seconds { warm_up: 0.0, measured: self.length.as_secs_f64() },
            rate: self.rate,
            keys,
            fields: Vec::new(),
            expect: Expect { status: 201, bytes: BYTES, replayed },
            manners: Manners::default(),
        }
    }

    /// Looks at the gateway every ten seconds, or sixty times where the soak is short.
    fn watch(&self, gateway: &mut contestants::Running) -> anyhow::Result<Vec<Footprint>> {
        let (began, interval) = (Instant::now(), Duration::from_secs(10).min(self.length / 60));
        let mut samples = Vec::new();
        while began.elapsed() < self.length {
            gateway.server.must_still_run()?;
            let footprint = Footprint::of(gateway.server.pid())?;
            eprintln!(
                "{:>5.0} s  {:>7.1} MB  {:>5} descriptors",
                began.elapsed().as_secs_f64(),
                footprint.resident_mb,
                footprint.descriptors
            );
            samples.push(footprint);
            thread::sleep(interval);
        }
        Ok(samples)
    }
}

fn judge(conditions: Conditions, samples: &[Footprint], outcomes: &[(&'static str, Outcome)]) -> Report {
    let third = (samples.len() / 3).max(1);
    let (first, last) =
        (&samples[..third.min(samples.len())], &samples[samples.len().saturating_sub(third)..]);
    let most =
        |samples: &[Footprint], figure: fn(&Footprint) -> f64| samples.iter().map(figure).fold(0.0, f64::max);
    let memory = |footprint: &Footprint| footprint.resident_mb;
    let descriptors = |footprint: &Footprint| footprint.descriptors as f64;

    let mut report = Report::new("soak", conditions, Vec::new());
    report.ratios.insert(
        "memory_last_vs_first_third",
        Ratio::of(most(last, memory), most(first, memory), Bar::AtMost(GROWTH_MAX)),
    );
    report.ratios.insert(
        "descriptors_last_vs_first_third",
        Ratio::of(most(last, descriptors), most(first, descriptors), Bar::AtMost(GROWTH_MAX)),
    );
    report.figures.extend([
        ("resident_mb_at_start", samples.first().map_or(0.0, memory)),
        ("resident_mb_max", most(samples, memory)),
        ("descriptors_max", most(samples, descriptors)),
        ("errors", outcomes.iter().map(|(_, outcome)| outcome.errors as f64).sum()),
        ("hung_up", outcomes.iter().map(|(_, outcome)| outcome.hung_up as f64).sum()),
        ("reconnected", outcomes.iter().map(|(_, outcome)| outcome.reconnected as f64).sum()),
    ]);
    report.figures.extend(outcomes.iter().map(|(name, outcome)| (*name, outcome.per_second)));
    report
}

/// Reads `90s`, `10m`, `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let number = text.trim_end_matches(char::is_alphabetic);
    let unit = units.iter().find(|(unit, _)| *unit == &text[number.len()..]);
    match (number.parse::<f64>(), unit) {
        (Ok(number), Some((_, seconds))) => {
            Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
        }
        _ => Err("expected a number with a unit, as in 90s, 10m or 2h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn a_duration_needs_its_unit() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1_500)));
        assert!(duration("10").is_err() && duration("m").is_err() && duration("-1s").is_err());
    }
}
