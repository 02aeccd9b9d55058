//! What this node shares with others: the store of counts, as the config names it.

use std::sync::Arc;

use steadfast_layers::{LIMITED_KEYS_MAX, LimitClock, LocalLimits};
use steadfast_ledger::Clock;
use steadfast_shared::{SharedLimits, SharedPolicies, Standing};

use crate::{config::Config, telemetry::Metrics};

/// Where nodes count together.
pub(crate) type Store = SharedLimits;

/// Begins to use the store that the config names. Its own tasks run on the calling runtime.
pub(crate) fn start(config: &Config, clock: &Clock, metrics: &Metrics) -> Option<Arc<Store>> {
    let store = config.shared.as_ref()?;
    let local = LocalLimits::new(LimitClock::new(clock.clone()), LIMITED_KEYS_MAX);
    let store = Arc::new(Store::start(store.location.clone(), policies(config), Arc::new(local)));
    metrics.shared.are_of(Arc::clone(&store));
    Some(store)
}

/// What becomes of each limit while the store is lost.
pub(crate) fn policies(config: &Config) -> SharedPolicies {
    config.on_loss.iter().map(|(limit, on_loss)| (limit.as_str().into(), *on_loss)).collect()
}

/// How the store is, for people: whether it answers, and what is to be said of that.
pub(crate) fn described(store: &Store) -> (bool, String) {
    let nodes = store.counts().nodes;
    match store.standing() {
        Standing::Well => (true, format!("it counts limits for {nodes} nodes at {}", store.location())),
        Standing::Lost { since, reason } => {
            let seconds = since.elapsed().as_secs();
            let detail = format!(
                "{} is lost since {seconds} s: {reason}; limits go by `on_loss`, shares are of {nodes} nodes",
                store.location()
            );
            (false, detail)
        }
    }
}
