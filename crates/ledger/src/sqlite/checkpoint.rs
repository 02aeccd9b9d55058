//! When the write-ahead log is written back into the file: by the writer, between two batches, so that an error
//! of it is seen (SQLite's own automatic checkpoint swallows them) and so that the log stays bounded.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use rusqlite::{Connection, Result};

use super::failure::ledger_error;

/// Watches the log of one connection.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// How many pages the log held after the latest commit.
    pages: Arc<AtomicU32>,
    /// By how many it may grow before it is written back.
    pages_due: u32,
    due_at: u32,
}

impl Checkpoints {
    /// Watches `conn`, whose automatic checkpoints end with that.
    pub(super) fn watch(conn: &mut Connection, pages_due: u32) -> Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&pages);
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            counted.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, pages_due, due_at: pages_due })
    }

    /// Writes the log back where it has grown enough.
    pub(super) fn when_due(&mut self, conn: &Connection) {
        if self.pages.load(Ordering::Relaxed) >= self.due_at {
            self.write_back(conn, "PRAGMA wal_checkpoint(PASSIVE)");
        }
    }

    /// Writes back whatever is in the log: nobody waits for the writer.
    pub(super) fn when_idle(&mut self, conn: &Connection) {
        if self.pages.load(Ordering::Relaxed) > 0 {
            self.write_back(conn, "PRAGMA wal_checkpoint(PASSIVE)");
        }
    }

    /// Leaves an empty log behind.
    pub(super) fn at_the_end(&mut self, conn: &Connection) {
        self.write_back(conn, "PRAGMA wal_checkpoint(TRUNCATE)");
    }

    /// A log that could not be written back whole, because somebody reads what is in it or because the disk is
    /// full, goes on growing, and is tried again when it has grown as much once more. Nothing is lost by that.
    fn write_back(&mut self, conn: &Connection, checkpoint: &str) {
        let pages = self.pages.load(Ordering::Relaxed);
        let done = conn.prepare_cached(checkpoint).and_then(|mut statement| {
            statement.query_row([], |row| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?))
        });
        match done {
            // The next commit begins the log anew.
            Ok(true) => {
                self.pages.store(0, Ordering::Relaxed);
                self.due_at = self.pages_due;
            }
            Ok(false) => self.due_at = pages.saturating_add(self.pages_due),
            Err(error) => {
                // Does not return where an fsync failed.
                let error = ledger_error(&error);
                tracing::warn!(%error, "the ledger's log could not be written back");
                self.due_at = pages.saturating_add(self.pages_due);
            }
        }
    }
}
