//! What an endpoint has to do just now.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::Instant;

/// What an endpoint has to do just now.
#[derive(Debug)]
pub(crate) struct Load {
    in_flight: AtomicU64,
}

impl Load {
    pub(crate) fn new(_origin: Instant) -> Self {
        Self { in_flight: AtomicU64::new(0) }
    }

    /// How many requests were sent to it whose answers have not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// One request that is counted until this is dropped.
pub(crate) struct InFlight(Arc<Load>);

impl InFlight {
    pub(crate) fn new(load: Arc<Load>) -> Self {
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(load)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
