//! One reseller's bug: for a while it asks for the list of events fifty times as often as it may, and waits for nobody.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, sleep_until},
};

use super::{
    bad_minute::BadMinute,
    client::Client,
    gateway::RESELLER_PER_SECOND,
    resellers::{Glance, glance},
};

/// How many times as often as it may.
pub(super) const TIMES: u32 = 50;
/// How long it is noisy at most, whatever the run.
const LENGTH_MAX: Duration = Duration::from_secs(2);
/// How many of its requests are under way at most.
const UNDER_WAY_MAX: usize = 256;

/// When it is noisy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noise {
    pub(super) begins: Instant,
    pub(super) ends: Instant,
}

impl Noise {
    /// Before the quiet time that comes before the bank's bad minute.
    pub(super) fn before(bad: BadMinute) -> Self {
        // What is under way in the end is answered before the quiet time begins.
        let ends = bad.quiet_from - bad.length() / 10;
        Self { begins: ends - (bad.length() * 4 / 5).min(LENGTH_MAX), ends }
    }

    /// How long it is.
    pub(super) fn length(&self) -> Duration {
        self.ends - self.begins
    }

    /// Makes it: requests go out when their time has come, whatever became of those before.
    ///
    /// # Errors
    /// A request panicked.
    pub(super) async fn make(self, gateway: SocketAddr, key: String) -> anyhow::Result<Vec<Glance>> {
        let (mut idle, mut asked, mut glances) = (Vec::new(), JoinSet::new(), Vec::new());
        sleep_until(self.begins).await;
        // What comes late is made up for.
        let mut ticks = interval(Duration::from_secs(1) / TIMES / RESELLER_PER_SECOND);
        while Instant::now() < self.ends {
            ticks.tick().await;
            while let Some(done) = asked.try_join_next() {
                let (client, glance) = done.context("a noisy request panicked")?;
                idle.push(client);
                glances.push(glance);
            }
            if asked.len() < UNDER_WAY_MAX {
                let mut client: Client = idle.pop().unwrap_or_else(|| Client::new(gateway));
                let key = key.clone();
                asked.spawn(async move {
                    let glance = glance(&mut client, &key).await;
                    (client, glance)
                });
            }
        }
        while let Some(done) = asked.join_next().await {
            glances.push(done.context("a noisy request panicked")?.1);
        }
        Ok(glances)
    }
}
