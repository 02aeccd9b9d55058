//! Plain proxying over HTTP/2 and TLS: small answers to GET, against nginx with the same certificate; and what ten
//! thousand idle connections cost.

use std::fs;
use std::path::PathBuf;
use std::thread;

use clap::Args;

use crate::contestants::{self, Certificate, sqlite_ledger};
use crate::h2load::H2load;
use crate::idle::{self, Footprint};
use crate::machine::Conditions;
use crate::report::{Bar, Ratio, Report};
use crate::rounds::{Contestant, Rounds};
use crate::upstream;
use crate::workplace::{Place, Workplace};

/// The least share of nginx's throughput.
const SHARE_OF_NGINX: f64 = 0.8;
/// Megabytes (of a million bytes) the gateway may take with its idle connections.
const RESIDENT_MB_MAX: f64 = 250.0;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Edge {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    rounds: Rounds,
    /// Connections of HTTP/1.1; with HTTP/2 a quarter of them, each with four requests under way
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The size of the answers
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Idle connections
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
}

/// How callers speak: its names in the results, whether HTTP/1.1 and TLS.
const WAYS: [Way; 3] = [
    Way { ours: "steadfast_h2", theirs: "nginx_h2", ratio: "h2_vs_nginx", http1: false, tls: false },
    Way {
        ours: "steadfast_h2_tls",
        theirs: "nginx_h2_tls",
        ratio: "h2_tls_vs_nginx",
        http1: false,
        tls: true,
    },
    Way {
        ours: "steadfast_h1_tls",
        theirs: "nginx_h1_tls",
        ratio: "h1_tls_vs_nginx",
        http1: true,
        tls: true,
    },
];

struct Way {
    ours: &'static str,
    theirs: &'static str,
    ratio: &'static str,
    http1: bool,
    tls: bool,
}

impl Edge {
    /// Runs it.
    ///
    /// # Errors
    /// A contestant does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(self.bytes)?;
        let certificate = certificate(&place)?;
        let nginx = contestants::nginx_edge(&place, upstream.port, &certificate)?;
        let ledger = sqlite_ledger(&place, "ledger");
        let mut steadfast = contestants::steadfast_edge(&place, upstream.port, &ledger, &certificate)?;
        let mut contestants = Vec::new();
        for way in &WAYS {
            let log = place.folder().join(way.ours);
            contestants.push(self.contestant(way.ours, way, steadfast.port, steadfast.tls_port, log));
            let log = place.folder().join(way.theirs);
            contestants.push(self.contestant(way.theirs, way, nginx.port, nginx.tls_port, log));
        }
        let measured = self.rounds.measure(&contestants)?;
        let mut report = Report::new("edge", conditions, measured);
        for way in &WAYS {
            report.relate(way.ratio, way.ours, way.theirs, Bar::AtLeast(SHARE_OF_NGINX));
        }
        drop(contestants);
        drop(nginx);

        let asked = |_| idle::asked_once(steadfast.port);
        let connections = (0..self.idle).map(asked).collect::<anyhow::Result<Vec<_>>>()?;
        let awake = Footprint::of(steadfast.server.pid())?.resident_mb;
        thread::sleep(idle::AT_REST_AFTER);
        let resident = Footprint::of(steadfast.server.pid())?.resident_mb;
        steadfast.server.must_still_run()?;
        drop(connections);
        report.figures.extend([
            ("resident_mb_just_asked", awake),
            ("resident_mb_idle", resident),
            ("connections", self.idle as f64),
        ]);
        let ratio = Ratio::of(resident, RESIDENT_MB_MAX, Bar::AtMost(1.0));
        report.ratios.insert("idle_vs_250_mb", ratio);
        report.notes.push(format!(
            "GET, answers of {} bytes over {} connections (HTTP/2: a quarter of them with four streams), from the same \
             upstream over HTTP/1.1; h2load on core 1. Both on one thread with their access log written to a file, \
             TLS 1.3 with the same certificate (ECDSA P-256). The memory of idle connections is that of the same \
             process after all rounds, eleven seconds after each of them made its last request.",
            self.bytes, self.connections
        ));
        report.print(place.output)
    }

    fn contestant(
        &self,
        name: &'static str,
        way: &Way,
        port: u16,
        tls_port: u16,
        log: PathBuf,
    ) -> Contestant<'static> {
        let (scheme, port) = if way.tls { ("https", tls_port) } else { ("http", port) };
        let (connections, streams) =
            if way.http1 { (self.connections, 1) } else { (self.connections.div_ceil(4), 4) };
        let url = format!("{scheme}://127.0.0.1:{port}/events");
        let load = H2load { url, http1: way.http1, connections, streams, log };
        Contestant { name, run: Box::new(move |_, until| load.run(until)) }
    }
}

/// A certificate that signs itself, in files.
fn certificate(place: &Workplace) -> anyhow::Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let (chain, key) = (place.folder().join("certificate.pem"), place.folder().join("key.pem"));
    fs::write(&chain, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(Certificate { chain, key })
}
