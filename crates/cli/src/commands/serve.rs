//! `steadfast serve`: runs a gateway until it is told to stop. SIGHUP reads the config again, and so does a change of
//! its files where they are watched; SIGTERM and SIGINT drain.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use steadfast_admin::{
    AdminParts, BoxFuture, CacheHolds, CircuitOrder, CircuitOrdered, CircuitReport, ConfigOrigin, Control,
    EditRefused, EditedLetter, EndpointReport, Forget, LimitsRefused, OrderRefused, Readiness, ReloadReport,
    SharedCheck, UsageBy, UsageReport,
    api::{ExplainedView, LimitCountView, LimitCountsQuery, LimitRaiseRequest, LimitsView},
};
use steadfast_core::{Ban, BanSubject, Timestamp};
use steadfast_gateway::{
    CacheStats, Edited, Gateway, LogTo, NotEdited, NotOrdered, Purge, UsageLine, VersionCaller,
    config::{self, Config, Environment, Loaded, Overrides},
};
use steadfast_ledger::{Enqueue, Redrive};
use steadfast_worker::Workers;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{explain_desk, limits_desk, watch::Watch};
use crate::{
    arguments::ServeArguments,
    descriptors,
    exit::{Exit, failed},
    logging,
    systemd::{notify::Notify, sockets::Sockets},
};

/// Where a config is looked for when none is named.
const CONFIG_PLACES: [&str; 2] = ["steadfast.toml", "/etc/steadfast/steadfast.toml"];

/// Variables that the command line reads and configs do not.
pub(super) const OWN_VARIABLES: &[&str] = &["STEADFAST_CONFIG", "STEADFAST_LOG", "STEADFAST_WATCH"];

/// How often the ledger's counts and the workers' are carried into the metrics.
const METRICS_PERIOD: Duration = Duration::from_secs(1);

/// How long `/readyz` says "draining" before connections are refused, so that a load balancer can notice.
const UNREADY_BEFORE_DRAIN: Duration = Duration::from_millis(200);

/// Runs the command.
pub(crate) fn run(arguments: ServeArguments) -> anyhow::Result<Exit> {
    logging::start();
    let overrides = overrides(&arguments);
    let source = Source { file: absolute(find_config(arguments.config)?)?, overrides };
    // Begun before the config is read, so that no change falls between the two.
    let watch = arguments.watch.then(|| Watch::new(&source.file, &source.overrides));
    let config = source.load()?;
    block_on(serve(config, Some(source), watch, |_| {}))
}

fn overrides(arguments: &ServeArguments) -> Overrides {
    Overrides {
        listen: arguments.listen.map(|address| address.to_string()),
        admin: arguments.admin.map(|address| address.to_string()),
        ledger: arguments.ledger.clone(),
        workers: arguments.workers.map(|workers| workers.to_string()),
    }
}

/// Runs a future on a runtime of the main thread's own. Callers are served by the gateway's threads.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime could not be started")?.block_on(future)
}

fn find_config(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(file) = named {
        return Ok(file);
    }
    let found = CONFIG_PLACES.iter().map(Path::new).find(|place| place.exists());
    found.map(Path::to_owned).ok_or_else(|| {
        let places = CONFIG_PLACES.join(" nor ");
        failed(
            Exit::ConfigInvalid,
            format!("there is neither {places}: name a config with --config, or write one with `steadfast config init`"),
        )
    })
}

/// The same path from wherever it is looked at: who asks the admin API for it may be anywhere.
fn absolute(file: PathBuf) -> anyhow::Result<PathBuf> {
    std::path::absolute(&file).with_context(|| file.display().to_string())
}

/// Where a config comes from, to read it again.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    file: PathBuf,
    overrides: Overrides,
}

impl Source {
    /// Reads the config and says what is odd about it.
    fn load(&self) -> anyhow::Result<Config> {
        let environment = Environment::of_process().with_known_elsewhere(OWN_VARIABLES);
        match config::load(&self.file, &environment, &self.overrides) {
            Ok(Loaded { config, warnings }) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                Ok(config)
            }
            Err(errors) => Err(failed(Exit::ConfigInvalid, errors.to_string())),
        }
    }
}

/// Runs a gateway until it is told to stop. `announce` is called once it serves.
pub(crate) async fn serve(
    config: Config,
    source: Option<Source>,
    watch: Option<Watch>,
    announce: impl FnOnce(&Running),
) -> anyhow::Result<Exit> {
    descriptors::allow_all();
    let log = LogTo { writer: Box::new(std::io::stdout()), text: std::io::stdout().is_terminal() };
    // Before there is any other thread: the variables that tell of them are taken away.
    let sockets = Sockets::take(&config)?;
    let gateway =
        Gateway::start_on(&config, log, sockets.proxy).await.context("the gateway could not start")?;
    let workers = Workers::start(gateway.ledger(), gateway.clock(), &tokio::runtime::Handle::current());
    let in_force = std::sync::Mutex::new(config.clone());
    let notify = Notify::of_environment();
    let running = Arc::new(Running { gateway, source, started: config.clone(), in_force, notify });

    let admin_listener = match sockets.admin {
        Some(socket) => socket,
        None => std::net::TcpListener::bind(config.admin)
            .with_context(|| format!("the admin address {} cannot be listened on", config.admin))?,
    };
    let admin_address = admin_listener.local_addr()?;
    let router = steadfast_admin::router(AdminParts {
        ledger: running.gateway.ledger(),
        metrics: Arc::new({
            let running = Arc::clone(&running);
            move || running.gateway.metrics()
        }),
        readiness: Arc::clone(&running) as Arc<dyn Readiness>,
        control: Arc::clone(&running) as Arc<dyn Control>,
    });
    let admin = steadfast_admin::serve(admin_listener, router, std::future::pending())?;
    let mut admin = std::pin::pin!(admin);
    announce(&running);
    tracing::info!(listen = %running.gateway.address(), admin = %admin_address, "serving");

    running.notify.ready("serving");
    let mut alive = std::pin::pin!(running.notify.stay_alive());
    let mut changes = watch.map(Watch::start).transpose()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut metrics = tokio::time::interval(METRICS_PERIOD);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                // Said in the log either way; the config in force stays in force.
                let _ = running.reload_now();
            }
            Some(()) = next_change(&mut changes) => {
                let _ = running.reload_now();
            }
            _ = metrics.tick() => running.gateway.note_upkeep(&workers.counters()),
            ended = &mut admin => {
                ended.context("the admin API ended")?;
                anyhow::bail!("the admin API ended by itself");
            }
            () = &mut alive => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let drain = async {
        running.gateway.start_draining();
        running.notify.stopping();
        tracing::info!("draining: what is under way is finished, and nothing more is accepted");
        tokio::time::sleep(UNREADY_BEFORE_DRAIN).await;
        let timeout = running.in_force().drain_timeout;
        running.gateway.drain(timeout).await
    };
    // The admin API answers to the end: it is what says that the gateway is draining.
    let cut_off = tokio::select! {
        cut_off = drain => cut_off,
        _ = &mut admin => 0,
        () = &mut alive => 0,
    };
    workers.stop().await;
    if cut_off > 0 {
        tracing::warn!(cut_off, "connections were cut off when the time to drain had passed");
    }
    Ok(Exit::Ok)
}

/// The next change of the files that are watched; nothing ever where none are.
async fn next_change(changes: &mut Option<mpsc::Receiver<()>>) -> Option<()> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

/// A running gateway, as its admin API sees it.
pub(crate) struct Running {
    gateway: Gateway,
    source: Option<Source>,
    /// What only a restart takes over is in force as it stands here.
    started: Config,
    in_force: std::sync::Mutex<Config>,
    notify: Notify,
}

impl Running {
    /// Where callers are served.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.gateway.address()
    }

    fn in_force(&self) -> std::sync::MutexGuard<'_, Config> {
        self.in_force.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn reload_now(&self) -> Result<ReloadReport, String> {
        self.notify.reloading();
        let reloaded = self.try_reload();
        self.notify.ready(match &reloaded {
            Ok(_) => "serving",
            Err(_) => {
                "serving, but not with the config as it is in the file: the log says what is wrong with it"
            }
        });
        match &reloaded {
            Ok(report) => tracing::info!(notes = ?report.notes, "the config was read again and is in force"),
            Err(reason) => {
                self.gateway.note_reload_failed();
                tracing::error!(%reason, "nothing was reloaded: the config in force stays");
            }
        }
        reloaded
    }

    fn try_reload(&self) -> Result<ReloadReport, String> {
        let source = self.source.as_ref().ok_or("this gateway was started without a config file")?;
        let config = source.load().map_err(|error| error.to_string())?;
        let mut in_force = self.in_force();
        self.gateway.reload(&config).map_err(|error| error.to_string())?;
        let needs_restart = config::restart_needed(&self.started, &config);
        let notes =
            needs_restart.iter().map(|key| format!("`{key}` changed, and takes effect after a restart"));
        let report = ReloadReport { notes: notes.collect() };
        *in_force = config::after_reload(&self.started, config);
        Ok(report)
    }
}

impl Readiness for Running {
    fn is_draining(&self) -> bool {
        self.gateway.is_draining()
    }

    fn shared(&self) -> Option<SharedCheck> {
        self.gateway.shared().map(|(ok, detail)| SharedCheck { ok, detail })
    }
}

impl Control for Running {
    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, String>> {
        Box::pin(async { self.reload_now() })
    }

    fn effective_config(&self) -> String {
        config::effective(&self.in_force())
    }

    fn usage(&self) -> Vec<UsageReport> {
        let report = |UsageLine { version, caller, used }| UsageReport {
            version: String::from(&*version),
            by: match caller {
                VersionCaller::Principal(name) => UsageBy::Principal(name.into()),
                VersionCaller::Credential(digest) => {
                    UsageBy::Credential(format!("{:032x}", u128::from_be_bytes(digest)))
                }
                VersionCaller::Anonymous => UsageBy::Anonymous,
                VersionCaller::Others => UsageBy::Others,
            },
            requests: used.requests,
            refused: used.refused,
            first: used.first,
            last: used.last,
        };
        self.gateway.usage().into_iter().map(report).collect()
    }

    fn endpoints(&self) -> Vec<EndpointReport> {
        let upstreams = self.gateway.endpoints().into_iter();
        let reports = upstreams.flat_map(|(upstream, endpoints)| {
            endpoints.into_iter().map(move |endpoint| EndpointReport {
                upstream: upstream.clone(),
                endpoint: endpoint.location.to_string(),
                is_healthy: endpoint.is_healthy,
                in_flight: endpoint.in_flight,
                cost: endpoint.cost,
                circuit: endpoint.circuit.map(|(view, age)| CircuitReport {
                    view,
                    age,
                    left: endpoint.circuit_left,
                    is_enforced: endpoint.circuit_is_enforced,
                }),
            })
        });
        reports.collect()
    }

    fn order_circuits(
        &self,
        upstream: &str,
        endpoint: Option<&str>,
        order: CircuitOrder,
    ) -> Result<CircuitOrdered, OrderRefused> {
        let order = match order {
            CircuitOrder::Open(time) => steadfast_gateway::CircuitOrder::Open(time),
            CircuitOrder::Closed(time) => steadfast_gateway::CircuitOrder::Closed(time),
            CircuitOrder::Automatic => steadfast_gateway::CircuitOrder::Automatic,
        };
        let ordered = self.gateway.order_circuits(upstream, endpoint, order);
        ordered.map(CircuitOrdered).map_err(|refused| match refused {
            NotOrdered::NoSuchUpstream => OrderRefused::NoSuchUpstream,
            NotOrdered::NoCircuit => OrderRefused::NoCircuit,
            NotOrdered::NoSuchEndpoint => OrderRefused::NoSuchEndpoint,
        })
    }

    fn work_routes(&self) -> Vec<String> {
        self.gateway.letters().routes().iter().map(ToString::to_string).collect()
    }

    fn chance(&self, route: &str) -> Option<Redrive> {
        self.gateway.letters().chance(route)
    }

    fn note_redriven(&self, route: &str) {
        self.gateway.letters().note_redriven(route);
    }

    fn edited(&self, letter: EditedLetter) -> Result<Enqueue, EditRefused> {
        let EditedLetter { name, owner, route, method, request, lane } = letter;
        let edited = Edited { name, owner, route, method, request, lane };
        self.gateway.letters().work(edited).map_err(|refused| match refused {
            NotEdited::NoRoute => EditRefused::NoRoute,
            NotEdited::TooLarge(max) => EditRefused::TooLarge(max),
        })
    }

    fn explained(&self, request_id: &str) -> Vec<ExplainedView> {
        self.gateway.explained(request_id).iter().map(|explained| explain_desk::view(explained)).collect()
    }

    fn limits(&self) -> LimitsView {
        limits_desk::list(&self.gateway.limits())
    }

    fn limit_counts<'a>(
        &'a self,
        whose: &'a LimitCountsQuery,
        reset: bool,
    ) -> BoxFuture<'a, Result<Vec<LimitCountView>, LimitsRefused>> {
        Box::pin(async move { limits_desk::counts(&self.gateway.limits(), whose, reset).await })
    }

    fn raise_limits(&self, order: &LimitRaiseRequest, time: Duration) -> Result<usize, LimitsRefused> {
        limits_desk::raise(&self.gateway.limits(), order, time)
    }

    fn config_origin(&self) -> ConfigOrigin {
        let Some(Source { file, overrides }) = &self.source else { return ConfigOrigin::default() };
        let overridden = config::overridden(&Environment::of_process(), overrides);
        ConfigOrigin {
            file: Some(file.display().to_string()),
            overridden: overridden.into_iter().map(|one| (one.path, one.by)).collect(),
        }
    }

    fn now(&self) -> Timestamp {
        self.gateway.clock().wall()
    }

    fn key_prefixes(&self) -> Vec<(String, String)> {
        self.gateway.key_prefixes()
    }

    fn credentials_changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.gateway.refresh_credentials())
    }

    fn is_never_banned(&self, subject: &BanSubject) -> bool {
        self.gateway.abuse().policy().spares(subject)
    }

    fn bans_beside_the_ledger(&self) -> Vec<(Ban, bool)> {
        self.gateway.abuse().beside_the_ledger()
    }

    fn bans_changed(&self, made_by_hand: bool) -> BoxFuture<'_, ()> {
        if made_by_hand {
            self.gateway.abuse().note_made_by_hand();
        }
        Box::pin(self.gateway.refresh_bans())
    }

    fn cache(&self) -> CacheHolds {
        let CacheStats { targets, bytes, bytes_max } = self.gateway.cache_stats();
        CacheHolds { targets, bytes, bytes_max }
    }

    fn purge(&self, forget: &Forget) -> u64 {
        self.gateway.purge(&match forget {
            Forget::Url(url) => Purge::Url(url.clone()),
            Forget::Prefix(prefix) => Purge::Prefix(prefix.clone()),
            Forget::Tag(tag) => Purge::Tag(tag.clone()),
            Forget::All => Purge::All,
        })
    }
}
