//! What the policies of an upstream and of a route count: plain numbers that live as long as the process, whatever is
//! reloaded, and that whoever keeps metrics reads when it is asked.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Rung;

/// A number that only grows, or that says how things are just now.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn add_many(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// One less; of a number that says how things are.
    pub fn sub(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// What it is now; of a number that says how things are.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One kind of number, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Counted<T> {
    /// Its name in the metrics, without `_total`.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Whether it says how things are just now; otherwise it only grows.
    pub is_gauge: bool,
    /// The number of that kind in a tally.
    pub of: fn(&T) -> &Count,
}

macro_rules! tally {
    ($(#[$doc:meta])+ $type:ident { $($kind:ident $field:ident = $name:literal, $help:literal;)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Default)]
        pub struct $type { $(#[doc = concat!($help, ".")] pub $field: Count),+ }

        impl $type {
            /// Every number that there is.
            pub const ALL: &[Counted<Self>] = &[$(Counted {
                name: $name,
                help: $help,
                is_gauge: tally!(@$kind),
                of: |tally| &tally.$field,
            }),+];
        }
    };
    (@counter) => { false };
    (@gauge) => { true };
}

tally! {
    /// What is counted of one upstream.
    UpstreamTally {
        counter attempts = "steadfast_upstream_attempts", "Attempts that were begun";
        counter attempts_failed = "steadfast_upstream_attempts_failed",
            "Attempts that brought no answer, or one that is no outcome";
        gauge endpoints = "steadfast_upstream_endpoints", "Endpoints that are known";
        gauge endpoints_healthy = "steadfast_upstream_endpoints_healthy",
            "Endpoints that do not fail their health checks";
        counter health_checks_failed = "steadfast_upstream_health_checks_failed", "Health checks that failed";
        counter look_ups_failed = "steadfast_upstream_look_ups_failed",
            "Look-ups of a name that found no address";
        gauge names_lost = "steadfast_upstream_names_lost",
            "Names that the last look-up did not find";
        gauge circuits_open = "steadfast_circuits_open", "Endpoints whose circuit is not closed";
        counter circuit_opened = "steadfast_circuit_opened", "Times that a circuit opened, after failed probes too";
        counter circuit_refused = "steadfast_circuit_refused", "Requests that an open circuit refused";
        counter circuit_would_refuse = "steadfast_circuit_would_refuse",
            "Requests that a circuit in shadow mode would have refused";
        counter endpoint_failovers = "steadfast_endpoint_failovers",
            "Requests sent to another endpoint because no connection to the first could be made";
        counter retries_not_sent = "steadfast_retries_not_sent", "Tries repeated because nothing had been sent";
        counter retries_refused = "steadfast_retries_refused",
            "Tries repeated because the upstream had refused to execute the request";
        counter retries_unknown = "steadfast_retries_unknown",
            "Tries repeated because no answer had come, or one that tells nothing";
        counter retry_budget_exhausted = "steadfast_retry_budget_exhausted",
            "Tries that were not repeated because the budget for that was spent";
        counter retry_budget_would_exhaust = "steadfast_retry_budget_would_exhaust",
            "Tries that the budget in shadow mode would not have let repeat";
        gauge in_flight = "steadfast_upstream_in_flight", "Requests that hold a place at it";
        gauge queued = "steadfast_upstream_queued", "Requests that wait for a place at it";
        gauge concurrency_limit = "steadfast_upstream_concurrency_limit", "How many places it has";
        counter shed_queue_full = "steadfast_upstream_shed_queue_full",
            "Requests refused because the queue for a place at it was full";
        counter shed_too_late = "steadfast_upstream_shed_too_late",
            "Requests refused at once because a place at it would have come free too late";
        counter shed_timed_out = "steadfast_upstream_shed_timed_out",
            "Requests refused because they waited in vain for a place at it";
        counter shed_displaced = "steadfast_upstream_shed_displaced",
            "Requests refused because a more important one took their place in the queue";
        counter would_shed = "steadfast_upstream_would_shed",
            "Requests that shadow mode let through and that would have been refused";
        counter courtesy_delayed = "steadfast_upstream_courtesy_delayed",
            "Calls that waited so that it is not called too often";
        counter courtesy_refused = "steadfast_upstream_courtesy_refused",
            "Calls refused because it was not to be called again in time";
        counter courtesy_pauses = "steadfast_upstream_courtesy_pauses",
            "Answers by which it stopped all calls, or stopped them for longer";
        counter courtesy_paused_ms = "steadfast_upstream_courtesy_paused_milliseconds",
            "For how long its answers stopped all calls";
    }
}

tally! {
    /// What is counted of one route.
    RouteTally {
        counter degraded = "steadfast_route_degraded", "Answers that were not the upstream's first";
        counter unauthenticated = "steadfast_route_unauthenticated",
            "Requests refused because nobody knows who made them";
        counter forbidden = "steadfast_route_forbidden",
            "Requests refused because whoever made them may not";
        counter authentication_unavailable = "steadfast_route_authentication_unavailable",
            "Requests refused because it could not be found out who made them";
        counter cache_hits = "steadfast_cache_hits", "Fresh answers given from the cache";
        counter cache_stale = "steadfast_cache_stale", "Stale answers given from the cache";
        counter cache_revalidated = "steadfast_cache_revalidated",
            "Answers of the cache that the upstream said still hold";
        counter cache_collapsed = "steadfast_cache_collapsed",
            "Answers that another request for the same brought";
        counter cache_misses = "steadfast_cache_misses", "Requests that the upstream answered";
        counter cache_stored = "steadfast_cache_stored", "Answers that were kept";
        counter by_retry = "steadfast_route_degraded_by_retry", "Answers of a later attempt";
        counter by_endpoint = "steadfast_route_degraded_by_endpoint",
            "Answers of another endpoint than was tried first";
        counter by_stale = "steadfast_route_degraded_by_stale", "Answers from the cache whose time had passed";
        counter fallbacks = "steadfast_route_fallbacks", "Answers that were the route's fallback";
    }
}

tally! {
    /// What is counted of one version of an API.
    VersionTally {
        counter requests = "steadfast_version_requests", "Requests for the version, refused ones among them";
        counter browned_out = "steadfast_version_browned_out", "Requests that a brownout of the version refused";
        counter gone = "steadfast_version_gone", "Requests that came after the version's end";
    }
}

tally! {
    /// What is counted of one limit.
    LimitTally {
        counter allowed = "steadfast_limit_allowed", "Requests that the limit let through";
        counter refused = "steadfast_limit_refused", "Requests that the limit refused";
        counter would_refuse = "steadfast_limit_would_refuse",
            "Requests that shadow mode let through and that would have been refused";
        counter delayed = "steadfast_limit_delayed", "Requests that waited for their turn";
        counter refunded = "steadfast_limit_refunded", "Charges given back because the answer was a replay";
        counter uncounted = "steadfast_limit_uncounted", "Requests let through because nobody could count them";
    }
}

tally! {
    /// What is counted of the bans of one source.
    BanTally {
        gauge in_force = "steadfast_bans", "Bans that hold, as this node knows them";
        counter made = "steadfast_bans_made", "Bans that this node made";
        counter would_make = "steadfast_bans_would_make", "Bans that this node would have made, were they acted on";
        counter refused = "steadfast_ban_refused", "Requests refused because who made them is banned";
        counter would_refuse = "steadfast_ban_would_refuse",
            "Requests let through that would have been refused, were bans acted on";
        counter no_room = "steadfast_bans_no_room",
            "Bans that were not made, or that hold on this node alone, because there are too many";
    }
}

tally! {
    /// What is counted of how much principals ask for.
    BaselineTally {
        counter begun = "steadfast_abnormal_usage", "Times that a principal began to ask for far more than usual";
        counter refused = "steadfast_abnormal_usage_refused", "Requests refused because of that";
        counter would_refuse = "steadfast_abnormal_usage_would_refuse",
            "Requests that shadow mode let through and that would have been refused because of that";
        gauge tracked = "steadfast_baselines_tracked", "Principals of whom it is known how much they usually ask for";
        counter evicted = "steadfast_baselines_evicted",
            "Principals of whom it was forgotten, because there were too many";
    }
}

impl RouteTally {
    /// Counts an answer for which these rungs were used; nothing where there are none.
    pub fn count_degraded(&self, rungs: &[Rung]) {
        if rungs.is_empty() {
            return;
        }
        self.degraded.add();
        for rung in rungs {
            match rung {
                Rung::Retry => self.by_retry.add(),
                Rung::Endpoint => self.by_endpoint.add(),
                Rung::Stale => self.by_stale.add(),
                Rung::Fallback => self.fallbacks.add(),
            }
        }
    }
}
