//! The thread that waits for the disk, so that the writer does not: it syncs the log, and then answers.
//!
//! Batches that came while a sync was running share the next. Answers go out in the order of their batches, so none
//! tells of what an earlier one is still waiting for.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use steadfast_core::OperationDigest;

use super::{job::Job, reply::Wakes};
use crate::{WatchHub, fatal};

/// How many batches may wait for the disk: beyond that the writer waits too.
const BATCHES_MAX: usize = 4;

/// Jobs whose entries the kernel has.
pub(super) struct Batch {
    pub(super) jobs: Vec<Box<dyn Job>>,
    /// Whether they are answered only when the log is on disk.
    pub(super) synced: bool,
    /// Whose operations changed.
    pub(super) changed: Vec<OperationDigest>,
    /// When they were begun.
    pub(super) began: Instant,
}

enum Message {
    Batch(Batch),
    /// Say when everything before this was answered.
    Drain(mpsc::SyncSender<()>),
}

/// The writer's end of it.
pub(super) struct Syncer {
    inbox: mpsc::SyncSender<Message>,
    /// How many batches are not answered yet.
    waiting: Arc<AtomicUsize>,
    stood_still: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Syncer {
    /// Starts the thread, for the log in `file`. A disk that takes longer than `patience` stood still.
    pub(super) fn start(file: Arc<File>, hub: WatchHub, patience: Duration) -> std::io::Result<Self> {
        let (inbox, batches) = mpsc::sync_channel(BATCHES_MAX);
        let stood_still = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stood_still);
        let waiting = Arc::new(AtomicUsize::new(0));
        let served = Arc::clone(&waiting);
        let thread = thread::Builder::new().name("ledger-syncer".into()).spawn(move || {
            while let Ok(first) = batches.recv() {
                serve(first, &batches, &file, &hub, |took| {
                    if took > patience {
                        tracing::warn!(took_ms = took.as_millis(), "the ledger's disk stood still");
                        told.store(true, Ordering::Release);
                    }
                    served.fetch_sub(1, Ordering::Release);
                });
            }
        })?;
        Ok(Self { inbox, waiting, stood_still, thread })
    }

    /// Answers a batch when it is on disk.
    pub(super) fn submit(&self, batch: Batch) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A thread that has died drops the jobs, which tells whoever waits.
        let _ = self.inbox.send(Message::Batch(batch));
    }

    /// Whether everything that was submitted is on disk.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Waits until everything that was submitted is on disk and answered.
    pub(super) fn drain(&self) {
        if self.is_idle() {
            return;
        }
        let (done, drained) = mpsc::sync_channel(1);
        if self.inbox.send(Message::Drain(done)).is_ok() {
            let _ = drained.recv();
        }
    }

    /// Whether the disk stood still since this was last asked.
    pub(super) fn stood_still(&self) -> bool {
        self.stood_still.swap(false, Ordering::Acquire)
    }

    /// Ends the thread.
    pub(super) fn end(self) {
        drop(self.inbox);
        if self.thread.join().is_err() {
            tracing::error!("the thread that syncs the ledger's log panicked");
        }
    }
}

/// Serves what is there with one sync.
fn serve(
    first: Message,
    inbox: &mpsc::Receiver<Message>,
    file: &File,
    hub: &WatchHub,
    served: impl Fn(Duration),
) {
    let messages: Vec<_> = std::iter::once(first).chain(inbox.try_iter()).collect();
    let waits = |message: &Message| matches!(message, Message::Batch(batch) if batch.synced);
    if messages.iter().any(waits)
        && let Err(error) = file.sync_data()
    {
        fatal::fsync_failed(&error.to_string());
    }
    let mut wakes = Wakes::default();
    let mut drained = Vec::new();
    for message in messages {
        match message {
            Message::Batch(batch) => {
                let began = batch.began;
                answer(batch, hub, &mut wakes);
                served(began.elapsed());
            }
            Message::Drain(done) => drained.push(done),
        }
    }
    wakes.wake();
    for done in drained {
        // Nobody but the writer asks, and it waits.
        let _ = done.send(());
    }
}

/// Says that a batch is done.
pub(super) fn answer(batch: Batch, hub: &WatchHub, wakes: &mut Wakes) {
    for digest in batch.changed {
        hub.wake(digest);
    }
    batch.jobs.into_iter().for_each(|job| job.answer(Ok(()), wakes));
}
