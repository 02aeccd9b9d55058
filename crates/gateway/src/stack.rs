//! How the layers are put together: one stack a route, outermost first.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::{HeaderName, Request, Response};
use steadfast_layers::{
    AbuseGuard, AnswersLayer, AnswersService, AuthenticationService, BanLayer, BanService, CacheBody,
    CacheLayer, CachePolicy, CacheService, CacheStore, ConcurrencyLayer, ConcurrencyService, CorsLayer,
    CorsService, CourtesyLayer, CourtesyService, DeadlineLayer, DeadlineService, FailureLayer,
    FailureService, Fallback, FallbackLayer, FallbackService, FallbackSource, GuardedBody, HeldBody,
    IdempotencyLayer, IdempotencyPolicy, IdempotencyService, IdentityPolicy, InvalidPolicy, LifecycleLayer,
    LifecycleService, LimitedBody, LimitsLayer, LimitsService, OutgoingLayer, OutgoingService,
    PreconditionLayer, PreconditionService, RetryLayer, RetryService, Retrying, RewritePolicy,
    RouteAuthentication, RouteLimits, RouteTally, SharedRetryBudget, Slot, Spool, VersionGate,
    VersionGateLayer, VersionGateService,
};
use steadfast_ledger::{Backlog, Claims, Clock, SharedLedger};
use steadfast_upstream::{Upstream, UpstreamBody};
use tower::ServiceBuilder;

use crate::{
    authenticators::Authenticators,
    caller::CallerBody,
    config::{Route, RouteFallback},
    contract::{AnnotateLayer, AnnotateService, Annotations, KnownOperations},
    forwarding::is_told,
    limits::CallerLimits,
    shortcut::Shortcut,
    telemetry::Metrics,
    upstreams::RunningUpstream,
};

/// What callers send, as upstreams get it: streamed through, or held where it had to be read.
pub(crate) type RequestBody = steadfast_layers::RequestBody<CallerBody>;
/// What upstreams answer, as callers get it.
pub(crate) type ReplyBody = HeldBody<LimitedBody<CacheBody<GuardedBody<UpstreamBody<RequestBody>, Slot>>>>;
/// A request on its way in.
pub(crate) type EdgeRequest = Request<CallerBody>;
/// An answer on its way out.
pub(crate) type EdgeResponse = Response<ReplyBody>;

/// The stack of one route.
pub(crate) type Stack =
    AnswersService<CorsService<LifecycleService<BanService<AuthenticationService<BanService<Versioned>>>>>>;

/// The part of it that knows who is calling.
type Versioned = VersionGateService<PreconditionService<AnnotateService<FallbackService<Bounded, Bounded>>>>;

/// The part of it that answers in time, whatever becomes of the upstream.
type Bounded = FailureService<DeadlineService<LimitsService<CacheService<IdempotencyService<Outgoing>>>>>;

/// The innermost part, which makes the attempts.
type Outgoing = OutgoingService<RetryService<ConcurrencyService<CourtesyService<Upstream<RequestBody>>>>>;

/// What makes the attempts of a route's background operations. The ledger tries them again, so nothing in here does.
pub(crate) type JobStack = OutgoingService<ConcurrencyService<CourtesyService<Upstream<RequestBody>>>>;

/// What all routes share.
pub(crate) struct Shared<'a> {
    pub(crate) ledger: &'a SharedLedger,
    pub(crate) clock: &'a Clock,
    pub(crate) spool: &'a Arc<Spool>,
    pub(crate) cache: &'a Arc<CacheStore>,
    pub(crate) metrics: &'a Metrics,
    pub(crate) authenticators: &'a Arc<Authenticators>,
    pub(crate) abuse: &'a Arc<AbuseGuard>,
    pub(crate) limits: &'a CallerLimits,
    pub(crate) known: &'a KnownOperations<'a>,
    /// Whether requests for one host may have come by different schemes, or by different names of it.
    pub(crate) forwarded_differs: bool,
}

/// Puts a route's layers round its upstream, and round the one that its fallback comes from, where one is named.
pub(crate) fn build(
    route: &Route,
    upstream: &RunningUpstream,
    backup: Option<&RunningUpstream>,
    shared: &Shared<'_>,
    authentication: Option<Arc<RouteAuthentication>>,
    limits: Option<Arc<RouteLimits>>,
    tally: &Arc<RouteTally>,
) -> Result<Stack, InvalidPolicy> {
    let mut policy = route.idempotency.clone().unwrap_or_else(|| no_policy(&route.name));
    policy.identity = identity(route, shared.authenticators);
    let rewrite = route.rewrite.clone().map(Arc::new);
    let fallback = fallback(route, upstream, backup, shared, tally)?;
    Ok(ServiceBuilder::new()
        // What the route says of every answer's header, it says of refusals and replays too.
        .layer(AnswersLayer::new(rewrite.clone()))
        // A preflight goes no further; every answer, whoever gives it, is shown to the pages that may read it.
        .layer(CorsLayer::new(route.cors.clone()))
        // When a version ends is said with every answer, refusals and replays among them.
        .layer(LifecycleLayer::new(route.lifecycle.as_ref()))
        // Whose address is banned is asked nothing more; and who shows no good credential too often will be.
        .layer(BanLayer::of_addresses(Some(Arc::clone(shared.abuse)), Arc::clone(&route.name)))
        // Who is calling must be known before anything is looked up for them.
        .layer(shared.authenticators.layer(authentication))
        // A banned principal is kept out wherever it calls from, before anything is counted for it.
        .layer(BanLayer::of_principals(Some(Arc::clone(shared.abuse)), Arc::clone(&route.name)))
        // Who still calls a version is counted, and refused while it is switched off.
        .layer(VersionGateLayer::new(version_gate(route, shared)))
        // A change that does not say what it changes is refused before anything is claimed for it.
        .layer(PreconditionLayer::new(route.require_precondition))
        // The upstream's own document is given with what the gateway adds to its promises.
        .layer(AnnotateLayer::new(Annotations::of(route, &upstream.config, shared.known)))
        // The last rung before a refusal: what a safe request is answered when all inside has failed.
        .layer(FallbackLayer::new(fallback))
        .service(bounded(route, upstream, (policy, limits), rewrite, shared, tally)?))
}

/// The gate of the version that the route serves, if it says of one.
fn version_gate(route: &Route, shared: &Shared<'_>) -> Option<VersionGate> {
    let policy = route.lifecycle.clone()?;
    let usage = shared.metrics.usage(&policy.version);
    Some(VersionGate {
        policy,
        usage,
        identity: identity(route, shared.authenticators),
        clock: shared.clock.clone(),
    })
}

/// The layers that keep an upstream's trouble its own: round the route's upstream, and round its fallback's.
fn bounded(
    route: &Route,
    upstream: &RunningUpstream,
    (policy, limits): (IdempotencyPolicy, Option<Arc<RouteLimits>>),
    rewrite: Option<Arc<RewritePolicy>>,
    shared: &Shared<'_>,
    tally: &Arc<RouteTally>,
) -> Result<Bounded, InvalidPolicy> {
    let claims: Arc<dyn Claims> = Arc::clone(shared.ledger) as _;
    let backlog: Arc<dyn Backlog> = Arc::clone(shared.ledger) as _;
    Ok(ServiceBuilder::new()
        // An attempt that failed is answered from here on.
        .layer(FailureLayer)
        // The caller's time runs from here, and everything inside counts against it.
        .layer(DeadlineLayer::new(route.deadline))
        // Who asks for too much is refused here, before anything inside is.
        .layer(LimitsLayer::new(limits))
        // What is kept already is given; what comes is kept where the route says so.
        .layer(cache_layer(route, upstream, shared, tally))
        // A keyed request is claimed, replayed or refused here, before anything can be sent; what is to be done in the
        // background goes no further, and is taken up by `jobs`.
        .layer(IdempotencyLayer::with_backlog(
            policy,
            (claims, backlog),
            shared.clock.clone(),
            Arc::clone(shared.spool),
        )?)
        // The upstream gets its own path and header; key and fingerprint are those of what the caller sent.
        .layer(outgoing(route, rewrite))
        // What fails is tried again where that is safe; all tries are one attempt of a keyed request.
        .layer(RetryLayer::new(retrying(route, upstream, shared.clock)))
        // An attempt takes one of the upstream's places, waits for one, or is refused.
        .layer(ConcurrencyLayer::new(upstream.bulkhead.clone(), route.priority))
        // What has its place still goes no sooner than the upstream wants to be called.
        .layer(CourtesyLayer::new(upstream.courtesy.clone()))
        .service(upstream.client.clone()))
}

/// The layers that a route's background operations go through: those of its requests, from the ledger on.
pub(crate) fn jobs(
    route: &Route,
    upstream: &RunningUpstream,
    authenticators: &Authenticators,
) -> Option<(IdempotencyPolicy, JobStack)> {
    let mut policy = route.idempotency.clone().filter(|policy| policy.background.is_some())?;
    policy.identity = identity(route, authenticators);
    let rewrite = route.rewrite.clone().map(Arc::new);
    let stack = ServiceBuilder::new()
        // The upstream gets its own path and header; what was kept is what the caller sent.
        .layer(outgoing(route, rewrite))
        // An attempt takes one of the upstream's places, waits for one, or is put off.
        .layer(ConcurrencyLayer::new(upstream.bulkhead.clone(), route.priority))
        // What has its place still goes no sooner than the upstream wants to be called.
        .layer(CourtesyLayer::new(upstream.courtesy.clone()))
        .service(upstream.client.clone());
    Some((policy, stack))
}

/// What is changed of requests on their way to the upstream.
fn outgoing(route: &Route, rewrite: Option<Arc<RewritePolicy>>) -> OutgoingLayer {
    let layer = OutgoingLayer::new(rewrite);
    if route.authentication.is_some() { layer.hiding_credentials() } else { layer }
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
        several_endpoints: config.policy.may_have_several_endpoints(),
        route_budget: Arc::new(SharedRetryBudget::new(policy.budget)),
        upstream_budget: Arc::clone(&upstream.retry_budget),
        tally: Arc::clone(&upstream.tally),
        clock: clock.clone(),
        policy,
    })
}

/// What the gateway itself says to upstreams about the address that was asked for. Where it is not the same for all
/// requests for a host, an answer may depend on it, whether or not it says so.
const FORWARDED: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-proto"), HeaderName::from_static("x-forwarded-host")];

/// The short way of the route, if it may take one.
pub(crate) fn shortcut(
    route: &Route,
    upstream: &RunningUpstream,
    shared: &Shared<'_>,
    tally: &Arc<RouteTally>,
) -> Option<Shortcut> {
    let policy = cache_policy(route, upstream, shared)?;
    // What the gateway has yet to say of a request may be its credential, or tell answers apart.
    if policy.credential_headers.iter().chain(&policy.key_headers).any(is_told) {
        return None;
    }
    Shortcut::of(route, &upstream.config, cache(policy, shared, tally))
}

fn cache_layer(
    route: &Route,
    upstream: &RunningUpstream,
    shared: &Shared<'_>,
    tally: &Arc<RouteTally>,
) -> CacheLayer {
    let policy = cache_policy(route, upstream, shared);
    policy.map_or_else(CacheLayer::none, |policy| cache(policy, shared, tally))
}

fn cache(policy: CachePolicy, shared: &Shared<'_>, tally: &Arc<RouteTally>) -> CacheLayer {
    CacheLayer::new(policy, Arc::clone(shared.cache), shared.clock.clone(), Arc::clone(tally))
}

/// How the route's answers are kept, with what the rest of the config means for that.
fn cache_policy(route: &Route, upstream: &RunningUpstream, shared: &Shared<'_>) -> Option<CachePolicy> {
    let mut policy = route.cache.clone()?;
    // Whatever is a credential for the route's keys is one for its answers.
    policy.credential_headers = identity(route, shared.authenticators).credential_headers;
    for name in shared.authenticators.private_headers_of(route) {
        if !policy.credential_headers.contains(&name) {
            policy.credential_headers.push(name);
        }
    }
    for name in FORWARDED.into_iter().filter(|_| shared.forwarded_differs) {
        if !policy.key_headers.contains(&name) {
            policy.key_headers.push(name);
        }
    }
    policy.space = space(route, upstream, &policy);
    Some(policy)
}

/// What sets the route's answers apart: its name, and everything that decides which answers it gets, and who. After a reload
/// that changes any of it, what was kept before is not found.
fn space(route: &Route, upstream: &RunningUpstream, policy: &CachePolicy) -> Arc<str> {
    let mut hasher = DefaultHasher::new();
    let (rewrite, authentication) = (&route.rewrite, &route.authentication);
    format!("{policy:?} {rewrite:?} {authentication:?} {:?}", upstream.origin()).hash(&mut hasher);
    format!("{} {:016x}", route.name, hasher.finish()).into()
}

/// What safe requests of a route are answered where its upstream brings nothing.
fn fallback(
    route: &Route,
    upstream: &RunningUpstream,
    backup: Option<&RunningUpstream>,
    shared: &Shared<'_>,
    tally: &Arc<RouteTally>,
) -> Result<Option<Fallback<Bounded>>, InvalidPolicy> {
    let source = match (&route.fallback, backup) {
        (Some(RouteFallback::Fixed(answer)), _) => FallbackSource::Fixed(answer.clone()),
        (Some(RouteFallback::Upstream(_)), Some(backup)) => {
            // It is asked for safe requests alone, which no ledger knows.
            let rewrite = route.rewrite.clone().map(Arc::new);
            // The limits were asked already.
            let policy = (no_policy(&route.name), None);
            FallbackSource::Other(bounded(route, backup, policy, rewrite, shared, tally)?)
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
pub(crate) fn identity(route: &Route, authenticators: &Authenticators) -> IdentityPolicy {
    let stated = route.idempotency.as_ref().map(|policy| policy.identity.clone());
    let mut identity = stated.unwrap_or_default();
    for header in authenticators.headers_of(route) {
        if !identity.credential_headers.contains(&header) {
            identity.credential_headers.push(header);
        }
    }
    identity
}

#[cfg(test)]
mod tests {
    use tower::Service;

    use super::*;

    /// What a request costs that no policy applies to is, not least, moving its future from layer to layer.
    #[test]
    fn a_request_through_all_layers_is_small_enough_to_be_moved_about() {
        let bytes = size_of::<<Stack as Service<EdgeRequest>>::Future>();
        assert!(bytes <= 384, "{bytes} bytes: what only some requests need belongs into a box");
    }
}
