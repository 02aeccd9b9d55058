//! Serves the admin API on a loopback address, and refuses any other.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_service::Service;

/// The most connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// How long a request's head may take to arrive, and how long a connection may stay idle.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long requests that are under way at the end may still take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// The pause after a failed `accept`, so that it is not retried hotly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The admin API has no authentication, so it is not served beyond this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the admin API has no authentication and is served on loopback addresses only, not on {address}; \
     use 127.0.0.1 or [::1], and a tunnel (ssh -L) from elsewhere"
)]
pub struct NotLoopback {
    /// The address that was refused.
    pub address: SocketAddr,
}

/// The admin API could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener can be reached from beyond the machine.
    #[error(transparent)]
    NotLoopback(#[from] NotLoopback),
    /// The listener cannot be used.
    #[error("the admin listener cannot be used: {0}")]
    Listener(#[from] io::Error),
}

/// Accepts loopback addresses, for whoever reads a config.
///
/// # Errors
/// [`NotLoopback`] for every other address, unspecified ones included.
pub fn require_loopback(address: SocketAddr) -> Result<(), NotLoopback> {
    if address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(NotLoopback { address }) }
}

/// Serves `router` on `listener` until `shutdown` is done; then lets what is under way end, for at most five
/// seconds. Must be called in a runtime; what it returns does the serving.
///
/// # Errors
/// [`ServeError`] at once where the listener is not a loopback one or cannot be used; from the future only where
/// it does not listen any more.
pub fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<impl Future<Output = Result<(), ServeError>> + Send, ServeError> {
    require_loopback(listener.local_addr()?)?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    Ok(accept(listener, router, shutdown))
}

async fn accept(
    listener: tokio::net::TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (ending, ended) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, router.clone(), ended.clone()));
                }
                // It does not listen any more, and never will again.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Err(error.into()),
                // A client that broke off, or a shortage that passes.
                Err(error) => {
                    tracing::warn!(%error, "the admin listener could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    drop(ending);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIME_MAX, drained).await.is_err() {
        tracing::warn!("requests of the admin API were cut off at the end");
    }
    Ok(())
}

async fn serve_connection(stream: TcpStream, router: Router, mut ended: watch::Receiver<()>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        async move { Ok::<Response, Infallible>(answer(router.call(request.map(Body::new)).await)) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // A client that breaks off is none of the gateway's business, so the results are let go.
    tokio::select! {
        _ = &mut connection => return,
        _ = ended.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A router always answers.
fn answer(answered: Result<Response, Infallible>) -> Response {
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
