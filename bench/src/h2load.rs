//! Load over HTTP/2 and TLS, by nghttp2's `h2load`: our own generator speaks plain HTTP/1.1 only.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::cores::CoreTicks;
use crate::load::{Outcome, Refused, Until};

/// What to send, where to, and how.
#[derive(Clone, Debug)]
pub(crate) struct H2load {
    /// The whole URL.
    pub(crate) url: String,
    /// Speak HTTP/1.1 though TLS would allow HTTP/2.
    pub(crate) http1: bool,
    /// Connections kept alive.
    pub(crate) connections: usize,
    /// Requests under way on each of them.
    pub(crate) streams: usize,
    /// A file for the times of all requests, written over each time.
    pub(crate) log: PathBuf,
}

impl H2load {
    /// Runs the load to its end.
    ///
    /// # Errors
    /// It failed, or any answer was no 2xx.
    pub(crate) fn run(&self, until: Until) -> anyhow::Result<Outcome> {
        let Until::Seconds { warm_up, measured } = until else { bail!("h2load is measured by time here") };
        let mut command = Command::new("h2load");
        command
            .args(["-c", &self.connections.to_string(), "-m", &self.streams.to_string()])
            .args(["-t", "1", "-D", &format!("{measured:.0}"), "--warm-up-time", &format!("{warm_up:.0}")])
            .arg(format!("--log-file={}", self.log.display()));
        if self.http1 {
            command.arg("--h1");
        }
        // It appends.
        let _ = std::fs::remove_file(&self.log);
        let before = CoreTicks::now()?;
        let output = command.arg(&self.url).output().context("cannot start h2load")?;
        let busy = CoreTicks::now()?.busy_since(&before);
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("h2load failed ({}): {text}", output.status);
        }
        self.outcome(&text, measured, busy)
    }

    fn outcome(&self, text: &str, seconds: f64, busy: Vec<f64>) -> anyhow::Result<Outcome> {
        let number_before = |word: &str, line: &str| {
            let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
            let at = words.iter().position(|other| *other == word)?;
            words.get(at.checked_sub(1)?)?.parse::<u64>().ok()
        };
        let requests =
            text.lines().find(|line| line.starts_with("requests:")).context("h2load said nothing")?;
        let count = |word| number_before(word, requests).with_context(|| format!("no `{word}`: {requests}"));
        let statuses = text.lines().find(|line| line.starts_with("status codes:")).unwrap_or_default();
        let other: u64 =
            ["3xx", "4xx", "5xx"].iter().filter_map(|class| number_before(class, statuses)).sum();
        let answers = count("succeeded")?;
        let wrong = other + count("failed")? + count("errored")? + count("timeout")?;
        if wrong > 0 || answers == 0 {
            bail!("{wrong} of {answers} answers were wrong: {requests}; {statuses}");
        }
        let times = self.times_ms()?;
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or(0.0)
        };
        Ok(Outcome {
            answers,
            errors: 0,
            first_error: None,
            seconds,
            per_second: answers as f64 / seconds,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
            late: 0,
            refused: Refused::default(),
            reconnected: 0,
            hung_up: 0,
            busy,
        })
    }

    /// How long each request took, sorted: the third column of the log, in microseconds.
    fn times_ms(&self) -> anyhow::Result<Vec<f64>> {
        let log = std::fs::read_to_string(&self.log).context("h2load wrote no log")?;
        let times = log.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<f64>().ok());
        let mut times: Vec<f64> = times.map(|micros| micros / 1_000.0).collect();
        times.sort_unstable_by(f64::total_cmp);
        Ok(times)
    }
}
