//! Keeps what this process knows of bans up to date: a thread of its own asks the ledger every second which changed, and
//! tells it at once whom this node banned by itself. A ledger that is lost changes nothing about who is banned; it is told
//! when it is back.

use std::{
    io,
    sync::{Arc, Weak},
    time::Duration,
};

use steadfast_layers::AbuseGuard;
use steadfast_ledger::{Ledger, LedgerError, SharedLedger};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

/// How often the ledger is asked what changed: so soon a ban that was made or lifted on one node holds on all.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How often bans are forgotten that ended long ago.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How long a question may take: longer than any store takes that is not lost.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long the ledger is left alone that did not take what it was told.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How many may wait to be told that everything is known.
const WAITING_MAX: usize = 64;

/// The keeper; its thread ends with it.
#[derive(Debug)]
pub(crate) struct BanKeeper {
    asks: mpsc::Sender<Asked>,
}

/// Who waits until all is known, and whether that is the last thing to do.
struct Asked {
    done: oneshot::Sender<()>,
    is_last: bool,
}

impl BanKeeper {
    /// Keeps the guard's bans up to date from now on.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(guard: &Arc<AbuseGuard>, ledger: &SharedLedger) -> io::Result<Self> {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        // The ledger is held while it is asked, and no longer: when the gateway is gone, so is its hold on the file.
        let (guard, ledger) = (Arc::clone(guard), Arc::downgrade(ledger));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("bans".into())
            .spawn(move || runtime.block_on(run(&guard, &ledger, asked)))?;
        Ok(Self { asks })
    }

    /// Waits until everything that this node and the ledger knew of bans just now is known to both.
    pub(crate) async fn refresh(&self) {
        self.ask(false).await;
    }

    /// Does so for the last time: after that the ledger is not asked any more, and may be opened by somebody else.
    pub(crate) async fn finish(&self) {
        self.ask(true).await;
    }

    async fn ask(&self, is_last: bool) {
        let (done, told) = oneshot::channel();
        let asked = async {
            if self.asks.send(Asked { done, is_last }).await.is_ok() {
                // Where the thread ends, nobody needs to know any more.
                let _ = told.await;
            }
        };
        // Longer than that the ledger is lost, and what is known stays.
        let _ = timeout(ANSWER_MAX, asked).await;
    }
}

async fn run(guard: &AbuseGuard, ledger: &Weak<dyn Ledger>, mut asked: mpsc::Receiver<Asked>) {
    let mut lost = !exchange(guard, ledger, false).await;
    let mut sweep_at = Instant::now() + SWEEP_EVERY;
    loop {
        // A flood of bans does not become a flood of questions to a ledger that does not answer.
        let news = async {
            if lost {
                sleep(TELL_AGAIN_AFTER).await;
            }
            guard.news().await;
        };
        let waiting = tokio::select! {
            waiting = asked.recv() => match waiting {
                Some(waiting) => Some(waiting),
                None => return,
            },
            () = news => None,
            () = sleep(FOLLOW_EVERY) => None,
        };
        lost = !exchange(guard, ledger, lost).await;
        if let Some(Asked { done, is_last }) = waiting {
            // Whoever waited may have left.
            let _ = done.send(());
            if is_last {
                return;
            }
        }
        if Instant::now() >= sweep_at {
            guard.sweep();
            sweep_at = Instant::now() + SWEEP_EVERY;
        }
    }
}

/// Tells the ledger what it does not know, and takes in what changed there; whether it answers. That it does not is said
/// once, and once that it does again.
async fn exchange(guard: &AbuseGuard, ledger: &Weak<dyn Ledger>, was_lost: bool) -> bool {
    let Some(ledger) = ledger.upgrade() else { return false };
    let exchanged = timeout(ANSWER_MAX, async {
        guard.tell(&*ledger).await?;
        guard.follow(&*ledger).await
    });
    match exchanged
        .await
        .unwrap_or_else(|_| Err(LedgerError::Unreachable("it did not answer in time".into())))
    {
        Ok(()) => {
            if was_lost {
                tracing::info!("the ledger tells of bans again");
            }
            true
        }
        Err(LedgerError::Closed) => false,
        Err(error) => {
            if !was_lost {
                tracing::warn!(%error, "the ledger does not tell which bans changed: those that are known stay as they are");
            }
            false
        }
    }
}
