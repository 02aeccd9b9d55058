//! What is counted of background operations: how their attempts ended, how long they waited for one, how much is still to
//! do, and how much was given up.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::AtomicI64},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use steadfast_core::{AttemptEnd, Next, Timestamp};
use steadfast_ledger::{DeadLetters, Job, RouteBacklog};

/// The bounds of the buckets of waiting times, in seconds.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    http_route: String,
    end: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    http_route: String,
}

type RouteGauge = Family<RouteLabels, Gauge<i64, AtomicI64>>;

/// What is counted of background operations.
pub(crate) struct JobMetrics {
    attempts: Family<AttemptLabels, Counter>,
    waited: Family<RouteLabels, Histogram, fn() -> Histogram>,
    due: RouteGauge,
    later: RouteGauge,
    oldest: RouteGauge,
    /// The routes that had something to do when that was last counted.
    known: Mutex<Vec<Box<str>>>,
    dead: RouteGauge,
    dead_in_doubt: RouteGauge,
    oldest_dead: RouteGauge,
    redriven: Family<RouteLabels, Counter>,
    /// The routes that had dead letters when those were last counted.
    known_dead: Mutex<Vec<Box<str>>>,
}

impl JobMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let attempts = Family::default();
        registry.register(
            "steadfast_background_attempts",
            "Attempts of background operations: completed, or what followed them",
            Family::clone(&attempts),
        );
        let waited = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        registry.register(
            "steadfast_background_pickup_seconds",
            "From when an attempt was due to when a worker took it",
            Family::clone(&waited),
        );
        let mut gauge = |name: &str, help: &str| {
            let gauge = RouteGauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let due = gauge("steadfast_background_due", "Operations that wait for a worker");
        let later = gauge("steadfast_background_later", "Operations whose next attempt is not due yet");
        let oldest = gauge(
            "steadfast_background_oldest_due_seconds",
            "For how long the oldest of those that are due has been",
        );
        let dead = gauge("steadfast_route_dead_letters", "Operations that ran out of attempts or time");
        let dead_in_doubt =
            gauge("steadfast_route_dead_letters_in_doubt", "Those of them whose outcome nobody knows");
        let oldest_dead = gauge(
            "steadfast_route_dead_letters_oldest_seconds",
            "For how long the oldest of them has been one",
        );
        let redriven = Family::default();
        registry.register(
            "steadfast_route_dead_letters_redriven",
            "Dead letters that were sent round again",
            Family::clone(&redriven),
        );
        Self {
            attempts,
            waited,
            due,
            later,
            oldest,
            known: Mutex::default(),
            dead,
            dead_in_doubt,
            oldest_dead,
            redriven,
            known_dead: Mutex::default(),
        }
    }

    /// Knows a route of whose work nothing is counted yet.
    pub(crate) fn know(&self, route: &str) {
        let labels = || RouteLabels { http_route: route.to_owned() };
        let completed = AttemptLabels { http_route: route.to_owned(), end: "completed" };
        drop(self.attempts.get_or_create(&completed));
        drop(self.waited.get_or_create(&labels()));
        drop(self.redriven.get_or_create(&labels()));
        let gauges =
            [&self.due, &self.later, &self.oldest, &self.dead, &self.dead_in_doubt, &self.oldest_dead];
        for gauge in gauges {
            drop(gauge.get_or_create(&labels()));
        }
    }

    /// Counts an attempt whose end is written.
    pub(crate) fn attempt(&self, job: &Job, end: &AttemptEnd, next: Next) {
        let end = match (end, next) {
            (AttemptEnd::Answered(_), _) => "completed",
            (_, Next::Again { counts: true, .. }) => "again",
            (_, Next::Again { counts: false, .. }) => "held_back",
            (_, Next::GiveUp) => "dead",
            (_, Next::Hold) => "in_doubt",
        };
        self.attempts.get_or_create(&AttemptLabels { http_route: job.route.to_string(), end }).inc();
        let waited = job.claimed_at.since(job.due_at).as_secs_f64();
        self.waited.get_or_create(&RouteLabels { http_route: job.route.to_string() }).observe(waited);
    }

    /// Counts a dead letter that goes round again.
    pub(crate) fn redriven(&self, route: &str) {
        self.redriven.get_or_create(&RouteLabels { http_route: route.to_owned() }).inc();
    }

    /// Notes the dead letters that there are just now.
    pub(crate) fn dead_letters(&self, groups: &[DeadLetters], now: Timestamp) {
        let mut routes: BTreeMap<&str, (u64, u64, Timestamp)> = BTreeMap::new();
        for group in groups {
            let (dead, doubtful, oldest) = routes.entry(&group.route).or_insert((0, 0, group.oldest_at));
            *dead += group.count;
            *doubtful += group.doubtful;
            *oldest = group.oldest_at.min(*oldest);
        }
        let mut known = self.known_dead.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.iter().filter(|known| !routes.contains_key(&***known)) {
            [&self.dead, &self.dead_in_doubt, &self.oldest_dead].iter().for_each(|gauge| set(gauge, gone, 0));
        }
        for (route, (dead, doubtful, oldest)) in &routes {
            set(&self.dead, route, *dead);
            set(&self.dead_in_doubt, route, *doubtful);
            set(&self.oldest_dead, route, now.since(*oldest).as_secs());
        }
        *known = routes.keys().map(|route| (*route).into()).collect();
    }

    /// Notes how much there is to do just now.
    pub(crate) fn backlog(&self, backlog: &[RouteBacklog], now: Timestamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // What has nothing left to do is said to have nothing.
        for gone in known.iter().filter(|known| backlog.iter().all(|route| route.route != **known)) {
            [&self.due, &self.later, &self.oldest].iter().for_each(|gauge| set(gauge, gone, 0));
        }
        for route in backlog {
            set(&self.due, &route.route, route.due);
            set(&self.later, &route.route, route.later);
            let oldest = route.oldest_due_at.map_or(0, |due_at| now.since(due_at).as_secs());
            set(&self.oldest, &route.route, oldest);
        }
        *known = backlog.iter().map(|route| route.route.clone()).collect();
    }
}

fn set(gauge: &RouteGauge, route: &str, value: u64) {
    let labels = RouteLabels { http_route: route.to_owned() };
    gauge.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
}
