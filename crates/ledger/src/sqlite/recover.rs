//! Opening: the tables are brought up to what the log says, before anybody asks.

use std::{fs::File, path::Path};

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::{
    SqliteOptions,
    desk::Desk,
    entry::{self, Entry},
    failure::{damaged, open_error},
    log::{self, Log, Run},
    recent,
};
use crate::OpenError;

/// A desk for the ledger at `path`, whose tables `conn` writes.
///
/// # Errors
/// [`OpenError`] where the log is damaged, missing, not this ledger's, or cannot be read or written.
pub(super) fn open(path: &Path, conn: Connection, options: &SqliteOptions) -> Result<Desk, OpenError> {
    let log_path = log::beside(path);
    let shown = log_path.display().to_string();
    let failed = |error: rusqlite::Error| open_error(&path.display().to_string(), &error);
    let corrupt = |reason: String| OpenError::Corrupt { path: shown.clone(), reason };
    let unreachable =
        |error: std::io::Error| OpenError::Unreachable { path: shown.clone(), reason: error.to_string() };

    let is_new = !log_path.exists();
    let open_run: Run = counter(&conn, "log_open").map_err(failed)?;
    if is_new && open_run != CLOSED {
        return Err(corrupt(format!(
            "it is gone, and the ledger was not closed: what was acknowledged last may be missing. Put it back \
             beside the ledger; or, to go on without what was in it: sqlite3 '{}' \"UPDATE counters SET value = 0 \
             WHERE name = 'log_open'\"",
            path.display()
        )));
    }
    let mut applied = counter(&conn, "log_applied").map_err(failed)?.unsigned_abs();
    let log = Log::begin(log_path.clone(), applied, options.log_bytes_max).map_err(unreachable)?;
    if is_new {
        // Its name must be on disk before anything in it counts.
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(unreachable)?;
    }
    let mut desk = Desk::new(conn, options.clock.clone(), options.lease, log).map_err(failed)?;
    for frame in log::frames(&log_path).map_err(unreachable)? {
        let frame = frame.map_err(unreachable)?;
        if frame.number <= applied {
            continue;
        }
        if frame.run != open_run || frame.number != applied + 1 {
            return Err(corrupt(format!(
                "it goes on at frame {}, and the ledger has them up to {applied}, or is another one: put the log \
                 back that belongs beside it",
                frame.number
            )));
        }
        let entries = entry::read(&frame.entries).map_err(|error| corrupt(error.to_string()))?;
        for entry in entries {
            take_in(&mut desk, entry).map_err(|error| corrupt(error.to_string()))?;
        }
        applied = frame.number;
        desk.log.number_from(applied);
        desk.recent.commit();
        if desk.recent.is_full() {
            desk.fold(false).map_err(failed)?;
        }
    }
    // Whatever a former process left unsynced in the tables is synced by this, before the log is written over.
    desk.fold(true).map_err(failed)?;
    set_open(&desk.conn, desk.log.run()).map_err(failed)?;
    desk.number_from_tables().map_err(failed)?;
    Ok(desk)
}

/// Everything is in the tables, on disk: the log goes.
pub(super) fn close(mut desk: Desk) -> Result<Connection, rusqlite::Error> {
    desk.fold(true)?;
    let Desk { conn, log, .. } = desk;
    set_open(&conn, CLOSED)?;
    if let Err(error) = log.remove() {
        // The tables know that they have it all; the next owner begins it anew.
        tracing::warn!(%error, "the ledger's log could not be removed");
    }
    Ok(conn)
}

fn take_in(desk: &mut Desk, entry: Entry) -> Result<()> {
    match entry {
        Entry::Claimed(whole) => desk.recent.insert(*whole, false),
        Entry::Ended { seq, fence, at, end } => {
            if desk.recent.get(seq).is_none() {
                let found = desk.whole(seq)?.ok_or_else(|| damaged("it ends what was never claimed"))?;
                desk.recent.insert(found, true);
            }
            let head = desk.recent.get(seq).map(|operation| &operation.whole.head);
            let after = head.and_then(|head| recent::after(head, fence, &end, at));
            let after = after.ok_or_else(|| damaged("it ends an attempt that was not under way"))?;
            desk.recent.end(seq, fence, end, after.head);
        }
    }
    Ok(())
}

/// No run's log holds what the tables do not.
const CLOSED: Run = 0;

/// Notes the run whose log holds, or may hold, what the tables do not. The connection syncs what it commits.
fn set_open(conn: &Connection, run: Run) -> Result<()> {
    conn.execute("UPDATE counters SET value = ?1 WHERE name = 'log_open'", params![run])?;
    Ok(())
}

fn counter(conn: &Connection, name: &str) -> Result<i64> {
    const SQL: &str = "SELECT value FROM counters WHERE name = ?1";
    Ok(conn.query_row(SQL, [name], |row| row.get(0)).optional()?.unwrap_or(0))
}
