//! An upstream: one or several endpoints that answer alike. Each request goes to one of them, and to another where no
//! connection to that one can be made.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use http::{Request, Response};
use steadfast_core::Reading;
use steadfast_layers::{AttemptFailed, EndpointId, Rung, Tried, UpstreamTally};
use steadfast_ledger::Clock;
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    Endpoint, Location, OutgoingBody, TlsError, UpstreamBody, UpstreamPolicy,
    client::{Client, Limits},
    dial::Connectors,
    load::InFlight,
};

/// An upstream; clones share its endpoints.
pub struct Upstream<B: OutgoingBody> {
    shared: Arc<Shared<B>>,
}

struct Shared<B: OutgoingBody> {
    policy: Arc<UpstreamPolicy>,
    connectors: Option<Arc<Connectors>>,
    /// Never empty.
    endpoints: ArcSwap<Vec<Arc<Endpoint<B>>>>,
    /// Held while they are replaced.
    replacing: Mutex<()>,
    tally: Arc<UpstreamTally>,
    clock: Clock,
    /// When it began.
    origin: Instant,
}

impl<B: OutgoingBody> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B: OutgoingBody> Upstream<B> {
    /// One that keeps `policy`, checks `send_by` on `clock` and counts in `tally`. Its endpoints are at the policy's
    /// addresses.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(policy: UpstreamPolicy, clock: Clock, tally: Arc<UpstreamTally>) -> Result<Self, TlsError> {
        let connectors = Connectors::new(&policy)?;
        let locations = policy.addresses.iter().cloned().map(Location::from);
        let locations = locations.collect::<Vec<_>>();
        let upstream = Self {
            shared: Arc::new(Shared {
                policy: Arc::new(policy),
                connectors,
                endpoints: ArcSwap::default(),
                replacing: Mutex::new(()),
                tally,
                clock,
                origin: Instant::now(),
            }),
        };
        upstream.set_endpoints(locations)?;
        Ok(upstream)
    }

    /// The policy that it keeps.
    #[must_use]
    pub fn policy(&self) -> &Arc<UpstreamPolicy> {
        &self.shared.policy
    }

    /// Its endpoints, as they are now.
    #[must_use]
    pub fn endpoints(&self) -> Arc<Vec<Arc<Endpoint<B>>>> {
        self.shared.endpoints.load_full()
    }

    /// Lets it have endpoints at `locations` and nowhere else. Those that it has there already go on, with their
    /// connections and with what was learned about them; what is under way at the others goes on to its end. No
    /// location at all changes nothing.
    ///
    /// # Errors
    /// A name cannot be that of a TLS server; nothing has changed then.
    pub fn set_endpoints(&self, locations: Vec<Location>) -> Result<(), TlsError> {
        let shared = &self.shared;
        let _alone = shared.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shared.endpoints.load_full();
        let mut after: Vec<Arc<Endpoint<B>>> = Vec::with_capacity(locations.len());
        for location in locations {
            let is_there = |endpoint: &&Arc<Endpoint<B>>| *endpoint.location() == location;
            if after.iter().any(|endpoint| is_there(&endpoint)) {
                continue;
            }
            if let Some(same) = before.iter().find(is_there) {
                after.push(Arc::clone(same));
                continue;
            }
            let (policy, connectors) = (Arc::clone(&shared.policy), shared.connectors.clone());
            let client = Client::new(policy, location, connectors, shared.clock.clone())?;
            let endpoint = Endpoint::new(client, shared.origin);
            if !before.is_empty() {
                endpoint.start();
            }
            after.push(Arc::new(endpoint));
        }
        if !after.is_empty() {
            shared.endpoints.store(Arc::new(after));
        }
        Ok(())
    }
}

impl<B: OutgoingBody> Service<Request<B>> for Upstream<B> {
    type Response = Response<UpstreamBody<B>>;
    type Error = AttemptFailed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AttemptFailed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            shared.tally.attempts.add();
            let sent = shared.send(request).await;
            let is_outcome = sent.as_ref().is_ok_and(|response| shared.read(response) == Reading::Completed);
            if !is_outcome {
                shared.tally.attempts_failed.add();
            }
            sent
        })
    }
}

impl<B: OutgoingBody> Shared<B> {
    /// Sends a request to an endpoint, and to the next one where no connection can be made.
    async fn send(&self, mut request: Request<B>) -> Result<Response<UpstreamBody<B>>, AttemptFailed> {
        let limits = Limits::of(&request, &self.policy);
        let tried = request.extensions().get::<Tried>().cloned();
        let (mut endpoint, mut several) = self.choose(tried.as_ref(), &[]);
        let asked = endpoint.client.prepare(&mut request)?;
        let mut unreachable: Vec<EndpointId> = Vec::new();
        loop {
            let in_flight = several.then(|| InFlight::new(Arc::clone(&endpoint.load)));
            if several && let Some(tried) = &tried {
                tried.add(endpoint.id());
            }
            let unanswered = match endpoint.client.send(&limits, &asked, request).await {
                Ok(mut response) => {
                    if !unreachable.is_empty() {
                        Rung::Endpoint.mark(response.headers_mut());
                    }
                    return Ok(response.map(|body| body.counted(in_flight)));
                }
                Err(unanswered) => unanswered,
            };
            unreachable.push(endpoint.id());
            let Some(back) = unanswered.unsent.filter(|_| several) else {
                return Err(unanswered.failed);
            };
            limits.check(&self.clock)?;
            let next = self.choose(tried.as_ref(), &unreachable);
            if unreachable.contains(&next.0.id()) {
                return Err(unanswered.failed);
            }
            request = *back;
            (endpoint, several) = next;
            endpoint.client.readdress(&mut request);
        }
    }

    /// The endpoint for the next try, and whether there are others.
    fn choose(&self, tried: Option<&Tried>, unreachable: &[EndpointId]) -> (Arc<Endpoint<B>>, bool) {
        let endpoints = self.endpoints.load();
        let is_new = |endpoint: &&Arc<Endpoint<B>>| !unreachable.contains(&endpoint.id());
        let fresh = |endpoint: &&Arc<Endpoint<B>>| {
            is_new(endpoint)
                && endpoint.is_healthy()
                && !tried.is_some_and(|tried| tried.contains(endpoint.id()))
        };
        let chosen = endpoints.iter().find(fresh).or_else(|| endpoints.iter().find(is_new));
        (Arc::clone(chosen.unwrap_or(&endpoints[0])), endpoints.len() > 1)
    }

    /// What an answer says of whether the upstream executed what it was asked.
    fn read(&self, response: &Response<UpstreamBody<B>>) -> Reading {
        let said = response.extensions().get::<Reading>();
        said.copied().unwrap_or_else(|| self.policy.answers.read(response.status().as_u16(), false))
    }
}
