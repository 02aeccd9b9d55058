//! An upstream: one or several endpoints that answer alike. Each request goes to one of them, and to another where no
//! connection to that one can be made.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Request, Response, StatusCode};
use steadfast_core::{
    Code, NotSentCause, Reading,
    circuit::{CallEnd, Held},
};
use steadfast_layers::{
    AttemptFailed, ByHand, Circuit, EndpointId, Permit, Rung, Siblings, Tried, UpstreamTally, call_answered,
    call_failed, held_by_circuit,
    trace::{self, AttemptEnd, Facts, Mark, Part, Verdict},
};
use steadfast_ledger::Clock;
use tokio::{task::JoinSet, time::Instant};
use tower_service::Service;

use crate::{
    Endpoint, EndpointView, Location, OutgoingBody, TlsError, UpstreamBody, UpstreamPolicy,
    balance::{self, Choice},
    client::{Client, Limits},
    dial::Connectors,
    health,
    hop_by_hop::Asked,
    load::InFlight,
    names::{Names, Unasked},
    resolve::Resolver,
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
    /// Held while they are replaced, or given an order: what somebody wants of the circuits of all, those that come
    /// later included.
    order: Mutex<Option<ByHand>>,
    /// The circuits, as far as they must know of each other.
    siblings: Siblings,
    names: Names,
    /// What goes on beside its requests: looking names up. It ends with this.
    beside: Mutex<JoinSet<()>>,
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
    ///
    /// # Panics
    /// There is no runtime of tokio's, where names are to be looked up or health is to be checked: both go on there
    /// for as long as this or a clone of it exists.
    pub fn new(policy: UpstreamPolicy, clock: Clock, tally: Arc<UpstreamTally>) -> Result<Self, TlsError> {
        let connectors = Connectors::new(&policy)?;
        let (names, unasked) = Names::of(&policy);
        let locations = names.locations(&policy);
        let upstream = Self {
            shared: Arc::new(Shared {
                policy: Arc::new(policy),
                connectors,
                endpoints: ArcSwap::default(),
                order: Mutex::new(None),
                siblings: Siblings::default(),
                names,
                beside: Mutex::default(),
                tally,
                clock,
                origin: Instant::now(),
            }),
        };
        upstream.set_endpoints(locations)?;
        upstream.keep_found(unasked);
        Ok(upstream)
    }

    /// Looks its names up from now on.
    fn keep_found(&self, unasked: Vec<Unasked>) {
        if unasked.is_empty() {
            return;
        }
        let policy = self.policy();
        let resolver = Resolver::of_servers(&policy.resolver);
        let mut beside = self.shared.beside.lock().unwrap_or_else(PoisonError::into_inner);
        for name in unasked {
            let shared = Arc::downgrade(&self.shared);
            let changed = move || {
                let Some(shared) = shared.upgrade() else { return };
                let locations = shared.names.locations(&shared.policy);
                if let Err(error) = (Self { shared }).set_endpoints(locations) {
                    tracing::error!(%error, "an upstream's new addresses cannot be used");
                }
            };
            let tally = Arc::clone(&self.shared.tally);
            beside.spawn(name.keep_found(resolver.clone(), policy.name.clone(), tally, changed));
        }
    }

    /// Checks the health of an endpoint from now on, where the policy says so.
    fn keep_checked(&self, endpoint: &Arc<Endpoint<B>>) {
        let policy = self.policy();
        let Some(health) = policy.health.clone().filter(|_| !endpoint.client.is_unresolved()) else { return };
        let shared = Arc::downgrade(&self.shared);
        let noted = move || {
            if let Some(shared) = shared.upgrade() {
                shared.count_endpoints();
            }
        };
        let (name, tally) = (policy.name.clone(), Arc::clone(&self.shared.tally));
        endpoint.check(health::keep_checked(Arc::downgrade(endpoint), health, name, tally, noted));
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
        let order = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shared.endpoints.load_full();
        // Endpoints that were there from the beginning are taken for well until they are checked, and begin with
        // their full share: there is nobody else. Those that come later have to show it first.
        let is_beginning = before.iter().all(|endpoint| endpoint.client.is_unresolved());
        let mut after: Vec<Arc<Endpoint<B>>> = Vec::with_capacity(locations.len());
        let mut added = Vec::new();
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
            let unresolved = shared.names.unresolved(&location);
            let client = Client::new(policy, location, connectors, unresolved, shared.clock.clone())?;
            let circuit = shared.circuit(client.location());
            let now = Instant::now();
            if let (Some(circuit), Some(order)) = (&circuit, order.filter(|order| order.is_meant(now))) {
                circuit.order(order, now);
            }
            let endpoint = Arc::new(Endpoint::new(client, circuit, shared.origin));
            if !is_beginning {
                endpoint.set_healthy(shared.policy.health.is_none());
                endpoint.start();
            }
            after.push(Arc::clone(&endpoint));
            added.push(endpoint);
        }
        if after.is_empty() {
            return Ok(());
        }
        shared.endpoints.store(Arc::new(after));
        shared.count_endpoints();
        for endpoint in &added {
            self.keep_checked(endpoint);
        }
        Ok(())
    }

    /// Does by hand what somebody wants of the circuits of all its endpoints, or of those at one place as [`Location`]
    /// writes it. How many there were is returned.
    ///
    /// # Errors
    /// Its endpoints have no circuits.
    pub fn order(&self, order: ByHand, at: Option<&str>) -> Result<usize, NoCircuit> {
        let shared = &self.shared;
        if shared.policy.circuit.is_none() {
            return Err(NoCircuit);
        }
        let mut standing = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_none() {
            *standing = match order {
                ByHand::Open(_) | ByHand::Closed(_) => Some(order),
                ByHand::Automatic => None,
            };
        }
        let endpoints = shared.endpoints.load();
        let meant = endpoints.iter().filter(|endpoint| match at {
            Some(at) => endpoint.location().to_string() == at,
            None => true,
        });
        let circuits = meant.filter_map(|endpoint| endpoint.circuit());
        Ok(circuits.map(|circuit| circuit.order(order, Instant::now())).count())
    }

    /// How its endpoints are, for people.
    #[must_use]
    pub fn view(&self) -> Vec<EndpointView> {
        let now = Instant::now();
        self.shared.endpoints.load().iter().map(|endpoint| endpoint.view(now)).collect()
    }
}

/// An upstream's endpoints have no circuits: its policy has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the upstream has no circuit")]
pub struct NoCircuit;

impl<B: OutgoingBody> Service<Request<B>> for Upstream<B> {
    type Response = Response<UpstreamBody<B>>;
    type Error = AttemptFailed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AttemptFailed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        // All inside take it from its place here: whatever an async function is given by value takes room twice.
        let mut place = Some(request);
        Box::pin(async move { shared.send(&mut place).await })
    }
}

impl<B: OutgoingBody> Shared<B> {
    /// A circuit for an endpoint, where the policy has one.
    fn circuit(&self, location: &Location) -> Option<Circuit> {
        let policy = self.policy.circuit.clone()?;
        let (name, tally) = (&self.policy.name, Arc::clone(&self.tally));
        Some(Circuit::new(policy, name, &location.to_string(), tally, &self.siblings))
    }

    /// Sends a request to an endpoint, and to the next one where no connection can be made.
    async fn send(&self, place: &mut Option<Request<B>>) -> Result<Response<UpstreamBody<B>>, AttemptFailed> {
        let Some(request) = place else { return Err(nothing_to_send()) };
        let limits = Limits::of(request, &self.policy);
        let tried = request.extensions().get::<Tried>().cloned();
        let mut left_out: Vec<EndpointId> = Vec::new();
        let chosen = self.choose(&limits, tried.as_ref(), &mut left_out);
        let mut chosen = chosen.map_err(|NoneLeft(held)| self.held(held))?;
        let asked = chosen.endpoint.client.prepare(request)?;
        let mut is_first = true;
        loop {
            let failed = match self.attempt(&mut chosen, &limits, &asked, place).await {
                Ok(mut response) => {
                    if !is_first {
                        Rung::Endpoint.mark(response.headers_mut());
                    }
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            let Some(back) = place else { return Err(failed) };
            left_out.push(chosen.endpoint.id());
            limits.check(&self.clock)?;
            // Where no other is left, what became of this one is what there is to say.
            let Ok(next) = self.choose(&limits, tried.as_ref(), &mut left_out) else { return Err(failed) };
            chosen = next;
            chosen.endpoint.client.readdress(back);
            self.tally.endpoint_failovers.add();
            is_first = false;
        }
    }

    /// Sends a request to the endpoint that was chosen for it, and notes what came of it. It is still in its place
    /// where no connection could be made.
    async fn attempt(
        &self,
        chosen: &mut Chosen<B>,
        limits: &Limits,
        asked: &Asked,
        place: &mut Option<Request<B>>,
    ) -> Result<Response<UpstreamBody<B>>, AttemptFailed> {
        self.tally.attempts.add();
        let mark = trace::begin_attempt(|| chosen.endpoint.shown());
        let sent = {
            // Where it stands: it is large, and is not moved about.
            let sending = std::pin::pin!(chosen.endpoint.client.send(limits, asked, place));
            match &mut chosen.permit {
                Some(permit) if limits.is_detached() => {
                    Box::pin(told_when_late(permit, self.policy.first_byte_timeout, sending)).await
                }
                _ => sending.await,
            }
        };
        let (is_outcome, end) = match &sent {
            Ok(response) => {
                let reading = self.read(response);
                (reading == Reading::Completed, call_answered(response.status().as_u16(), reading))
            }
            Err(failed) => (false, call_failed(failed)),
        };
        note_end(mark, &sent);
        if !is_outcome {
            self.tally.attempts_failed.add();
        }
        let Some(began) = chosen.began else { return sent };
        let now = Instant::now();
        if let Some(permit) = &mut chosen.permit {
            permit.end(end, now);
        }
        if let Some(in_flight) = &mut chosen.in_flight {
            in_flight.answered();
            let (load, took) = (&chosen.endpoint.load, now.saturating_duration_since(began));
            match &sent {
                Ok(response)
                    if end == CallEnd::Failed || response.status() == StatusCode::TOO_MANY_REQUESTS =>
                {
                    load.troubled(took, Some(response.headers()), now);
                }
                Ok(_) => load.answered(took, now),
                Err(_) if end == CallEnd::Failed => load.troubled(took, None, now),
                Err(_) => {}
            }
        }
        sent.map(|response| response.map(|body| body.counted(chosen.in_flight.take())))
    }

    /// The endpoint for the next try. Those whose circuits turn out to let nothing through are added to `left_out`.
    fn choose(
        &self,
        limits: &Limits,
        tried: Option<&Tried>,
        left_out: &mut Vec<EndpointId>,
    ) -> Result<Chosen<B>, NoneLeft> {
        let endpoints = self.endpoints.load();
        if let [only] = &endpoints[..] {
            if left_out.contains(&only.id()) {
                return Err(NoneLeft(None));
            }
            let Some(circuit) = &only.circuit else {
                return Ok(Chosen { endpoint: Arc::clone(only), permit: None, in_flight: None, began: None });
            };
            let now = Instant::now();
            let permit = circuit.admit(now, limits.deadline()).map_err(|held| NoneLeft(Some(held)))?;
            let endpoint = Arc::clone(only);
            return Ok(Chosen { endpoint, permit: Some(permit), in_flight: None, began: Some(now) });
        }
        let now = Instant::now();
        let mut last_held = None;
        loop {
            let some_open = self.siblings.not_closed() > 0;
            let slow_start = self.policy.slow_start;
            // Chance is of meaning for a slow start alone.
            let chance = if slow_start.is_some() { fastrand::f64() } else { 0.0 };
            let choice = Choice { tried, left_out: &*left_out, slow_start, chance, some_open, now };
            let endpoint = match balance::choose(&endpoints, &choice) {
                Ok(Some(endpoint)) => endpoint,
                Ok(None) => return Err(NoneLeft(last_held)),
                Err(held) => return Err(NoneLeft(Some(held))),
            };
            let permit = match endpoint.circuit.as_ref().map(|circuit| circuit.admit(now, limits.deadline()))
            {
                None => None,
                Some(Ok(permit)) => Some(permit),
                // Somebody else was quicker to probe it.
                Some(Err(held)) => {
                    last_held = Some(held);
                    left_out.push(endpoint.id());
                    continue;
                }
            };
            if let Some(tried) = tried {
                tried.add(endpoint.id());
            }
            let in_flight = Some(InFlight::new(Arc::clone(&endpoint.load), now));
            return Ok(Chosen { endpoint: Arc::clone(endpoint), permit, in_flight, began: Some(now) });
        }
    }

    /// The refusal of a request that no endpoint may take.
    fn held(&self, held: Option<Held>) -> AttemptFailed {
        self.tally.circuit_refused.add();
        let held = held.unwrap_or(Held { retry_after: Duration::from_secs(1) });
        trace::note(Part::Circuit, Verdict::Refused, || Facts::Refusal {
            code: Code::CircuitOpen,
            retry_after: Some(held.retry_after),
        });
        held_by_circuit(held)
    }

    /// Tells the tally how many endpoints there are.
    fn count_endpoints(&self) {
        let endpoints = self.endpoints.load();
        let well = endpoints.iter().filter(|endpoint| endpoint.is_healthy()).count();
        self.tally.endpoints.set(endpoints.len() as u64);
        self.tally.endpoints_healthy.set(well as u64);
    }

    /// What an answer says of whether the upstream executed what it was asked.
    fn read(&self, response: &Response<UpstreamBody<B>>) -> Reading {
        let said = response.extensions().get::<Reading>();
        said.copied().unwrap_or_else(|| self.policy.answers.read(response.status().as_u16(), false))
    }
}

/// Notes how an attempt ended.
fn note_end<B>(mark: Mark, sent: &Result<Response<B>, AttemptFailed>) {
    let (verdict, how) = match sent {
        Ok(response) => (Verdict::Answered, AttemptEnd::Status(response.status().as_u16())),
        Err(failed) => (Verdict::Failed, failed.attempt_end()),
    };
    trace::end(mark, verdict, |facts| {
        if let Facts::Attempt { end, .. } = facts {
            *end = Some(how);
        }
    });
}

/// The endpoint of one try.
struct Chosen<B: OutgoingBody> {
    endpoint: Arc<Endpoint<B>>,
    /// Its circuit's leave, where it has one.
    permit: Option<Permit>,
    /// Where there are several: it is counted.
    in_flight: Option<InFlight>,
    /// When it was chosen, where somebody wants to know how long it took.
    began: Option<Instant>,
}

/// No endpoint is left for a try: circuits hold it, or all were tried.
struct NoneLeft(Option<Held>);

/// What is said where a request is not in its place, which nobody lets happen.
pub(crate) fn nothing_to_send() -> AttemptFailed {
    let detail = "there was nothing to send".to_owned();
    AttemptFailed::NotSent { cause: NotSentCause::ConnectFailed, detail }
}

/// Waits for `sending`, however long it takes: its holder is patient. The circuit hears after `late` that no answer came.
async fn told_when_late<T>(
    permit: &mut Permit,
    late: Duration,
    mut sending: Pin<&mut impl Future<Output = T>>,
) -> T {
    match tokio::time::timeout(late, &mut sending).await {
        Ok(sent) => sent,
        Err(_) => {
            permit.end(CallEnd::Failed, Instant::now());
            sending.await
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use steadfast_layers::RequestBody;

    use super::*;

    /// It is made on the stack and moved into its box whole, with all the room that its rarest way would need.
    #[tokio::test]
    async fn a_request_under_way_is_small_enough_to_be_moved_into_its_box() {
        let policy = UpstreamPolicy::new("bank", "http://10.0.0.1".parse().expect("an address"));
        let mut upstream =
            Upstream::new(policy, Clock::system(), Arc::new(UpstreamTally::default())).expect("no TLS");
        let body = RequestBody::<Full<Bytes>>::from(Bytes::new());
        let bytes = size_of_val(&*upstream.call(Request::new(body)));
        assert!(bytes <= 2_304, "{bytes} bytes: what only some requests need belongs into a box");
    }
}
