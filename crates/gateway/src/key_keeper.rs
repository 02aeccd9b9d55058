//! Keeps what this process knows of keys up to date: a thread of its own asks the ledger every second which API keys
//! changed, tells it now and then which were used, and fetches issuers' keys before they are old. Whoever is lost changes
//! nothing about what is known.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steadfast_layers::{KeyRing, Keys};
use steadfast_ledger::{LedgerError, SharedLedger};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};

/// How often the ledger is asked what changed: so soon a key that was revoked on one node is refused on all.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// How often the ledger is told which keys were used.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// How long a question may take: longer than any store takes that is not lost.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Of how many keys the ledger is told at once that they were used: what else it has to write waits meanwhile.
const NOTED_MAX: usize = 1_000;

/// How many may wait to be told that everything is known.
const WAITING_MAX: usize = 64;

/// The keeper; its thread ends with it.
#[derive(Debug, Default)]
pub(crate) struct KeyKeeper {
    kept: Arc<Mutex<Kept>>,
    thread: Mutex<Option<mpsc::Sender<Told>>>,
}

/// What is kept up to date.
#[derive(Debug, Default)]
struct Kept {
    rings: Vec<Arc<KeyRing>>,
    issuers: Vec<Arc<Keys>>,
}

/// Who waits until all is known, and whether the uses are to be told as well.
struct Told {
    done: oneshot::Sender<()>,
    also_uses: bool,
}

impl KeyKeeper {
    /// Keeps these from now on.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn keep(
        &self,
        rings: Vec<Arc<KeyRing>>,
        issuers: Vec<Arc<Keys>>,
        ledger: &SharedLedger,
    ) -> std::io::Result<()> {
        let needed = !(rings.is_empty() && issuers.is_empty());
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept { rings, issuers };
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*thread {
            // New ones are read at once; where it is busy, it will come round to them by itself.
            let (done, _) = oneshot::channel();
            let _ = running.try_send(Told { done, also_uses: false });
        } else if needed {
            let (sender, told) = mpsc::channel(WAITING_MAX);
            let (kept, ledger) = (Arc::clone(&self.kept), Arc::clone(ledger));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new()
                .name("keys".into())
                .spawn(move || runtime.block_on(run(&kept, &ledger, told)))?;
            *thread = Some(sender);
        }
        Ok(())
    }

    /// Waits until everything that the ledger knew just now is known here.
    pub(crate) async fn refresh(&self) {
        self.ask(false).await;
    }

    /// Tells the ledger which keys were used: before the process ends.
    pub(crate) async fn note_uses(&self) {
        self.ask(true).await;
    }

    async fn ask(&self, also_uses: bool) {
        let sender = self.thread.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(sender) = sender else { return };
        let (done, told) = oneshot::channel();
        let asked = async {
            if sender.send(Told { done, also_uses }).await.is_ok() {
                // Where the thread ends, nobody needs to know any more.
                let _ = told.await;
            }
        };
        // Longer than that the ledger is lost, and what is known stays.
        let _ = timeout(ANSWER_MAX, asked).await;
    }
}

async fn run(kept: &Mutex<Kept>, ledger: &SharedLedger, told: mpsc::Receiver<Told>) {
    // An issuer that does not answer must not keep the keys that were revoked here alive.
    tokio::select! {
        () = follow_ledger(kept, ledger, told) => {}
        () = fetch_issuers(kept) => {}
    }
}

async fn fetch_issuers(kept: &Mutex<Kept>) {
    loop {
        let issuers = kept.lock().unwrap_or_else(PoisonError::into_inner).issuers.clone();
        for issuer in issuers {
            issuer.keep_fresh().await;
        }
        sleep(FOLLOW_EVERY).await;
    }
}

async fn follow_ledger(kept: &Mutex<Kept>, ledger: &SharedLedger, mut told: mpsc::Receiver<Told>) {
    let mut lost = false;
    let mut note_at = Instant::now() + NOTE_EVERY;
    loop {
        let rings = kept.lock().unwrap_or_else(PoisonError::into_inner).rings.clone();
        for ring in &rings {
            lost = follow(ring, ledger, lost).await;
        }
        if Instant::now() >= note_at {
            note(&rings, ledger).await;
            note_at = Instant::now() + NOTE_EVERY;
        }
        let waiting = tokio::select! {
            waiting = told.recv() => waiting,
            () = sleep(FOLLOW_EVERY) => continue,
        };
        let Some(Told { done, also_uses }) = waiting else { return };
        let rings = kept.lock().unwrap_or_else(PoisonError::into_inner).rings.clone();
        for ring in &rings {
            lost = follow(ring, ledger, lost).await;
        }
        if also_uses {
            note(&rings, ledger).await;
        }
        // Whoever waited may have left.
        let _ = done.send(());
    }
}

/// Takes in what changed; whether the ledger is lost. That is said once, and once that it is back.
async fn follow(ring: &KeyRing, ledger: &SharedLedger, was_lost: bool) -> bool {
    let followed = timeout(ANSWER_MAX, ring.follow(&**ledger)).await;
    match followed.unwrap_or_else(|_| Err(LedgerError::Unreachable("it did not answer in time".into()))) {
        Ok(()) => {
            if was_lost {
                tracing::info!("the ledger tells of API keys again");
            }
            false
        }
        Err(LedgerError::Closed) => true,
        Err(error) => {
            if !was_lost {
                tracing::warn!(%error, "the ledger does not tell which API keys changed: those that are known stay as they are");
            }
            true
        }
    }
}

async fn note(rings: &[Arc<KeyRing>], ledger: &SharedLedger) {
    let uses: Vec<_> = rings.iter().flat_map(|ring| ring.uses()).collect();
    for uses in uses.chunks(NOTED_MAX) {
        match timeout(ANSWER_MAX, ledger.note_used(uses.to_vec())).await {
            Ok(Ok(())) => {}
            // They are used again, and told of then.
            Ok(Err(error)) => tracing::debug!(%error, "the ledger was not told which API keys were used"),
            Err(_) => tracing::debug!("the ledger was not told in time which API keys were used"),
        }
    }
}
