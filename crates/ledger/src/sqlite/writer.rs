//! The one thread that writes: it takes what is there, runs it in one transaction, and answers when that is on
//! disk (group commit). Nothing waits for company: a command alone is a batch of one, and while its fsync runs
//! the next batch gathers by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use rusqlite::Result;

use super::{
    checkpoint::Checkpoints,
    desk::Desk,
    failure::ledger_error,
    job::{Job, Message},
};
use crate::{Durability, WatchHub};

/// The most commands in a batch: a bound on how long the first of them waits for the last.
const BATCH_MAX: usize = 256;

/// After this long without a command the log is written back into the file.
const IDLE: Duration = Duration::from_secs(1);

/// What the writer has done since it was opened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) commands: AtomicU64,
    pub(super) batches: AtomicU64,
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) desk: Desk,
    pub(super) hub: WatchHub,
    pub(super) checkpoints: Checkpoints,
    pub(super) tally: Arc<Tally>,
    pub(super) synced: bool,
}

impl Writer {
    /// Serves until it is told to stop or nobody can ask any more, and leaves everything in the file.
    pub(super) fn serve(mut self, inbox: &mpsc::Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut stopping = false;
        while !stopping {
            match inbox.recv_timeout(IDLE) {
                Ok(Message::Job(job)) => batch.push(job),
                Ok(Message::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => stopping = true,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.checkpoints.when_idle(&self.desk.conn);
                    continue;
                }
            }
            while batch.len() < BATCH_MAX {
                match inbox.try_recv() {
                    Ok(Message::Job(job)) => batch.push(job),
                    Ok(Message::Stop) => stopping = true,
                    Err(_) => break,
                }
            }
            self.serve_batch(&mut batch);
            self.checkpoints.when_due(&self.desk.conn);
        }
        self.checkpoints.end(&self.desk.conn);
    }

    /// Runs a batch and answers it. Where it fails as a whole, each command is tried alone, so that one that
    /// cannot be done takes no other with it.
    fn serve_batch(&mut self, batch: &mut Vec<Box<dyn Job>>) {
        if batch.is_empty() {
            return;
        }
        self.tally.commands.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let began = Instant::now();
        match self.write(batch) {
            Ok(()) => self.answer(batch.drain(..)),
            Err(error) => {
                let alone = batch.len() == 1;
                let error = ledger_error(&error);
                for mut job in batch.drain(..) {
                    let outcome = if alone {
                        Err(error.clone())
                    } else {
                        self.write(std::slice::from_mut(&mut job)).map_err(|error| ledger_error(&error))
                    };
                    if outcome.is_ok() {
                        self.answer(std::iter::once(job));
                    } else {
                        job.answer(outcome);
                    }
                }
            }
        }
        let took = began.elapsed();
        if took > self.desk.leases.lease() / 3 {
            tracing::warn!(took_ms = took.as_millis(), "the ledger's disk stood still");
            self.desk.leases.stalled(self.desk.clock.boot());
        }
    }

    /// Runs the jobs in one transaction and commits it; on an error nothing of it is left.
    fn write(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<()> {
        let relaxed = jobs.iter().all(|job| job.durability() == Durability::Relaxed);
        let written = self.sync_on_commit(!relaxed).and_then(|()| {
            self.desk.begin()?;
            for job in &mut *jobs {
                job.run(&mut self.desk)?;
            }
            self.desk.commit()
        });
        self.tally.batches.fetch_add(1, Ordering::Relaxed);
        if written.is_err() {
            self.desk.roll_back();
        }
        written
    }

    /// Whether the next commit waits for the disk. In a write-ahead log, a later commit that does covers all
    /// earlier ones that did not.
    fn sync_on_commit(&mut self, synced: bool) -> Result<()> {
        if self.synced != synced {
            let level = if synced { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.desk.conn.prepare_cached(level)?.execute([])?;
            self.synced = synced;
        }
        Ok(())
    }

    /// What was written is on disk: says so.
    fn answer(&mut self, jobs: impl Iterator<Item = Box<dyn Job>>) {
        for digest in self.desk.wakes.drain(..) {
            self.hub.wake(digest);
        }
        jobs.for_each(|job| job.answer(Ok(())));
    }
}
