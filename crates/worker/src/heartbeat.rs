//! The heartbeat: renews the leases of the claims that are held in this process, and of no others.
//!
//! A renewal that failed, or whose outcome nobody knows, counts as authority lost. Nothing is done about it
//! here: the holder's `finish` finds out by its fence, and its `send_by` keeps it from sending meanwhile.

use std::{sync::Arc, time::Duration};

use steadfast_core::{Fence, OperationId};
use steadfast_ledger::{Clock, SharedLedger};
use tokio::time::{Instant, timeout_at};

use crate::{SharedGrace, Tally};

/// How many claims one call renews at most.
const BATCH_CLAIMS_MAX: usize = 1_000;

/// Renews what is held.
#[derive(Clone)]
pub struct Heartbeat {
    ledger: SharedLedger,
    clock: Clock,
    grace: SharedGrace,
    tally: Arc<Tally>,
}

/// What one round of the heartbeat did, in claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Renewed.
    pub renewed: usize,
    /// Held here still, but no longer by right.
    pub lost: usize,
    /// Not known to be renewed.
    pub failed: usize,
}

impl Heartbeat {
    /// A heartbeat of what is held of `ledger`; what it learns of the store's answers goes into `grace`.
    #[must_use]
    pub fn new(ledger: SharedLedger, clock: Clock, grace: SharedGrace, tally: Arc<Tally>) -> Self {
        Self { ledger, clock, grace, tally }
    }

    /// How long it is from one round to the next: a third of a lease, so that two may fail.
    #[must_use]
    pub fn interval(&self) -> Duration {
        (self.ledger.lease() / 3).max(Duration::from_millis(1))
    }

    /// Renews everything held at this moment, in batches; all of them together take one interval at most.
    pub async fn run_once(&self) -> Beat {
        let deadline = Instant::now() + self.interval();
        let mut beat = Beat::default();
        for batch in self.ledger.live().all().chunks(BATCH_CLAIMS_MAX) {
            self.renew(batch, deadline, &mut beat).await;
        }
        self.tally.renewals_failed(beat.failed);
        self.tally.leases_lost(beat.lost);
        beat
    }

    /// Beats for ever.
    pub async fn run(self) {
        let mut ticks = crate::workers::ticks(self.interval());
        loop {
            ticks.tick().await;
            self.run_once().await;
        }
    }

    async fn renew(&self, batch: &[(Fence, OperationId)], deadline: Instant, beat: &mut Beat) {
        let asked = self.clock.boot();
        let renewal = timeout_at(deadline, self.ledger.renew(batch.to_vec())).await;
        let now = self.clock.boot();
        let reason = match renewal {
            Ok(Ok(gone)) => {
                self.grace.answered(asked, now);
                // One that was finished while it was being renewed is not lost.
                let lost = gone.iter().filter(|fence| self.ledger.live().is_held(**fence));
                let lost = lost.inspect(|fence| log_lost(batch, **fence)).count();
                beat.lost += lost;
                beat.renewed += batch.len() - gone.len().min(batch.len());
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the ledger did not answer in time".to_owned(),
        };
        self.grace.failed(now);
        beat.failed += batch.len();
        tracing::warn!(claims = batch.len(), error = reason, "claims could not be renewed");
    }
}

impl std::fmt::Debug for Heartbeat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Heartbeat").finish_non_exhaustive()
    }
}

fn log_lost(batch: &[(Fence, OperationId)], fence: Fence) {
    let operation = batch.iter().find(|(held, _)| *held == fence).map(|(_, operation)| *operation);
    tracing::warn!(?operation, %fence, "a claim that is held here is no longer its holder's");
}
