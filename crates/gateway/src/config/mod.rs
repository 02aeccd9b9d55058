//! The config that the gateway runs on. What stands here is checked: a file that says anything else never gets
//! this far.

mod authentication;
mod check;
mod diff;
mod duration;
mod effective;
mod environment;
mod error;
mod instant;
mod load;
mod named_files;
mod percent;
mod quota;
mod rate;
mod raw;
mod reload;
mod schema;
mod shape;
mod size;
mod source;
mod starter;
mod suggest;
mod up;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use steadfast_core::AnswerPolicy;
use steadfast_layers::{
    AbusePolicy, AttemptTimes, BulkheadPolicy, CachePolicy, CorsPolicy, CourtesyPolicy, FixedAnswer,
    IdempotencyPolicy, LifecyclePolicy, LimitHeaders, LimitPolicy, Priority, RefusalTemplate, RetryPolicy,
    RewritePolicy, RouteAuthenticationPolicy, SpoolLimits,
};
use steadfast_ledger::Keys;
use steadfast_shared::{Location, OnLoss};
use steadfast_upstream::UpstreamPolicy;
use steadfast_worker::Missed;

use crate::routing::{Matching, Rule};

pub use crate::routing::{HeaderCondition, HeaderSays, HostPattern, PathPattern};
pub use authentication::{
    AskedUrl, AuthenticationConfig, AuthenticationKind, ForwardConfig, IntrospectionConfig, JwtConfig,
    JwtKeys,
};
pub use diff::{Difference, diff};
pub use duration::{InvalidDuration, parse_duration};
pub use effective::effective;
pub use environment::{Environment, Overridden, Overrides, overridden};
pub use error::{ConfigError, ConfigErrors, ConfigWarning, Place};
pub(crate) use instant::write_instant;
pub use instant::{InvalidInstant, parse_instant};
pub use load::{Loaded, load, parse};
pub use named_files::named_files;
pub use percent::{InvalidPercent, parse_percent};
pub use rate::{InvalidRate, parse_rate};
pub use reload::{after_reload, needs_restart, restart_needed};
pub use schema::schema;
pub use size::{InvalidSize, parse_size};
pub use starter::starter;
pub use up::{UpOptions, for_up};

/// Everything that a gateway runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where callers are served; at least one.
    pub listeners: Vec<Listener>,
    /// Where the people who run it are served: a loopback address.
    pub admin: SocketAddr,
    /// Where the ledger is.
    pub ledger: LedgerLocation,
    /// For how long a claim is its node's alone without a sign of life from it.
    pub lease: Duration,
    /// Where nodes count limits together; nothing where each counts for itself.
    pub shared: Option<SharedStore>,
    /// What becomes of the limits that are counted there while it is lost, by their names.
    pub on_loss: BTreeMap<String, OnLoss>,
    /// What encrypts answers in the ledger; nothing where it is not stated.
    pub encryption: Option<Encryption>,
    /// How many worker threads serve callers; one per core unless stated.
    pub workers: usize,
    /// What a connection may ask of the gateway.
    pub edge: EdgePolicy,
    /// Where large bodies of keyed requests wait, and how much they may take up.
    pub spool: SpoolLimits,
    /// How much memory kept answers take up at most, in bytes.
    pub cache_memory_max: u64,
    /// Which requests are remembered with what was decided about them.
    pub explain: ExplainPolicy,
    /// How long requests may go on after the gateway was asked to stop.
    pub drain_timeout: Duration,
    /// The servers that are asked for the addresses behind upstreams' names; the system where there are none. The
    /// policies of the upstreams have taken it over.
    pub resolver: Vec<SocketAddr>,
    /// What is published of the routes; nothing where it is not stated.
    pub document: Option<DocumentPolicy>,
    /// Ways of finding out who is calling, by name.
    pub authentication: BTreeMap<String, AuthenticationConfig>,
    /// What is done about those who do harm.
    pub abuse: AbusePolicy,
    /// The upstreams, by name.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// The limits on callers, by name.
    pub limits: BTreeMap<String, LimitPolicy>,
    /// The routes. The most specific one wins, whatever their order.
    pub routes: Vec<Route>,
    /// What is done at certain times, by name.
    pub schedules: BTreeMap<String, ScheduleConfig>,
}

impl Config {
    /// Whether upstreams may be told, of requests for one host, of different schemes or of different names of it: some
    /// callers speak TLS and some do not, or a proxy that is believed says what they asked it for.
    pub(crate) fn forwarded_differs(&self) -> bool {
        let with_tls = self.listeners.iter().filter(|listener| listener.tls.is_some()).count();
        let is_one_scheme = with_tls == 0 || with_tls == self.listeners.len();
        !self.edge.forwarding.trusted.is_empty() || !is_one_scheme
    }
}

/// Which requests are remembered with what was decided about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainPolicy {
    /// How many: half of them refused ones, half slow ones.
    pub requests_max: usize,
    /// One whose answer takes this long to begin is slow.
    pub slow: Duration,
}

impl Default for ExplainPolicy {
    /// 10,000 requests, and a second.
    fn default() -> Self {
        Self { requests_max: 10_000, slow: Duration::from_secs(1) }
    }
}

/// What the document says of the API as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPolicy {
    /// The API's name.
    pub title: String,
    /// The document's version.
    pub version: String,
    /// What is said of the API; empty where nothing is.
    pub description: String,
}

impl Default for DocumentPolicy {
    /// `API`, version 1, of which nothing is said.
    fn default() -> Self {
        Self { title: "API".to_owned(), version: "1".to_owned(), description: String::new() }
    }
}

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerLocation {
    /// An SQLite file of this process's own.
    Sqlite(PathBuf),
    /// A Postgres database that many nodes may share, as a URL.
    Postgres(String),
}

/// Where nodes count together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStore {
    /// The servers as they are named.
    pub(crate) urls: Vec<String>,
    /// Whether they are nodes of a Cluster.
    pub(crate) is_cluster: bool,
    /// The file that holds the password.
    pub(crate) password_file: Option<PathBuf>,
    /// Where it is and how it is entered.
    pub location: Location,
}

/// One address where callers are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    /// With it, callers speak TLS.
    pub tls: Option<ServerTls>,
    /// From where connections begin with a PROXY protocol header.
    pub proxy_protocol: Vec<IpNet>,
    /// Whether a caller that shuts its sending half still gets its answer.
    pub half_close: bool,
}

impl Listener {
    /// One without TLS.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None, proxy_protocol: Vec::new(), half_close: false }
    }

    /// Whether who connects from there is a proxy that says who is calling.
    pub(crate) fn is_told_by(&self, peer: IpAddr) -> bool {
        // A socket on [::] shows IPv4 addresses in the clothes of IPv6.
        let peer = peer.to_canonical();
        self.proxy_protocol.iter().any(|network| network.contains(&peer))
    }
}

/// TLS towards callers: the files that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Certificate chains and their keys; the first is shown where no name fits. Not empty.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// The authorities whose certificates callers may show.
    pub client_ca: Option<PathBuf>,
    /// Whether they must.
    pub client_required: bool,
}

/// What encrypts answers in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// Where the keys are.
    pub key_file: PathBuf,
    /// The keys that were there.
    pub keys: Keys,
}

/// What a connection may ask of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgePolicy {
    /// How long a request's head may take to arrive, and how long a connection may stay idle between requests.
    pub header_timeout: Duration,
    /// How many header fields a request may have.
    pub headers_max: usize,
    /// How many bytes a request's head may have.
    pub header_bytes_max: usize,
    /// How many bytes a request's target may have.
    pub uri_bytes_max: usize,
    /// The largest body of any request.
    pub body_bytes_max: Option<u64>,
    /// How long a request's body may stay away without a byte.
    pub body_timeout: Duration,
    /// How long a caller may take no byte of what waits for it.
    pub write_timeout: Duration,
    /// How many connections each worker holds at once, on each listener.
    pub connections_max: usize,
    /// How many requests a connection of HTTP/2 may have under way.
    pub streams_max: u32,
    /// How upstreams are told who is calling.
    pub forwarding: Forwarding,
}

/// How upstreams are told who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// In which fields.
    pub style: ForwardingStyle,
    /// Whether in `Via` too.
    pub via: bool,
    /// The proxies that are believed when they say it.
    pub trusted: Vec<IpNet>,
}

/// The fields that say who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardingStyle {
    /// None.
    None,
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
}

impl Default for EdgePolicy {
    /// 60 s for a head, 100 fields, 64 KiB, 16 KiB of target, any body, 30 s without a byte in and 60 s out, 20,000
    /// connections a worker and listener, 200 requests a connection; `X-Forwarded-*` and `Via`, and nobody believed.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(60),
            headers_max: 100,
            header_bytes_max: 64 << 10,
            uri_bytes_max: 16 << 10,
            body_bytes_max: None,
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            connections_max: 20_000,
            streams_max: 200,
            forwarding: Forwarding { style: ForwardingStyle::XForwarded, via: true, trusted: Vec::new() },
        }
    }
}

/// Everything that is said of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// How it is reached.
    pub policy: UpstreamPolicy,
    /// What it promises about keyed requests. Routes with idempotency have taken it over into their policies.
    pub contract: UpstreamContract,
    /// How requests to it are tried again; `None`: not at all.
    pub retry: Option<RetryPolicy>,
    /// How many requests it is given at once; as many as come where nothing is said.
    pub concurrency: Option<BulkheadPolicy>,
    /// How often it is called; as often as there is reason to where nothing is said.
    pub courtesy: Option<CourtesyPolicy>,
    /// The path at which it has its own OpenAPI document; nothing where it is none of the gateway's business.
    pub openapi: Option<String>,
}

impl UpstreamConfig {
    /// One that is reached like this; the rest is as it is unless stated.
    #[must_use]
    pub fn new(policy: UpstreamPolicy) -> Self {
        let contract = UpstreamContract::default();
        Self { policy, contract, retry: None, concurrency: None, courtesy: None, openapi: None }
    }
}

/// What an upstream promises about keyed requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamContract {
    /// How its statuses are read.
    pub answers: AnswerPolicy,
    /// For how long after the first send it takes the same key once; `None`: it is not repeatable.
    pub repeatable_for: Option<Duration>,
    /// How long an attempt may take.
    pub times: AttemptTimes,
}

impl Default for UpstreamContract {
    /// The defaults of [`IdempotencyPolicy::for_route`].
    fn default() -> Self {
        let policy = IdempotencyPolicy::for_route("");
        Self { answers: policy.answers, repeatable_for: policy.repeatable_for, times: policy.times }
    }
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name, for metrics and namespaces: its path, unless the config names it.
    pub name: Arc<str>,
    /// Which hosts it serves; any where it names none.
    pub hosts: Vec<HostPattern>,
    /// Which paths it serves.
    pub path: PathPattern,
    /// Which methods it serves; all where it names none.
    pub methods: Vec<Method>,
    /// What it asks of headers; all of it must hold.
    pub headers: Vec<HeaderCondition>,
    /// The upstream's name; one of [`Config::upstreams`].
    pub upstream: String,
    /// By when its callers must have an answer.
    pub deadline: Option<Duration>,
    /// What it asks of its callers; nothing where anybody may use it.
    pub authentication: Option<RouteAuthenticationPolicy>,
    /// How important its requests are where not all can be served.
    pub priority: Priority,
    /// What it says about idempotency; nothing for a route that streams straight through.
    pub idempotency: Option<IdempotencyPolicy>,
    /// How its requests are tried again; `None`: as its upstream says.
    pub retry: Option<RetryPolicy>,
    /// How its answers are kept and given again; nothing for a route that keeps none.
    pub cache: Option<CachePolicy>,
    /// What its safe requests are answered where the upstream brings nothing.
    pub fallback: Option<RouteFallback>,
    /// Which pages of other origins may use it; `None` leaves that to the upstream.
    pub cors: Option<CorsPolicy>,
    /// What it says of its version's end; nothing where nothing is said.
    pub lifecycle: Option<LifecyclePolicy>,
    /// Whether its changes must say what they are based on.
    pub require_precondition: bool,
    /// Whether callers are told of it in documents.
    pub documented: bool,
    /// The limits that its callers are held to; some of [`Config::limits`].
    pub limits: Vec<String>,
    /// How they are told of them.
    pub limit_headers: LimitHeaders,
    /// What its refusals look like, where that is not the usual way.
    pub refusal: Option<Arc<RefusalTemplate>>,
    /// Whether they say in a header what was decided.
    pub decision_header: bool,
    /// What it changes of messages.
    pub rewrite: Option<RewritePolicy>,
}

/// What the safe requests of a route are answered where its upstream brings nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteFallback {
    /// This.
    Fixed(FixedAnswer),
    /// What the upstream of this name answers; one of [`Config::upstreams`].
    Upstream(String),
}

/// Something that is done at certain times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleConfig {
    /// When.
    pub times: ScheduleTimes,
    /// What becomes of times that passed while no node was there.
    pub missed: Missed,
    /// The name of the route on which it is accepted, which does things in the background.
    pub route: String,
    /// The request's method.
    pub method: Method,
    /// The request's path and query.
    pub path: String,
    /// The request's header fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The request's body.
    pub body: String,
}

/// When something is done; checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleTimes {
    /// At the times that a crontab expression names.
    Cron {
        /// The expression.
        expression: String,
        /// The time zone that it is meant in.
        time_zone: String,
    },
    /// Once in each interval of this length.
    Every(Duration),
}

impl Route {
    /// Which requests it serves.
    pub(crate) fn matching(&self) -> Matching<'_> {
        let rule = Rule { methods: &self.methods, headers: &self.headers };
        Matching { hosts: &self.hosts, path: &self.path, rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_address_whichever_family_the_socket_is_of() {
        let address = SocketAddr::from(([0, 0, 0, 0], 80));
        let proxy_protocol = vec!["10.0.0.0/8".parse().expect("a network")];
        let listener = Listener { proxy_protocol, ..Listener::plain(address) };
        for (peer, expected) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.0.2.7", false)] {
            assert_eq!(listener.is_told_by(peer.parse().expect("an address")), expected, "{peer}");
        }
    }
}
