//! Vacuums `ready` while work is handed out. What was taken leaves dead entries just where the next one looks, at the
//! beginning of the index, and every call steps over them; Postgres's own vacuum comes once a minute at most. With a million
//! jobs it takes a few hundredths of a second.

use std::sync::{Arc, atomic::Ordering};

use super::{failure::Failure, pool::Pool, shared::Shared};

/// After how many operations that this node took.
const TAKEN_MAX: u64 = 25_000;

/// Leaves it alone where somebody else is at it, or where this role may not.
const VACUUM: &str = "VACUUM (SKIP_LOCKED, TRUNCATE FALSE) steadfast.ready";

impl Shared {
    /// Counts operations that were taken.
    pub(super) fn took(&self, count: usize) {
        let count = count as u64;
        if self.taken.fetch_add(count, Ordering::Relaxed) + count >= TAKEN_MAX {
            self.taken.store(0, Ordering::Relaxed);
            self.vacuum.notify_one();
        }
    }
}

/// Vacuums when it is time, for as long as the ledger lives.
pub(super) async fn run(shared: Arc<Shared>) {
    let pool = Pool::new(Arc::clone(&shared), 1);
    loop {
        shared.vacuum.notified().await;
        let Ok(lent) = pool.lend().await else { continue };
        let session = lent.session();
        let vacuumed = session.bounded(async { session.simple(VACUUM).await.map_err(Failure::from) }).await;
        if let Err(error) = lent.settle(vacuumed).await {
            tracing::debug!(ledger = shared.path, %error, "the backlog was not vacuumed");
        }
    }
}
