//! The short way of a request that a fresh answer is kept for: where nothing outside the cache has a say in it, the answer
//! is given at once, and the route's stack is not troubled.

use steadfast_layers::CacheLayer;

use crate::{
    config::{Route, UpstreamConfig},
    forwarding::is_told,
    stack::{EdgeRequest, EdgeResponse},
};

/// The short way of one route.
pub(crate) struct Shortcut(CacheLayer);

impl Shortcut {
    /// That of a route with this cache, if it may take one. Every part of a route is named here, so that no new one goes
    /// past this question.
    pub(crate) fn of(route: &Route, upstream: &UpstreamConfig, cache: CacheLayer) -> Option<Self> {
        let Route {
            // By these it is found.
            name: _,
            hosts: _,
            path: _,
            methods: _,
            headers: _,
            // These are inside the cache, or for what fails, or for changes.
            upstream: _,
            deadline: _,
            priority: _,
            idempotency: _,
            retry: _,
            fallback: _,
            refusal: _,
            require_precondition: _,
            // These say how others are told.
            documented: _,
            limit_headers: _,
            decision_header: _,
            // These are asked first, or add to every answer.
            authentication,
            limits,
            cors,
            lifecycle,
            rewrite,
            cache: kept,
        } = route;
        let nobody_asks = authentication.is_none() && limits.is_empty();
        let nothing_is_added = cors.is_none() && lifecycle.is_none() && rewrite.is_none();
        let nothing_is_annotated = upstream.openapi.is_none();
        (kept.is_some() && nobody_asks && nothing_is_added && nothing_is_annotated).then_some(Self(cache))
    }

    /// The answer, if it may be given: one that depends on what the gateway itself says of the caller may not, for that
    /// has not been said yet.
    pub(crate) fn take(&self, request: &EdgeRequest) -> Option<EdgeResponse> {
        self.0.fresh(request, is_told)
    }
}
