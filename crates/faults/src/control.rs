//! Control over HTTP, so that a proxy can be driven from any language.
//!
//! | request | effect |
//! | --- | --- |
//! | `GET /plan` | the plan in force, its seed filled in |
//! | `PUT /plan` with a [`Plan`] | replaces it ([`FaultProxy::set`]) and answers with it |
//! | `GET /stats` | [`Stats`](crate::Stats) |
//! | `POST /sever` | resets every open connection |
//! | `POST /listener` with `{"open": bool}` | closes or reopens the listener |
//! | `POST /hold` with `{"toward_upstream": bool, "toward_client": bool}` | holds or releases; what is not named stays |
//!
//! Whatever goes wrong is answered as `application/problem+json` (RFC 9457).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::plan::{Direction, Plan, PlanError};
use crate::proxy::{FaultProxy, resume_panic};

/// The longest body that is read, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// The most connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take over the head of a request, or over its body.
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// The pause after a failed `accept`, so that it is not retried hotly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A control listener; dropping it stops it.
#[derive(Debug)]
pub struct ControlServer {
    addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl ControlServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Serves the control API of `proxy` on `listen` (port 0 picks a free one). It has no authentication: listen on
/// a loopback address. Requests that a web page sent (they carry `Origin`) are refused.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(listen: SocketAddr, proxy: Arc<FaultProxy>) -> io::Result<ControlServer> {
    let listener = TcpListener::bind(listen).await?;
    let addr = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, proxy));
    Ok(ControlServer { addr, _tasks: tasks })
}

/// Why a request was not carried out.
#[derive(Debug, Error)]
enum Refusal {
    #[error("there is no such resource; there are /plan, /stats, /sever, /listener and /hold")]
    NotFound,
    #[error("this resource takes {allow}")]
    MethodNotAllowed { allow: &'static str },
    #[error("requests from web pages are refused")]
    FromWebPage,
    #[error("the body could not be read within {BODY_BYTES_MAX} bytes")]
    Body,
    #[error("the body took longer than {} s", READ_TIME_MAX.as_secs())]
    BodyTooSlow,
    #[error("the body is not what is expected here: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("the listener could not be changed: {0}")]
    Listener(#[from] io::Error),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ListenerOrder {
    open: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct HoldOrder {
    toward_upstream: Option<bool>,
    toward_client: Option<bool>,
}

type Answer = Response<Full<Bytes>>;

async fn accept(listener: TcpListener, proxy: Arc<FaultProxy>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&proxy)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(ended) = connections.join_next() => resume_panic(ended),
        }
    }
}

async fn serve_connection(stream: TcpStream, proxy: Arc<FaultProxy>) {
    let service = service_fn(|request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(answer(request, &proxy).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(READ_TIME_MAX);
    // A client that breaks off is none of the proxy's business.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, proxy: &FaultProxy) -> Answer {
    carry_out(request, proxy).await.unwrap_or_else(|refusal| refusal.answer())
}

async fn carry_out(request: Request<Incoming>, proxy: &FaultProxy) -> Result<Answer, Refusal> {
    if request.headers().contains_key(ORIGIN) {
        return Err(Refusal::FromWebPage);
    }
    let method = request.method().clone();
    match (request.uri().path(), &method) {
        ("/plan", &Method::GET) => ok(&proxy.plan()),
        ("/plan", &Method::PUT) => {
            proxy.set(read::<Plan>(request).await?)?;
            ok(&proxy.plan())
        }
        ("/plan", _) => Err(Refusal::MethodNotAllowed { allow: "GET, PUT" }),
        ("/stats", &Method::GET) => ok(&proxy.stats()),
        ("/stats", _) => Err(Refusal::MethodNotAllowed { allow: "GET" }),
        ("/sever", &Method::POST) => {
            let open = proxy.stats().connections.open;
            proxy.sever();
            ok(&json!({ "severed": open }))
        }
        ("/listener", &Method::POST) => {
            let order = read::<ListenerOrder>(request).await?;
            if order.open {
                proxy.reopen().await?
            } else {
                proxy.close_listener().await?
            }
            ok(&order)
        }
        ("/hold", &Method::POST) => {
            let order = read::<HoldOrder>(request).await?;
            let orders = [
                (Direction::TowardUpstream, order.toward_upstream),
                (Direction::TowardClient, order.toward_client),
            ];
            for (direction, hold) in orders {
                match hold {
                    Some(true) => proxy.hold(direction),
                    Some(false) => proxy.release(direction),
                    None => {}
                }
            }
            let held = |direction| Some(proxy.is_held(direction));
            ok(&HoldOrder {
                toward_upstream: held(Direction::TowardUpstream),
                toward_client: held(Direction::TowardClient),
            })
        }
        ("/sever" | "/listener" | "/hold", _) => Err(Refusal::MethodNotAllowed { allow: "POST" }),
        _ => Err(Refusal::NotFound),
    }
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = tokio::time::timeout(READ_TIME_MAX, body).await.map_err(|_| Refusal::BodyTooSlow)?;
    Ok(serde_json::from_slice(&body.map_err(|_| Refusal::Body)?.to_bytes())?)
}

fn ok<T: Serialize>(value: &T) -> Result<Answer, Refusal> {
    Ok(respond(StatusCode::OK, "application/json", serde_json::to_vec(value)?))
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::NotFound => StatusCode::NOT_FOUND,
            Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::FromWebPage => StatusCode::FORBIDDEN,
            Refusal::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Json(_) | Refusal::Plan(_) => StatusCode::BAD_REQUEST,
            Refusal::Listener(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn answer(&self) -> Answer {
        let status = self.status();
        let problem = json!({
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.to_string(),
        });
        let mut answer = respond(status, "application/problem+json", problem.to_string().into_bytes());
        if let Refusal::MethodNotAllowed { allow } = self {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        answer
    }
}
