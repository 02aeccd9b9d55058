//! What load is and what came of it: the orders a benchmark gives the generator, which runs as a process of its own on
//! core 1, and the figures it hands back.

mod generator;
mod keys;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

pub(crate) use keys::Keys;

use crate::server;

/// What to send, where to, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Whom to ask.
    pub(crate) to: SocketAddr,
    /// The request's target.
    pub(crate) path: String,
    /// The size of a POST's body; without it, GET.
    pub(crate) post_bytes: Option<usize>,
    /// Connections kept alive, each with one request at a time.
    pub(crate) connections: usize,
    /// When to stop.
    pub(crate) until: Until,
    /// Requests a second, sent at their time whatever the answers do (latency counts from that time); without it,
    /// every connection asks again as soon as it was answered.
    pub(crate) rate: Option<f64>,
    /// Which `Idempotency-Key` goes with each request.
    pub(crate) keys: Keys,
    /// Header fields, such as `Cookie: a=b`, spread over the connections, one each; none where empty.
    pub(crate) fields: Vec<String>,
    /// What every answer must be; any other is an error.
    pub(crate) expect: Expect,
    /// How clients treat their connections.
    pub(crate) manners: Manners,
}

/// When a load ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Until {
    /// After so many seconds, counted from the end of a warm-up that is not measured.
    Seconds {
        /// Unmeasured seconds first.
        warm_up: f64,
        /// Measured seconds.
        measured: f64,
    },
    /// After so many answers, all of them measured.
    Answers(u64),
}

/// What every answer must be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Expect {
    /// Its status.
    pub(crate) status: u16,
    /// The length of its body.
    pub(crate) bytes: usize,
    /// Whether it says that it is a replay; unchecked where absent.
    pub(crate) replayed: Option<bool>,
}

/// How clients treat their connections, and what they put up with.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Manners {
    /// A connection is closed and opened anew after so many answers.
    pub(crate) answers_per_connection: Option<u64>,
    /// One request in so many is not waited for: the client sends it and hangs up.
    pub(crate) hang_up_every: Option<u64>,
    /// 503 and 504 are answers too, told apart from the right ones; otherwise they are errors.
    pub(crate) takes_refusals: bool,
    /// For how many milliseconds a right answer is worth something; one that comes later is late.
    pub(crate) patience_ms: Option<f64>,
}

/// What came of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Right answers within the measured time, but for late ones.
    pub(crate) answers: u64,
    /// Wrong answers, refused and broken connections, at any time.
    pub(crate) errors: u64,
    /// The first of them in words.
    pub(crate) first_error: Option<String>,
    /// The measured time.
    pub(crate) seconds: f64,
    /// Those a second.
    pub(crate) per_second: f64,
    /// Half the right answers, late ones too, took at most so long, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 90 of 100.
    pub(crate) p90_ms: f64,
    /// 99 of 100.
    pub(crate) p99_ms: f64,
    /// 999 of 1000.
    pub(crate) p999_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
    /// Right answers within the measured time that came too late to be of use.
    pub(crate) late: u64,
    /// Refusals from the beginning of the measured time to the last answer.
    pub(crate) refused: Refused,
    /// Connections opened after the first ones.
    pub(crate) reconnected: u64,
    /// Requests not waited for.
    pub(crate) hung_up: u64,
    /// The share of the measured time that each core worked, 0 to 1.
    pub(crate) busy: Vec<f64>,
}

/// Refusals of a load, and how long they took, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// How many.
    pub(crate) count: u64,
    /// Half of them took at most so long.
    pub(crate) p50_ms: f64,
    /// 99 of 100.
    pub(crate) p99_ms: f64,
    /// 999 of 1000.
    pub(crate) p999_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
}

/// Runs the load that `orders` describe and prints what came of it: the child's side of [`Load::begin`].
///
/// # Errors
/// The orders make no sense, or the first connections cannot be opened.
pub(crate) fn run_child(orders: &str) -> anyhow::Result<()> {
    server::end_with_parent()?;
    let outcome = generator::run(serde_json::from_str(orders)?)?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// A load that runs.
pub(crate) struct Running(Child);

impl Load {
    /// Starts the generator as a child beside this process.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn begin(&self) -> anyhow::Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["load", &serde_json::to_string(self)?]).stdout(Stdio::piped());
        Ok(Running(command.spawn().context("cannot start the load generator")?))
    }

    /// Runs the load to its end. An error in it fails the benchmark.
    ///
    /// # Errors
    /// The generator failed, or any answer was wrong.
    pub(crate) fn run(&self) -> anyhow::Result<Outcome> {
        self.begin()?.end()?.without_errors()
    }
}

impl Running {
    /// Waits for the end.
    ///
    /// # Errors
    /// The generator failed.
    pub(crate) fn end(self) -> anyhow::Result<Outcome> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            bail!("the load generator failed ({})", output.status);
        }
        serde_json::from_slice(&output.stdout).context("the load generator did not report")
    }
}

impl Outcome {
    /// The outcome, if every answer was right.
    ///
    /// # Errors
    /// One was not.
    pub(crate) fn without_errors(self) -> anyhow::Result<Self> {
        match &self.first_error {
            None => Ok(self),
            Some(first) => {
                bail!("{} of {} answers were wrong; the first: {first}", self.errors, self.answers)
            }
        }
    }
}
