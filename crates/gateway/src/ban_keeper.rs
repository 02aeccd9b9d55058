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

/// How often the ledger is asked for all bans, not only for those that changed: a standby that took over may count its
/// changes differently.
const RELOAD_EVERY: Duration = Duration::from_secs(300);

/// How long a question may take: longer than any store takes that is not lost.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How long the ledger is left alone that did not take what it was told.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often in a row the ledger is told of more, for somebody who waits until it knows everything.
const TELLINGS_MAX: u32 = 100;

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
    let mut lost = exchange(guard, ledger, false).await == Exchanged::Lost;
    let mut has_more = false;
    let mut sweep_at = Instant::now() + SWEEP_EVERY;
    let mut reload_at = Instant::now() + RELOAD_EVERY;
    loop {
        // A flood of bans does not become a flood of questions to a ledger that does not answer.
        let news = async {
            if lost {
                sleep(TELL_AGAIN_AFTER).await;
            }
            if !has_more {
                guard.news().await;
            }
        };
        let waiting = tokio::select! {
            waiting = asked.recv() => match waiting {
                Some(waiting) => Some(waiting),
                None => return,
            },
            () = news => None,
            () = sleep(FOLLOW_EVERY) => None,
        };
        if Instant::now() >= reload_at {
            guard.doubt_ledger();
            reload_at = Instant::now() + RELOAD_EVERY;
        }
        let mut exchanged = exchange(guard, ledger, lost).await;
        for _ in 0..TELLINGS_MAX {
            if waiting.is_none() || exchanged != Exchanged::HasMore {
                break;
            }
            exchanged = exchange(guard, ledger, false).await;
        }
        (lost, has_more) = (exchanged == Exchanged::Lost, exchanged == Exchanged::HasMore);
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

/// What came of asking and telling the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchanged {
    /// Both know everything.
    All,
    /// The ledger is to be told of more.
    HasMore,
    /// It does not answer.
    Lost,
}

/// Takes in what changed in the ledger, and tells it what it does not know. That it does not answer is said once, and once
/// that it does again.
async fn exchange(guard: &AbuseGuard, ledger: &Weak<dyn Ledger>, was_lost: bool) -> Exchanged {
    let Some(ledger) = ledger.upgrade() else { return Exchanged::Lost };
    let late = || LedgerError::Unreachable("it did not answer in time".into());
    let followed = timeout(ANSWER_MAX, guard.follow(&*ledger)).await.unwrap_or_else(|_| Err(late()));
    // A ledger that cannot tell may still take what it is told.
    let told = timeout(ANSWER_MAX, guard.tell(&*ledger)).await.unwrap_or_else(|_| Err(late()));
    match followed.and(told) {
        Ok(has_more) => {
            if was_lost {
                tracing::info!("the ledger tells of bans again");
            }
            if has_more { Exchanged::HasMore } else { Exchanged::All }
        }
        Err(error) => {
            guard.doubt_ledger();
            if !was_lost && error != LedgerError::Closed {
                tracing::warn!(%error, "the ledger does not tell which bans changed, or is not told: those that are known stay as they are");
            }
            Exchanged::Lost
        }
    }
}
