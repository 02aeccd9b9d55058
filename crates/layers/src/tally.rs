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
    }
}

tally! {
    /// What is counted of one route.
    RouteTally {
        counter degraded = "steadfast_route_degraded", "Answers that were not the upstream's first";
        counter by_retry = "steadfast_route_degraded_by_retry", "Answers of a later attempt";
        counter by_endpoint = "steadfast_route_degraded_by_endpoint",
            "Answers of another endpoint than was tried first";
        counter by_stale = "steadfast_route_degraded_by_stale", "Answers from the cache whose time had passed";
        counter fallbacks = "steadfast_route_fallbacks", "Answers that were the route's fallback";
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
