//! A gateway in this process, in front of an upstream that does what the test says.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use steadfast_gateway::{
    Gateway, LogTo,
    config::{
        Config, EdgePolicy, Environment, ExplainPolicy, LedgerLocation, Listener, Overrides, PathPattern,
        Route, UpstreamConfig, parse,
    },
};
use steadfast_layers::{AbusePolicy, IdempotencyPolicy, LimitHeaders, Priority, SpoolLimits};
use steadfast_upstream::UpstreamPolicy;

use crate::{
    contract::{Stand, backend::Backend, fresh_ledger, routes::routes},
    upstream::Upstream,
};

/// A free port of this machine's own.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A gateway held to the contract.
pub(crate) async fn stand() -> Stand {
    let (mut stand, upstream) = with_upstream().await;
    stand._kept = Box::new((stand._kept, upstream));
    stand
}

/// The same, with a hand on its upstream's connections.
pub(crate) async fn with_upstream() -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (in_front_of(upstream.address(), upstream.backend().clone()), upstream)
}

/// A gateway in front of whatever listens there.
pub(crate) fn in_front_of(upstream: SocketAddr, backend: Backend) -> Stand {
    configured(config(upstream), backend)
}

/// A gateway that runs on this config.
pub(crate) fn configured(config: Config, backend: Backend) -> Stand {
    let (ledger, clock, folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway = Gateway::start_with(&config, log, ledger.clone(), clock.clone()).expect("it starts");
    Stand { address: gateway.address(), backend, clock, ledger, _kept: Box::new((gateway, folder)) }
}

/// A gateway that runs on the config file `text`, whose upstreams are at `UPSTREAM`.
pub(crate) fn from_file(text: &str, upstream: &Upstream) -> Stand {
    configured(loaded(text, upstream), upstream.backend().clone())
}

/// The config file `text`, whose upstreams are at `UPSTREAM`.
pub(crate) fn loaded(text: &str, upstream: &Upstream) -> Config {
    let text = format!("listen = \"{ANY}\"\nadmin = \"{ANY}\"\nworkers = 1\n{text}");
    let text = text.replace("UPSTREAM", &upstream.address().to_string());
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    loaded.unwrap_or_else(|errors| panic!("{errors}")).config
}

/// The contract's routes, and `/*`, which streams straight through.
pub(crate) fn config(upstream: SocketAddr) -> Config {
    let address = format!("http://{upstream}").parse().expect("an address");
    let mut policy = UpstreamPolicy::new("upstream", address);
    policy.connect_timeout = Duration::from_secs(1);
    let keyed = routes().into_iter().map(|(path, idempotency)| route(path, Some(idempotency)));
    let mut all: Vec<Route> = keyed.collect();
    all.push(route("/*", None));
    Config {
        listeners: vec![Listener::plain(ANY)],
        admin: ANY,
        shared: None,
        on_loss: [].into(),
        encryption: None,
        ledger: LedgerLocation::Sqlite(PathBuf::from("not looked at")),
        lease: Duration::from_secs(30),
        workers: 1,
        edge: EdgePolicy::default(),
        spool: SpoolLimits::default(),
        cache_memory_max: 8 << 20,
        explain: ExplainPolicy::default(),
        drain_timeout: Duration::from_secs(5),
        resolver: Vec::new(),
        document: None,
        abuse: AbusePolicy::default(),
        authentication: BTreeMap::new(),
        upstreams: BTreeMap::from([("upstream".to_owned(), UpstreamConfig::new(policy))]),
        limits: BTreeMap::new(),
        routes: all,
        schedules: BTreeMap::new(),
    }
}

fn route(path: &str, idempotency: Option<IdempotencyPolicy>) -> Route {
    let pattern = match path.strip_suffix('*') {
        Some(prefix) => PathPattern::Prefix(prefix.into()),
        None => PathPattern::Exact(path.into()),
    };
    Route {
        name: path.into(),
        hosts: Vec::new(),
        path: pattern,
        methods: Vec::new(),
        headers: Vec::new(),
        upstream: "upstream".into(),
        deadline: None,
        authentication: None,
        priority: Priority::default(),
        idempotency,
        retry: None,
        cache: None,
        fallback: None,
        cors: None,
        lifecycle: None,
        require_precondition: false,
        documented: true,
        limits: Vec::new(),
        limit_headers: LimitHeaders { standard: true, older: false },
        refusal: None,
        decision_header: false,
        rewrite: None,
    }
}
