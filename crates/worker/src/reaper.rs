//! The reaper: ends claims whose lease ran out, because their holder is gone. Their attempts count as sent.

use std::{sync::Arc, time::Duration};

use steadfast_ledger::{BoxFuture, Clock, LedgerError, SharedLedger};

use crate::{SharedGrace, Tally};

/// How many claims one call ends at most.
const BATCH_CLAIMS_MAX: u32 = 500;

/// How long it is from one round to the next at most.
const INTERVAL_MAX: Duration = Duration::from_secs(2);

/// Ends claims whose lease ran out, unless the store stalled.
#[derive(Clone)]
pub struct Reaper {
    ledger: SharedLedger,
    clock: Clock,
    grace: SharedGrace,
    tally: Arc<Tally>,
}

/// What one round of the reaper did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReapRound {
    /// Nothing, because the holders are still given time to renew.
    Held,
    /// It ended this many claims.
    Reaped(usize),
    /// The ledger failed after this many claims were ended.
    Failed(usize, LedgerError),
}

impl Reaper {
    /// A reaper that holds back until `grace` is over.
    #[must_use]
    pub fn new(ledger: SharedLedger, clock: Clock, grace: SharedGrace, tally: Arc<Tally>) -> Self {
        Self { ledger, clock, grace, tally }
    }

    /// How long it is from one round to the next: a quarter of a lease, so that an idle store is asked often
    /// enough for a gap to be seen, and two seconds at most, so that nobody waits much longer than a lease.
    #[must_use]
    pub fn interval(&self) -> Duration {
        (self.ledger.lease() / 4).clamp(Duration::from_millis(1), INTERVAL_MAX)
    }

    /// Asks whether the store answers, and ends claims in batches until none is left or grace begins again.
    pub async fn run_once(&self) -> ReapRound {
        let mut reaped = 0;
        if let Err(error) = self.ask(self.ledger.check()).await {
            return ReapRound::Failed(reaped, error);
        }
        if !self.grace.is_over(self.clock.boot()) {
            return ReapRound::Held;
        }
        while self.grace.is_over(self.clock.boot()) {
            match self.ask(self.ledger.reap(BATCH_CLAIMS_MAX)).await {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => {
                    for claim in &batch {
                        tracing::warn!(
                            operation = %claim.operation,
                            "a claim's lease ran out: its holder is gone, and its attempt counts as sent"
                        );
                    }
                    self.tally.reaped(batch.len());
                    reaped += batch.len();
                }
                Err(error) => return ReapRound::Failed(reaped, error),
            }
        }
        ReapRound::Reaped(reaped)
    }

    /// Reaps for ever.
    pub async fn run(self) {
        let mut ticks = crate::workers::ticks(self.interval());
        loop {
            ticks.tick().await;
            self.run_once().await;
        }
    }

    /// Waits for the store's answer, and takes note of how it came.
    async fn ask<T>(&self, question: BoxFuture<'_, Result<T, LedgerError>>) -> Result<T, LedgerError> {
        let asked = self.clock.boot();
        let answer = question.await;
        let now = self.clock.boot();
        match &answer {
            Ok(_) => {
                if self.grace.answered(asked, now) {
                    tracing::warn!("the ledger stalled: no lease is ended for one lease time");
                }
            }
            Err(error) => {
                self.grace.failed(now);
                tracing::warn!(%error, "the ledger failed: no lease is ended for one lease time");
            }
        }
        answer
    }
}

impl std::fmt::Debug for Reaper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reaper").finish_non_exhaustive()
    }
}
