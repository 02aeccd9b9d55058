//! Three times as much as an upstream can do, where the bound is what it works on at once and no core is busy: it must
//! go on doing what it can, what is accepted must not wait long, and the rest must be told at once.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use crate::contestants;
use crate::load::{Expect, Keys, Load, Manners, Outcome, Until};
use crate::machine::{Conditions, median};
use crate::report::{Bar, Ratio, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::upstream::{self, Manner};
use crate::workplace::{Place, Workplace};

/// The least share of its peak that is left of goodput.
const GOODPUT_SHARE: f64 = 0.85;
/// How much longer what is accepted may take than in quiet, at p99.
const TIMES_QUIET: f64 = 3.0;
/// How long a refusal may take at the server, at p99.
const REFUSAL_MS_MAX: f64 = 1.0;
/// How much of what it can do the upstream is asked for in quiet, at its peak, and in overload.
const QUIET: f64 = 0.5;
const PEAK: f64 = 1.0;
const OVERLOAD: f64 = 3.0;
/// Where an adaptive limit may go: as many times the upstream's places.
const ADAPTIVE_TIMES: usize = 50;
/// The size of the answers.
const BYTES: usize = 256;
/// The share of core 1 above which load and upstream may be what limits.
const BUSY_SHARE_MAX: f64 = 0.85;
/// How long the access log's last lines are waited for.
const LOG_WAIT_MAX: Duration = Duration::from_secs(5);

/// What this benchmark may be told.
#[derive(Args)]
#[command(mut_arg("rounds", |argument| argument.default_value("5")))]
pub(crate) struct Overload {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rounds: Rounds,
    /// How many requests the upstream works on at once
    #[arg(long, default_value_t = 20)]
    places: usize,
    /// How long it works on each, in milliseconds
    #[arg(long, default_value_t = 20)]
    service_ms: u64,
    /// The route's deadline and its callers' patience, in milliseconds
    #[arg(long, default_value_t = 500)]
    deadline_ms: u64,
    /// Connections: no more callers than that wait at once
    #[arg(long, default_value_t = 1_500)]
    connections: usize,
}

impl Overload {
    /// Runs it.
    ///
    /// # Errors
    /// A gateway does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let manner = Manner { bytes: BYTES, service_ms: Some(self.service_ms), places: self.places };
        let upstream = upstream::start_with(manner)?;
        let deadline = format!("deadline = \"{}ms\"", self.deadline_ms);
        let (bounded_says, adaptive_says) = (self.bounded_says(), self.adaptive_says());
        let start = |name, upstream_says: &str, route_says: &str| {
            contestants::steadfast_with(&place, name, upstream.port, upstream_says, route_says)
        };
        let bounded = start("bounded", &bounded_says, &deadline)?;
        let adaptive = start("adaptive", &adaptive_says, &deadline)?;
        let without = start("without", "", "")?;
        let refusals = RefCell::new(Vec::new());
        let contestants = [
            self.contestant("quiet", bounded.port, QUIET),
            self.contestant("peak", bounded.port, PEAK),
            Contestant {
                name: "overload",
                run: Box::new(|_, until| {
                    let log = AccessLog::from_now(&place, "bounded")?;
                    let outcome = self.load(bounded.port, OVERLOAD, until).run()?;
                    refusals.borrow_mut().push(log.refusals_ms(outcome.refused.count)?);
                    Ok(outcome)
                }),
            },
            self.contestant("adaptive_overload", adaptive.port, OVERLOAD),
            self.contestant("without_overload", without.port, OVERLOAD),
        ];
        let measured = self.rounds.measure(&contestants)?;
        drop(contestants);
        let mut report = Report::new("overload", conditions, measured);
        report.relate("goodput_vs_peak", "overload", "peak", Bar::AtLeast(GOODPUT_SHARE));
        report.relate("goodput_vs_peak_adaptive", "adaptive_overload", "peak", Bar::Reported);
        report.relate("goodput_vs_peak_without", "without_overload", "peak", Bar::Reported);
        let times = |ours: &Outcome, quiet: &Outcome| ours.p99_ms / quiet.p99_ms.max(f64::MIN_POSITIVE);
        report.compare("p99_vs_quiet", "overload", "quiet", Bar::AtMost(TIMES_QUIET), times);
        report.compare("p99_vs_quiet_adaptive", "adaptive_overload", "quiet", Bar::Reported, times);
        report.compare("p99_vs_quiet_without", "without_overload", "quiet", Bar::Reported, times);
        add_refusals(&mut report, &refusals.take());
        report.notes.push(self.in_words(&bounded_says, &adaptive_says));
        add_busy_load(&mut report, place.cores.rest);
        report.print(place.output)
    }

    fn bounded_says(&self) -> String {
        format!("concurrency = {{ max = {} }}", self.places)
    }

    /// The limit begins far below what the upstream can do, and may go far above. The queue is bounded as in the main
    /// case, or it would be as long as that.
    fn adaptive_says(&self) -> String {
        let (min, max) = ((self.places / 4).max(1), self.places * ADAPTIVE_TIMES);
        format!("concurrency = {{ adaptive = true, min = {min}, max = {max}, queue = {} }}", self.places)
    }

    /// What the upstream can do in a second.
    fn capacity(&self) -> f64 {
        self.places as f64 * 1_000.0 / self.service_ms.max(1) as f64
    }

    fn contestant(&self, name: &'static str, port: u16, times: f64) -> Contestant<'_> {
        Contestant { name, run: Box::new(move |_, until| self.load(port, times, until).run()) }
    }

    /// So many times what the upstream can do.
    fn load(&self, port: u16, times: f64, until: Until) -> Load {
        Load {
            to: loopback(port),
            path: "/events".to_owned(),
            post_bytes: None,
            connections: self.connections,
            until,
            rate: Some(self.capacity() * times),
            keys: Keys::None,
            fields: Vec::new(),
            expect: Expect { status: 200, bytes: BYTES, replayed: None },
            manners: Manners {
                takes_refusals: true,
                patience_ms: Some(self.deadline_ms as f64),
                ..Manners::default()
            },
        }
    }

    fn in_words(&self, bounded_says: &str, adaptive_says: &str) -> String {
        format!(
            "GET, open loop, latency from the time at which a request was due. The upstream works on {} requests at once, \
             {} ms on each, {:.0} a second; whoever finds no place waits in its queue, and is worked for even after \
             having left. It is asked for {QUIET} of that in quiet, for {PEAK} at its peak and for {OVERLOAD} times that \
             in overload. A second: right answers within {} ms (goodput); p50 and p99: of all right answers. One gateway, \
             one worker, access log written to a file, {bounded_says} and a deadline of {} ms. Adaptive: \
             {adaptive_says}. Without: neither of the two; callers wait, {} of them at most, so that the rest of its load \
             is never sent. The time of refusals is that of the 503 lines of the gateway's access log, in overload, \
             warm-up included.",
            self.places,
            self.service_ms,
            self.capacity(),
            self.deadline_ms,
            self.deadline_ms,
            self.connections
        )
    }
}

fn add_refusals(report: &mut Report, rounds: &[Vec<f64>]) {
    let over = |figure: &dyn Fn(&[f64]) -> f64| {
        median(&rounds.iter().map(|sorted| figure(sorted)).collect::<Vec<_>>())
    };
    let at = |quantile: f64| {
        move |sorted: &[f64]| {
            let index = (sorted.len() as f64 * quantile) as usize;
            sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::INFINITY)
        }
    };
    let p99_ms = over(&at(0.99));
    report.figures.extend([
        ("refusals_a_round", over(&|sorted| sorted.len() as f64)),
        ("refusal_p50_ms", over(&at(0.5))),
        ("refusal_p99_ms", p99_ms),
        ("refusal_max_ms", over(&at(1.0))),
    ]);
    let ratio = Ratio::of(p99_ms, REFUSAL_MS_MAX, Bar::AtMost(1.0));
    report.ratios.insert("refusal_p99_vs_1_ms", ratio);
    let callers = |name: &str, figure: fn(&Outcome) -> f64| {
        let rounds = report.contestant(name).map_or(&[][..], |measured| &measured.rounds);
        median(&rounds.iter().map(figure).collect::<Vec<_>>())
    };
    let figures = [
        ("quiet_refused", callers("quiet", |round| round.refused.count as f64)),
        ("peak_refused", callers("peak", |round| round.refused.count as f64)),
        ("caller_refusal_p99_ms", callers("overload", |round| round.refused.p99_ms)),
        ("adaptive_refusal_p99_ms", callers("adaptive_overload", |round| round.refused.p99_ms)),
        ("without_late_answers", callers("without_overload", |round| round.late as f64)),
    ];
    report.figures.extend(figures);
}

/// Says so where load and upstream had their core full.
fn add_busy_load(report: &mut Report, core: usize) {
    let busy = |busy: &[f64]| busy.get(core).copied().unwrap_or(0.0);
    let full: Vec<_> =
        report.contestants.iter().filter(|measured| busy(&measured.busy) > BUSY_SHARE_MAX).collect();
    if !full.is_empty() {
        let names: Vec<_> = full.iter().map(|measured| measured.name).collect();
        report.notes.push(format!(
            "NOT QUIET ENOUGH: the core of load and upstream was more than {:.0}% busy in {}; the limit may be there.",
            BUSY_SHARE_MAX * 100.0,
            names.join(", ")
        ));
    }
}

/// A gateway's access log from some moment on.
struct AccessLog {
    path: PathBuf,
    from: u64,
}

/// As much as is asked of a line.
#[derive(Deserialize)]
struct Line {
    status: u16,
    duration_ms: f64,
}

impl AccessLog {
    /// What comes from now on in the log of the gateway with this name.
    fn from_now(place: &Workplace, name: &str) -> anyhow::Result<Self> {
        let path = place.folder().join(format!("{name}.out"));
        let from = path.metadata()?.len();
        Ok(Self { path, from })
    }

    /// How long refusals took, sorted, in milliseconds, once the log knows of at least `least` requests without a right
    /// answer: the gateway writes it a little later.
    fn refusals_ms(&self, least: u64) -> anyhow::Result<Vec<f64>> {
        let began = Instant::now();
        loop {
            let lines = self.read()?;
            if lines.len() as u64 >= least {
                let refused = lines.iter().filter(|line| line.status == 503);
                let mut refusals: Vec<_> = refused.map(|line| line.duration_ms).collect();
                refusals.sort_unstable_by(f64::total_cmp);
                return Ok(refusals);
            }
            anyhow::ensure!(began.elapsed() < LOG_WAIT_MAX, "the access log lacks some of {least} refusals");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The lines of requests that were refused, or not answered in time.
    fn read(&self) -> anyhow::Result<Vec<Line>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut lines = Vec::new();
        for line in BufReader::new(file).lines() {
            // Lines of other kinds, and a last one that is not whole yet, are none.
            if let Ok(line @ Line { status: 503 | 504, .. }) = serde_json::from_str(&line?) {
                lines.push(line);
            }
        }
        Ok(lines)
    }
}
