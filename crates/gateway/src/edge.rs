//! One request at the edge: it is given an id, finds its route, goes through its stack, and is told of in log and
//! metrics when its answer has been sent.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use steadfast_core::Code;
use steadfast_layers::{Decision, IdentityPolicy, Problem, RequestId, RequestIdLayer, Spool, owner_of};
use steadfast_ledger::{Clock, SharedLedger};
use tower::{Layer, Service, service_fn};

use crate::{
    framing,
    operations_api::{self, OWN_BASE},
    routing::Table,
    stack::{EdgeRequest, EdgeResponse, ReplyBody, Stack},
    telemetry::{AccessLog, Entry, Metrics},
};

/// What serves requests: shared by all workers.
pub(crate) struct Edge {
    /// The routes in force. Swapped whole by a reload; a request keeps those it began with.
    pub(crate) routes: ArcSwap<Routes>,
    pub(crate) ledger: SharedLedger,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) clock: Clock,
    /// Where large bodies wait; it outlives a reload.
    pub(crate) spool: Arc<Spool>,
}

/// The routes of one config.
pub(crate) struct Routes {
    pub(crate) table: Table<RouteEntry>,
}

/// One route, ready to serve.
pub(crate) struct RouteEntry {
    pub(crate) name: Arc<str>,
    pub(crate) number: u32,
    pub(crate) stack: Stack,
    pub(crate) identity: IdentityPolicy,
}

/// The name that stands in logs for what the gateway serves itself, and for what nothing serves.
const OWN_ROUTE: &str = "(steadfast)";

impl Edge {
    /// Serves one request.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        client: IpAddr,
    ) -> Result<Response<ToldBody>, Infallible> {
        let mut told = Told {
            edge: Arc::clone(self),
            began: Instant::now(),
            at_ms: self.clock.wall().as_millis(),
            client,
            method: request.method().clone(),
            uri: request.uri().clone(),
            trace_id: trace_id(request.headers()),
            request_id: None,
            route: None,
            status: 0,
            bytes: 0,
            decision: None,
            complete: false,
        };
        self.metrics.active.inc();
        let routed = service_fn(|request: EdgeRequest| self.route(request));
        let outcome = RequestIdLayer.layer(routed).call(request).await;
        let (mut response, route) = match outcome {
            Ok(mut response) => {
                let route = response.extensions_mut().remove::<RouteMark>();
                (response, route)
            }
            Err(never) => match never {},
        };
        told.request_id = response.extensions_mut().remove::<RequestId>();
        told.decision = response.extensions_mut().remove::<Decision>();
        told.route = route;
        told.status = response.status().as_u16();
        Ok(response.map(|body| ToldBody { body, told }))
    }

    /// Finds the route and goes through its stack.
    async fn route(self: &Arc<Self>, request: EdgeRequest) -> Result<EdgeResponse, Infallible> {
        if !framing::is_plain(request.headers()) {
            return Ok(unclear_framing(request.extensions().get::<RequestId>()));
        }
        let routes = self.routes.load();
        let path = request.uri().path();
        if path.starts_with(OWN_BASE) {
            return Ok(self.serve_own(&routes, &request).await);
        }
        let Some(route) = routes.table.find(request.method(), path) else {
            let id = request.extensions().get::<RequestId>();
            return Ok(Problem::new(Code::RouteNotFound).instance(id).into_response());
        };
        let mark = RouteMark { name: Arc::clone(&route.name), number: route.number };
        let mut stack = route.stack.clone();
        drop(routes);
        let request_id = request.extensions().get::<RequestId>().cloned();
        let mut response = match stack.call(request).await {
            Ok(response) => response,
            Err(failed) => {
                tracing::info!(%failed, "an unkeyed request failed");
                failed.unprotected().instance(request_id.as_ref()).into_response()
            }
        };
        response.extensions_mut().insert(mark);
        Ok(response)
    }

    async fn serve_own(&self, routes: &Routes, request: &EdgeRequest) -> EdgeResponse {
        let identity = |name: &str| {
            let route = routes.table.targets().find(|route| &*route.name == name);
            route.map_or_else(IdentityPolicy::default, |route| route.identity.clone())
        };
        operations_api::serve(
            &self.ledger,
            identity,
            |policy| owner_of(request, policy),
            request.method(),
            request.uri().path(),
            request.extensions().get::<RequestId>(),
        )
        .await
    }
}

/// The refusal for a request whose end is not clear. Nothing behind it is read from its connection.
fn unclear_framing(request_id: Option<&RequestId>) -> EdgeResponse {
    let problem =
        Problem::new(Code::BodyInvalid).detail("The only transfer coding taken is `chunked`, once.");
    let mut response: EdgeResponse = problem.instance(request_id).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The trace id of a valid W3C `traceparent`.
fn trace_id(headers: &HeaderMap) -> Option<Box<str>> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let trace_id = text.split('-').nth(1)?;
    let valid = trace_id.len() == 32 && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then(|| trace_id.into())
}

/// Which route served a request. An extension of its answer.
#[derive(Clone, Debug)]
struct RouteMark {
    name: Arc<str>,
    number: u32,
}

/// What will be told of a request when its answer is sent, or dropped.
struct Told {
    edge: Arc<Edge>,
    began: Instant,
    at_ms: i64,
    client: IpAddr,
    method: Method,
    uri: Uri,
    trace_id: Option<Box<str>>,
    request_id: Option<RequestId>,
    route: Option<RouteMark>,
    status: u16,
    bytes: u64,
    decision: Option<Decision>,
    complete: bool,
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
        if let Some(decision) = &self.decision {
            edge.metrics.decision(decision.protection);
        }
        edge.access_log.write(&Entry {
            at_ms: self.at_ms,
            request_id: self.request_id.as_ref().map_or("", RequestId::as_str),
            trace_id: self.trace_id.as_deref(),
            client: self.client,
            method: &self.method,
            path: self.uri.path(),
            route,
            status,
            bytes: self.bytes,
            duration,
            decision: self.decision.map(|decision| decision.protection),
            operation: self.decision.and_then(|decision| decision.operation),
            complete: self.complete,
        });
    }
}

/// The body of an answer, which tells of its request when it is sent or dropped.
pub(crate) struct ToldBody {
    body: ReplyBody,
    told: Told,
}

impl Body for ToldBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.told.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                self.told.complete = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.told.complete = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
