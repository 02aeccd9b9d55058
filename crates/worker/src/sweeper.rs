//! The sweeper: removes what has expired, in bounded batches with pauses, so that callers never wait for it.

use std::{sync::Arc, time::Duration};

use steadfast_ledger::{Clock, LedgerError, SharedLedger};

use crate::{Tally, WallWatch};

/// How many operations one call removes at most.
const BATCH_OPERATIONS_MAX: u32 = 500;
/// How long the writer belongs to the callers between two batches.
const BATCH_PAUSE: Duration = Duration::from_millis(20);
/// How long it is from one round to the next.
const INTERVAL: Duration = Duration::from_secs(60);

/// Removes what has expired, unless the wall clock jumped.
pub struct Sweeper {
    ledger: SharedLedger,
    clock: Clock,
    watch: WallWatch,
    tally: Arc<Tally>,
}

/// What one round of the sweeper did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SweepRound {
    /// It removed this many operations, or made tombstones of them.
    Swept(u64),
    /// It left off after this many operations, because the wall clock was set.
    Suspended(u64),
    /// The ledger failed after this many operations.
    Failed(u64, LedgerError),
}

impl Sweeper {
    /// A sweeper that watches the wall clock from now on.
    #[must_use]
    pub fn new(ledger: SharedLedger, clock: Clock, tally: Arc<Tally>) -> Self {
        let watch = WallWatch::starting(clock.wall(), clock.boot());
        Self { ledger, clock, watch, tally }
    }

    /// How long it is from one round to the next: a minute.
    #[must_use]
    pub fn interval(&self) -> Duration {
        INTERVAL
    }

    /// Removes in batches until nothing expired is left, or the wall clock was set.
    pub async fn run_once(&mut self) -> SweepRound {
        let mut swept = 0;
        loop {
            if let Some(jump_ms) = self.watch.look(self.clock.wall(), self.clock.boot()) {
                self.tally.sweep_suspended();
                tracing::warn!(jump_ms, "the wall clock was set: nothing is swept this round");
                return SweepRound::Suspended(swept);
            }
            match self.ledger.sweep(BATCH_OPERATIONS_MAX).await {
                Ok(batch) => {
                    let operations = u64::from(batch.removed) + u64::from(batch.entombed);
                    if operations == 0 {
                        return SweepRound::Swept(swept);
                    }
                    self.tally.swept(operations);
                    swept += operations;
                }
                Err(error) => {
                    tracing::warn!(%error, "what has expired could not be swept");
                    return SweepRound::Failed(swept, error);
                }
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
    }

    /// Sweeps for ever.
    pub async fn run(mut self) {
        let mut ticks = crate::workers::ticks(self.interval());
        loop {
            ticks.tick().await;
            self.run_once().await;
        }
    }
}

impl std::fmt::Debug for Sweeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sweeper").field("watch", &self.watch).finish_non_exhaustive()
    }
}
