//! A gateway as a whole: started from a config, reloaded, drained.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use steadfast_layers::{
    AbuseGuard, AbusePolicy, CacheStats, CacheStore, InvalidPolicy, Purge, Spool, UsageLine,
};
use steadfast_ledger::{
    Clock, Encrypting, OpenError, Remembering, SharedLedger,
    postgres::{PostgresLedger, PostgresOptions},
    sqlite::{SqliteLedger, SqliteOptions},
};
use steadfast_upstream::{EndpointView, NoCircuit, TlsError};
use steadfast_worker::WorkerCounters;

use crate::{
    authenticators::Authenticators,
    background::{Background, JobRoutes},
    ban_keeper::BanKeeper,
    certificates::{self, Certificates},
    config::{Config, LedgerLocation, RouteFallback},
    connection::Door,
    contract::{Document, known_operations},
    drain::Drain,
    edge::{Edge, RouteEntry, Routes},
    explain::{Explained, Explanations},
    handover::{self, Holder},
    key_keeper::KeyKeeper,
    letters::LettersDesk,
    limits::{CallerLimits, LimitsDesk},
    routing::Table,
    schedules, server, shared,
    stack::{self, Shared},
    telemetry::{AccessLog, Metrics},
    upstreams::{self, CircuitOrder, NotOrdered, Upstreams},
};

/// How many bytes of answers are kept in memory for replays.
const REMEMBERED_BYTES_MAX: u64 = 64 << 20;

/// How long connections without a request get to make one more, whose answer says that it is the last.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// Where the access log goes.
pub struct LogTo {
    /// The writer; a thread of its own writes to it.
    pub writer: Box<dyn io::Write + Send>,
    /// Whether somebody reads along: text instead of JSON.
    pub text: bool,
}

/// Listening sockets that somebody else opened, by the number of the listener in the config that they are for. There
/// may be several for one.
pub type HandedOver = BTreeMap<usize, Vec<TcpListener>>;

/// A running gateway. Its callers are served by threads of its own.
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    edge: Arc<Edge>,
    drain: Drain,
    unready: AtomicBool,
    shared: Option<Arc<steadfast_shared::SharedLimits>>,
    workers: Vec<JoinHandle<()>>,
    keys: KeyKeeper,
    bans: BanKeeper,
    background: Background,
}

/// A gateway could not start. Nothing is running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger could not be opened.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// TLS on a listener cannot be set up.
    #[error("TLS on {address}: {error}")]
    Tls {
        /// The listener's address.
        address: SocketAddr,
        /// Why not.
        error: TlsError,
    },
    /// The address could not be listened on.
    #[error("{address} cannot be listened on: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Nothing can be spooled.
    #[error(
        "large bodies cannot be kept in {}: {error}; name another folder as `spool.folder`, or set \
         `spool.requests_max = 0` to refuse them", folder.display()
    )]
    Spool {
        /// The folder.
        folder: std::path::PathBuf,
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
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    /// TLS towards somebody who is asked who is calling cannot be set up.
    #[error("authentication {name}: {error}")]
    Authentication {
        /// The authenticator's name.
        name: String,
        /// Why not.
        error: TlsError,
    },
    /// TLS towards an upstream cannot be set up.
    #[error("upstream {upstream}: {error}")]
    Tls {
        /// The upstream's name.
        upstream: String,
        /// Why not.
        error: TlsError,
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
            let options =
                SqliteOptions { clock: clock.clone(), lease: config.lease, ..SqliteOptions::default() };
            let ledger = Encrypting::new(SqliteLedger::open(path, options)?, keys);
            Arc::new(Remembering::new(ledger, clock.clone(), REMEMBERED_BYTES_MAX))
        }
        LedgerLocation::Postgres(url) => {
            let options = PostgresOptions { lease: config.lease, ..PostgresOptions::default() };
            let ledger = PostgresLedger::connect(url, options).await?;
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
        Self::start_on(config, log, HandedOver::new()).await
    }

    /// Starts serving, for those of [`Config::listeners`] whose sockets a service manager handed over on these. The
    /// ledger's own tasks run on the calling runtime.
    ///
    /// # Errors
    /// [`StartError`]: nothing is running then.
    pub async fn start_on(config: &Config, log: LogTo, handed_over: HandedOver) -> Result<Self, StartError> {
        let clock = Clock::system();
        let ledger = open_ledger(config, &clock).await?;
        let (metrics, abuse) = watched(&clock);
        // Before anybody is served: who was banned is banned after a restart, from the first request on.
        if let Err(error) = abuse.follow(&*ledger).await {
            tracing::warn!(%error, "the ledger does not tell who is banned: until it does, only the config says so");
        }
        Self::serve_on(config, log, ledger, clock, &handed_over, (metrics, abuse))
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
        let watched = watched(&clock);
        Self::serve_on(config, log, ledger, clock, &HandedOver::new(), watched)
    }

    fn serve_on(
        config: &Config,
        log: LogTo,
        ledger: SharedLedger,
        clock: Clock,
        handed_over: &HandedOver,
        (metrics, abuse): (Arc<Metrics>, Arc<AbuseGuard>),
    ) -> Result<Self, StartError> {
        abuse.set_policy(abuse_policy(config));
        let spool = Spool::new(config.spool.clone());
        spool.check().map_err(|error| StartError::Spool { folder: config.spool.folder.clone(), error })?;
        let cache = CacheStore::new(config.cache_memory_max);
        let limits = CallerLimits::new(&clock);
        let keys = KeyKeeper::default();
        let authenticators = Arc::new(Authenticators::running(config, &Authenticators::default(), &clock)?);
        keys.keep(authenticators.rings(), authenticators.issuers(), &ledger).map_err(StartError::Thread)?;
        let shared = Shared {
            ledger: &ledger,
            clock: &clock,
            spool: &spool,
            cache: &cache,
            metrics: &metrics,
            authenticators: &authenticators,
            abuse: &abuse,
            limits: &limits,
            known: &known_operations(config),
            forwarded_differs: config.forwarded_differs(),
        };
        let routes = routes(config, &Upstreams::new(), &shared)?;
        let bans = BanKeeper::start(&abuse, &ledger).map_err(StartError::Thread)?;
        let store = shared::start(config, &limits.limiter, &metrics);
        let access_log = AccessLog::new(log.writer, log.text).map_err(StartError::Thread)?;
        let drain = Drain::new();
        let edge = Arc::new(Edge {
            routes: ArcSwap::from_pointee(routes),
            policy: ArcSwap::from_pointee(config.edge.clone()),
            ledger,
            metrics,
            access_log,
            clock,
            spool,
            cache,
            limits,
            abuse,
            explanations: Explanations::new(config.explain, tells_decisions(config)),
            drain: drain.clone(),
        });
        let mut addresses = Vec::new();
        let mut certificates = Vec::new();
        let mut doors: Vec<Vec<_>> = (0..config.workers).map(|_| Vec::new()).collect();
        for (number, listener) in config.listeners.iter().enumerate() {
            let listen = |error| StartError::Listen { address: listener.address, error };
            let (sockets, holder) = match handed_over.get(&number) {
                Some(sockets) => (handover::share(sockets, config.workers), Holder::ServiceManager),
                None => (server::bind(listener.address, config.workers), Holder::ThisProcess),
            };
            let sockets = sockets.map_err(listen)?;
            addresses.push(sockets[0].local_addr().map_err(listen)?);
            let tls = listener.tls.as_ref().map(Certificates::load).transpose();
            let tls = tls.map_err(|error| StartError::Tls { address: listener.address, error })?;
            let tls = tls.map(Arc::new);
            certificates.extend(tls.clone());
            let door = Arc::new(Door {
                listener: listener.clone(),
                holder,
                certificates: tls,
                policy: config.edge.clone(),
                edge: Arc::clone(&edge),
                drain: drain.clone(),
            });
            for (number, socket) in sockets.into_iter().enumerate() {
                let worker = number % config.workers;
                doors[worker].push((socket, Arc::clone(&door)));
            }
        }
        certificates::watch(&certificates).map_err(StartError::Thread)?;
        let mut workers = Vec::with_capacity(doors.len());
        for (number, doors) in doors.into_iter().enumerate() {
            let worker = server::start_worker(number, doors, Arc::clone(&edge), drain.clone());
            workers.push(worker.map_err(|error| {
                drain.ask();
                StartError::Thread(error)
            })?);
        }
        let background = Background::start(&edge).map_err(StartError::Thread)?;
        Ok(Self {
            addresses,
            edge,
            drain,
            unready: AtomicBool::new(false),
            shared: store,
            workers,
            keys,
            bans,
            background,
        })
    }

    /// Where callers are served: the address of the first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Every listener's address, in their order.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Puts another config's routes and upstreams in force, all at once. Requests under way end under the one
    /// they began with.
    ///
    /// # Errors
    /// [`ReloadError`]: nothing changed.
    pub fn reload(&self, config: &Config) -> Result<(), ReloadError> {
        let edge = &self.edge;
        let before = edge.routes.load();
        let authenticators = Authenticators::running(config, &before.authenticators, &edge.clock)
            .inspect_err(|_| edge.metrics.reloaded(false))?;
        let authenticators = Arc::new(authenticators);
        let shared = Shared {
            ledger: &edge.ledger,
            clock: &edge.clock,
            spool: &edge.spool,
            cache: &edge.cache,
            metrics: &edge.metrics,
            authenticators: &authenticators,
            abuse: &edge.abuse,
            limits: &edge.limits,
            known: &known_operations(config),
            forwarded_differs: config.forwarded_differs(),
        };
        let routes = routes(config, &before.upstreams, &shared).and_then(|routes| {
            self.keys
                .keep(authenticators.rings(), authenticators.issuers(), &edge.ledger)
                .map_err(ReloadError::Thread)?;
            Ok(routes)
        });
        edge.metrics.reloaded(routes.is_ok());
        edge.routes.store(Arc::new(routes?));
        edge.policy.store(Arc::new(config.edge.clone()));
        edge.abuse.set_policy(abuse_policy(config));
        edge.explanations.follow(config.explain, tells_decisions(config));
        if let Some(store) = &self.shared {
            store.set_policies(shared::policies(config));
        }
        Ok(())
    }

    /// How the endpoints of every upstream are, by its name.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(String, Vec<EndpointView>)> {
        let routes = self.edge.routes.load();
        routes.upstreams.iter().map(|(name, upstream)| (name.clone(), upstream.client.view())).collect()
    }

    /// Does by hand what somebody wants of an upstream's circuits: of all, or of that of the endpoint at `at`. How many
    /// there were is returned.
    ///
    /// # Errors
    /// [`NotOrdered`]: nothing changed.
    pub fn order_circuits(
        &self,
        upstream: &str,
        at: Option<&str>,
        order: CircuitOrder,
    ) -> Result<usize, NotOrdered> {
        let routes = self.edge.routes.load();
        let running = routes.upstreams.get(upstream).ok_or(NotOrdered::NoSuchUpstream)?;
        match running.client.order(order.begun_now(), at) {
            Ok(0) => Err(NotOrdered::NoSuchEndpoint),
            Ok(circuits) => Ok(circuits),
            Err(NoCircuit) => Err(NotOrdered::NoCircuit),
        }
    }

    /// How the store is that nodes share, where there is one: whether it answers, and what is to be said of that.
    #[must_use]
    pub fn shared(&self) -> Option<(bool, String)> {
        self.shared.as_deref().map(shared::described)
    }

    /// Where its limits are looked at.
    #[must_use]
    pub fn limits(&self) -> LimitsDesk {
        let limits = self.edge.routes.load().limits.values().cloned().collect();
        LimitsDesk { limiter: Arc::clone(&self.edge.limits.limiter), limits }
    }

    /// What is to be known of its routes about work for later.
    #[must_use]
    pub fn letters(&self) -> LettersDesk {
        LettersDesk::new(Arc::clone(&self.edge))
    }

    /// Returns when every change of credentials that the ledger has is known to this process.
    pub async fn refresh_credentials(&self) {
        self.keys.refresh().await;
    }

    /// Returns when every change of bans that the ledger has is known to this process, and the other way round.
    pub async fn refresh_bans(&self) {
        self.bans.refresh().await;
    }

    /// Who is kept out.
    #[must_use]
    pub fn abuse(&self) -> &AbuseGuard {
        &self.edge.abuse
    }

    /// The authenticators that take keys of the ledger, by their names, and what such keys begin with.
    #[must_use]
    pub fn key_prefixes(&self) -> Vec<(String, String)> {
        let rings = self.edge.routes.load().authenticators.rings();
        rings.iter().map(|ring| (ring.by().to_owned(), ring.prefix().to_owned())).collect()
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
        if let Some(backlog) = &counters.backlog {
            self.edge.metrics.jobs.backlog(backlog, self.edge.clock.wall());
        }
        if let Some(groups) = &counters.dead_letters {
            self.edge.metrics.jobs.dead_letters(groups, self.edge.clock.wall());
        }
    }

    /// Notes that a new config could not be put in force.
    pub fn note_reload_failed(&self) {
        self.edge.metrics.reloaded(false);
    }

    /// The metrics as Prometheus reads them.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.edge.metrics.spool(&self.edge.spool);
        self.edge.metrics.cache(self.edge.cache.stats());
        let counts = self.edge.limits.limiter.local();
        // What nobody asks for any more is not swept on the way.
        counts.sweep();
        self.edge.metrics.limits(counts.held(), counts.evicted());
        self.edge.abuse.note_standing();
        self.edge.metrics.render()
    }

    /// Who called which version since the process began, by version; of each the busiest callers first.
    #[must_use]
    pub fn usage(&self) -> Vec<UsageLine> {
        self.edge.metrics.usage.lines()
    }

    /// What is remembered of requests with this id that were refused or slow, the newest first.
    #[must_use]
    pub fn explained(&self, request_id: &str) -> Vec<Arc<Explained>> {
        self.edge.explanations.find(request_id)
    }

    /// What is kept of answers just now.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.edge.cache.stats()
    }

    /// Forgets the kept answers that `purge` names; how many that were.
    #[must_use]
    pub fn purge(&self, purge: &Purge) -> u64 {
        self.edge.cache.purge(purge)
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
        self.background.stop_taking();
        let now = Instant::now();
        let (until, idle_until) = (now + timeout, now + LAST_REQUESTS.min(timeout / 4));
        while self.workers.iter().any(|worker| !worker.is_finished()) && Instant::now() < until {
            if Instant::now() >= idle_until {
                self.drain.close_idle();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.background.finish(until.into()).await;
        if let Some(store) = &self.shared {
            store.leave().await;
        }
        self.keys.note_uses().await;
        self.bans.finish().await;
        self.drain.open_count()
    }
}

/// What is counted, and who is kept out: nobody yet.
fn watched(clock: &Clock) -> (Arc<Metrics>, Arc<AbuseGuard>) {
    let metrics = Arc::new(Metrics::new());
    let abuse = Arc::new(AbuseGuard::new(clock.clone(), metrics.tallies.abuse()));
    (metrics, abuse)
}

/// What a config says of those who do harm. Whoever speaks for others is never kept out for them.
fn abuse_policy(config: &Config) -> AbusePolicy {
    let mut policy = config.abuse.clone();
    policy.never.extend(&config.edge.forwarding.trusted);
    policy.never.extend(config.listeners.iter().flat_map(|listener| &listener.proxy_protocol));
    policy
}

/// Whether some route tells its callers what was decided.
fn tells_decisions(config: &Config) -> bool {
    config.routes.iter().any(|route| route.decision_header)
}

/// Makes a config's routes ready to serve. Upstreams of `before` that are no different go on.
fn routes(config: &Config, before: &Upstreams, shared: &Shared<'_>) -> Result<Routes, ReloadError> {
    let metrics = shared.metrics;
    let upstreams = upstreams::running(config, before, shared.clock, metrics)?;
    let limits = shared.limits.running(config, metrics);
    let mut jobs = Vec::new();
    let entries = config.routes.iter().map(|route| {
        let name = || route.name.to_string();
        let running = |upstream: &String| {
            let none = || ReloadError::NoUpstream { route: name(), upstream: upstream.clone() };
            upstreams.get(upstream).map(|upstream| &**upstream).ok_or_else(none)
        };
        let backup = match &route.fallback {
            Some(RouteFallback::Upstream(upstream)) => Some(running(upstream)?),
            Some(RouteFallback::Fixed(_)) | None => None,
        };
        // From the beginning, so that its counters are there at zero before anything is counted.
        let tally = metrics.tallies.route(&route.name);
        let of_route = shared.limits.of_route(route, &limits);
        let has_limits = of_route.is_some();
        let authentication = shared.authenticators.of_route(route, shared.clock, &tally);
        let upstream = running(&route.upstream)?;
        let stack = stack::build(route, upstream, backup, shared, authentication.clone(), of_route, &tally)
            .map_err(|error| ReloadError::Policy { route: name(), error })?;
        jobs.extend(stack::jobs(route, upstream, shared.authenticators));
        let entry = RouteEntry {
            shortcut: stack::shortcut(route, upstream, shared, &tally),
            name: Arc::clone(&route.name),
            number: metrics.route_number(&route.name),
            stack,
            identity: stack::identity(route, shared.authenticators),
            authentication,
            answers_preflights: route.cors.is_some(),
            has_limits,
            refusal: route.refusal.clone(),
            decision_header: route.decision_header,
        };
        Ok((route.matching(), entry))
    });
    let table = Table::new(entries.collect::<Result<Vec<_>, ReloadError>>()?);
    let answer_preflights = config.routes.iter().any(|route| route.cors.is_some());
    let authenticators = Arc::clone(shared.authenticators);
    let document = Document::of(config);
    let forwarding = config.edge.forwarding.clone();
    let jobs = JobRoutes::new(jobs, shared.clock);
    jobs.names().for_each(|name| metrics.jobs.know(name));
    let schedules = schedules::of(config);
    Ok(Routes {
        table,
        answer_preflights,
        forwarding,
        upstreams,
        authenticators,
        limits,
        document,
        jobs,
        schedules,
    })
}
