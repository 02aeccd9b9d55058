//! One endpoint of an upstream: its client, and what is known of how it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use steadfast_layers::EndpointId;
use tokio::time::Instant;

use crate::{Location, OutgoingBody, client::Client, load::Load};

/// One endpoint of an upstream. It goes on as long as its upstream has it, whatever becomes of the others.
pub struct Endpoint<B: OutgoingBody> {
    id: EndpointId,
    pub(crate) client: Client<B>,
    /// What it has to do just now.
    pub(crate) load: Arc<Load>,
    is_healthy: AtomicBool,
    /// Since when it has been taking requests, in milliseconds since `origin`. Zero: from the beginning.
    since_ms: AtomicU64,
    origin: Instant,
}

impl<B: OutgoingBody> Endpoint<B> {
    /// One that has been there from the beginning, which was at `origin`.
    pub(crate) fn new(client: Client<B>, origin: Instant) -> Self {
        static ENDPOINTS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: EndpointId(ENDPOINTS.fetch_add(1, Ordering::Relaxed)),
            client,
            load: Arc::new(Load::new(origin)),
            is_healthy: AtomicBool::new(true),
            since_ms: AtomicU64::new(0),
            origin,
        }
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        self.client.location()
    }

    /// How many requests were sent to it whose answers have not ended; counted while its upstream has several.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.load.in_flight()
    }

    /// Whether it may be sent requests, as far as is known.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    /// Notes whether it may be sent requests. One that becomes healthy starts slowly.
    pub fn set_healthy(&self, healthy: bool) {
        if !self.is_healthy.swap(healthy, Ordering::Relaxed) && healthy {
            self.start();
        }
    }

    /// It begins to take requests.
    pub(crate) fn start(&self) {
        let since = self.origin.elapsed().as_millis();
        self.since_ms.store(u64::try_from(since).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// For how long it has been taking requests; nothing where it did from the beginning.
    #[must_use]
    pub fn taking_for(&self) -> Option<Duration> {
        let since = Duration::from_millis(self.since_ms.load(Ordering::Relaxed));
        (!since.is_zero()).then(|| self.origin.elapsed().saturating_sub(since))
    }
}
