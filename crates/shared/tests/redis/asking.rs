//! How these tests ask a store.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use steadfast_core::{LimitAlgorithm, LimitDecision, Period, Quota};
use steadfast_layers::{LimitClock, LimitStore, LimitedKey, LocalLimits, Take, Taken};
use steadfast_ledger::Clock;
use steadfast_shared::{Location, OnLoss, SharedLimits};

use crate::server::{Cluster, Server};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// One limit of a request of a test.
#[derive(Clone)]
pub(crate) struct Limit {
    pub(crate) name: Arc<str>,
    pub(crate) key: LimitedKey,
    pub(crate) quota: Quota,
    pub(crate) cost: u64,
    pub(crate) enforced: bool,
}

impl Limit {
    /// So many in a minute for this subject, all of which may come at once.
    pub(crate) fn of(subject: u64, algorithm: LimitAlgorithm, count: u64) -> Self {
        let period = Period::Time(Duration::from_secs(60));
        let quota = Quota { algorithm, count, period, burst: count };
        let key = LimitedKey { subject, rest: algorithm as u64 };
        Self { name: format!("{algorithm:?}").into(), key, quota, cost: 1, enforced: true }
    }

    /// As the store is asked.
    pub(crate) fn take(&self) -> Take<'_> {
        let Self { name, key, quota, cost, enforced } = self;
        Take {
            limit: name,
            key: *key,
            quota: *quota,
            cost: *cost,
            enforced: *enforced,
            wait_max: Duration::from_secs(120),
        }
    }
}

/// What a request with these limits is told.
pub(crate) async fn take(store: &dyn LimitStore, limits: &[Limit]) -> Vec<Taken> {
    let mut taken = vec![Taken::Uncounted; limits.len()];
    let later = {
        let takes: Vec<_> = limits.iter().map(Limit::take).collect();
        store.take(&takes, &mut taken)
    };
    match later {
        Some(later) => later.await,
        None => taken,
    }
}

/// Whether a request with these limits may go.
pub(crate) async fn may_go(store: &dyn LimitStore, limits: &[Limit]) -> bool {
    let taken = take(store, limits).await;
    limits.iter().zip(taken).all(|(limit, taken)| !limit.enforced || !refuses(taken))
}

/// Whether this refuses a request.
pub(crate) fn refuses(taken: Taken) -> bool {
    match taken {
        Taken::Told(decision) => !decision.is_allowed(),
        Taken::Uncounted => false,
        Taken::Lost => true,
    }
}

/// How much is left, as it was told.
pub(crate) fn remaining(taken: Taken) -> u64 {
    match taken {
        Taken::Told(LimitDecision::Allowed { remaining, .. } | LimitDecision::Refused { remaining, .. }) => {
            remaining
        }
        Taken::Uncounted | Taken::Lost => panic!("nobody counted: {taken:?}"),
    }
}

/// Counts in this process.
pub(crate) fn local() -> Arc<LocalLimits> {
    Arc::new(LocalLimits::new(LimitClock::new(Clock::system()), 100_000))
}

/// A node that shares this server.
pub(crate) fn on(server: &Server) -> SharedLimits {
    at(Location::single(&server.url(), None).expect("a URL"))
}

/// A node that shares this Cluster.
pub(crate) fn on_cluster(cluster: &Cluster) -> SharedLimits {
    let urls = cluster.urls();
    at(Location::cluster(urls.iter().map(String::as_str), None).expect("URLs"))
}

/// A node that shares the store there.
pub(crate) fn at(location: Location) -> SharedLimits {
    SharedLimits::start(location, [].into(), local())
}

/// A node that shares this server, for which every limit of these tests goes like this when it is lost.
pub(crate) fn on_with(server: &Server, on_loss: OnLoss) -> SharedLimits {
    let location = Location::single(&server.url(), None).expect("a URL");
    let policies = [("TokenBucket".into(), on_loss), ("FixedWindow".into(), on_loss)];
    SharedLimits::start(location, policies.into(), local())
}

/// Waits until so many nodes know of each other, and the store answers them.
pub(crate) async fn wait_until_together(nodes: &[&SharedLimits]) {
    let all = nodes.len() as u64;
    until(|| nodes.iter().all(|node| node.counts().nodes == all && !node.counts().is_lost)).await;
}

/// Waits until this is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What all of these come to, run at once.
pub(crate) async fn all<T>(all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::future::join_all(all).await
}
