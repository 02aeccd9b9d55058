//! One endpoint of an upstream: its client, and what is known of how it is.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use steadfast_core::circuit::{CircuitView, Held};
use steadfast_layers::{Circuit, EndpointId};
use tokio::{task::JoinSet, time::Instant};

use crate::{Location, OutgoingBody, client::Client, load::Load};

/// One endpoint of an upstream. It goes on as long as its upstream has it, whatever becomes of the others.
pub struct Endpoint<B: OutgoingBody> {
    id: EndpointId,
    /// Where it is, as it stands in traces.
    shown: Arc<str>,
    pub(crate) client: Client<B>,
    /// Whether it may be sent requests, judged by the last ones; nothing where its upstream has no such policy.
    pub(crate) circuit: Option<Circuit>,
    /// What it has to do just now.
    pub(crate) load: Arc<Load>,
    is_healthy: AtomicBool,
    /// Its health checks, where there are any: they end with it.
    checks: OnceLock<JoinSet<()>>,
    /// Since when it has been taking requests, in milliseconds since `origin`. Zero: from the beginning.
    since_ms: AtomicU64,
    origin: Instant,
}

/// How an endpoint is, for people.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// Where it is.
    pub location: Location,
    /// Whether checks found it well; it is until one says otherwise.
    pub is_healthy: bool,
    /// How many of its answers have not ended; counted while its upstream has several endpoints.
    pub in_flight: u64,
    /// What a call to it costs (peak EWMA of latencies and penalties), likewise.
    pub cost: Option<Duration>,
    /// How its circuit stands, where it has one, and how long ago it began to.
    pub circuit: Option<(CircuitView, Duration)>,
    /// For how much longer it is open, or held by hand.
    pub circuit_left: Option<Duration>,
    /// Whether its circuit is acted on.
    pub circuit_is_enforced: bool,
}

impl<B: OutgoingBody> Endpoint<B> {
    /// One that has been there from the beginning, which was at `origin`.
    pub(crate) fn new(client: Client<B>, circuit: Option<Circuit>, origin: Instant) -> Self {
        static ENDPOINTS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: EndpointId(ENDPOINTS.fetch_add(1, Ordering::Relaxed)),
            shown: client.location().to_string().into(),
            client,
            circuit,
            load: Arc::new(Load::new(origin)),
            is_healthy: AtomicBool::new(true),
            checks: OnceLock::new(),
            since_ms: AtomicU64::new(0),
            origin,
        }
    }

    /// Which one it is.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// Where it is, in words.
    pub(crate) fn shown(&self) -> Arc<str> {
        Arc::clone(&self.shown)
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &Location {
        self.client.location()
    }

    /// Its circuit, where it has one.
    #[must_use]
    pub fn circuit(&self) -> Option<&Circuit> {
        self.circuit.as_ref()
    }

    /// Whether its circuit lets a request through now.
    pub(crate) fn look(&self, now: Instant) -> Result<(), Held> {
        self.circuit.as_ref().map_or(Ok(()), |circuit| circuit.look(now))
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

    /// Lets `checks` run as long as it is there.
    pub(crate) fn check(&self, checks: impl Future<Output = ()> + Send + 'static) {
        self.checks.get_or_init(|| {
            let mut tasks = JoinSet::new();
            tasks.spawn(checks);
            tasks
        });
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

    /// How it is, for people.
    #[must_use]
    pub fn view(&self, now: Instant) -> EndpointView {
        let circuit = self.circuit.as_ref();
        let seen = circuit.map(|circuit| {
            let at = now.saturating_duration_since(circuit.origin());
            let view = circuit.view(now);
            let left = view.until.map(|until| until.saturating_sub(at));
            ((view, at.saturating_sub(view.since)), left)
        });
        EndpointView {
            location: self.location().clone(),
            is_healthy: self.is_healthy(),
            in_flight: self.load.in_flight(),
            cost: self.load.cost(now).map(Duration::from_secs_f64),
            circuit: seen.map(|(seen, _)| seen),
            circuit_left: seen.and_then(|(_, left)| left),
            circuit_is_enforced: circuit.is_some_and(Circuit::is_enforced),
        }
    }
}
