//! Makes the config that the gateway runs on from the raw one. Each part checks what its types cannot say, and
//! goes on after an error, so that all of them are found.

mod abuse;
mod address;
mod authentication;
mod authorities;
mod background;
mod cache;
mod circuit;
mod concurrency;
mod cors;
mod document;
mod edge;
mod encryption;
mod fallback;
mod health;
mod lifecycle;
mod limits;
mod matching;
mod resolver;
mod retry;
mod rewrite;
mod route;
mod schedules;
mod shared;
mod spool;
mod upstream;

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, path::Path, thread, time::Duration};

use super::{
    Config, ExplainPolicy, LedgerLocation, Listener, UpstreamConfig,
    error::{ConfigError, ConfigErrors, ConfigWarning},
    load::{Loaded, read},
    raw::{At, RawConfig, RawRoute, Time},
    source::Source,
};
use address::{parse_ledger, parse_socket};

/// The largest file that holds a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// For how long a claim is its node's alone, unless stated.
const LEASE: Duration = Duration::from_secs(30);

/// How many workers there are at most where one per core would be more.
const WORKERS_MAX: usize = 1024;

/// What is wrong so far.
pub(super) struct Checker<'a> {
    source: &'a Source<'a>,
    errors: Vec<ConfigError>,
    warnings: Vec<ConfigWarning>,
    /// Keys were left out because nobody knows them: what depends on several keys would be guesswork.
    partial: bool,
}

/// What checking one thing came to: the thing, what is wrong, and what to do next.
type Finding<T> = Result<T, (String, String)>;

impl<'a> Checker<'a> {
    pub(super) fn new(
        source: &'a Source<'a>,
        errors: Vec<ConfigError>,
        warnings: Vec<ConfigWarning>,
    ) -> Self {
        let partial = !errors.is_empty();
        Self { source, errors, warnings, partial }
    }

    /// The config of `raw`, or everything that is wrong with it.
    pub(super) fn finish(mut self, raw: &RawConfig) -> Result<Loaded, ConfigErrors> {
        let config = self.config(raw);
        match config {
            Some(config) if self.errors.is_empty() => Ok(Loaded { config, warnings: self.warnings }),
            _ => Err(ConfigErrors::new(self.errors)),
        }
    }

    fn config(&mut self, raw: &RawConfig) -> Option<Config> {
        let listeners = self.listeners(raw);
        let admin = self.admin(raw, listeners.as_deref().unwrap_or_default());
        let ledger = self.ledger(raw);
        let shared = self.shared(raw);
        let encryption = raw.encryption.as_ref().map(|encryption| self.encryption(encryption.get()));
        let edge = self.edge(raw.edge.as_ref());
        let resolver = self.resolver(raw.resolver.as_ref());
        let mut upstreams = BTreeMap::new();
        for (name, upstream) in &raw.upstreams {
            if let Some(upstream) = self.upstream(name, upstream, &resolver) {
                upstreams.insert(name.clone(), upstream);
            }
        }
        let mut limits = self.limits(raw);
        let on_loss = self.shared_limits(raw, &mut limits);
        let abuse = self.abuse(raw.abuse.as_ref());
        let authentication = self.authentication(raw);
        let routes = self.routes(raw, &upstreams, &edge);
        let schedules = self.schedules(raw, &routes);
        let spool = self.spool(raw, ledger.as_ref());
        let cache_memory_max = self.cache_memory_max(raw);
        let document = self.document(raw.document.as_ref());
        self.warn_of_unused(raw);
        Some(Config {
            listeners: listeners?,
            admin: admin?,
            ledger: ledger?,
            lease: time_or(raw.lease.as_ref(), LEASE),
            shared,
            on_loss,
            encryption: match encryption {
                None => None,
                Some(encryption) => Some(encryption?),
            },
            workers: raw.workers.as_ref().map_or_else(one_per_core, |workers| whole(*workers.get())),
            edge,
            spool,
            cache_memory_max,
            explain: explain(raw),
            drain_timeout: time_or(raw.drain_timeout.as_ref(), Duration::from_secs(30)),
            resolver,
            document,
            authentication,
            abuse,
            upstreams,
            limits,
            routes,
            schedules,
        })
    }

    fn socket(&mut self, raw: Option<&At<String>>, key: &str, default: SocketAddr) -> Option<SocketAddr> {
        let Some(raw) = raw else { return Some(default) };
        self.take(
            &raw.span(),
            parse_socket(raw.get()).map_err(|(what, next)| (format!("`{key}`: {what}"), next)),
        )
    }

    fn admin(&mut self, raw: &RawConfig, listeners: &[Listener]) -> Option<SocketAddr> {
        let admin = self.socket(raw.admin.as_ref(), "admin", SocketAddr::from(([127, 0, 0, 1], 8081)))?;
        let span = raw.admin.as_ref().or(raw.listen.as_ref()).map_or(0..0, At::span);
        if !admin.ip().is_loopback() {
            self.error(
                &span,
                format!(
                    "`admin` is on {}, beyond loopback, and nothing there asks who is calling yet",
                    admin.ip()
                ),
                format!("use 127.0.0.1:{} and reach it through an SSH tunnel or a sidecar", admin.port()),
            );
        }
        let takes_it = |listener: &Listener| {
            let listen = listener.address;
            listen.port() == admin.port() && (listen.ip() == admin.ip() || listen.ip().is_unspecified())
        };
        if admin.port() != 0 && listeners.iter().any(takes_it) {
            self.error(
                &span,
                format!("`listen` and `admin` both take port {}", admin.port()),
                "give one of them another port".into(),
            );
        }
        Some(admin)
    }

    fn ledger(&mut self, raw: &RawConfig) -> Option<LedgerLocation> {
        match (&raw.ledger, &raw.ledger_file) {
            (Some(_), Some(file)) => {
                self.error(
                    &file.span(),
                    "`ledger` and `ledger_file` both say where the ledger is".into(),
                    "leave one of them".into(),
                );
                None
            }
            (None, None) => Some(LedgerLocation::Sqlite("steadfast.db".into())),
            (Some(ledger), None) => self.take(&ledger.span(), parse_ledger(ledger.get())),
            (None, Some(file)) => {
                let read = read(Path::new(file.get()), SECRET_BYTES_MAX);
                let content = read.map_err(|reason| {
                    let next = "create it, or make it readable for the user that the gateway runs as";
                    (format!("`ledger_file`: `{}` cannot be read: {reason}", file.get()), next.into())
                });
                self.take(&file.span(), content.and_then(|content| parse_ledger(content.trim())))
            }
        }
    }

    fn warn_of_unused(&mut self, raw: &RawConfig) {
        if self.partial {
            return;
        }
        for (name, upstream) in &raw.upstreams {
            let uses = |route: &RawRoute| {
                let fallback = route.fallback.as_ref().and_then(|fallback| fallback.get().upstream.as_ref());
                [Some(&route.upstream), fallback].into_iter().flatten().any(|used| used.get() == name)
            };
            if !raw.routes.iter().any(|route| uses(route.get())) {
                self.warn(&upstream.span(), format!("no route uses the upstream `{name}`"));
            }
        }
        if raw.routes.is_empty() {
            self.warn(&(0..0), "there are no routes: every request is answered 404".into());
        }
    }

    fn error(&mut self, span: &Range<usize>, what: String, next: String) {
        self.errors.push(ConfigError { place: self.source.place(span), what, next });
    }

    fn warn(&mut self, span: &Range<usize>, what: String) {
        self.warnings.push(ConfigWarning { place: self.source.place(span), what });
    }

    /// What was found, or nothing and one error more.
    fn take<T>(&mut self, span: &Range<usize>, finding: Finding<T>) -> Option<T> {
        finding.map_err(|(what, next)| self.error(span, what, next)).ok()
    }
}

fn explain(raw: &RawConfig) -> ExplainPolicy {
    let default = ExplainPolicy::default();
    let Some(explain) = raw.explain.as_ref().map(At::get) else { return default };
    ExplainPolicy {
        requests_max: explain.requests_max.as_ref().map_or(default.requests_max, |max| whole(*max.get())),
        slow: time_or(explain.slow.as_ref(), default.slow),
    }
}

fn one_per_core() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
}

fn time_or(raw: Option<&At<Time>>, default: Duration) -> Duration {
    raw.map_or(default, |time| time.get().0)
}

/// The schema bounds every number far below what any machine's `usize` holds.
fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The upstreams that are all right, by name.
type Upstreams = BTreeMap<String, UpstreamConfig>;
