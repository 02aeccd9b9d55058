//! One request at the edge: it is given an id, finds its route, goes through its stack, and is told of in log and
//! metrics when its answer has been sent.

use std::{
    borrow::Cow,
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use steadfast_core::{Code, HELP_BASE};
use steadfast_layers::{
    AbuseGuard, CacheOutcome, CacheStore, ClientAddress, DEGRADED_HEADER, Decision, Head, IdentityPolicy,
    Problem, RefusalTemplate, RequestId, RouteAuthentication, Rung, Spool, Tries, announced_method, owner_of,
    trace::{DECISION_HEADER, Trace, traced},
};
use steadfast_ledger::{Clock, SharedLedger};
use steadfast_upstream::BodyError;
use steadfast_worker::Schedule;
use tower::Service;

use crate::{
    authenticators::Authenticators,
    background::JobRoutes,
    caller::{Caller, CallerBody},
    config::{EdgePolicy, Forwarding},
    contract::Document,
    drain::Drain,
    explain::{Because, Explained, Explanations, Refusal, remembered, remembered_method, remembered_name},
    forwarding::FIELDS_ADDED,
    framing, grpc,
    limits::{CallerLimits, Limits},
    listed::drop_listed,
    operations_api::{self, CallerOfOwn, OWN_BASE},
    routing::{Asked, NoRoute, Table, Unclear},
    shortcut::Shortcut,
    stack::{EdgeRequest, EdgeResponse, ReplyBody, Stack},
    telemetry::{AccessLog, Entry, Metrics},
    upstreams::Upstreams,
};

/// What serves requests: shared by all workers.
pub(crate) struct Edge {
    /// The routes in force. Swapped whole by a reload; a request keeps those it began with.
    pub(crate) routes: ArcSwap<Routes>,
    /// What connections may ask, as far as a reload changes it; the rest is the doors'.
    pub(crate) policy: ArcSwap<EdgePolicy>,
    pub(crate) ledger: SharedLedger,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) clock: Clock,
    /// Where large bodies wait; it outlives a reload.
    pub(crate) spool: Arc<Spool>,
    /// Where answers are kept; it outlives a reload too.
    pub(crate) cache: Arc<CacheStore>,
    /// What limits count; it outlives a reload too.
    pub(crate) limits: CallerLimits,
    /// Who is kept out; it outlives a reload too.
    pub(crate) abuse: Arc<AbuseGuard>,
    /// Requests that were refused or slow; they outlive a reload too.
    pub(crate) explanations: Explanations,
    /// When nobody is kept waiting any more.
    pub(crate) drain: Drain,
}

/// The routes of one config.
pub(crate) struct Routes {
    pub(crate) table: Table<RouteEntry>,
    /// Whether any of them answers preflights.
    pub(crate) answer_preflights: bool,
    /// How upstreams are told who is calling: the cache goes by what the routes' upstreams are told.
    pub(crate) forwarding: Forwarding,
    /// The upstreams that they forward to.
    pub(crate) upstreams: Upstreams,
    /// What is published of them, if anything is.
    pub(crate) document: Option<Document>,
    /// The limits that they name.
    pub(crate) limits: Limits,
    /// Those who find out who is calling.
    pub(crate) authenticators: Arc<Authenticators>,
    /// What makes the attempts of what they accepted for later.
    pub(crate) jobs: JobRoutes,
    /// What is done at certain times.
    pub(crate) schedules: Arc<[Schedule]>,
}

impl Routes {
    /// The route that serves `request`. A preflight is the business of the route that will serve the request it
    /// announces, if that one answers preflights; else it is a request like any other, but for that no other route
    /// may answer it in that one's place.
    fn find<B>(&self, request: &Request<B>) -> Result<&RouteEntry, NoRoute> {
        let asked = Asked::by(request);
        let announced = announced_method(request).filter(|_| self.answer_preflights);
        let Some(method) = announced else { return self.table.find(asked) };
        match self.table.find(Asked { method: &method, is_announced: true, ..asked }) {
            Ok(route) if route.answers_preflights => Ok(route),
            announced => match self.table.find(asked) {
                Ok(route) if route.answers_preflights => announced,
                found => found,
            },
        }
    }
}

/// One route, ready to serve.
pub(crate) struct RouteEntry {
    pub(crate) name: Arc<str>,
    pub(crate) number: u32,
    /// What answers before its stack is asked, where a fresh answer is kept.
    pub(crate) shortcut: Option<Shortcut>,
    pub(crate) stack: Stack,
    pub(crate) identity: IdentityPolicy,
    /// Who finds out who is calling, where the route asks.
    pub(crate) authentication: Option<Arc<RouteAuthentication>>,
    /// Whether its stack answers preflights.
    pub(crate) answers_preflights: bool,
    /// Whether it has limits, which may be per address.
    pub(crate) has_limits: bool,
    /// What its refusals look like.
    pub(crate) refusal: Option<Arc<RefusalTemplate>>,
    /// Whether they say in a header what was decided.
    pub(crate) decision_header: bool,
}

/// The name that stands in logs for what the gateway serves itself, and for what nothing serves.
pub(crate) const OWN_ROUTE: &str = "(steadfast)";

impl Edge {
    /// Serves one request.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        mut request: Request<Incoming>,
        caller: &Arc<Caller>,
    ) -> Result<Response<ToldBody>, Infallible> {
        drop_listed(request.headers_mut());
        let request_id = RequestId::of(request.headers());
        let policy = self.policy.load_full();
        let began = Instant::now();
        let mut told = Box::new(Told {
            edge: Arc::clone(self),
            began,
            at_ms: self.clock.wall().as_millis(),
            client: policy.forwarding.client(caller, request.headers()),
            caller: Arc::clone(caller),
            method: request.method().clone(),
            uri: request.uri().clone(),
            trace_id: trace_id(request.headers()),
            request_id: request_id.clone(),
            route: None,
            status: 0,
            bytes: 0,
            decision: None,
            tries: None,
            cache: None,
            degraded: None,
            code: None,
            trace: self.explanations.trace(began),
            complete: false,
        });
        caller.count();
        self.metrics.active.inc();
        let grpc = grpc::is_spoken(request.headers());
        let request =
            request.map(|incoming| CallerBody::new(incoming, policy.body_bytes_max, policy.body_timeout));
        let client = told.client.unwrap_or(caller.ip);
        let routed = self.route(request, &request_id, (caller, client), &policy, &mut told.route);
        let mut response = traced(&mut told.trace, routed).await;
        request_id.name_in(response.headers_mut());
        told.note_way(&mut response);
        told.status = response.status().as_u16();
        told.judge(&mut response);
        if grpc {
            response = grpc::translate(response);
        }
        Ok(response.map(|body| ToldBody { body, broken: None, told }))
    }

    /// Finds the route, notes it in `found`, and goes through its stack.
    async fn route(
        self: &Arc<Self>,
        mut request: EdgeRequest,
        request_id: &RequestId,
        (caller, client): (&Caller, IpAddr),
        policy: &EdgePolicy,
        found: &mut Option<RouteMark>,
    ) -> EdgeResponse {
        if !framing::is_plain(request.headers()) {
            return unclear_framing(request_id);
        }
        if let Some(refused) = too_large(&request, policy) {
            return refused.instance(Some(request_id)).into_response();
        }
        if let Err(error) = request.body_mut().end_if_empty().await {
            tracing::debug!(%error, "a body that was to be empty was not, or had no end");
            let problem =
                Problem::new(Code::BodyInvalid).detail("The body did not arrive as it was announced.");
            return problem.instance(Some(request_id)).into_response();
        }
        if let Err(unclear) = one_host(&mut request) {
            return no_route(NoRoute::Unclear(unclear), request_id);
        }
        if request.uri().path().starts_with(OWN_BASE) {
            return self.serve_own(&request, request_id, client).await;
        }
        let routes = self.routes.load();
        let route = match routes.find(&request) {
            Ok(route) => route,
            Err(none) => return no_route(none, request_id),
        };
        let shortcut = route.shortcut.as_ref().filter(|_| self.abuse.list().is_empty());
        // Who is kept out is found in the stack.
        let kept = shortcut.and_then(|shortcut| shortcut.take(&request));
        *found = Some(RouteMark {
            name: Arc::clone(&route.name),
            number: route.number,
            decision_header: route.decision_header,
            is_short: kept.is_some(),
        });
        if let Some(kept) = kept {
            return kept;
        }
        // Once for what is added here and after this.
        request.headers_mut().reserve(FIELDS_ADDED);
        request_id.give_to(&mut request);
        let mut stack = route.stack.clone();
        // Who speaks gRPC reads no body of a refusal, in whichever words.
        let refusal = route.refusal.clone().filter(|_| !grpc::is_spoken(request.headers()));
        if route.has_limits || !self.abuse.is_idle() {
            request.extensions_mut().insert(ClientAddress(client));
        }
        routes.forwarding.stamp(caller, &mut request);
        drop(routes);
        let Ok(mut response) = stack.call(request).await;
        if let Some(refusal) = &refusal {
            refusal.apply(&mut response);
        }
        response
    }

    async fn serve_own(&self, request: &EdgeRequest, request_id: &RequestId, client: IpAddr) -> EdgeResponse {
        // Held on to for as long as its caller would wait.
        let routes = self.routes.load_full();
        let published = routes.document.as_ref().and_then(|document| document.serve(request));
        if let Some(published) = published {
            return published;
        }
        let path = request.uri().path();
        // What a refusal means may be read by whoever was refused.
        if !path.starts_with(HELP_BASE)
            && let Some(banned) = self.abuse.refuse_address(client, OWN_ROUTE, Some(request_id))
        {
            return banned;
        }
        let caller = |name: &str| {
            let route = routes.table.targets().find(|route| &*route.name == name);
            let identity = route.map(|route| route.identity.clone()).unwrap_or_default();
            let asked = route.and_then(|route| route.authentication.clone());
            CallerOfOwn {
                owner: owner_of(request, &identity),
                asked: asked.map(|asked| (asked, Head::of(request))),
            }
        };
        let query = request.uri().query();
        let now = self.clock.wall();
        let drain = &self.drain;
        let asks = operations_api::Asks { method: request.method(), path, query, now, drain, request_id };
        operations_api::serve(&self.ledger, &self.abuse, caller, asks).await
    }
}

/// The refusal for a request that is larger than any may be, as far as its head tells.
fn too_large(request: &EdgeRequest, policy: &EdgePolicy) -> Option<Problem> {
    let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let bytes_max = policy.uri_bytes_max;
    if target_bytes > bytes_max {
        let detail = format!("The target has {target_bytes} bytes; {bytes_max} may be.");
        return Some(Problem::new(Code::BodyTooLarge).status(414).detail(&detail));
    }
    request.body().is_too_large().then(|| Problem::new(Code::BodyTooLarge))
}

/// The refusal for a request whose end is not clear. Nothing behind it is read from its connection.
fn unclear_framing(request_id: &RequestId) -> EdgeResponse {
    let problem =
        Problem::new(Code::BodyInvalid).detail("The only transfer coding taken is `chunked`, once.");
    let mut response: EdgeResponse = problem.instance(Some(request_id)).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Says in the `Host` header what the target says, where it names a host: what a route was found by is what the
/// upstream goes by (RFC 9112, section 3.2.2).
///
/// # Errors
/// There are two Hosts, or another one than the target of HTTP/2 names: somebody behind might take the other one
/// (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn one_host<B>(request: &mut Request<B>) -> Result<(), Unclear> {
    let mut said = request.headers().get_all(header::HOST).iter();
    let (said, second) = (said.next(), said.next());
    if second.is_some() {
        return Err(Unclear::Host);
    }
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let text = authority.as_str();
    let differs = |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(text.as_bytes());
    if request.version() == Version::HTTP_2 && (text.contains('@') || said.is_some_and(differs)) {
        return Err(Unclear::Host);
    }
    let host = text.rsplit('@').next().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(header::HOST, host);
    }
    Ok(())
}

/// The refusal for a request that no route serves.
fn no_route(none: NoRoute, request_id: &RequestId) -> EdgeResponse {
    let id = Some(request_id);
    match none {
        NoRoute::Nothing => Problem::new(Code::RouteNotFound).instance(id).into_response(),
        NoRoute::Unclear(why) => {
            Problem::new(Code::TargetUnclear).detail(why.to_string()).instance(id).into_response()
        }
        NoRoute::OtherMethods(methods) => {
            let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
            let methods = methods.join(", ");
            let problem = Problem::new(Code::MethodNotAllowed).detail(format!("It is served for {methods}."));
            let mut response: EdgeResponse = problem.instance(id).into_response();
            if let Ok(allow) = HeaderValue::from_str(&methods) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            response
        }
    }
}

/// Where callers say which trace a request belongs to (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace id of a valid W3C `traceparent`.
fn trace_id(headers: &HeaderMap) -> Option<Box<str>> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let trace_id = text.split('-').nth(1)?;
    let valid = trace_id.len() == 32 && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| trace_id.into())
}

/// Which route served a request.
#[derive(Debug)]
struct RouteMark {
    name: Arc<str>,
    number: u32,
    decision_header: bool,
    /// Whether a kept answer was given before its stack was asked.
    is_short: bool,
}

/// What will be told of a request when its answer is sent, or dropped.
struct Told {
    edge: Arc<Edge>,
    began: Instant,
    at_ms: i64,
    /// Who is calling, where a proxy that is believed says that it is another than who connected.
    client: Option<IpAddr>,
    /// Held also to tell the connection that a request is under way.
    caller: Arc<Caller>,
    method: Method,
    uri: Uri,
    trace_id: Option<Box<str>>,
    request_id: RequestId,
    route: Option<RouteMark>,
    status: u16,
    bytes: u64,
    decision: Option<Decision>,
    tries: Option<Tries>,
    cache: Option<CacheOutcome>,
    /// Which rungs of the ladder were used, as the caller was told.
    degraded: Option<HeaderValue>,
    /// The code of its refusal.
    code: Option<Code>,
    /// What was decided, until there is an answer.
    trace: Trace,
    complete: bool,
}

impl Told {
    /// Notes in which way the answer came about, as those inside tell.
    fn note_way<R>(&mut self, response: &mut Response<R>) {
        if self.route.as_ref().is_some_and(|route| route.is_short) {
            self.cache = Some(CacheOutcome::Hit);
            return;
        }
        self.decision = response.extensions_mut().remove::<Decision>();
        self.tries = response.extensions_mut().remove::<Tries>();
        self.cache = response.extensions_mut().remove::<CacheOutcome>();
        self.degraded = response.headers().get(DEGRADED_HEADER).cloned();
        if let (Some(_), Some(route)) = (&self.degraded, &self.route) {
            // Looked up by its name: that is the rare case's work, and no other's.
            let tally = self.edge.metrics.tallies.route(&route.name);
            tally.count_degraded(&Rung::used(response.headers()));
        }
    }

    /// Remembers what was decided about a request that was refused, or is slow, and tells its caller where the route
    /// says so. Nobody asks for what was decided about any other.
    fn judge<R>(&mut self, response: &mut Response<R>) {
        let mut trace = std::mem::take(&mut self.trace);
        let took = self.began.elapsed();
        let problem = response.extensions().get::<Problem>();
        self.code = problem.map(Problem::code);
        if let Some(problem) = problem {
            let retry_after = problem.retry_after_seconds().map(Duration::from_secs);
            trace.refused(problem.code(), retry_after);
        }
        let because = if problem.is_some() || trace.is_refused_elsewhere() {
            Because::Refused
        } else if self.route.is_some() && self.edge.explanations.is_slow(took) {
            Because::Slow
        } else {
            return;
        };
        let refusal = problem.map(|problem| Refusal {
            code: problem.code(),
            policy: problem.text_member("policy").map(remembered_name),
            detail: remembered(problem.words()),
            next_step: problem.advice(),
            retry_after_s: problem.retry_after_seconds(),
        });
        let is_told = self.route.as_ref().is_some_and(|route| route.decision_header);
        if is_told
            && because == Because::Refused
            && let Some(decisions) = trace.told_to_caller()
        {
            response.headers_mut().insert(DECISION_HEADER, decisions);
        }
        self.edge.explanations.keep(because, || self.explained(because, took, refusal, &trace));
    }

    fn explained(
        &self,
        because: Because,
        took: Duration,
        refusal: Option<Refusal>,
        trace: &Trace,
    ) -> Explained {
        Explained {
            request_id: self.request_id.as_str().into(),
            at_ms: self.at_ms,
            because,
            method: remembered_method(&self.method),
            path: remembered(self.uri.path()),
            route: self.route.as_ref().map(|route| Arc::clone(&route.name)),
            client: self.client.unwrap_or(self.caller.ip),
            status: (self.status != 0).then_some(self.status),
            took,
            refusal,
            operation: self.decision.and_then(|decision| decision.operation),
            steps: trace.remembered(),
            steps_left_out: trace.left_out(),
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let edge = &self.edge;
        edge.metrics.active.dec();
        let duration = self.began.elapsed();
        // A caller that left before there was an answer: 499 is what logs call that.
        let status = if self.status == 0 { 499 } else { self.status };
        let (route, number) = match &self.route {
            Some(route) => (&*route.name, route.number),
            None => (OWN_ROUTE, u32::MAX),
        };
        edge.metrics.request(number, &self.method, status, duration);
        if self.status == 0 && self.route.is_some() && edge.explanations.is_slow(duration) {
            edge.explanations
                .keep(Because::Left, || self.explained(Because::Left, duration, None, &self.trace));
        }
        if let Some(decision) = &self.decision {
            edge.metrics.decision(decision.protection);
        }
        let degraded = self.degraded.as_ref().and_then(|rungs| rungs.to_str().ok());
        let client = match &self.client {
            Some(forwarded) => Cow::Owned(forwarded.to_string()),
            None => Cow::Borrowed(&*self.caller.ip_text),
        };
        edge.access_log.write(&Entry {
            at_ms: self.at_ms,
            request_id: self.request_id.as_str(),
            trace_id: self.trace_id.as_deref(),
            client: &client,
            method: &self.method,
            path: self.uri.path(),
            route,
            status,
            bytes: self.bytes,
            duration,
            decision: self.decision.map(|decision| decision.protection),
            cache: self.cache.map(CacheOutcome::as_str),
            operation: self.decision.and_then(|decision| decision.operation),
            attempts: self.tries.map(|Tries(tries)| tries),
            degraded,
            code: self.code,
            complete: self.complete,
        });
    }
}

/// The body of an answer, which tells of its request when it is sent or dropped.
pub(crate) struct ToldBody {
    body: ReplyBody,
    /// How it broke off, until what came before that is on its way.
    broken: Option<BodyError>,
    /// Boxed: an answer is moved a few times before it is sent.
    told: Box<Told>,
}

impl Body for ToldBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match polled {
            // The connection is dropped for it, and with it what it has not written yet. It writes while it waits.
            Poll::Ready(Some(Err(error))) => {
                self.broken = Some(error);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(ref frame))) => {
                self.told.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.told.complete = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.told.complete = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_of(version: Version, target: &str, hosts: &[&str]) -> Result<Vec<String>, Unclear> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        let mut request = request.body(()).expect("a request");
        one_host(&mut request)?;
        let said = request.headers().get_all(header::HOST).iter();
        Ok(said.map(|host| host.to_str().expect("text").to_owned()).collect())
    }

    #[test]
    fn a_request_has_one_host_and_over_http_2_target_and_header_agree() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        for (version, target, hosts, expected) in [
            (one, "/", &["a.example"][..], Some("a.example")),
            (one, "http://me@a.example:81/", &["b.example"], Some("a.example:81")),
            (one, "/", &["a.example", "a.example"], None),
            (one, "http://a.example/", &["a.example", "b.example"], None),
            (two, "http://a.example/", &[], Some("a.example")),
            (two, "http://a.example/", &["A.example"], Some("a.example")),
            (two, "/", &["a.example"], Some("a.example")),
            (two, "http://a.example/", &["b.example"], None),
            (two, "http://a.example/", &["a.example", "a.example"], None),
            (two, "http://me@a.example/", &[], None),
        ] {
            let found = host_of(version, target, hosts).ok();
            assert_eq!(found, expected.map(|host| vec![host.to_owned()]), "{target} {hosts:?}");
        }
    }
}
