//! How the layers are put together: one stack a route, outermost first.

use std::sync::Arc;

use http::{Request, Response};
use steadfast_layers::{
    AnswersLayer, AnswersService, ConcurrencyLayer, ConcurrencyService, CorsLayer, CorsService,
    CourtesyLayer, CourtesyService, DeadlineLayer, DeadlineService, FailureLayer, FailureService,
    GuardedBody, HeldBody, IdempotencyLayer, IdempotencyPolicy, IdempotencyService, IdentityPolicy,
    InvalidPolicy, OutgoingLayer, OutgoingService, RetryLayer, RetryService, Retrying, SharedRetryBudget,
    Slot, Spool,
};
use steadfast_ledger::{Claims, Clock, SharedLedger};
use steadfast_upstream::{Upstream, UpstreamBody};
use tower::ServiceBuilder;

use crate::{caller::CallerBody, config::Route, upstreams::RunningUpstream};

/// What callers send, as upstreams get it: streamed through, or held where it had to be read.
pub(crate) type RequestBody = steadfast_layers::RequestBody<CallerBody>;
/// What upstreams answer, as callers get it.
pub(crate) type ReplyBody = HeldBody<GuardedBody<UpstreamBody<RequestBody>, Slot>>;
/// A request on its way in.
pub(crate) type EdgeRequest = Request<CallerBody>;
/// An answer on its way out.
pub(crate) type EdgeResponse = Response<ReplyBody>;

/// The stack of one route.
pub(crate) type Stack =
    AnswersService<CorsService<FailureService<DeadlineService<IdempotencyService<Outgoing>>>>>;

/// The innermost part of it, which makes the attempts.
type Outgoing = OutgoingService<RetryService<ConcurrencyService<CourtesyService<Upstream<RequestBody>>>>>;

/// Puts a route's layers round its upstream.
pub(crate) fn build(
    route: &Route,
    upstream: &RunningUpstream,
    ledger: &SharedLedger,
    clock: &Clock,
    spool: &Arc<Spool>,
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
        // A keyed request is claimed, replayed or refused here, before anything can be sent.
        .layer(IdempotencyLayer::with_spool(policy, claims, clock.clone(), Arc::clone(spool))?)
        // The upstream gets its own path and header; key and fingerprint are those of what the caller sent.
        .layer(OutgoingLayer::new(rewrite))
        // What fails is tried again where that is safe; all tries are one attempt of a keyed request.
        .layer(RetryLayer::new(retrying(route, upstream, clock)))
        // An attempt takes one of the upstream's places, waits for one, or is refused.
        .layer(ConcurrencyLayer::new(upstream.bulkhead.clone(), route.priority))
        // What has its place still goes no sooner than the upstream wants to be called.
        .layer(CourtesyLayer::new(upstream.courtesy.clone()))
        .service(upstream.client.clone()))
}

/// How the route's requests are tried again, if it or its upstream says so.
fn retrying(route: &Route, upstream: &RunningUpstream, clock: &Clock) -> Option<Retrying> {
    let config = &upstream.config;
    let policy = route.retry.clone().or_else(|| config.retry.clone())?;
    Some(Retrying {
        route: Arc::clone(&route.name),
        upstream: config.policy.name.as_str().into(),
        answers: config.policy.answers.clone(),
        try_timeout: config.policy.try_timeout,
        total_timeout: config.contract.times.total,
        several_endpoints: config.policy.addresses.len() > 1,
        route_budget: Arc::new(SharedRetryBudget::new(policy.budget)),
        upstream_budget: Arc::clone(&upstream.retry_budget),
        tally: Arc::clone(&upstream.tally),
        clock: clock.clone(),
        policy,
    })
}

/// A policy that applies to no method: everything streams straight through.
fn no_policy(route: &str) -> IdempotencyPolicy {
    IdempotencyPolicy { methods: Vec::new(), ..IdempotencyPolicy::for_route(route) }
}

/// Which headers carry a caller's credential on this route.
pub(crate) fn identity(route: &Route) -> IdentityPolicy {
    route.idempotency.as_ref().map_or_else(IdentityPolicy::default, |policy| policy.identity.clone())
}
