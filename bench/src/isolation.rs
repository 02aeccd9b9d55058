//! A slow dependency does not spread: of two upstreams behind one gateway one hangs and gets twice its usual load, and
//! those of the other must not notice. Open loop on both, so that nobody who waits keeps others from asking.

use std::cell::RefCell;

use anyhow::Context;
use clap::Args;

use crate::contestants;
use crate::load::{Expect, Keys, Load, Manners, Outcome, Until};
use crate::machine::{Conditions, median};
use crate::report::{Bar, Ratio, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::upstream;
use crate::workplace::{Place, Workplace};

/// What the p99 of the other upstream's requests may be beside one that hangs: so many times that of quiet ...
const TIMES_QUIET: f64 = 1.5;
/// ... and so much more.
const BESIDE_QUIET_MS: f64 = 2.0;
/// How long after their deadline the callers of the one that hangs have their answer at the latest.
const AFTER_DEADLINE_MS: f64 = 50.0;
/// The share of all cores that may be busy: above it, requests wait for the machine and not for each other.
const BUSY_SHARE_MAX: f64 = 0.6;
/// The share of the other upstream's requests that may be refused.
const REFUSED_SHARE_MAX: f64 = 0.01;
/// The size of the answers.
const BYTES: usize = 256;

/// What the config says of both upstreams, in the main case.
const LIMITED: &str = "concurrency = { max = 100 }";

/// And with all that an operator would have.
const LIMITED_AND_GUARDED: &str = r#"concurrency = { max = 100 }
circuit = {}
retry = {}
timeout = { connect = "200ms", first_byte = "200ms" }"#;

/// What this benchmark may be told.
#[derive(Args)]
#[command(mut_arg("rounds", |argument| argument.default_value("5")))]
pub(crate) struct Isolation {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rounds: Rounds,
    /// Requests a second to the upstream that is well
    #[arg(long, default_value_t = 1_000.0)]
    rate: f64,
    /// Usual requests a second to the other; twice as many while it hangs
    #[arg(long, default_value_t = 500.0)]
    ill_rate: f64,
    /// The deadline of both routes, in milliseconds
    #[arg(long, default_value_t = 500)]
    deadline_ms: u64,
}

/// Where the two routes of a gateway lead.
struct Upstreams {
    well: upstream::Running,
    ill: upstream::Running,
}

impl Isolation {
    /// Runs it.
    ///
    /// # Errors
    /// The gateway does not start, or answers a request to the upstream that is well wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstreams = Upstreams { well: upstream::start(BYTES)?, ill: upstream::start(BYTES)? };
        let limited = self.gateway(&place, "limited", &upstreams, LIMITED)?;
        let guarded = self.gateway(&place, "guarded", &upstreams, LIMITED_AND_GUARDED)?;
        let (hanging, hanging_guarded) = (RefCell::default(), RefCell::default());
        let contestants = [
            Contestant { name: "quiet", run: Box::new(|_, until| self.quiet(limited.port, until)) },
            self.trouble("trouble", limited.port, &upstreams.ill, &hanging),
            self.trouble("trouble_with_circuit", guarded.port, &upstreams.ill, &hanging_guarded),
        ];
        let measured = self.rounds.measure(&contestants)?;
        drop(contestants);
        let mut report = Report::new("isolation", conditions, measured);
        let of_allowed = |trouble: &Outcome, quiet: &Outcome| {
            trouble.p99_ms / TIMES_QUIET.mul_add(quiet.p99_ms, BESIDE_QUIET_MS)
        };
        report.compare("p99_vs_allowed", "trouble", "quiet", Bar::AtMost(1.0), of_allowed);
        let times = |trouble: &Outcome, quiet: &Outcome| trouble.p99_ms / quiet.p99_ms.max(f64::MIN_POSITIVE);
        report.compare("p99_vs_quiet", "trouble", "quiet", Bar::Reported, times);
        report.compare("p99_vs_allowed_circuit", "trouble_with_circuit", "quiet", Bar::Reported, of_allowed);
        add_refused_share(&mut report);
        self.add_callers_of_the_one_that_hangs(&mut report, &hanging.take(), &hanging_guarded.take());
        add_busy_share(&mut report);
        report.notes.push(self.in_words());
        report.print(place.output)
    }

    fn gateway(
        &self,
        place: &Workplace,
        name: &str,
        upstreams: &Upstreams,
        upstream_says: &str,
    ) -> anyhow::Result<contestants::Running> {
        let says = [("well", &upstreams.well), ("ill", &upstreams.ill)].map(|(name, upstream)| {
            format!(
                "[upstreams.{name}]
url = \"http://127.0.0.1:{}\"
{upstream_says}

[[routes]]
path = \"/{name}\"
upstream = \"{name}\"
deadline = \"{}ms\"
",
                upstream.port, self.deadline_ms
            )
        });
        contestants::steadfast_that_says(place, name, &says.concat())
    }

    /// Both are well.
    fn quiet(&self, port: u16, until: Until) -> anyhow::Result<Outcome> {
        let beside = self.load(port, "/ill", self.ill_rate, until).begin()?;
        let outcome = self.load(port, "/well", self.rate, until).run();
        beside.end()?.without_errors().context("of the other, while nothing hangs")?;
        outcome
    }

    /// One hangs, and has twice its usual load. What its callers see goes to `hanging`.
    fn trouble<'a>(
        &'a self,
        name: &'static str,
        port: u16,
        ill: &'a upstream::Running,
        hanging: &'a RefCell<Vec<Outcome>>,
    ) -> Contestant<'a> {
        Contestant {
            name,
            run: Box::new(move |_, until| {
                ill.hang()?;
                let beside = self.load(port, "/ill", self.ill_rate * 2.0, until).begin()?;
                let outcome = self.load(port, "/well", self.rate, until).run();
                hanging.borrow_mut().push(beside.end()?.without_errors().context("of the one that hangs")?);
                ill.recover()?;
                outcome
            }),
        }
    }

    /// As many connections as can be waiting at this rate by the deadline, and half as many again.
    fn load(&self, port: u16, path: &str, rate: f64, until: Until) -> Load {
        let waiting = rate * (self.deadline_ms as f64 + AFTER_DEADLINE_MS) / 1_000.0;
        Load {
            to: loopback(port),
            path: path.to_owned(),
            post_bytes: None,
            connections: (waiting * 1.5) as usize + 1,
            until,
            rate: Some(rate),
            keys: Keys::None,
            fields: Vec::new(),
            expect: Expect { status: 200, bytes: BYTES, replayed: None },
            manners: Manners { takes_refusals: true, ..Manners::default() },
        }
    }

    /// All of them are held to the bar, in all rounds.
    fn add_callers_of_the_one_that_hangs(
        &self,
        report: &mut Report,
        limited: &[Outcome],
        guarded: &[Outcome],
    ) {
        let over = |rounds: &[Outcome], figure: fn(&Outcome) -> f64| {
            median(&rounds.iter().map(figure).collect::<Vec<_>>())
        };
        let slowest = |rounds: &[Outcome]| {
            rounds.iter().map(|round| round.refused.max_ms.max(round.max_ms)).fold(0.0, f64::max)
        };
        report.figures.extend([
            ("hanging_callers", limited.iter().map(|round| round.refused.count as f64).sum()),
            ("hanging_answered_right", limited.iter().map(|round| round.answers as f64).sum()),
            ("hanging_p50_ms", over(limited, |round| round.refused.p50_ms)),
            ("hanging_p99_ms", over(limited, |round| round.refused.p99_ms)),
            ("hanging_p999_ms", over(limited, |round| round.refused.p999_ms)),
            ("hanging_max_ms", slowest(limited)),
            ("hanging_circuit_p50_ms", over(guarded, |round| round.refused.p50_ms)),
            ("hanging_circuit_p99_ms", over(guarded, |round| round.refused.p99_ms)),
            ("hanging_circuit_max_ms", slowest(guarded)),
        ]);
        let allowed = self.deadline_ms as f64 + AFTER_DEADLINE_MS;
        let all = Ratio::of(slowest(limited), allowed, Bar::AtMost(1.0));
        report.ratios.insert("hanging_vs_allowed", all);
        let all = Ratio::of(slowest(guarded), allowed, Bar::Reported);
        report.ratios.insert("hanging_circuit_vs_allowed", all);
    }

    fn in_words(&self) -> String {
        format!(
            "GET, {} a second to an upstream that is well, and {} a second to another, {} while that one takes requests \
             and answers none; both open loop, latency from the time at which a request was due. One gateway, one \
             worker, access log written to a file, deadline of both routes {} ms. Of both upstreams the config says \
             {LIMITED}; in the lines with a circuit, of another gateway, {}. Allowed beside the one that hangs: \
             {TIMES_QUIET} times the p99 of the same round's quiet, and {BESIDE_QUIET_MS} ms; allowed to its own callers, \
             to all of them in all rounds: the deadline and {AFTER_DEADLINE_MS} ms. Busy is the whole machine, whatever \
             else runs on it.",
            self.rate,
            self.ill_rate,
            self.ill_rate * 2.0,
            self.deadline_ms,
            LIMITED_AND_GUARDED.replace('\n', ", ")
        )
    }
}

/// How many of those of the upstream that is well were refused: where they are as many as the p99 leaves out, it says
/// nothing.
fn add_refused_share(report: &mut Report) {
    let bars = [
        ("refused_share_quiet", "quiet", Bar::Reported),
        ("refused_share", "trouble", Bar::AtMost(REFUSED_SHARE_MAX)),
    ];
    for (ratio, name, bar) in bars {
        report.compare(ratio, name, name, bar, |outcome, _| {
            let refused = outcome.refused.count as f64;
            refused / (outcome.answers as f64 + refused).max(1.0)
        });
    }
}

/// How busy all cores together were, in each contestant's median round: a condition of the whole measurement.
fn add_busy_share(report: &mut Report) {
    let share = |busy: &[f64]| busy.iter().sum::<f64>() / busy.len().max(1) as f64;
    let shares = report.contestants.iter().map(|measured| (measured.name, share(&measured.busy)));
    let Some((name, most)) = shares.max_by(|one, other| one.1.total_cmp(&other.1)) else { return };
    let ratio = Ratio::of(most, 1.0, Bar::AtMost(BUSY_SHARE_MAX));
    report.ratios.insert("busy_share_of_machine", ratio);
    if most > BUSY_SHARE_MAX {
        report.notes.push(format!(
            "NOT QUIET ENOUGH: the machine was {:.0}% busy in {name}, above {:.0}%; the latencies are not to be relied on.",
            most * 100.0,
            BUSY_SHARE_MAX * 100.0
        ));
    }
}
