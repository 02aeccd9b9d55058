//! The metrics, under OpenTelemetry's names as Prometheus writes them. No label ever holds a key, an id or an
//! address.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use http::Method;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use steadfast_layers::{CacheStats, Protection, Spool, UsageTable, VersionUsage};
use steadfast_worker::WorkerCounters;

use super::{jobs::JobMetrics, shared::SharedMetrics, tallies::Tallies};

/// The bounds of duration buckets, in seconds (OpenTelemetry's advice for HTTP).
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Methods that have a label of their own; others share `_OTHER`.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    /// What the policies of upstreams and routes count.
    pub(crate) tallies: Arc<Tallies>,
    /// What is counted of background operations.
    pub(crate) jobs: JobMetrics,
    /// What is counted of the store that nodes share.
    pub(crate) shared: Arc<SharedMetrics>,
    /// Who calls which version: shown to who runs the gateway, and not among the metrics.
    pub(crate) usage: UsageTable,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    idempotency: Vec<Counter>,
    /// Requests under way.
    pub(crate) active: Gauge<i64, AtomicI64>,
    claimed: Gauge<i64, AtomicI64>,
    in_doubt: Gauge<i64, AtomicI64>,
    dead: Gauge<i64, AtomicI64>,
    cases: Gauge<i64, AtomicI64>,
    reload_successful: Gauge<i64, AtomicI64>,
    spooled_bytes: Gauge<i64, AtomicI64>,
    spooled_requests: Gauge<i64, AtomicI64>,
    held_bytes: Gauge<i64, AtomicI64>,
    cache_bytes: Gauge<i64, AtomicI64>,
    cache_targets: Gauge<i64, AtomicI64>,
    limited_keys: Gauge<i64, AtomicI64>,
    limited_keys_evicted: Counter<u64, AtomicU64>,
    reaped: Counter<u64, AtomicU64>,
    swept: Counter<u64, AtomicU64>,
    renewals_failed: Counter<u64, AtomicU64>,
    log_lost: Counter<u64, AtomicU64>,
    /// Routes that have been seen, so that a number stands for each.
    routes: Mutex<Vec<Arc<str>>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        registry.register(
            "http_server_request_duration_seconds",
            "From a request's arrival to the end of its answer",
            durations.clone(),
        );
        let outcomes = Family::<OutcomeLabels, Counter>::default();
        registry.register(
            "steadfast_idempotency_requests",
            "Keyed requests by what became of them",
            outcomes.clone(),
        );
        let idempotency = Protection::ALL
            .iter()
            .map(|outcome| outcomes.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).clone())
            .collect();
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::<i64, AtomicI64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let active = gauge("http_server_active_requests", "Requests under way");
        let claimed = gauge("steadfast_operations_claimed", "Operations with an attempt under way");
        let in_doubt = gauge("steadfast_operations_in_doubt", "Operations whose outcome nobody knows");
        let dead = gauge("steadfast_dead_letters", "Operations that ran out of attempts");
        let cases = gauge("steadfast_operations_cases", "Contradictions that wait for a person to look");
        let reload_successful =
            gauge("steadfast_config_last_reload_successful", "Whether the last reload took effect");
        reload_successful.set(1);
        let spooled_bytes =
            gauge("steadfast_spool_bytes", "Bytes of request bodies that are on disk or on their way there");
        let spooled_requests = gauge("steadfast_spool_requests", "Requests whose bodies are on disk");
        let held_bytes =
            gauge("steadfast_spool_memory_bytes", "Bytes of larger request bodies that are in memory");
        let cache_bytes = gauge("steadfast_cache_bytes", "Bytes that kept answers take up in memory");
        let cache_targets = gauge("steadfast_cache_targets", "Targets that answers are kept of");
        let limited_keys =
            gauge("steadfast_limited_keys", "Counts that limits keep in memory, one for each they are per");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::<u64, AtomicU64>::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let reaped = counter("steadfast_claims_reaped", "Claims whose holder was lost");
        let swept = counter("steadfast_operations_swept", "Operations removed after their retention");
        let renewals_failed =
            counter("steadfast_lease_renewals_failed", "Heartbeats that the ledger did not take");
        let log_lost = counter("steadfast_access_log_lost", "Access log lines that were lost");
        let limited_keys_evicted = counter(
            "steadfast_limited_keys_evicted",
            "Counts of limits that were forgotten before they were idle, because there were too many",
        );
        let jobs = JobMetrics::new(&mut registry);
        let tallies = Arc::new(Tallies::default());
        registry.register_collector(Box::new(Arc::clone(&tallies)));
        let shared = Arc::new(SharedMetrics::default());
        registry.register_collector(Box::new(Arc::clone(&shared)));
        Self {
            registry,
            tallies,
            jobs,
            shared,
            usage: UsageTable::default(),
            durations,
            idempotency,
            active,
            claimed,
            in_doubt,
            dead,
            cases,
            reload_successful,
            spooled_bytes,
            spooled_requests,
            held_bytes,
            cache_bytes,
            cache_targets,
            limited_keys,
            limited_keys_evicted,
            reaped,
            swept,
            renewals_failed,
            log_lost,
            routes: Mutex::default(),
        }
    }

    /// The number that stands for a route in [`Metrics::request`]; the same for the same name.
    pub(crate) fn route_number(&self, name: &Arc<str>) -> u32 {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let found = routes.iter().position(|known| known == name).unwrap_or_else(|| {
            routes.push(Arc::clone(name));
            routes.len() - 1
        });
        // A config has far fewer routes than this.
        u32::try_from(found).unwrap_or(u32::MAX)
    }

    /// Where the requests for a version are counted.
    pub(crate) fn usage(&self, version: &Arc<str>) -> Arc<VersionUsage> {
        self.usage.version(version, &self.tallies.version(version))
    }

    /// Counts a finished request.
    pub(crate) fn request(&self, route: u32, method: &Method, status: u16, duration: Duration) {
        type Known = HashMap<(u32, u8, u16), Histogram>;
        // Each worker keeps what it has looked up: labels are written out once, not on every request.
        thread_local!(static KNOWN: RefCell<Known> = RefCell::default());
        let method = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        KNOWN.with_borrow_mut(|known| {
            let histogram = known
                .entry((route, method as u8, status))
                .or_insert_with(|| self.histogram(route, METHODS.get(method), status));
            histogram.observe(duration.as_secs_f64());
        });
    }

    fn histogram(&self, route: u32, method: Option<&'static Method>, status: u16) -> Histogram {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let route = routes.get(route as usize).map_or("", |route| &**route);
        self.durations
            .get_or_create(&RequestLabels {
                http_request_method: method.map_or("_OTHER", |method| method.as_str()),
                http_route: route.to_owned(),
                http_response_status_code: status,
            })
            .clone()
    }

    /// Counts what the idempotency layer decided.
    pub(crate) fn decision(&self, decision: Protection) {
        let index = Protection::ALL.iter().position(|known| *known == decision);
        if let Some(counter) = index.and_then(|index| self.idempotency.get(index)) {
            counter.inc();
        }
    }

    /// Notes how a reload went.
    pub(crate) fn reloaded(&self, successful: bool) {
        self.reload_successful.set(i64::from(successful));
    }

    /// Carries over what was done without a caller, what the ledger counts, and how many log lines were lost.
    pub(crate) fn upkeep(&self, workers: &WorkerCounters, log_lost: u64) {
        let catch_up = |counter: &Counter<u64, AtomicU64>, total: u64| {
            counter.inc_by(total.saturating_sub(counter.get()));
        };
        catch_up(&self.reaped, workers.reaped);
        catch_up(&self.swept, workers.swept);
        catch_up(&self.renewals_failed, workers.renewals_failed);
        catch_up(&self.log_lost, log_lost);
        // Where nothing could be counted, what was counted last stands.
        let Some(counts) = workers.counts else { return };
        let set =
            |gauge: &Gauge<i64, AtomicI64>, count: u64| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.claimed, counts.claimed);
        set(&self.in_doubt, counts.in_doubt);
        set(&self.dead, counts.dead);
        set(&self.cases, counts.cases_open);
    }

    /// Notes what bodies take up just now.
    pub(crate) fn spool(&self, spool: &Spool) {
        for (gauge, taken) in [
            (&self.spooled_bytes, spool.bytes()),
            (&self.spooled_requests, spool.requests()),
            (&self.held_bytes, spool.memory_bytes()),
        ] {
            gauge.set(i64::try_from(taken).unwrap_or(i64::MAX));
        }
    }

    /// Notes what kept answers take up just now.
    pub(crate) fn cache(&self, stats: CacheStats) {
        for (gauge, taken) in [(&self.cache_bytes, stats.bytes), (&self.cache_targets, stats.targets)] {
            gauge.set(i64::try_from(taken).unwrap_or(i64::MAX));
        }
    }

    /// Notes how many counts limits keep just now, and how many were evicted so far.
    pub(crate) fn limits(&self, keys: u64, evicted: u64) {
        self.limited_keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.limited_keys_evicted.inc_by(evicted.saturating_sub(self.limited_keys_evicted.get()));
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
