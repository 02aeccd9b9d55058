//! How the layers are put together: one stack a route, outermost first.

use std::sync::Arc;

use http::{Request, Response};
use steadfast_layers::{
    AnswersLayer, AnswersService, CorsLayer, CorsService, DeadlineLayer, DeadlineService, FailureLayer,
    FailureService, Fallback, FallbackLayer, FallbackService, FallbackSource, HeldBody, IdempotencyLayer,
    IdempotencyPolicy, IdempotencyService, IdentityPolicy, InvalidPolicy, OutgoingLayer, OutgoingService,
    RewritePolicy, Spool,
};
use steadfast_ledger::{Claims, Clock, SharedLedger};
use steadfast_upstream::{Upstream, UpstreamBody};
use tower::ServiceBuilder;

use crate::{
    caller::CallerBody,
    config::{Route, RouteFallback},
    upstreams::RunningUpstream,
};

/// What callers send, as upstreams get it: streamed through, or held where it had to be read.
pub(crate) type RequestBody = steadfast_layers::RequestBody<CallerBody>;
/// What upstreams answer, as callers get it.
pub(crate) type ReplyBody = HeldBody<UpstreamBody<RequestBody>>;
/// A request on its way in.
pub(crate) type EdgeRequest = Request<CallerBody>;
/// An answer on its way out.
pub(crate) type EdgeResponse = Response<ReplyBody>;

/// The stack of one route.
pub(crate) type Stack = AnswersService<CorsService<FallbackService<Bounded, Bounded>>>;

/// The part of it that answers in time, whatever becomes of the upstream.
type Bounded = FailureService<DeadlineService<IdempotencyService<Outgoing>>>;

/// The innermost part, which makes the attempts.
type Outgoing = OutgoingService<Upstream<RequestBody>>;

/// What all routes share.
pub(crate) struct Shared<'a> {
    pub(crate) ledger: &'a SharedLedger,
    pub(crate) clock: &'a Clock,
    pub(crate) spool: &'a Arc<Spool>,
}

/// Puts a route's layers round its upstream, and round the one that its fallback comes from, where one is named.
pub(crate) fn build(
    route: &Route,
    upstream: &RunningUpstream,
    backup: Option<&RunningUpstream>,
    shared: &Shared<'_>,
) -> Result<Stack, InvalidPolicy> {
    let policy = route.idempotency.clone().unwrap_or_else(|| no_policy(&route.name));
    let rewrite = route.rewrite.clone().map(Arc::new);
    let fallback = fallback(route, upstream, backup, shared)?;
    Ok(ServiceBuilder::new()
        // What the route says of every answer's header, it says of refusals and replays too.
        .layer(AnswersLayer::new(rewrite.clone()))
        // A preflight goes no further; every answer, whoever gives it, is shown to the pages that may read it.
        .layer(CorsLayer::new(route.cors.clone()))
        // The last rung before a refusal: what a safe request is answered when all inside has failed.
        .layer(FallbackLayer::new(fallback))
        .service(bounded(route, upstream, policy, rewrite, shared)?))
}

/// The layers that keep an upstream's trouble its own: round the route's upstream, and round its fallback's.
fn bounded(
    route: &Route,
    upstream: &RunningUpstream,
    policy: IdempotencyPolicy,
    rewrite: Option<Arc<RewritePolicy>>,
    shared: &Shared<'_>,
) -> Result<Bounded, InvalidPolicy> {
    let claims: Arc<dyn Claims> = Arc::clone(shared.ledger) as _;
    Ok(ServiceBuilder::new()
        // An attempt that failed is answered from here on.
        .layer(FailureLayer)
        // The caller's time runs from here, and everything inside counts against it.
        .layer(DeadlineLayer::new(route.deadline))
        // A keyed request is claimed, replayed or refused here, before anything can be sent.
        .layer(IdempotencyLayer::with_spool(policy, claims, shared.clock.clone(), Arc::clone(shared.spool))?)
        // The upstream gets its own path and header; key and fingerprint are those of what the caller sent.
        .layer(OutgoingLayer::new(rewrite))
        .service(upstream.client.clone()))
}

/// What safe requests of a route are answered where its upstream brings nothing.
fn fallback(
    route: &Route,
    upstream: &RunningUpstream,
    backup: Option<&RunningUpstream>,
    shared: &Shared<'_>,
) -> Result<Option<Fallback<Bounded>>, InvalidPolicy> {
    let source = match (&route.fallback, backup) {
        (Some(RouteFallback::Fixed(answer)), _) => FallbackSource::Fixed(answer.clone()),
        (Some(RouteFallback::Upstream(_)), Some(backup)) => {
            // It is asked for safe requests alone, which no ledger knows.
            let rewrite = route.rewrite.clone().map(Arc::new);
            FallbackSource::Other(bounded(route, backup, no_policy(&route.name), rewrite, shared)?)
        }
        (Some(RouteFallback::Upstream(_)) | None, _) => return Ok(None),
    };
    Ok(Some(Fallback { source, completed: upstream.completed().to_vec() }))
}

/// A policy that applies to no method: everything streams straight through.
fn no_policy(route: &str) -> IdempotencyPolicy {
    IdempotencyPolicy { methods: Vec::new(), ..IdempotencyPolicy::for_route(route) }
}

/// Which headers carry a caller's credential on this route.
pub(crate) fn identity(route: &Route) -> IdentityPolicy {
    route.idempotency.as_ref().map_or_else(IdentityPolicy::default, |policy| policy.identity.clone())
}
