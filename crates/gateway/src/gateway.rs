//! A gateway as a whole: started from a config, reloaded, drained.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use steadfast_layers::InvalidPolicy;
use steadfast_ledger::{
    Clock, Encrypting, OpenError, Remembering, SharedLedger,
    postgres::{PostgresLedger, PostgresOptions},
    sqlite::{SqliteLedger, SqliteOptions},
};
use steadfast_upstream::Upstream;
use steadfast_worker::WorkerCounters;

use crate::{
    config::{Config, LedgerLocation},
    drain::Drain,
    edge::{Edge, RouteEntry, Routes},
    routing::Table,
    server, stack,
    telemetry::{AccessLog, Metrics},
};

/// How many bytes of answers are kept in memory for replays.
const REMEMBERED_BYTES_MAX: u64 = 64 << 20;

/// Where the access log goes.
pub struct LogTo {
    /// The writer; a thread of its own writes to it.
    pub writer: Box<dyn io::Write + Send>,
    /// Whether somebody reads along: text instead of JSON.
    pub text: bool,
}

/// A running gateway. Its callers are served by threads of its own.
pub struct Gateway {
    address: SocketAddr,
    edge: Arc<Edge>,
    drain: Drain,
    unready: AtomicBool,
    workers: Vec<JoinHandle<()>>,
}

/// A gateway could not start. Nothing is running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger could not be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The address could not be listened on.
    #[error("{address} cannot be listened on: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    /// A route contradicts itself.
    #[error(transparent)]
    Route(#[from] ReloadError),
}

/// A config could not be put in force. The one before it still is.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A route's policy contradicts itself.
    #[error("route {route}: {error}")]
    Policy {
        /// The route's name.
        route: String,
        /// The contradiction.
        error: InvalidPolicy,
    },
    /// A route names an upstream that is not there.
    #[error("route {route}: there is no upstream `{upstream}`")]
    NoUpstream {
        /// The route's name.
        route: String,
        /// The name that it gives.
        upstream: String,
    },
}

/// Opens the ledger that a config names.
///
/// # Errors
/// [`OpenError`] says why it cannot be opened.
pub(crate) async fn open_ledger(config: &Config, clock: &Clock) -> Result<SharedLedger, OpenError> {
    let keys = config.encryption.as_ref().map(|encryption| encryption.keys.clone()).unwrap_or_default();
    Ok(match &config.ledger {
        LedgerLocation::Sqlite(path) => {
            let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
            let ledger = Encrypting::new(SqliteLedger::open(path, options)?, keys);
            Arc::new(Remembering::new(ledger, clock.clone(), REMEMBERED_BYTES_MAX))
        }
        LedgerLocation::Postgres(url) => {
            let ledger = PostgresLedger::connect(url, PostgresOptions::default()).await?;
            let ledger = Encrypting::new(ledger, keys);
            Arc::new(Remembering::new(ledger, clock.clone(), REMEMBERED_BYTES_MAX))
        }
    })
}

impl Gateway {
    /// Starts serving. The ledger's own tasks run on the calling runtime.
    ///
    /// # Errors
    /// [`StartError`]: nothing is running then.
    pub async fn start(config: &Config, log: LogTo) -> Result<Self, StartError> {
        let clock = Clock::system();
        let ledger = open_ledger(config, &clock).await?;
        Self::start_with(config, log, ledger, clock)
    }

    /// Starts serving on a ledger that somebody else opened, and on the clock it reads; [`Config::ledger`] is not
    /// looked at.
    ///
    /// # Errors
    /// [`StartError`]: nothing is running then.
    pub fn start_with(
        config: &Config,
        log: LogTo,
        ledger: SharedLedger,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new());
        let routes = routes(config, &ledger, &clock, &metrics)?;
        let access_log = AccessLog::new(log.writer, log.text).map_err(StartError::Thread)?;
        let edge =
            Arc::new(Edge { routes: ArcSwap::from_pointee(routes), ledger, metrics, access_log, clock });
        let listen = |error| StartError::Listen { address: config.listen, error };
        let listeners = server::bind(config.listen, config.workers).map_err(listen)?;
        let address = listeners[0].local_addr().map_err(listen)?;
        let drain = Drain::new();
        let mut workers = Vec::with_capacity(listeners.len());
        for (number, listener) in listeners.into_iter().enumerate() {
            let worker =
                server::start_worker(number, listener, Arc::clone(&edge), config.edge, drain.clone());
            workers.push(worker.map_err(|error| {
                drain.ask();
                StartError::Thread(error)
            })?);
        }
        Ok(Self { address, edge, drain, unready: AtomicBool::new(false), workers })
    }

    /// Where callers are served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts another config's routes and upstreams in force, all at once. Requests under way end under the one
    /// they began with.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing changed.
    pub fn reload(&self, config: &Config) -> Result<(), ReloadError> {
        let edge = &self.edge;
        let routes = routes(config, &edge.ledger, &edge.clock, &edge.metrics);
        edge.metrics.reloaded(routes.is_ok());
        edge.routes.store(Arc::new(routes?));
        Ok(())
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> SharedLedger {
        Arc::clone(&self.edge.ledger)
    }

    /// The clock that the gateway's ledger and layers read.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.edge.clock.clone()
    }

    /// Carries what the workers counted into the metrics.
    pub fn note_upkeep(&self, counters: &WorkerCounters) {
        self.edge.metrics.upkeep(counters, self.edge.access_log.lost());
    }

    /// Notes that a new config could not be put in force.
    pub fn note_reload_failed(&self) {
        self.edge.metrics.reloaded(false);
    }

    /// The metrics as Prometheus reads them.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.edge.metrics.render()
    }

    /// Whether it is about to stop: it should get no new requests.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.unready.load(Ordering::Relaxed) || self.drain.is_asked()
    }

    /// Says that it is about to stop, and goes on serving.
    pub fn start_draining(&self) {
        self.unready.store(true, Ordering::Relaxed);
    }

    /// Stops accepting, lets what is under way end, and returns how many connections had to be cut off after
    /// `timeout`.
    pub async fn drain(&self, timeout: Duration) -> usize {
        self.start_draining();
        self.drain.ask();
        let until = Instant::now() + timeout;
        while self.workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.drain.open_count()
    }
}

/// Makes a config's routes ready to serve.
fn routes(
    config: &Config,
    ledger: &SharedLedger,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Routes, ReloadError> {
    let upstreams: std::collections::BTreeMap<_, _> = config
        .upstreams
        .iter()
        .map(|(name, policy)| (name, Upstream::new(policy.clone(), clock.clone())))
        .collect();
    let entries = config.routes.iter().map(|route| {
        let name = || route.name.to_string();
        let upstream = upstreams
            .get(&route.upstream)
            .ok_or_else(|| ReloadError::NoUpstream { route: name(), upstream: route.upstream.clone() })?;
        let stack = stack::build(route, upstream.clone(), ledger, clock)
            .map_err(|error| ReloadError::Policy { route: name(), error })?;
        let entry = RouteEntry {
            name: Arc::clone(&route.name),
            number: metrics.route_number(&route.name),
            stack,
            identity: stack::identity(route),
        };
        Ok((route.path.clone(), route.methods.clone(), entry))
    });
    Ok(Routes { table: Table::new(entries.collect::<Result<Vec<_>, ReloadError>>()?) })
}
