//! Checks of an endpoint's health: asked again and again, over a connection of its own each time, beside the requests
//! that it gets. An endpoint that fails several in a row is left out until it has passed several.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header, uri::PathAndQuery};
use steadfast_core::{Health, HealthThresholds};
use steadfast_layers::UpstreamTally;

use crate::{Endpoint, OutgoingBody};

/// How much of the interval is left to chance, so that the checks of many gateways do not come all at once.
const SPREAD: f64 = 0.2;

/// How endpoints are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPolicy {
    /// What is asked for with GET, from the root of the server. An answer of 2xx or 3xx passes.
    pub path: PathAndQuery,
    /// How long it is from the end of a check to the next.
    pub interval: Duration,
    /// How long a check may take, connecting included.
    pub timeout: Duration,
    /// How many in a row change what is believed.
    pub thresholds: HealthThresholds,
}

impl HealthPolicy {
    /// The defaults: every 5 s, 1 s each; 2 in a row make an endpoint well, 3 unwell.
    #[must_use]
    pub fn new(path: PathAndQuery) -> Self {
        Self {
            path,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            thresholds: HealthThresholds { rise: 2, fall: 3 },
        }
    }

    /// How long to wait before the next check.
    fn pause(&self, chance: f64) -> Duration {
        self.interval.mul_f64(1.0 - SPREAD / 2.0 + SPREAD * chance)
    }
}

/// Checks an endpoint until it is gone. `noted` is called after each check.
pub(crate) async fn keep_checked<B: OutgoingBody>(
    endpoint: Weak<Endpoint<B>>,
    policy: HealthPolicy,
    upstream: String,
    tally: Arc<UpstreamTally>,
    noted: impl Fn(),
) {
    let mut health = Health::Unchecked;
    loop {
        let Some(checked) = endpoint.upgrade() else { return };
        let outcome = check(&checked, &policy).await;
        if outcome.is_err() {
            tally.health_checks_failed.add();
        }
        let before = health;
        health = health.after(outcome.is_ok(), policy.thresholds);
        checked.set_healthy(health.is_well());
        let location = checked.location();
        if before.is_well()
            && let (false, Err(why)) = (health.is_well(), &outcome)
        {
            tracing::warn!(
                upstream,
                endpoint = %location,
                why,
                "an endpoint fails its health checks: it gets no requests while another one is well"
            );
        } else if health.is_well() && !before.is_well() {
            tracing::info!(upstream, endpoint = %location, "an endpoint passes its health checks again");
        }
        drop(checked);
        noted();
        tokio::time::sleep(policy.pause(fastrand::f64())).await;
    }
}

/// Checks an endpoint once. The error says in words what was wrong.
async fn check<B: OutgoingBody>(endpoint: &Endpoint<B>, policy: &HealthPolicy) -> Result<(), String> {
    let mut request = Request::new(B::from(Bytes::new()));
    *request.uri_mut() = policy.path.clone().into();
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("steadfast-health"));
    let asked = tokio::time::timeout(policy.timeout, endpoint.client.ask_apart(request)).await;
    match asked {
        Ok(Ok(status)) if is_well(status) => Ok(()),
        Ok(Ok(status)) => Err(format!("it answered {status}")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("no answer within {} ms", policy.timeout.as_millis())),
    }
}

fn is_well(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_spread_round_their_interval() {
        let policy = HealthPolicy::new(PathAndQuery::from_static("/healthz"));
        for (chance, expected) in [(0.0, 4_500), (0.5, 5_000), (1.0, 5_500)] {
            assert_eq!(policy.pause(chance), Duration::from_millis(expected));
        }
    }

    #[test]
    fn only_success_and_redirection_pass() {
        for (status, passes) in
            [(200, true), (204, true), (302, true), (404, false), (429, false), (503, false)]
        {
            assert_eq!(is_well(StatusCode::from_u16(status).expect("a status")), passes, "{status}");
        }
    }
}
