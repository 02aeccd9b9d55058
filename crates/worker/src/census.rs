//! The census: counts now and then what needs attention, so that a scrape of the metrics never waits for the
//! store.

use std::{sync::Arc, time::Duration};

use steadfast_ledger::{Counts, LedgerError, SharedLedger};
use tokio::time::timeout;

use crate::Tally;

/// How long it is from one count to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// Counts what needs attention.
#[derive(Clone)]
pub struct Census {
    ledger: SharedLedger,
    tally: Arc<Tally>,
}

impl Census {
    /// A census of `ledger`.
    #[must_use]
    pub fn new(ledger: SharedLedger, tally: Arc<Tally>) -> Self {
        Self { ledger, tally }
    }

    /// How long it is from one count to the next: five seconds.
    #[must_use]
    pub fn interval(&self) -> Duration {
        INTERVAL
    }

    /// Counts once. Where the ledger does not answer within an interval nothing is known: an old number would
    /// look like a new one.
    pub async fn run_once(&self) -> Option<Counts> {
        let counts = answered(self.ledger.counts()).await;
        self.tally.counted(counts);
        self.tally.counted_backlog(answered(self.ledger.backlog()).await);
        counts
    }

    /// Counts for ever.
    pub async fn run(self) {
        let mut ticks = crate::workers::ticks(INTERVAL);
        loop {
            ticks.tick().await;
            self.run_once().await;
        }
    }
}

impl std::fmt::Debug for Census {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Census").finish_non_exhaustive()
    }
}

async fn answered<T>(question: impl Future<Output = Result<T, LedgerError>>) -> Option<T> {
    match timeout(INTERVAL, question).await {
        Ok(Ok(counts)) => Some(counts),
        Ok(Err(error)) => {
            tracing::debug!(%error, "what needs attention could not be counted");
            None
        }
        Err(_) => None,
    }
}
