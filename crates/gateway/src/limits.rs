//! The limits of a config, running. What they count outlives every reload; a limit that keeps its name goes on with its
//! counts, whatever else is changed about it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steadfast_core::Quota;
use steadfast_layers::{
    ENFORCED_ON_ALL, LIMITED_KEYS_MAX, Limit, LimitClock, LimitTally, Limiter, MostRefused, NoSuchSubject,
    Raise, RefusedSubject, RouteLimits, Standing,
};
use steadfast_ledger::Clock;

use crate::{
    config::{Config, Route},
    telemetry::Metrics,
};

/// Limits by name.
pub(crate) type Limits = BTreeMap<String, Arc<Limit>>;

/// What all limits on the gateway's callers share: their counts, and whom they refused.
#[derive(Debug)]
pub(crate) struct CallerLimits {
    pub(crate) limiter: Arc<Limiter>,
    refused: Mutex<BTreeMap<String, Arc<MostRefused>>>,
}

impl CallerLimits {
    pub(crate) fn new(clock: &Clock) -> Self {
        let limiter = Arc::new(Limiter::new(LimitClock::new(clock.clone()), LIMITED_KEYS_MAX));
        Self { limiter, refused: Mutex::default() }
    }

    /// The limits of `config`.
    pub(crate) fn running(&self, config: &Config, metrics: &Metrics) -> Limits {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let running = config.limits.iter().map(|(name, policy)| {
            let tally = metrics.tallies.limit(name);
            let refused = Arc::clone(refused.entry(name.clone()).or_default());
            (name.clone(), Arc::new(Limit::new(policy.clone(), tally, refused)))
        });
        running.collect()
    }

    /// Those of `limits` that a route names.
    pub(crate) fn of_route(&self, route: &Route, limits: &Limits) -> Option<Arc<RouteLimits>> {
        let named = route.limits.iter().filter_map(|name| limits.get(name).cloned()).collect();
        let (name, limiter) = (Arc::clone(&route.name), Arc::clone(&self.limiter));
        RouteLimits::new(name, named, limiter, route.limit_headers, route.idempotency.is_some())
    }
}

/// Where the people who run a gateway look at its limits, and change what somebody was counted.
#[derive(Debug)]
pub struct LimitsDesk {
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) limits: Vec<Arc<Limit>>,
}

/// One limit, and what it did.
#[derive(Clone, Debug)]
pub struct LimitReport {
    /// Its name.
    pub name: Arc<str>,
    /// What it is per.
    pub per: Vec<String>,
    /// What it allows.
    pub quota: Quota,
    /// On which part of the callers it is enforced; none is shadow mode.
    pub enforced_percent: u32,
    /// How many counts there are of it in this process.
    pub tracked: u64,
    /// How many requests it let through.
    pub allowed: u64,
    /// How many it refused.
    pub refused: u64,
    /// How many it would have refused, were it enforced on everybody.
    pub would_refuse: u64,
    /// Whom it refused most, as far as that may be shown.
    pub most_refused: Vec<RefusedSubject>,
}

impl LimitsDesk {
    /// All limits, by name.
    #[must_use]
    pub fn list(&self) -> Vec<LimitReport> {
        let tracked = self.limiter.local().tracked();
        let report = |limit: &Arc<Limit>| {
            let (policy, tally): (_, &LimitTally) = (&limit.policy, limit.tally());
            LimitReport {
                name: Arc::clone(&policy.name),
                per: policy.per.iter().map(ToString::to_string).collect(),
                quota: policy.quota,
                enforced_percent: (policy.enforced * 100).div_ceil(ENFORCED_ON_ALL),
                tracked: tracked.get(&policy.name).copied().unwrap_or(0),
                allowed: tally.allowed.get(),
                refused: tally.refused.get(),
                would_refuse: tally.would_refuse.get(),
                most_refused: limit.most_refused(),
            }
        };
        self.limits.iter().map(report).collect()
    }

    /// The limit of this name, or all of them.
    fn named(&self, limit: Option<&str>) -> Result<Vec<Arc<Limit>>, NoSuchSubject> {
        let Some(name) = limit else { return Ok(self.limits.clone()) };
        let found = self.limits.iter().find(|limit| *limit.policy.name == *name);
        found.map(|limit| vec![Arc::clone(limit)]).ok_or(NoSuchSubject::NoSuchLimit)
    }

    /// How a subject's counts stand, of one limit or of all; with `reset`, they are forgotten after that.
    ///
    /// # Errors
    /// [`NoSuchSubject`]: nothing changed.
    pub async fn standings(
        &self,
        subject: &str,
        limit: Option<&str>,
        plan: Option<&str>,
        reset: bool,
    ) -> Result<Vec<Standing>, NoSuchSubject> {
        let limits = self.named(limit)?;
        self.limiter.standings(&limits, subject, plan, reset).await
    }

    /// Allows a subject `factor` times as much for `time`.
    ///
    /// # Errors
    /// [`NoSuchSubject`]: nothing changed.
    pub fn raise(
        &self,
        subject: &str,
        limit: Option<&str>,
        factor: f64,
        time: Duration,
        [reason, by]: [&str; 2],
    ) -> Result<(), NoSuchSubject> {
        let raise = Raise {
            limit: limit.map(Into::into),
            subject: subject.trim().into(),
            factor,
            until: self.limiter.until(time),
            reason: reason.into(),
            by: by.into(),
        };
        self.limiter.raise(&self.limits, raise).map(drop)
    }

    /// Takes back what was raised for a subject; how many that were.
    #[must_use]
    pub fn lower(&self, subject: &str, limit: Option<&str>) -> usize {
        self.limiter.lower(&self.limits, subject, limit).len()
    }

    /// What is raised just now, each with how much longer.
    #[must_use]
    pub fn raised(&self) -> Vec<(Raise, Duration)> {
        let now = self.limiter.until(Duration::ZERO);
        self.limiter
            .raised()
            .into_iter()
            .map(|raise| (raise.clone(), raise.until.saturating_sub(now)))
            .collect()
    }
}
