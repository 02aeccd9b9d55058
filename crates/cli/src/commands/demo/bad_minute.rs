//! The bank's bad minute: it is slow, then refuses, then is gone, and comes back. How long it is depends on the run.

use std::time::Duration;

use anyhow::{Context, bail};
use box_office::{BankTemper, RunningService};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use steadfast_faults::{FaultProxy, Faults, Latency, Plan, When};
use tokio::time::{Instant, sleep_until};

use super::{client::Client, tally::Tally};

/// The shortest run that has one.
const RUN_MIN: Duration = Duration::from_secs(5);
/// The longest that one takes, whatever the run.
const LENGTH_MAX: Duration = Duration::from_secs(60);
/// How long a slow bank takes: longer than anybody waits for it.
const SLOW_MS: u64 = 1_500;
/// How long the bank may take to change its temper.
const PATIENCE: Duration = Duration::from_secs(5);

/// When it is, and what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadMinute {
    /// From here on until it begins is the quiet time.
    pub(super) quiet_from: Instant,
    pub(super) begins: Instant,
    pub(super) ends: Instant,
    /// Until here nothing else goes wrong.
    pub(super) watched_until: Instant,
}

impl BadMinute {
    /// The one of a run of `time` that begins at `begun`; none where there is no time for it.
    pub(super) fn within(time: Duration, begun: Instant) -> Option<Self> {
        if time < RUN_MIN {
            return None;
        }
        let length = (time / 4).min(LENGTH_MAX);
        let begins = begun + time * 2 / 5;
        let ends = begins + length;
        Some(Self { quiet_from: begins - length / 2, begins, ends, watched_until: ends + length / 2 })
    }

    /// How long it is.
    pub(super) fn length(&self) -> Duration {
        self.ends - self.begins
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// The bank or the way to it cannot be changed.
    pub(super) async fn happen(
        self,
        bank: &RunningService,
        way: &FaultProxy,
        usual: BankTemper,
        tally: &Tally,
    ) -> anyhow::Result<()> {
        let third = self.length() / 3;
        sleep_until(self.begins).await;
        tally.in_bad_minute(true);
        tally.tell("the bank's bad minute begins: every answer comes too late");
        let latency = Latency { fixed_ms: SLOW_MS, jitter_ms: 0, when: When::every_exchange() };
        let slow = Faults { latency: Some(latency), ..Faults::default() };
        way.set(Plan { toward_client: slow, ..Plan::default() })?;
        sleep_until(self.begins + third).await;
        tally.tell("the bank refuses every charge");
        way.set(Plan::default())?;
        set_temper(bank, BankTemper { refuse_ratio: 1.0, ..BankTemper::default() }).await?;
        sleep_until(self.begins + third * 2).await;
        tally.tell("the bank is gone");
        way.close_listener().await?;
        way.sever();
        sleep_until(self.ends).await;
        self.is_over(bank, way, usual, tally).await
    }

    /// Has the bank back, whatever it is going through.
    ///
    /// # Errors
    /// The bank or the way to it cannot be changed.
    pub(super) async fn is_over(
        self,
        bank: &RunningService,
        way: &FaultProxy,
        usual: BankTemper,
        tally: &Tally,
    ) -> anyhow::Result<()> {
        set_temper(bank, usual).await?;
        way.set(Plan::default())?;
        way.reopen().await?;
        tally.in_bad_minute(false);
        tally.tell("the bank is back");
        Ok(())
    }
}

/// From the next charge on the bank behaves so.
async fn set_temper(bank: &RunningService, temper: BankTemper) -> anyhow::Result<()> {
    let body = Bytes::from(serde_json::to_vec(&temper)?);
    let request = Request::put("/temper")
        .header(header::HOST, bank.addr().to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let reply = Client::new(bank.addr()).send(request, PATIENCE).await;
    let reply = reply.context("the bank does not take another temper")?;
    if reply.status != 200 {
        bail!("the bank does not take another temper: {}", reply.status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_within_its_run_and_leaves_time_before_and_after() {
        let begun = Instant::now();
        for seconds in [5, 8, 20, 60, 600, 36_000] {
            let time = Duration::from_secs(seconds);
            let bad = BadMinute::within(time, begun).expect("there is time for it");
            assert!(begun < bad.quiet_from && bad.quiet_from < bad.begins, "{seconds} s");
            assert!(bad.ends < bad.watched_until && bad.watched_until < begun + time, "{seconds} s");
            assert!(bad.length() >= Duration::from_secs(1) && bad.length() <= LENGTH_MAX, "{seconds} s");
        }
        assert_eq!(BadMinute::within(Duration::from_secs(4), begun), None);
    }
}
