//! What the tasks of one ledger share.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use steadfast_core::{OperationDigest, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio_postgres::Config;

use super::{
    options::PostgresOptions,
    queue::Queue,
    stall::{Server, StallGuard},
    take_back::Orphan,
    writes::Writes,
};
use crate::{LedgerError, LiveClaims, WatchHub};

/// How many batches of changed operations may wait to be announced to other nodes; beyond it they are told
/// that anything may have changed.
pub(super) const NOTICES_MAX: usize = 256;

/// What the tasks of one ledger share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    /// Where the database is, without credentials.
    pub(super) path: String,
    pub(super) options: PostgresOptions,
    pub(super) queue: Queue,
    pub(super) hub: WatchHub,
    pub(super) live: LiveClaims,
    /// Claims that wait for their outcome.
    pub(super) claiming: AtomicUsize,
    /// Changed operations that other nodes have not been told of one by one.
    pub(super) unannounced: AtomicBool,
    /// Work of which other nodes have not been told.
    pub(super) work_unannounced: AtomicBool,
    /// Counts up when there may be something to take.
    pub(super) arrivals: watch::Sender<u64>,
    /// Operations that were taken since `ready` was vacuumed.
    pub(super) taken: AtomicU64,
    /// Told when it is time to.
    pub(super) vacuum: Notify,
    notices: mpsc::Sender<Vec<OperationDigest>>,
    orphans: mpsc::Sender<Orphan>,
    guard: Mutex<StallGuard>,
    down: Mutex<LedgerError>,
}

impl Shared {
    pub(super) fn new(
        (config, path): (Config, String),
        options: PostgresOptions,
        notices: mpsc::Sender<Vec<OperationDigest>>,
        orphans: mpsc::Sender<Orphan>,
    ) -> Self {
        Self {
            config,
            path,
            queue: Queue::default(),
            hub: WatchHub::new(options.waiters_max),
            live: LiveClaims::default(),
            claiming: AtomicUsize::new(0),
            unannounced: AtomicBool::new(false),
            work_unannounced: AtomicBool::new(false),
            arrivals: watch::Sender::new(0),
            taken: AtomicU64::new(0),
            vacuum: Notify::new(),
            notices,
            orphans,
            guard: Mutex::new(StallGuard::new(options.lease)),
            down: Mutex::new(LedgerError::Unreachable("it did not answer in time".into())),
            options,
        }
    }

    /// Wakes whoever waits for these operations, here and on other nodes.
    pub(super) fn wake(&self, digests: &[OperationDigest]) {
        if digests.is_empty() {
            return;
        }
        digests.iter().for_each(|digest| self.hub.wake(*digest));
        if self.notices.try_send(digests.to_vec()).is_err() {
            self.unannounced.store(true, Ordering::Relaxed);
        }
    }

    /// Tells what a transaction changed, here and on other nodes.
    pub(super) fn announce(&self, writes: &Writes) {
        self.wake(&writes.wakes);
        if writes.places.bring_work() {
            self.arrived();
        }
    }

    /// Tells whoever takes work that there may be some, here and on other nodes.
    pub(super) fn arrived(&self) {
        self.heard_of_work();
        if !self.work_unannounced.swap(true, Ordering::Relaxed) {
            // Should there be no room, the listener looks once it is through with what waits.
            let _ = self.notices.try_send(Vec::new());
        }
    }

    /// Tells whoever takes work here that there may be some.
    pub(super) fn heard_of_work(&self) {
        self.arrivals.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Has a claim taken back that nobody knows of. Should too many be on the way, its lease runs out instead.
    pub(super) fn take_back(&self, orphan: Orphan) {
        if self.orphans.try_send(orphan).is_err() {
            tracing::warn!(ledger = self.path, "a claim that was not sent is left to run out");
        }
    }

    /// The store answered.
    pub(super) fn answered(&self) {
        let now = self.options.clock.boot();
        self.guard().answered(now);
    }

    /// This server answered.
    pub(super) fn seen(&self, server: &Server) {
        let now = self.options.clock.boot();
        self.guard().seen(server, now);
    }

    /// The store's clock showed this.
    pub(super) fn clock_read(&self, store: Timestamp) {
        let now = self.options.clock.boot();
        self.guard().clock_read(store, now);
    }

    /// Whether what seems to have run out really has.
    pub(super) fn may_expire(&self) -> bool {
        let now = self.options.clock.boot();
        self.guard().may_expire(now)
    }

    /// Why the ledger cannot be reached, as far as is known.
    pub(super) fn down(&self) -> LedgerError {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_down(&self, error: LedgerError) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn guard(&self) -> MutexGuard<'_, StallGuard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
