//! An axum service with the layers round its handlers.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode},
    middleware::map_request,
    response::Response,
    routing::any,
};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use steadfast_layers::{DeadlineLayer, IdempotencyLayer, Principal, RequestIdLayer, Spool, SpoolLimits};
use steadfast_ledger::{Backlog, Claims};
use tokio::{net::TcpListener, task::JoinSet};

use crate::contract::{
    Stand,
    backend::{Act, Backend, Part, Seen},
    fresh_ledger,
    routes::routes,
    wire::Headers,
};

/// Starts one.
pub(crate) async fn stand() -> Stand {
    spooling(Spool::new(SpoolLimits::default())).await
}

/// Starts one whose routes share this spool.
pub(crate) async fn spooling(spool: Arc<Spool>) -> Stand {
    let (ledger, clock, folder) = fresh_ledger();
    let backend = Backend::new();
    let mut router = Router::new();
    for (path, policy) in routes() {
        let claims: Arc<dyn Claims> = ledger.clone();
        let backlog: Arc<dyn Backlog> = ledger.clone();
        let idempotency =
            IdempotencyLayer::with_backlog(policy, (claims, backlog), clock.clone(), Arc::clone(&spool))
                .expect("a policy");
        let layers = (RequestIdLayer, DeadlineLayer::new(None), idempotency);
        let route = Router::new().route(path, any(handle)).layer(layers);
        router = router.merge(route);
    }
    let router = router.layer(map_request(authenticate)).with_state(backend.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    Stand { address, backend, clock, ledger, _kept: Box::new((serving, folder)) }
}

/// What stands in for authentication: whoever it is taken for, is said in a header.
async fn authenticate(mut request: Request) -> Request {
    let principal =
        request.headers().get("x-principal").and_then(|value| value.to_str().ok()).map(Principal::named);
    if let Some(principal) = principal {
        request.extensions_mut().insert(principal);
    }
    request
}

async fn handle(State(backend): State<Backend>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    assert!(!parts.headers.contains_key("x-panic"), "a handler panics, as it was told");
    let latin = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    let headers =
        parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin(value))).collect();
    // A handler that does not get its whole request does nothing.
    let Ok(body) = body.collect().await else { return Response::default() };
    let act = backend.execute(Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: Headers(headers),
        body: body.to_bytes().to_vec(),
    });
    if let Some(gate) = &act.held_by {
        gate.opened().await;
    }
    played(act)
}

fn played(act: Act) -> Response {
    let body = match act.whole_body() {
        Some(bytes) => Body::from(bytes.to_vec()),
        None => Body::new(Played { parts: act.body.into(), waiting: None }),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(act.status).expect("a status");
    for (name, value) in act.headers {
        response.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            value.parse().expect("a value"),
        );
    }
    response
}

/// A body that comes in pieces.
struct Played {
    parts: VecDeque<Part>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl http_body::Body for Played {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            }
            match self.parts.pop_front() {
                None => return Poll::Ready(None),
                Some(Part::Bytes(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
                Some(Part::Cut) => return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
                Some(Part::Wait(gate)) => self.waiting = Some(Box::pin(async move { gate.opened().await })),
            }
        }
    }
}
