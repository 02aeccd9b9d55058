//! The upstreams of a config, running. A reload that changes nothing about one goes on with it: with its connections,
//! and with what was learned about it.

use std::{collections::BTreeMap, sync::Arc};

use steadfast_layers::UpstreamTally;
use steadfast_ledger::Clock;
use steadfast_upstream::Upstream;

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
    config: UpstreamConfig,
    /// What makes the attempts.
    pub(crate) client: Upstream<RequestBody>,
    /// What is counted of it.
    pub(crate) tally: Arc<UpstreamTally>,
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
        let client = Upstream::new(config.policy.clone(), clock.clone())
            .map_err(|error| ReloadError::Tls { upstream: name.clone(), error })?;
        let tally = metrics.tallies.upstream(name);
        Ok((name.clone(), Arc::new(RunningUpstream { config: config.clone(), client, tally })))
    });
    started.collect()
}
