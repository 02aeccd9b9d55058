//! The config that the gateway runs on. What stands here is checked: a file that says anything else never gets
//! this far.

mod check;
mod duration;
mod effective;
mod environment;
mod error;
mod load;
mod raw;
mod reload;
mod schema;
mod shape;
mod size;
mod source;
mod starter;
mod suggest;
mod up;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::Method;
use steadfast_core::AnswerPolicy;
use steadfast_layers::{AttemptTimes, IdempotencyPolicy};
use steadfast_ledger::Keys;
use steadfast_upstream::UpstreamPolicy;

pub use duration::{InvalidDuration, parse_duration};
pub use effective::effective;
pub use environment::{Environment, Overrides};
pub use error::{ConfigError, ConfigErrors, ConfigWarning, Place};
pub use load::{Loaded, load, parse};
pub use reload::restart_needed;
pub use schema::schema;
pub use size::{InvalidSize, parse_size};
pub use starter::starter;
pub use up::{UpOptions, for_up};

/// Everything that a gateway runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where callers are served.
    pub listen: SocketAddr,
    /// Where the people who run it are served: a loopback address.
    pub admin: SocketAddr,
    /// Where the ledger is.
    pub ledger: LedgerLocation,
    /// What encrypts answers in the ledger; nothing where it is not stated.
    pub encryption: Option<Encryption>,
    /// How many worker threads serve callers; one per core unless stated.
    pub workers: usize,
    /// What a connection may ask of the gateway.
    pub edge: EdgeLimits,
    /// How long requests may go on after the gateway was asked to stop.
    pub drain_timeout: Duration,
    /// The upstreams, by name.
    pub upstreams: BTreeMap<String, UpstreamPolicy>,
    /// What every upstream promises about keyed requests, by the same names. Routes with idempotency have taken
    /// it over into their policies.
    pub contracts: BTreeMap<String, UpstreamContract>,
    /// The routes. The most specific path wins, whatever their order.
    pub routes: Vec<Route>,
}

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerLocation {
    /// An SQLite file of this process's own.
    Sqlite(PathBuf),
    /// A Postgres database that many nodes may share, as a URL.
    Postgres(String),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeLimits {
    /// How long a request's head may take to arrive, and how long a connection may stay idle between requests.
    pub header_timeout: Duration,
    /// How many header fields a request may have.
    pub headers_max: usize,
    /// How many bytes a request's head may have.
    pub header_bytes_max: usize,
    /// How long a keyed request's body may stay away without a byte.
    pub body_timeout: Duration,
    /// How many connections each worker holds at once.
    pub connections_max: usize,
}

impl Default for EdgeLimits {
    /// 60 s for a head, 100 fields, 64 KiB, 30 s without a byte, 20,000 connections a worker.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(60),
            headers_max: 100,
            header_bytes_max: 64 << 10,
            body_timeout: Duration::from_secs(30),
            connections_max: 20_000,
        }
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
    /// Which paths it serves.
    pub path: PathPattern,
    /// Which methods it serves; all where it names none.
    pub methods: Vec<Method>,
    /// The upstream's name; one of [`Config::upstreams`].
    pub upstream: String,
    /// By when its callers must have an answer.
    pub deadline: Option<Duration>,
    /// What it says about idempotency; nothing for a route that streams straight through.
    pub idempotency: Option<IdempotencyPolicy>,
}

/// Which paths a route serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// This path and no other.
    Exact(Box<str>),
    /// Every path that begins with this, which ends with `/`; written `/prefix/*`. `/*` serves everything.
    Prefix(Box<str>),
}
