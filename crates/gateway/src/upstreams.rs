//! The upstreams of a config, running. A reload that changes nothing about one goes on with it: with its connections,
//! and with what was learned about it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use steadfast_layers::{Bulkhead, ByHand, Courtesy, SharedRetryBudget, UpstreamTally};
use steadfast_ledger::Clock;
use steadfast_upstream::Upstream;
use tokio::time::Instant;

use crate::{
    config::{Config, UpstreamConfig},
    gateway::ReloadError,
    stack::RequestBody,
    telemetry::Metrics,
};

/// Upstreams by name.
pub(crate) type Upstreams = BTreeMap<String, Arc<RunningUpstream>>;

/// One upstream, shared by the routes that forward to it.
pub(crate) struct RunningUpstream {
    /// What is said of it.
    pub(crate) config: UpstreamConfig,
    /// What makes the attempts.
    pub(crate) client: Upstream<RequestBody>,
    /// How many requests it has just now, if that is bounded.
    pub(crate) bulkhead: Option<Arc<Bulkhead>>,
    /// How often it may be called, if that is bounded.
    pub(crate) courtesy: Option<Arc<Courtesy>>,
    /// What is counted of it.
    pub(crate) tally: Arc<UpstreamTally>,
    /// How many retries it may be sent, whichever route they come from.
    pub(crate) retry_budget: Arc<SharedRetryBudget>,
}

/// What somebody wants of an upstream's circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitOrder {
    /// To let nothing through for so long.
    Open(Duration),
    /// To let everything through for so long.
    Closed(Duration),
    /// To go by what happens, from a clean slate.
    Automatic,
}

impl CircuitOrder {
    pub(crate) fn begun_now(self) -> ByHand {
        let now = Instant::now();
        match self {
            Self::Open(time) => ByHand::Open(now + time),
            Self::Closed(time) => ByHand::Closed(now + time),
            Self::Automatic => ByHand::Automatic,
        }
    }
}

/// An order for circuits means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOrdered {
    /// There is no upstream of that name.
    #[error("there is no such upstream")]
    NoSuchUpstream,
    /// It has no circuits: the config says nothing of them.
    #[error("the upstream has no circuit")]
    NoCircuit,
    /// It has no endpoint there.
    #[error("the upstream has no such endpoint")]
    NoSuchEndpoint,
}

impl RunningUpstream {
    /// What decides which service answers: its address, and the name that it is asked for by.
    pub(crate) fn origin(&self) -> String {
        format!("{:?} {:?}", self.config.policy.addresses, self.config.policy.host)
    }
}

impl RunningUpstream {
    /// Its statuses that are final though they would be unknown by default.
    pub(crate) fn completed(&self) -> &[u16] {
        &self.config.contract.answers.completed
    }
}

/// The upstreams of `config`; those of `before` that are not different go on.
///
/// # Errors
/// TLS towards one of them cannot be set up.
pub(crate) fn running(
    config: &Config,
    before: &Upstreams,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Upstreams, ReloadError> {
    let started = config.upstreams.iter().map(|(name, config)| {
        if let Some(same) = before.get(name).filter(|running| running.config == *config) {
            return Ok((name.clone(), Arc::clone(same)));
        }
        let tally = metrics.tallies.upstream(name);
        let client = Upstream::new(config.policy.clone(), clock.clone(), Arc::clone(&tally))
            .map_err(|error| ReloadError::Tls { upstream: name.clone(), error })?;
        let budget = config.retry.as_ref().map(|retry| retry.budget).unwrap_or_default();
        let retry_budget = Arc::new(SharedRetryBudget::new(budget));
        let bulkhead = config.concurrency.map(|policy| Arc::new(Bulkhead::new(policy, Arc::clone(&tally))));
        let courtesy =
            config.courtesy.map(|policy| Arc::new(Courtesy::new(policy, clock.clone(), Arc::clone(&tally))));
        let running =
            RunningUpstream { config: config.clone(), client, bulkhead, courtesy, retry_budget, tally };
        Ok((name.clone(), Arc::new(running)))
    });
    started.collect()
}
