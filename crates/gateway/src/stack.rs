//! How the layers are put together: one stack a route, outermost first.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::{HeaderName, Request, Response};
use steadfast_layers::{
    AnswersLayer, AnswersService, CacheBody, CacheLayer, CachePolicy, CacheService, CacheStore, CorsLayer,
    CorsService, DeadlineLayer, DeadlineService, FailureLayer, FailureService, HeldBody, IdempotencyLayer,
    IdempotencyPolicy, IdempotencyService, IdentityPolicy, InvalidPolicy, OutgoingLayer, OutgoingService,
    RouteTally, Spool,
};
use steadfast_ledger::{Claims, Clock, SharedLedger};
use steadfast_upstream::{Upstream, UpstreamBody};
use tower::ServiceBuilder;

use crate::{caller::CallerBody, config::Route, upstreams::RunningUpstream};

/// What callers send, as upstreams get it: streamed through, or held where it had to be read.
pub(crate) type RequestBody = steadfast_layers::RequestBody<CallerBody>;
/// What upstreams answer, as callers get it.
pub(crate) type ReplyBody = HeldBody<CacheBody<UpstreamBody<RequestBody>>>;
/// A request on its way in.
pub(crate) type EdgeRequest = Request<CallerBody>;
/// An answer on its way out.
pub(crate) type EdgeResponse = Response<ReplyBody>;

/// The stack of one route.
pub(crate) type Stack =
    AnswersService<CorsService<FailureService<DeadlineService<CacheService<IdempotencyService<Outgoing>>>>>>;

/// The innermost part of it, which makes the attempts.
type Outgoing = OutgoingService<Upstream<RequestBody>>;

/// Puts a route's layers round its upstream.
pub(crate) fn build(
    route: &Route,
    upstream: &RunningUpstream,
    ledger: &SharedLedger,
    clock: &Clock,
    spool: &Arc<Spool>,
    cache: &Arc<CacheStore>,
    tally: &Arc<RouteTally>,
) -> Result<Stack, InvalidPolicy> {
    let claims: Arc<dyn Claims> = Arc::clone(ledger) as _;
    let policy = route.idempotency.clone().unwrap_or_else(|| no_policy(&route.name));
    let rewrite = route.rewrite.clone().map(Arc::new);
    Ok(ServiceBuilder::new()
        // What the route says of every answer's header, it says of refusals and replays too.
        .layer(AnswersLayer::new(rewrite.clone()))
        // A preflight goes no further; every answer, whoever gives it, is shown to the pages that may read it.
        .layer(CorsLayer::new(route.cors.clone()))
        // An attempt that failed is answered from here on.
        .layer(FailureLayer)
        // The caller's time runs from here, and everything inside counts against it.
        .layer(DeadlineLayer::new(route.deadline))
        // What is kept already is given; what comes is kept where the route says so.
        .layer(cache_layer(route, upstream, clock, cache, tally))
        // A keyed request is claimed, replayed or refused here, before anything can be sent.
        .layer(IdempotencyLayer::with_spool(policy, claims, clock.clone(), Arc::clone(spool))?)
        // The upstream gets its own path and header; key and fingerprint are those of what the caller sent.
        .layer(OutgoingLayer::new(rewrite))
        .service(upstream.client.clone()))
}

/// What the gateway itself says to upstreams about the address that was asked for. An answer may depend on it, whether
/// or not it says so.
const FORWARDED: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-proto"), HeaderName::from_static("x-forwarded-host")];

fn cache_layer(
    route: &Route,
    upstream: &RunningUpstream,
    clock: &Clock,
    store: &Arc<CacheStore>,
    tally: &Arc<RouteTally>,
) -> CacheLayer {
    let Some(policy) = &route.cache else { return CacheLayer::none() };
    let mut policy = CachePolicy {
        // Whatever is a credential for the route's keys is one for its answers.
        credential_headers: identity(route).credential_headers,
        space: space(route, upstream),
        ..policy.clone()
    };
    for name in FORWARDED {
        if !policy.key_headers.contains(&name) {
            policy.key_headers.push(name);
        }
    }
    CacheLayer::new(policy, Arc::clone(store), clock.clone(), Arc::clone(tally))
}

/// What sets the route's answers apart: its name, and everything that decides which answers it gets. After a reload that
/// changes any of it, what was kept before is not found.
fn space(route: &Route, upstream: &RunningUpstream) -> Arc<str> {
    let mut hasher = DefaultHasher::new();
    format!("{:?} {:?} {:?}", route.cache, route.rewrite, upstream.origin()).hash(&mut hasher);
    format!("{} {:016x}", route.name, hasher.finish()).into()
}

/// A policy that applies to no method: everything streams straight through.
fn no_policy(route: &str) -> IdempotencyPolicy {
    IdempotencyPolicy { methods: Vec::new(), ..IdempotencyPolicy::for_route(route) }
}

/// Which headers carry a caller's credential on this route.
pub(crate) fn identity(route: &Route) -> IdentityPolicy {
    route.idempotency.as_ref().map_or_else(IdentityPolicy::default, |policy| policy.identity.clone())
}
