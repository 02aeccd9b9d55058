//! The shared ledger: many nodes, one Postgres.
//!
//! Callers' commands wait in one [queue]; a few [workers](worker) take them in [batches](batch), each one
//! transaction of multi-row statements. States change by [`steadfast_core::transition`] alone: [`decide`] hands
//! it the facts of a row, [`writes`] writes what it said. Leases, expiry and windows run on the database's clock;
//! [`stall`] keeps a database that stalls from expiring anything. Nodes tell each other of changes by way of
//! the [listener]. A commit whose reply was lost is read back by the attempt's fence: the command simply runs
//! again, and finds what it wrote. Claims that nobody can wait for any more are [taken back](take_back).
//!
//! Promises hold over a failover only with synchronous standbys: a commit is as durable as
//! `synchronous_commit` and the standbys make it.

mod accepting;
mod backlog;
mod backoff;
mod bans;
mod batch;
mod changing;
mod credentials;
mod decide;
mod duties;
mod erasing;
mod failure;
mod letters;
mod listener;
mod options;
mod pauses;
mod places;
mod pool;
mod queue;
mod reading;
mod record;
mod redrives;
mod schema;
mod session;
mod settle;
mod shared;
mod stall;
mod statements;
mod take_back;
mod taking;
mod upkeep;
mod vacuuming;
mod worker;
mod writes;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use steadfast_core::{AttemptEnd, Next, OperationDigest};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

pub use self::options::{PostgresOptions, StoreTime};
use self::{
    pool::Pool,
    queue::{Command, Work},
    session::Session,
    shared::{NOTICES_MAX, Shared},
};
use crate::{
    BoxFuture, Claim, ClaimOutcome, ClaimRequest, Claims, Finished, LedgerError, LiveClaims, OpenError,
    TooManyWaiters, Watch, bans::Counted,
};

/// The most connections for claims and finishes.
const CONNECTIONS_MAX: usize = 64;

/// How many sessions serve reads, reaping, sweeping and settling.
const GENERAL_SESSIONS: usize = 2;

/// How many sessions hand out work. Opened when work is first taken.
const TAKER_SESSIONS: usize = 2;

/// A ledger on Postgres. Dropping it closes its connections; calls that still wait get
/// [`LedgerError::Closed`].
#[derive(Debug)]
pub struct PostgresLedger {
    shared: Arc<Shared>,
    /// For renewals and checks, so that no slow read stands before them.
    heartbeat: Arc<Pool>,
    general: Pool,
    /// For handing out work.
    takers: Pool,
    bans: Mutex<Counted>,
    // Everything that runs beside the callers; ends with the ledger.
    _tasks: JoinSet<()>,
}

impl PostgresLedger {
    /// Connects to the database that `url` names, brings its schema up to date and starts serving. The URL is
    /// what libpq takes; of several hosts, the one that takes writes is used. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] where the URL is wrong or asks for TLS, where the database cannot be reached or takes no
    /// writes, or where a newer version of this program wrote its schema.
    pub async fn connect(url: &str, mut options: PostgresOptions) -> Result<Self, OpenError> {
        options.connections = options.connections.clamp(1, CONNECTIONS_MAX);
        options.lease = options.lease.max(std::time::Duration::from_millis(100));
        let (config, path) = session::config(url, &options)?;
        let first = Session::open(&config, &path, &options).await?;
        let (notices, notices_receiver) = mpsc::channel(NOTICES_MAX);
        let (orphans, orphans_receiver) = mpsc::channel(options.open_max.max(1));
        let shared = Arc::new(Shared::new((config, path), options, notices, orphans));
        shared.seen(&first.server);
        let heartbeat = Arc::new(Pool::new(Arc::clone(&shared), 1));
        let general = Pool::new(Arc::clone(&shared), GENERAL_SESSIONS);
        let takers = Pool::new(Arc::clone(&shared), TAKER_SESSIONS);
        let mut tasks = JoinSet::new();
        let mut first = Some(first);
        for _ in 0..shared.options.connections {
            tasks.spawn(worker::run(Arc::clone(&shared), first.take()));
        }
        tasks.spawn(listener::run(Arc::clone(&shared), notices_receiver));
        tasks.spawn(take_back::run(Arc::clone(&shared), orphans_receiver));
        tasks.spawn(vacuuming::run(Arc::clone(&shared)));
        tasks.spawn(upkeep::pulse(Arc::clone(&shared), Arc::clone(&heartbeat)));
        Ok(Self { shared, heartbeat, general, takers, bans: Mutex::default(), _tasks: tasks })
    }

    /// Where the database is, without credentials.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.shared.path
    }

    /// Puts a command in the queue.
    fn put(&self, name: (steadfast_core::Bucket, OperationDigest), work: Work) -> Arc<AtomicBool> {
        let started = Arc::new(AtomicBool::new(false));
        self.shared.queue.push(Command {
            bucket: name.0,
            digest: name.1,
            work,
            wait_until: Instant::now() + self.shared.options.pool_wait,
            deadline: Instant::now() + self.shared.options.call_timeout,
            not_before: None,
            started: Arc::clone(&started),
            maybe_written: None,
            cautious: false,
        });
        started
    }

    /// Waits for the word of a command: until no connection took it up in time, or it took too long in all.
    async fn word<T>(
        &self,
        mut receiver: oneshot::Receiver<Result<T, LedgerError>>,
        started: &AtomicBool,
    ) -> Result<T, LedgerError> {
        let options = &self.shared.options;
        let begun = Instant::now();
        let mut waited = tokio::time::timeout(options.pool_wait, &mut receiver).await;
        if waited.is_err() && started.load(Ordering::Relaxed) {
            waited = tokio::time::timeout_at(begun + options.call_timeout, &mut receiver).await;
        }
        match waited {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LedgerError::Closed),
            Err(_) => Err(self.shared.down()),
        }
    }

    /// Writes how an attempt ended, and, where a worker says it, what follows.
    fn end_attempt(
        &self,
        claim: &Claim,
        end: AttemptEnd,
        (next, excerpt): (Option<Next>, Option<Box<str>>),
    ) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        let name = (claim.operation.bucket(), claim.digest);
        let claim = Box::new(claim.clone());
        Box::pin(async move {
            let answer = match &end {
                AttemptEnd::Answered(answer) => Some(answer.digest()),
                AttemptEnd::NotSent(_) | AttemptEnd::Refused { .. } | AttemptEnd::Unknown { .. } => None,
            };
            let (reply, receiver) = oneshot::channel();
            let work = Work::Finish { claim, end: Box::new(end), answer, next, excerpt, reply };
            let started = self.put(name, work);
            self.word(receiver, &started).await
        })
    }

    /// Admits one more claim, unless as many as are admitted wait or are under way.
    fn admit(&self) -> Result<Claiming<'_>, LedgerError> {
        let open_max = self.shared.options.open_max;
        let claiming = Claiming::new(&self.shared);
        if claiming.before + self.shared.live.len() >= open_max {
            return Err(LedgerError::Overloaded { open_max });
        }
        Ok(claiming)
    }
}

/// One claim that waits for its outcome.
struct Claiming<'a> {
    shared: &'a Shared,
    before: usize,
}

impl<'a> Claiming<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, before: shared.claiming.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Claiming<'_> {
    fn drop(&mut self) {
        self.shared.claiming.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Claims for PostgresLedger {
    fn claim(&self, request: ClaimRequest) -> BoxFuture<'_, Result<ClaimOutcome, LedgerError>> {
        Box::pin(async move {
            let _claiming = self.admit()?;
            let name = (request.name.bucket(), request.name.digest());
            let (reply, receiver) = oneshot::channel();
            let work = Work::Claim { request: Box::new(request), lock: false, reply };
            let started = self.put(name, work);
            self.word(receiver, &started).await
        })
    }

    fn finish(&self, claim: &Claim, end: AttemptEnd) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        self.end_attempt(claim, end, (None, None))
    }

    fn watch(&self, digest: OperationDigest) -> Result<Watch, TooManyWaiters> {
        self.shared.hub.subscribe(digest)
    }

    fn live(&self) -> &LiveClaims {
        &self.shared.live
    }
}
