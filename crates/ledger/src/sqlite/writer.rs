//! The one thread that writes. What happens to nearly every operation, a new claim and the end of its attempt, it
//! does at once: in memory and in the log, one frame for all that is there (group commit). A thread beside it waits
//! for the disk and answers, while this one goes on with the next batch, or folds what was logged into the tables.
//! Everything else happens in the tables, when they have all that the log says.
//!
//! Nothing waits for company: a command alone is a batch of one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::Result;

use super::{
    checkpoint::{self, Checkpoints},
    desk::Desk,
    failure::{io_error, ledger_error},
    inbox::{Found, Inbox},
    job::Job,
    recover,
    reply::Wakes,
    syncer::{self, Batch, Syncer},
};
use crate::{Durability, LedgerError, WatchHub};

/// The most commands in a batch: a bound on how long the first of them waits for the last.
const BATCH_MAX: usize = 256;

/// With so many operations to fold, some are folded before the next batch is served.
const FOLD_AT: usize = 64;

/// How many are folded before the next look at what was asked: a bound on how long that waits.
const FOLD_AT_ONCE: usize = 256;

/// After this long without a command, what was logged is folded.
const FOLD_AFTER: Duration = Duration::from_millis(20);

/// This long the tables lag behind at most, under a load that never pauses.
const LAG_MAX: Duration = Duration::from_secs(1);

/// How long a fold that failed is left alone: a full disk does not empty in an instant.
const FOLD_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// After this long without a command SQLite's own log is written back into the file.
const IDLE: Duration = Duration::from_secs(1);

/// What the writer has done since it was opened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) commands: AtomicU64,
    pub(super) batches: AtomicU64,
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) inbox: Inbox,
    pub(super) desk: Desk,
    pub(super) hub: WatchHub,
    pub(super) checkpoints: Checkpoints,
    pub(super) syncer: Syncer,
    pub(super) tally: Arc<Tally>,
    pub(super) fold_again_at: Option<Instant>,
}

/// However the thread ends, nobody waits for it.
struct Closing(Inbox);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Writer {
    /// Serves until it is told to stop or nobody can ask any more, and leaves everything in the tables.
    pub(super) fn serve(mut self) {
        let _closing = Closing(self.inbox.clone());
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.gather(&mut batch) {
            self.serve_batch(&mut batch);
            self.keep_up();
        }
        self.end();
    }

    /// Waits for something to do, and takes what is there; does what is due meanwhile. False where nothing will
    /// come any more.
    fn gather(&mut self, batch: &mut Vec<Box<dyn Job>>) -> bool {
        let mut quiet_for = Duration::ZERO;
        loop {
            let patience = if self.desk.is_behind() { FOLD_AFTER } else { IDLE };
            match self.inbox.take(batch, BATCH_MAX, patience) {
                Found::Jobs => return true,
                Found::Stop => return false,
                Found::Nothing => quiet_for += patience,
            }
            if self.desk.is_behind() {
                // What cannot be folded now is told to whoever asks.
                let _ = self.fold(false);
            } else if quiet_for >= IDLE {
                self.checkpoints.when_idle(&self.desk.conn);
            }
        }
    }

    /// Does what is asked: at once where it can be, else in the tables.
    fn serve_batch(&mut self, batch: &mut Vec<Box<dyn Job>>) {
        self.tally.commands.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.desk.look_at_clocks();
        let began = Instant::now();
        let (mut done, mut left) = (Vec::with_capacity(batch.len()), Vec::new());
        for mut job in batch.drain(..) {
            match job.at_once(&mut self.desk) {
                Ok(true) => done.push(job),
                Ok(false) => left.push(job),
                Err(error) => refuse([job], &ledger_error(&error)),
            }
            if self.desk.log.is_full() {
                self.log(std::mem::take(&mut done), began);
            }
        }
        self.log(done, began);
        if !left.is_empty() {
            self.serve_in_tables(left);
        }
    }

    /// Hands what was done at once to the kernel, and has it answered when it is on disk.
    fn log(&mut self, jobs: Vec<Box<dyn Job>>, began: Instant) {
        if jobs.is_empty() {
            return;
        }
        // Where nothing is to be written, the answer still waits for what it may tell of.
        let synced = jobs.iter().any(|job| job.durability() == Durability::Synced);
        match self.desk.write_log() {
            Ok(wrote) => {
                self.tally.batches.fetch_add(1, Ordering::Relaxed);
                let changed = std::mem::take(&mut self.desk.wakes);
                let batch = Batch { jobs, synced: synced && wrote, changed, began };
                if batch.synced || !self.syncer.is_idle() {
                    self.syncer.submit(batch);
                } else {
                    self.answer(batch);
                }
            }
            Err(error) => refuse(jobs, &io_error(&error)),
        }
    }

    /// Leaves nothing beside the tables of what was deleted from them: neither in the log nor in SQLite's own.
    fn scour(&mut self) -> std::result::Result<(), LedgerError> {
        self.fold(true)?;
        self.desk.log.scour().map_err(|error| io_error(&error))?;
        if checkpoint::truncate(&self.desk.conn).map_err(|error| ledger_error(&error))? {
            return Ok(());
        }
        Err(LedgerError::Unreachable(
            "somebody reads the ledger's file and keeps its log from being emptied".into(),
        ))
    }

    /// Does jobs in the tables: all in one transaction, or, where that fails, each alone, so that one that cannot be
    /// done takes no other with it.
    fn serve_in_tables(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if let Err(error) = self.fold(false) {
            return refuse(jobs, &error);
        }
        let scouring: Vec<_> = jobs.extract_if(.., |job| job.scours()).collect();
        if !scouring.is_empty() {
            match self.scour() {
                Ok(()) => self.answer_from_tables(scouring, Instant::now()),
                Err(error) => refuse(scouring, &error),
            }
        }
        if !jobs.iter().any(|job| job.runs()) {
            return self.answer_from_tables(jobs, Instant::now());
        }
        let began = Instant::now();
        match self.write(&mut jobs) {
            Ok(()) => self.answer_from_tables(jobs, began),
            Err(error) if jobs.len() == 1 => refuse(jobs, &ledger_error(&error)),
            Err(_) => {
                for mut job in jobs {
                    match self.write(std::slice::from_mut(&mut job)) {
                        Ok(()) => self.answer_from_tables(vec![job], began),
                        Err(error) => refuse([job], &ledger_error(&error)),
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
        let written = self.desk.sync_on_commit(true).and_then(|()| {
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

    /// What was done in the tables is on disk: says so.
    fn answer_from_tables(&mut self, jobs: Vec<Box<dyn Job>>, began: Instant) {
        let changed = std::mem::take(&mut self.desk.wakes);
        self.answer(Batch { jobs, synced: false, changed, began });
    }

    /// Answers a batch that waits for no disk.
    fn answer(&self, batch: Batch) {
        let mut wakes = Wakes::default();
        syncer::answer(batch, &self.hub, &mut wakes);
        wakes.wake();
    }

    /// Lets the tables follow the log, a little at a time.
    fn keep_up(&mut self) {
        if self.syncer.stood_still() {
            self.desk.leases.stalled(self.desk.clock.boot());
        }
        let lags = self.desk.recent.since().is_some_and(|since| since.elapsed() >= LAG_MAX);
        if self.desk.recent.is_full() || lags || self.desk.log.is_long() {
            // What cannot be folded now is told to whoever asks.
            let _ = self.fold(self.desk.log.is_long());
        } else if self.desk.recent.unfolded() >= FOLD_AT && self.may_fold().is_ok() {
            let folded = self.desk.fold_ended(FOLD_AT_ONCE);
            let _ = self.note(folded);
        }
        if !self.desk.folding {
            self.checkpoints.when_due(&self.desk.conn);
        }
    }

    /// Lets the tables catch up with the log, and commits.
    fn fold(&mut self, synced: bool) -> std::result::Result<(), LedgerError> {
        // Nobody must see in the tables what could still be lost.
        self.syncer.drain();
        if self.syncer.stood_still() {
            self.desk.leases.stalled(self.desk.clock.boot());
        }
        if !self.desk.is_behind() && !synced {
            return Ok(());
        }
        self.may_fold()?;
        let folded = self.desk.fold(synced);
        self.note(folded)?;
        if synced && self.desk.log.is_long() {
            self.desk.log.begin_anew();
        }
        Ok(())
    }

    /// The error of a fold that failed a moment ago.
    fn may_fold(&self) -> std::result::Result<(), LedgerError> {
        let wait = self.fold_again_at.is_some_and(|at| Instant::now() < at);
        match &self.desk.stuck {
            Some(error) if wait => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Notes how a fold went.
    fn note(&mut self, folded: Result<()>) -> std::result::Result<(), LedgerError> {
        let error = folded.map_err(|error| ledger_error(&error)).err();
        if let Some(error) = &error
            && self.desk.stuck.is_none()
        {
            tracing::error!(%error, "the ledger's tables cannot follow its log: nothing new is claimed until they do");
        }
        self.fold_again_at = error.is_some().then(|| Instant::now() + FOLD_AGAIN_AFTER);
        self.desk.stuck.clone_from(&error);
        error.map_or(Ok(()), Err)
    }

    /// Leaves everything in the tables, and the log where that fails.
    fn end(mut self) {
        self.syncer.drain();
        self.fold_again_at = None;
        let Self { desk, checkpoints, syncer, .. } = self;
        syncer.end();
        match recover::close(desk) {
            Ok(conn) => checkpoints.end(&conn),
            Err(error) => {
                let error = ledger_error(&error);
                tracing::warn!(%error, "what the ledger's log says is left to whoever opens it next");
            }
        }
    }
}

fn refuse(jobs: impl IntoIterator<Item = Box<dyn Job>>, error: &LedgerError) {
    let mut wakes = Wakes::default();
    jobs.into_iter().for_each(|job| job.answer(Err(error.clone()), &mut wakes));
    wakes.wake();
}
