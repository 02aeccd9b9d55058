//! When the write-ahead log is written back into the file. A thread of its own does most of that while the
//! writer goes on, so that no batch waits for it. Under a load that never pauses the log would then grow without
//! end, because it can only begin anew at a moment when all of it is written back: so from a certain size on the
//! writer writes back the little that is left by itself.
//!
//! SQLite's automatic checkpoint is off: it would run inside a commit, and it swallows its errors.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, Result};

use super::{failure::ledger_error, opening::BUSY_MAX};

/// At how many times the size at which the thread begins the writer steps in: a bound on the log.
const WRITER_STEPS_IN_AT: u32 = 4;

/// Watches the log of the writer's connection.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// How many pages the log held after the latest commit.
    pages: Arc<AtomicU32>,
    /// By how many it may grow before it is written back.
    pages_due: u32,
    /// How many pages it held when it was last looked at.
    pages_seen: u32,
    /// At which size the thread is told.
    tell_at: u32,
    /// At which size the writer steps in.
    step_in_at: u32,
    helper: mpsc::SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpoints {
    /// Watches `conn`, whose automatic checkpoints end with that; `other`, a connection to the same file, goes to
    /// the thread.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub(super) fn watch(conn: &mut Connection, other: Connection, pages_due: u32) -> std::io::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&pages);
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            counted.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))
        .map_err(std::io::Error::other)?;
        // One word waiting is enough: whatever was written by then is written back.
        let (helper, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("ledger-log".into()).spawn(move || {
            for () in &told {
                write_back(&other, PASSIVE);
            }
        })?;
        let step_in_at = pages_due.saturating_mul(WRITER_STEPS_IN_AT);
        Ok(Self { pages, pages_due, pages_seen: 0, tell_at: pages_due, step_in_at, helper, thread })
    }

    /// Has the log written back where it has grown enough.
    pub(super) fn when_due(&mut self, conn: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.pages_seen {
            // It began anew.
            self.tell_at = self.pages_due;
            self.step_in_at = self.pages_due.saturating_mul(WRITER_STEPS_IN_AT);
        }
        self.pages_seen = pages;
        if pages >= self.step_in_at {
            write_back(conn, PASSIVE);
            // Where somebody reads what is in it, or the disk is full, it goes on growing, and is tried again
            // when it has grown as much once more. Nothing is lost by that.
            self.step_in_at = pages.saturating_add(self.pages_due);
        } else if pages >= self.tell_at {
            // Where a word is waiting already, that one will do.
            let _ = self.helper.try_send(());
            self.tell_at = pages.saturating_add(self.pages_due);
        }
    }

    /// Writes back whatever is in the log: nobody waits for the writer.
    pub(super) fn when_idle(&self, conn: &Connection) {
        if self.pages.load(Ordering::Relaxed) > 0 && write_back(conn, PASSIVE) {
            self.pages.store(0, Ordering::Relaxed);
        }
    }

    /// Ends the thread, and leaves an empty log behind.
    pub(super) fn end(self, conn: &Connection) {
        drop(self.helper);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes the ledger's log back panicked");
        }
        write_back(conn, TRUNCATE);
    }
}

/// Writes the log back and leaves it empty; whether it could, with nobody reading it.
pub(super) fn truncate(conn: &Connection) -> Result<bool> {
    conn.busy_timeout(READERS_AWAITED_MAX)?;
    let done = conn.query_row(TRUNCATE, [], |row| Ok(row.get::<_, i64>(0)? == 0));
    conn.busy_timeout(BUSY_MAX)?;
    done
}

/// How long the writer waits for those who read to end: claims wait meanwhile.
const READERS_AWAITED_MAX: Duration = Duration::from_millis(500);

const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// Writes the log back, as far as nobody reads it; whether that was all of it. Does not return where an fsync
/// failed.
fn write_back(conn: &Connection, checkpoint: &str) -> bool {
    let done: Result<bool> = conn.prepare_cached(checkpoint).and_then(|mut statement| {
        statement.query_row([], |row| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?))
    });
    done.unwrap_or_else(|error| {
        let error = ledger_error(&error);
        tracing::warn!(%error, "the ledger's log could not be written back");
        false
    })
}
