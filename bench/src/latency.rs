//! What the gateway adds to one request at a time: with nothing to share a sync with, a keyed request waits for two.

use clap::Args;

use crate::contestants::{self, sqlite_ledger};
use crate::load::{Expect, Keys, Load, Manners};
use crate::machine::{Conditions, fsync_p50_ms};
use crate::report::{Bar, Ratio, Report};
use crate::rounds::{Contestant, Rounds};
use crate::server::loopback;
use crate::upstream;
use crate::workplace::Place;

/// Two syncs (claim and outcome), and this for everything else.
const ADDED_MS_MAX_BESIDE_SYNCS: f64 = 0.3;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Latency {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rounds: Rounds,
    /// The size of request bodies and answers
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Requests a second, sent at their time [default: each as soon as the last was answered]
    #[arg(long)]
    rate: Option<f64>,
}

impl Latency {
    /// Runs it.
    ///
    /// # Errors
    /// The gateway does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(self.bytes)?;
        let gateway =
            contestants::steadfast(&place, "steadfast", upstream.port, &sqlite_ledger(&place, "ledger"))?;
        let fsync_before = fsync_p50_ms(place.folder())?;
        let measured = self.rounds.measure(&[
            self.contestant("direct", upstream.port, false),
            self.contestant("plain", gateway.port, false),
            self.contestant("keyed", gateway.port, true),
        ])?;
        // Disks have moods: the bar stands on how this one was on both sides of the rounds.
        let fsync = f64::midpoint(fsync_before, fsync_p50_ms(place.folder())?);

        let mut report = Report::new("latency", conditions, measured);
        let p50 = |name: &str| report.contestant(name).map_or(0.0, |measured| measured.p50_ms);
        let (direct, plain, keyed) = (p50("direct"), p50("plain"), p50("keyed"));
        let bound = 2.0 * fsync + ADDED_MS_MAX_BESIDE_SYNCS;
        report.figures.extend([
            ("fsync_p50_ms", fsync),
            ("direct_p50_ms", direct),
            ("plain_added_ms", plain - direct),
            ("keyed_added_ms", keyed - direct),
            ("keyed_added_bound_ms", bound),
        ]);
        report.ratios.insert("keyed_added_vs_bound", Ratio::of(keyed - direct, bound, Bar::AtMost(1.0)));
        report.notes.push(format!(
            "POST of {} bytes over one connection. The bound is two syncs of this disk and {ADDED_MS_MAX_BESIDE_SYNCS} ms.",
            self.bytes
        ));
        report.print(place.output)
    }

    fn contestant(&self, name: &'static str, port: u16, keyed: bool) -> Contestant<'_> {
        Contestant {
            name,
            run: Box::new(move |round, until| {
                Load {
                    to: loopback(port),
                    path: "/orders".to_owned(),
                    post_bytes: Some(self.bytes),
                    connections: 1,
                    until,
                    rate: self.rate,
                    keys: if keyed { Keys::Unique { seed: u64::from(round) } } else { Keys::None },
                    fields: Vec::new(),
                    expect: Expect { status: 201, bytes: self.bytes, replayed: Some(false) },
                    manners: Manners::default(),
                }
                .run()
            }),
        }
    }
}
