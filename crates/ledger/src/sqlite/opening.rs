//! Opening the file: whose it is, whether it is a ledger, whether it can be written, and what schema it has.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Result};

use super::failure::open_error;
use crate::OpenError;

/// "Stfs" in ASCII: what `file` and SQLite know a ledger by.
const APPLICATION_ID: i64 = 0x5374_6673;

/// The schema, one step a version.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("credentials.sql"),
    include_str!("bans.sql"),
    include_str!("requests.sql"),
    concat!(include_str!("backlog.sql"), include_str!("redrives.sql")),
];

/// Files up to this many bytes are checked whole when they are opened; that takes well under a second.
const CHECKED_BYTES_MAX: u64 = 64 << 20;

/// How long a lock is waited for that somebody holds who reads with another program: they last for moments.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(5);

/// The file, and the lock on it. The lock ends with the process, however it ends, so nothing stale is left by a
/// `kill -9`.
///
/// It is a lock on a file beside the ledger, not SQLite's exclusive locking mode: so readers can have a
/// connection of their own, in this process or in `sqlite3`, and a list never stalls the writer. And not a lock
/// on the ledger's own file: closing any handle on that would drop SQLite's locks, which belong to the process.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Owned {
    /// Takes the file at `path` for this process.
    pub(super) fn take(path: &Path) -> std::result::Result<Self, OpenError> {
        let shown = path.display().to_string();
        let unreachable = |reason: String| OpenError::Unreachable { path: shown.clone(), reason };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().ok_or_else(|| unreachable("it names no file".into()))?;
        if path.is_dir() {
            return Err(unreachable("it is a folder".into()));
        }
        // Two names of one file must meet at one lock.
        let real = path.canonicalize().or_else(|_| folder.canonicalize().map(|folder| folder.join(name)));
        let real = real.map_err(|error| unreachable(format!("its folder is not there ({error})")))?;
        let mut beside = real.clone().into_os_string();
        beside.push("-owner");
        let lock =
            File::options().create(true).truncate(false).write(true).open(&beside).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        OpenError::ReadOnly { path: shown.clone(), reason: error.to_string() }
                    }
                    _ => unreachable(error.to_string()),
                }
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: real, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: shown }),
            Err(TryLockError::Error(error)) => Err(unreachable(format!("it cannot be locked: {error}"))),
        }
    }

    /// Opens the connection that writes, after bringing the schema up to date.
    pub(super) fn writer(&self, pages_max: Option<u32>) -> std::result::Result<Connection, OpenError> {
        let path = self.path.display().to_string();
        let failed = |error: rusqlite::Error| open_error(&path, &error);
        let corrupt = |reason: String| OpenError::Corrupt { path: path.clone(), reason };
        let is_new = fs::metadata(&self.path).map_or(true, |file| file.len() == 0);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut conn = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        let id: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(failed)?;
        let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        let has_tables = conn
            .query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(()))
            .optional()
            .map_err(failed)?
            .is_some();
        if has_tables && id != APPLICATION_ID {
            return Err(corrupt("it is an SQLite database, but not a ledger".into()));
        }
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if found > known {
            return Err(OpenError::NewerSchema { found, known });
        }
        if !is_new {
            self.check(&conn).map_err(failed)?.map_err(corrupt)?;
        }
        configure(&conn, pages_max).map_err(failed)?;
        migrate(&mut conn, found).map_err(failed)?;
        if is_new {
            // The file's name must be on disk before anything in it counts.
            let synced = self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all());
            synced
                .map_err(|error| OpenError::Unreachable { path: path.clone(), reason: error.to_string() })?;
        }
        Ok(conn)
    }

    /// Opens another connection: one that only reads, or the one that writes the log back.
    pub(super) fn another(&self, access: OpenFlags) -> std::result::Result<Connection, OpenError> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let failed = |error: rusqlite::Error| open_error(&self.path.display().to_string(), &error);
        let conn = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        conn.busy_timeout(BUSY_MAX).map_err(failed)?;
        conn.set_prepared_statement_cache_capacity(32);
        Ok(conn)
    }

    /// Looks for damage, in bounded time: a small file is checked whole; of a large one the ends of every table
    /// and index are read, which walks their trees from the root. SQLite itself refuses a file that is shorter
    /// than its header says, and a page that contradicts itself when it comes upon it.
    fn check(&self, conn: &Connection) -> Result<std::result::Result<(), String>> {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() <= CHECKED_BYTES_MAX) {
            let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            return Ok(if verdict == "ok" { Ok(()) } else { Err(verdict) });
        }
        for end in [
            "SELECT min(seq), max(seq), max(state) FROM operations WHERE seq IN \
             ((SELECT min(seq) FROM operations), (SELECT max(seq) FROM operations))",
            "SELECT min(digest_head), max(digest_head), 0 FROM operations",
            "SELECT min(expires_at), max(expires_at), 0 FROM operations WHERE expires_at IS NOT NULL",
            "SELECT min(seq), max(seq), 0 FROM attempts",
        ] {
            conn.query_row(end, [], |_| Ok(()))?;
        }
        Ok(Ok(()))
    }
}

fn configure(conn: &Connection, pages_max: Option<u32>) -> Result<()> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
            Some(format!("it cannot have a write-ahead log, only {mode}")),
        ));
    }
    // 16 MiB of pages; the rest is the operating system's cache. A log that grew large once shrinks again.
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; PRAGMA journal_size_limit = 67108864; \
         PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
    )?;
    // What is deleted or moved within a page is overwritten, which costs no write more: so no copy of it outlives its
    // erasure there.
    conn.query_row("PRAGMA secure_delete = FAST", [], |_| Ok(()))?;
    if let Some(pages_max) = pages_max {
        conn.query_row(&format!("PRAGMA max_page_count = {pages_max}"), [], |_| Ok(()))?;
    }
    conn.busy_timeout(BUSY_MAX)
}

/// Brings the schema up to date, in one transaction. Also proves that the file can be written.
fn migrate(conn: &mut Connection, found: i64) -> Result<()> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for step in &MIGRATIONS[usize::try_from(found).unwrap_or(0)..] {
        tx.execute_batch(step)?;
    }
    tx.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};",
        MIGRATIONS.len()
    ))?;
    tx.commit()
}
