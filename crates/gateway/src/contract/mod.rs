//! What callers are told of the routes, from the config alone: how to make keys, how long answers are kept, what a version
//! says of its end, which refusals there are and what to do about each.
//!
//! [`RouteContract`] is what is known of one route. It is written out for programs ([openapi]) and for people ([page]),
//! and added to the upstream's own document ([annotate], [annotating]). Names and addresses of upstreams are nowhere in
//! it, and values of headers that a route asks for are not either.

mod annotate;
mod annotating;
mod background;
mod callers;
mod openapi;
mod operation;
mod page;
mod problems;
mod words;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use steadfast_layers::{AbusePolicy, BackgroundPolicy, IdempotencyPolicy, LimitPolicy, PRECONDITION_METHODS};

use crate::{
    config::{AuthenticationConfig, Config, EdgePolicy, Route, UpstreamConfig},
    stack::{EdgeRequest, EdgeResponse, ReplyBody},
};

pub(crate) use annotating::{AnnotateLayer, AnnotateService, Annotations, KnownOperations, known_operations};

/// Where programs read it.
const OPENAPI_PATH: &str = "/.steadfast/openapi.json";

/// Where people read it.
const PAGE_PATH: &str = "/.steadfast/api";

/// The methods that are told of where a route serves all of them.
const USUAL_METHODS: [Method; 5] = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];

/// What is known of one route.
#[derive(Clone, Copy)]
struct RouteContract<'c> {
    route: &'c Route,
    upstream: &'c UpstreamConfig,
    edge: &'c EdgePolicy,
    abuse: &'c AbusePolicy,
    /// All limits there are, by name.
    limits: &'c BTreeMap<String, LimitPolicy>,
    /// Whoever finds out who is calling, by name.
    authentication: &'c BTreeMap<String, AuthenticationConfig>,
}

impl<'c> RouteContract<'c> {
    /// Those of all routes, in an order that does not depend on theirs.
    fn all(config: &'c Config) -> Vec<Self> {
        let mut all: Vec<_> = config.routes.iter().filter_map(|route| Self::of(config, route)).collect();
        all.sort_by(|one, other| {
            let by = |contract: &Self| (contract.route.path.to_string(), contract.route.name.to_string());
            by(one).cmp(&by(other))
        });
        all
    }

    fn of(config: &'c Config, route: &'c Route) -> Option<Self> {
        let upstream = config.upstreams.get(&route.upstream)?;
        let Config { edge, abuse, limits, authentication, .. } = config;
        Some(Self { route, upstream, edge, abuse, limits, authentication })
    }

    /// The methods that it tells of.
    fn methods(&self) -> &'c [Method] {
        if self.route.methods.is_empty() { &USUAL_METHODS } else { &self.route.methods }
    }

    /// What it says of keys on requests with this method.
    fn keyed(&self, method: &Method) -> Option<&'c IdempotencyPolicy> {
        self.route.idempotency.as_ref().filter(|policy| policy.methods.contains(method))
    }

    /// How requests with this method are done in the background.
    fn background(&self, method: &Method) -> Option<&'c BackgroundPolicy> {
        self.keyed(method)?.background.as_ref()
    }

    fn requires_precondition(&self, method: &Method) -> bool {
        self.route.require_precondition && PRECONDITION_METHODS.contains(method)
    }

    /// Whether its version is on its way out.
    fn is_deprecated(&self) -> bool {
        let lifecycle = self.route.lifecycle.as_ref().map(|policy| &policy.lifecycle);
        lifecycle.is_some_and(|lifecycle| lifecycle.deprecated.is_some() || lifecycle.sunset.is_some())
    }
}

/// The document of all routes, as it is published.
pub(crate) struct Document {
    openapi: Bytes,
    page: Bytes,
}

impl Document {
    /// That of `config`, if it publishes any.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let policy = config.document.as_ref()?;
        let mut contracts = RouteContract::all(config);
        contracts.retain(|contract| contract.route.documented);
        let openapi = serde_json::to_vec_pretty(&openapi::document(policy, &contracts)).ok()?;
        Some(Self { openapi: openapi.into(), page: page::page(policy, &contracts).into() })
    }

    /// The answer to a request for it; nothing where it is for something else.
    pub(crate) fn serve(&self, request: &EdgeRequest) -> Option<EdgeResponse> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return None;
        }
        let (content_type, body) = match request.uri().path() {
            OPENAPI_PATH => ("application/json", &self.openapi),
            PAGE_PATH => ("text/html; charset=utf-8", &self.page),
            _ => return None,
        };
        let mut response = Response::new(ReplyBody::whole(body.clone()));
        *response.status_mut() = StatusCode::OK;
        for (name, value) in [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // There is no script on the page, and none must run on the API's origin.
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Some(response)
    }
}
