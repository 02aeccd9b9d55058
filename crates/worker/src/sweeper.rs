//! The sweeper: removes what has expired, in bounded batches with pauses, so that callers never wait for it.

use std::{sync::Arc, time::Duration};

use steadfast_core::Timestamp;
use steadfast_ledger::{BootInstant, ChangeError, Clock, LedgerError, LetterFilter, Letters, SharedLedger};

use crate::{Tally, WallWatch};

/// For how long a dead letter is kept that is not in doubt: what is in doubt never expires.
pub const KEEP_DEAD: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How long it is from one look at old dead letters to the next.
const LETTERS_INTERVAL: Duration = Duration::from_secs(600);

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
    /// When dead letters were last looked at.
    letters_at: Option<BootInstant>,
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
        Self { ledger, clock, watch, tally, letters_at: None }
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
            if self.was_clock_set() {
                return SweepRound::Suspended(swept);
            }
            match self.ledger.sweep(BATCH_OPERATIONS_MAX).await {
                Ok(batch) => {
                    let operations = u64::from(batch.removed) + u64::from(batch.entombed);
                    if operations == 0 {
                        return self.sweep_letters(swept).await;
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

    /// Removes what has been dead for too long, oldest first, after `swept` others. A tombstone of each stays.
    async fn sweep_letters(&mut self, mut swept: u64) -> SweepRound {
        let now = self.clock.boot();
        if self.letters_at.is_some_and(|at| now.since(at) < LETTERS_INTERVAL) {
            return SweepRound::Swept(swept);
        }
        let mut after = None;
        loop {
            if self.was_clock_set() {
                return SweepRound::Suspended(swept);
            }
            let page = match self.old_letters(after).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "old dead letters could not be looked at");
                    return SweepRound::Failed(swept, error);
                }
            };
            for letter in page.letters {
                match self.ledger.purge(letter.operation.id).await {
                    Ok(_) => {
                        self.tally.swept(1);
                        swept += 1;
                    }
                    // Somebody did something about it meanwhile.
                    Err(ChangeError::NotFound | ChangeError::Refused(_)) => {}
                    Err(ChangeError::Ledger(error)) => return SweepRound::Failed(swept, error),
                }
            }
            after = page.next;
            if after.is_none() {
                self.letters_at = Some(now);
                return SweepRound::Swept(swept);
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
    }

    async fn old_letters(&self, after: Option<steadfast_ledger::Cursor>) -> Result<Letters, LedgerError> {
        let keep = i64::try_from(KEEP_DEAD.as_millis()).unwrap_or(i64::MAX);
        let died_before = Timestamp::from_millis(self.ledger.now().await?.as_millis().saturating_sub(keep));
        let of =
            LetterFilter { died_before: Some(died_before), doubtful: Some(false), ..LetterFilter::default() };
        self.ledger.letters(of, after, BATCH_OPERATIONS_MAX).await
    }

    /// Whether the wall clock was set since it was last looked at: then nothing is swept this round.
    fn was_clock_set(&mut self) -> bool {
        let jump_ms = self.watch.look(self.clock.wall(), self.clock.boot());
        if let Some(jump_ms) = jump_ms {
            self.tally.sweep_suspended();
            tracing::warn!(jump_ms, "the wall clock was set: nothing is swept this round");
        }
        jump_ms.is_some()
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
