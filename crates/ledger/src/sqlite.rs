//! The embedded ledger: one SQLite file, one process.
//!
//! Claims and ends of attempts are written to a log beside the file first, and folded into the file's tables many at
//! a time: a synced write of a few hundred bytes instead of one of many pages. One thread writes, one waits for the
//! disk and answers, one reads for people, and one writes SQLite's own log back. Whoever opens the ledger next first
//! lets the tables catch up, and then resolves what its former owner had claimed: before [`SqliteLedger::open`]
//! returns, those operations are in doubt.

mod accepting;
mod backlog;
mod bans;
mod changing;
mod checkpoint;
mod claiming;
mod credentials;
mod desk;
mod entry;
mod erasing;
mod failure;
mod finishing;
mod fold;
mod inbox;
mod job;
mod leases;
mod letters;
mod log;
mod opening;
mod pauses;
mod places;
mod reading;
mod recent;
mod recover;
mod redrives;
mod reply;
mod row;
mod rows;
mod sweeping;
mod syncer;
mod working;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use steadfast_core::{Answer, AttemptEnd, Fence, OperationDigest, OperationId};
use tokio::sync::oneshot;

use crate::{
    AttemptRecord, BoxFuture, Claim, ClaimOutcome, ClaimRequest, Claims, Clock, Counts, Cursor, Erase,
    Erased, Erasure, Filter, Finished, LedgerError, LiveClaims, OpenError, OperationRecord, Operations, Page,
    Reaped, SettleError, Settled, Settlement, Settlements, Swept, TooManyWaiters, Upkeep, Watch, WatchHub,
};

use self::{
    checkpoint::Checkpoints,
    desk::Desk,
    failure::{ledger_error, open_error},
    inbox::Inbox,
    job::{CatchUp, ClaimJob, FinishJob, Job, Scour, Slot, Task},
    opening::Owned,
    reply::Reply,
    syncer::Syncer,
    writer::{Tally, Writer},
};

/// How many claims of a former process are resolved in one transaction.
const RESOLVED_AT_ONCE: u32 = 500;

/// How many reads may wait.
const READS_MAX: usize = 1_024;

/// How an SQLite ledger behaves.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Where it reads the time; the machine's clocks unless a test says otherwise.
    pub clock: Clock,
    /// How long a claim is its holder's alone without being renewed; 30 s unless stated.
    pub lease: Duration,
    /// How many claims may be open: waiting to be granted, or held; 10,000 unless stated.
    pub open_max: usize,
    /// How many requests may wait for other requests' operations; 10,000 unless stated.
    pub waiters_max: usize,
    /// The most pages of 4 KiB that the file may grow to; `None` leaves that to the disk. The log beside it
    /// comes on top.
    pub pages_max: Option<u32>,
    /// By how many pages the write-ahead log grows before it is written back into the file; 4,000 (16 MiB)
    /// unless stated. It grows to about four times that under a load that never pauses.
    pub checkpoint_pages: u32,
    /// At which size the log beside the file begins anew, in bytes; 32 MiB unless stated.
    pub log_bytes_max: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            lease: Duration::from_secs(30),
            open_max: 10_000,
            waiters_max: 10_000,
            pages_max: None,
            checkpoint_pages: 4_000,
            log_bytes_max: 32 << 20,
        }
    }
}

/// How much the writer grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Commands that were run.
    pub commands: u64,
    /// Transactions that they took.
    pub batches: u64,
}

/// A ledger in one SQLite file. Dropping it finishes what was asked of it and leaves everything in the file.
#[derive(Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    inbox: Inbox,
    reader: Mutex<Option<mpsc::SyncSender<Read>>>,
    waiting: Arc<AtomicUsize>,
    reads: Arc<AtomicUsize>,
    live: LiveClaims,
    hub: WatchHub,
    tally: Arc<Tally>,
    lease: Duration,
    open_max: usize,
    arrivals: tokio::sync::watch::Receiver<u64>,
    threads: Mutex<Option<Threads>>,
}

/// A question to the reader.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// What ends with the ledger, in the order in which it ends: the last connection to close is the writer's,
/// which can tidy up, and the lock on the file goes last.
#[derive(Debug)]
struct Threads {
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    _owned: Owned,
}

impl SqliteLedger {
    /// Opens the ledger at `path`, or makes one where there is none; its folder must be there. When it returns,
    /// every operation that a former process had claimed is in doubt. It blocks: for milliseconds, or for as
    /// long as it takes to read 64 MiB.
    ///
    /// # Errors
    /// [`OpenError`] where another process has it, where it is newer than this program, is not a ledger or is
    /// damaged, cannot be written, or cannot be reached.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let owned = Owned::take(path)?;
        let failed = |error: rusqlite::Error| open_error(&path.display().to_string(), &error);
        let mut conn = owned.writer(options.pages_max)?;
        let log = owned.another(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let checkpoints = Checkpoints::watch(&mut conn, log, options.checkpoint_pages)
            .map_err(|error| no_thread(path, &error))?;
        let mut desk = recover::open(&owned.path, conn, &options)?;
        resolve_former(&mut desk).map_err(failed)?;
        let reads = owned.another(OpenFlags::SQLITE_OPEN_READ_ONLY)?;

        let arrivals = desk.arrivals.subscribe();
        let (hub, tally) = (WatchHub::new(options.waiters_max), Arc::new(Tally::default()));
        let inbox = Inbox::new();
        let syncer = Syncer::start(desk.log.file(), hub.clone(), options.lease / 3);
        let syncer = syncer.map_err(|error| no_thread(path, &error))?;
        let serving = Writer {
            inbox: inbox.clone(),
            desk,
            hub: hub.clone(),
            checkpoints,
            syncer,
            tally: Arc::clone(&tally),
            fold_again_at: None,
        };
        let writing = spawn("ledger-writer", path, move || serving.serve())?;
        let (reader, questions) = mpsc::sync_channel::<Read>(READS_MAX);
        let reading = spawn("ledger-reader", path, move || questions.iter().for_each(|read| read(&reads)))?;
        Ok(Self {
            path: owned.path.clone(),
            inbox,
            reader: Mutex::new(Some(reader)),
            waiting: Arc::default(),
            reads: Arc::default(),
            live: LiveClaims::default(),
            hub,
            tally,
            lease: options.lease,
            open_max: options.open_max,
            arrivals,
            threads: Mutex::new(Some(Threads { reader: reading, writer: writing, _owned: owned })),
        })
    }

    /// The file, by its real name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many commands were run in how many transactions since it was opened.
    #[must_use]
    pub fn grouping(&self) -> Grouping {
        Grouping {
            commands: self.tally.commands.load(Ordering::Relaxed),
            batches: self.tally.batches.load(Ordering::Relaxed),
        }
    }

    /// Finishes what was asked, leaves everything in the file and lets it go. Later calls return
    /// [`LedgerError::Closed`]. It blocks until that is done.
    pub fn close(&self) {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Threads { reader, writer, _owned }) = threads {
            let read = reader.join();
            self.inbox.stop();
            if read.and(writer.join()).is_err() {
                tracing::error!("a thread of the ledger panicked");
            }
        }
    }

    /// Asks the writer.
    fn write<T, E>(
        &self,
        run: impl FnMut(&mut Desk) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, E>>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
    {
        let (job, answer) = Task::boxed(run, false);
        self.ask(job, answer)
    }

    /// Hands a job to the writer, whose answer comes there.
    fn ask<T, E>(&self, job: Box<dyn Job>, answer: Reply<Result<T, E>>) -> BoxFuture<'_, Result<T, E>>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
    {
        let bell = self.inbox.add(job);
        Box::pin(async move {
            bell?.await;
            answer.await.unwrap_or_else(|| Err(LedgerError::Closed.into()))
        })
    }

    /// Asks the reader.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, LedgerError>> {
        let (slot, before) = Slot::take(&self.reads);
        if before >= READS_MAX {
            return Box::pin(std::future::ready(Err(LedgerError::Overloaded { open_max: READS_MAX })));
        }
        // The tables must have what was acknowledged before this was asked.
        let (job, caught_up) = CatchUp::boxed();
        let caught_up = self.ask(job, caught_up);
        let (reply, answer) = oneshot::channel();
        let question: Read = Box::new(move |conn| {
            // Nobody waits any more: the answer is dropped.
            let _ = reply.send(read(conn).map_err(|error| ledger_error(&error)));
        });
        Box::pin(async move {
            let _slot = slot;
            caught_up.await?;
            match &*self.reader.lock().unwrap_or_else(PoisonError::into_inner) {
                None => return Err(LedgerError::Closed),
                Some(reader) => reader.try_send(question).map_err(|error| match error {
                    mpsc::TrySendError::Full(_) => LedgerError::Overloaded { open_max: READS_MAX },
                    mpsc::TrySendError::Disconnected(_) => LedgerError::Closed,
                })?,
            }
            answer.await.map_err(|_| LedgerError::Closed)?
        })
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.close();
    }
}

impl Claims for SqliteLedger {
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<ClaimOutcome, LedgerError>> {
        let (slot, before) = Slot::take(&self.waiting);
        if before + self.live.len() >= self.open_max {
            let refused = LedgerError::Overloaded { open_max: self.open_max };
            return Box::pin(std::future::ready(Err(refused)));
        }
        let (job, answer) = ClaimJob::boxed(request, slot, self.inbox.clone());
        let bell = self.inbox.add(job);
        Box::pin(async move {
            bell?.await;
            answer.await.ok_or(LedgerError::Closed)?.take()
        })
    }

    fn finish(&self, claim: &Claim, end: AttemptEnd) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        let (job, answer) = FinishJob::boxed(claim.operation, claim.fence, end);
        self.ask(job, answer)
    }

    fn watch(&self, digest: OperationDigest) -> Result<Watch, TooManyWaiters> {
        self.hub.subscribe(digest)
    }

    fn live(&self) -> &LiveClaims {
        &self.live
    }
}

impl Operations for SqliteLedger {
    fn operation(&self, id: OperationId) -> BoxFuture<'_, Result<Option<OperationRecord>, LedgerError>> {
        self.read(move |conn| reading::operation(conn, id))
    }

    fn attempts(&self, id: OperationId) -> BoxFuture<'_, Result<Vec<AttemptRecord>, LedgerError>> {
        self.read(move |conn| reading::attempts(conn, id))
    }

    fn answer(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Answer>, LedgerError>> {
        self.read(move |conn| reading::answer(conn, id))
    }

    fn list(&self, filter: Filter) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.read(move |conn| reading::list(conn, &filter))
    }

    fn of_request(
        &self,
        request_id: Box<str>,
        before: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page, LedgerError>> {
        self.read(move |conn| reading::of_request(conn, &request_id, before))
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, LedgerError>> {
        self.read(reading::counts)
    }
}

impl Settlements for SqliteLedger {
    fn settle(&self, id: OperationId, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        self.write(move |desk| desk.settle(id, &settlement))
    }
}

impl Erasure for SqliteLedger {
    fn erase(&self, order: Erase) -> BoxFuture<'_, Result<Erased, LedgerError>> {
        Box::pin(async move {
            let Erase { whose, dry_run, .. } = order.clone();
            let found = self.read(move |conn| erasing::search(conn, &order)).await?;
            if found.rows.is_empty() {
                return Ok(Erased { next: found.next, ..Erased::default() });
            }
            let rows = found.rows;
            let erased: Erased =
                self.write(move |desk| desk.erase(&rows, &whose, dry_run).map(Ok::<_, LedgerError>)).await?;
            Ok(Erased { next: found.next, ..erased })
        })
    }

    fn scour(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        let (job, answer) = Scour::boxed();
        self.ask(job, answer)
    }
}

impl Upkeep for SqliteLedger {
    fn renew(&self, claims: Vec<(Fence, OperationId)>) -> BoxFuture<'_, Result<Vec<Fence>, LedgerError>> {
        let (job, answer) = Task::boxed(move |desk: &mut Desk| Ok(Ok(desk.renew(&claims))), true);
        self.ask(job, answer)
    }

    fn reap(&self, limit: u32) -> BoxFuture<'_, Result<Vec<Reaped>, LedgerError>> {
        self.write(move |desk| desk.reap(limit).map(Ok))
    }

    fn sweep(&self, limit: u32) -> BoxFuture<'_, Result<Swept, LedgerError>> {
        self.write(move |desk| desk.sweep(limit).map(Ok))
    }

    fn lease(&self) -> Duration {
        self.lease
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LedgerError>> {
        self.write(|desk| desk.check().map(Ok))
    }
}

/// Ends what a former process had claimed. Its holders are dead, because the file was theirs alone.
fn resolve_former(desk: &mut Desk) -> rusqlite::Result<()> {
    loop {
        desk.begin()?;
        let resolved = desk.resolve_former(RESOLVED_AT_ONCE);
        let Ok(resolved) = resolved else {
            desk.roll_back();
            return resolved.map(|_| ());
        };
        desk.commit()?;
        desk.wakes.clear();
        if resolved > 0 {
            tracing::info!(resolved, "claims of a former process are resolved");
        }
        if resolved < RESOLVED_AT_ONCE {
            return Ok(());
        }
    }
}

fn spawn(name: &str, path: &Path, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| no_thread(path, &error))
}

fn no_thread(path: &Path, error: &std::io::Error) -> OpenError {
    let reason = format!("no thread could be started: {error}");
    OpenError::Unreachable { path: path.display().to_string(), reason }
}
