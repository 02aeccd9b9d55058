//! What a connection costs while nothing happens on it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::contestants::{self, sqlite_ledger};
use crate::machine::Conditions;
use crate::report::{Bar, Ratio, Report};
use crate::server::loopback;
use crate::upstream;
use crate::wire;
use crate::workplace::Place;

/// Megabytes (of a million bytes) the gateway may take with its idle connections.
const RESIDENT_MB_MAX: f64 = 60.0;

/// After how long a connection without a request has let its buffers go: twice the gateway's longest time between two
/// looks, and a little.
pub(crate) const AT_REST_AFTER: Duration = Duration::from_secs(11);

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    place: Place,
    /// Idle connections
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
}

impl Idle {
    /// Runs it: every connection makes one request, then none.
    ///
    /// # Errors
    /// The gateway does not start or answers wrongly.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let upstream = upstream::start(256)?;
        let mut gateway =
            contestants::steadfast(&place, "steadfast", upstream.port, &sqlite_ledger(&place, "ledger"))?;
        let before = Footprint::of(gateway.server.pid())?;
        let idle =
            (0..self.connections).map(|_| asked_once(gateway.port)).collect::<anyhow::Result<Vec<_>>>()?;
        let during = Footprint::of(gateway.server.pid())?;
        thread::sleep(AT_REST_AFTER);
        let at_rest = Footprint::of(gateway.server.pid())?;
        gateway.server.must_still_run()?;
        drop(idle);

        let mut report = Report::new("idle", conditions, Vec::new());
        let per_connection =
            (during.resident_mb - before.resident_mb) * 1_000.0 / self.connections.max(1) as f64;
        report.figures.extend([
            ("resident_mb_at_start", before.resident_mb),
            ("resident_mb_idle", during.resident_mb),
            ("resident_mb_at_rest", at_rest.resident_mb),
            ("kb_per_connection", per_connection),
            ("connections", self.connections as f64),
        ]);
        let ratio = Ratio::of(during.resident_mb, RESIDENT_MB_MAX, Bar::AtMost(1.0));
        report.ratios.insert("idle_vs_60_mb", ratio);
        report.print(place.output)
    }
}

/// A connection that made one request, and makes no more.
///
/// # Errors
/// There was no answer.
pub(crate) fn asked_once(port: u16) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(loopback(port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: box-office\r\n\r\n")?;
    let (mut input, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer)?;
        anyhow::ensure!(read > 0, "the gateway closed a connection");
        input.extend_from_slice(&buffer[..read]);
        if wire::answer(&input)?.is_some_and(|head| input.len() >= head.whole) {
            return Ok(stream);
        }
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    /// Its resident memory in megabytes (of a million bytes).
    pub(crate) resident_mb: f64,
    /// Its open descriptors.
    pub(crate) descriptors: usize,
}

impl Footprint {
    /// Reads `/proc` of a process.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes: f64 = resident
            .and_then(|value| value.split_whitespace().next())
            .context("no VmRSS in its status")?
            .parse()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { resident_mb: kibibytes * 1_024.0 / 1_000_000.0, descriptors })
    }
}
