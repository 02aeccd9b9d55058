//! The census: counts now and then what needs attention, so that a scrape of the metrics never waits for the
//! store.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steadfast_ledger::{Counts, LedgerError, SharedLedger};
use tokio::time::{Instant, timeout};

use crate::Tally;

/// How long it is from one count to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// Dead letters are looked at one by one to be counted: that takes at most this share of the time, one part in so many.
const LETTERS_SHARE: u32 = 50;

/// Counts what needs attention.
#[derive(Clone)]
pub struct Census {
    ledger: SharedLedger,
    tally: Arc<Tally>,
    /// When dead letters are counted next.
    letters_at: Arc<Mutex<Option<Instant>>>,
}

impl Census {
    /// A census of `ledger`.
    #[must_use]
    pub fn new(ledger: SharedLedger, tally: Arc<Tally>) -> Self {
        Self { ledger, tally, letters_at: Arc::default() }
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
        self.count_letters().await;
        counts
    }

    /// Counts the dead letters, less often where that takes long.
    async fn count_letters(&self) {
        let letters_at = *self.letters_at.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if letters_at.is_some_and(|at| began < at) {
            return;
        }
        self.tally.counted_dead_letters(answered(self.ledger.dead_letters()).await);
        let at = Instant::now() + began.elapsed() * LETTERS_SHARE;
        *self.letters_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
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
