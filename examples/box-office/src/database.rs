//! One SQLite database and the one thread that writes it.
//!
//! Handlers send their transactions over a bounded channel; the thread commits whatever has queued up as one
//! (group commit), each inside a savepoint of its own. A handler hears its result only after the commit, so what it
//! answers survives the kill of the process.

use std::path::Path;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

/// Transactions that may queue before handlers wait for room.
const QUEUED_MAX: usize = 1024;
/// Transactions committed together at most.
const BATCH_MAX: usize = 256;
/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept; both services together have fewer.
const STATEMENTS_MAX: usize = 64;

/// Why a transaction has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// The database could not begin or commit it, or the service is stopping; nothing of it was kept.
    #[error("the database took no write")]
    NotWritten,
    /// One of its statements failed; nothing of it was kept.
    #[error(transparent)]
    Statement(#[from] rusqlite::Error),
}

type Reply = Box<dyn FnOnce() + Send>;
type Job = Box<dyn FnOnce(&Connection) -> Reply + Send>;

/// A handle to the writing thread, cheap to clone; the thread ends once the last handle is gone.
#[derive(Clone)]
pub(crate) struct Database {
    jobs: mpsc::Sender<Job>,
}

impl Database {
    /// Opens or creates the database at `path`, has it `prepared` (tables, first rows; it may be there already) in one
    /// transaction, and starts the thread.
    pub(crate) fn open(
        path: &Path,
        prepare: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(Database, JoinHandle<()>), OpenError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit is in the kernel's hands before it is acknowledged: enough to outlive the process, which is what
        // the tests kill. Outliving a power cut would take FULL.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        prepare(&connection)?;
        connection.execute_batch("COMMIT")?;
        let (jobs, queue) = mpsc::channel(QUEUED_MAX);
        let writer =
            Builder::new().name("database".into()).spawn(move || write_until_closed(&connection, queue))?;
        Ok((Database { jobs }, writer))
    }

    /// Runs `work` as one transaction and returns its result once that is committed; an `Err` rolls it back.
    ///
    /// The transaction goes on even if the caller stops waiting.
    pub(crate) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + From<rusqlite::Error> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = in_savepoint(connection, work);
            Box::new(move || {
                // A caller that left does not undo what it asked for.
                let _ = reply.send(outcome);
            })
        });
        self.jobs.send(job).await.map_err(|_| DatabaseError::NotWritten)?;
        result.await.map_err(|_| DatabaseError::NotWritten)?
    }
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("the writing thread did not start: {0}")]
    Thread(#[from] std::io::Error),
}

/// Opens an existing database to look at it, beside a running service or after it has gone.
pub(crate) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    // Not read-only: after a kill, the reader may have to recover the write-ahead log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn write_until_closed(connection: &Connection, mut queue: mpsc::Receiver<Job>) {
    let mut replies = Vec::with_capacity(BATCH_MAX);
    while let Some(first) = queue.blocking_recv() {
        if statement(connection, "BEGIN IMMEDIATE").is_err() {
            // Dropping the job drops its reply, and its caller reads that as "not written".
            continue;
        }
        replies.push(first(connection));
        while replies.len() < BATCH_MAX
            && let Ok(next) = queue.try_recv()
        {
            replies.push(next(connection));
        }
        match statement(connection, "COMMIT") {
            Ok(()) => replies.drain(..).for_each(|reply| reply()),
            Err(_) => {
                replies.clear();
                // SQLite may have rolled back by itself already; then there is nothing left to do.
                let _ = statement(connection, "ROLLBACK");
            }
        }
    }
}

fn in_savepoint<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    statement(connection, "SAVEPOINT one")?;
    let outcome = work(connection);
    if outcome.is_err() {
        statement(connection, "ROLLBACK TO one")?;
    }
    statement(connection, "RELEASE one")?;
    outcome
}

fn statement(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_neighbours_when_one_transaction_fails() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER); BEGIN IMMEDIATE;").unwrap();
        let insert = |n: i64, fails: bool| {
            in_savepoint::<(), rusqlite::Error>(&connection, |connection| {
                connection.execute("INSERT INTO t VALUES (?1)", [n])?;
                if fails { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(()) }
            })
        };
        insert(1, false).unwrap();
        insert(2, true).unwrap_err();
        insert(3, false).unwrap();
        connection.execute_batch("COMMIT").unwrap();
        let sum: i64 = connection.query_row("SELECT sum(n) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 4);
    }
}
