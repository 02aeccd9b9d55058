//! What this node shares with others: the store of counts, as the config names it.

use std::sync::Arc;

use steadfast_layers::Limiter;
use steadfast_shared::{SharedLimits, SharedPolicies, Standing};

use crate::{config::Config, telemetry::Metrics};

/// Begins to use the store that the config names; its limits are counted there from now on, and what is counted in this
/// process with all else. Its own tasks run on the calling runtime.
pub(crate) fn start(config: &Config, limiter: &Limiter, metrics: &Metrics) -> Option<Arc<SharedLimits>> {
    let store = config.shared.as_ref()?;
    let local = Arc::clone(limiter.local());
    let store = Arc::new(SharedLimits::start(store.location.clone(), policies(config), local));
    metrics.shared.are_of(Arc::clone(&store));
    limiter.share_through(Arc::clone(&store) as _);
    Some(store)
}

/// What becomes of each limit while the store is lost.
pub(crate) fn policies(config: &Config) -> SharedPolicies {
    config.on_loss.iter().map(|(limit, on_loss)| (limit.as_str().into(), *on_loss)).collect()
}

/// How the store is, for people: whether it answers, and what is to be said of that.
pub(crate) fn described(store: &SharedLimits) -> (bool, String) {
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
