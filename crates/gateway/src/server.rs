//! Accepting connections: one worker thread per core, each with a runtime and a listening socket of its own
//! (`SO_REUSEPORT`), so that a request stays on the core it arrived at.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use http::{HeaderValue, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    config::EdgeLimits,
    drain::{Drain, Open},
    edge::Edge,
    handover::{self, Holder},
};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4_096;
/// How often a worker's timers come round. A timer that is due sooner than any other costs the runtime a system call
/// where it is set, to wake itself; with this one there, those of requests are never the soonest.
const PULSE: Duration = Duration::from_millis(250);
/// How long a worker pauses when no connection can be accepted (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds one listening socket per worker, all on the same address.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    let first = bind_one(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(bind_one(address)?);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts a worker on its listener. It ends when it is asked to and its connections are done.
pub(crate) fn start_worker(
    number: usize,
    (listener, holder): (StdListener, Holder),
    edge: Arc<Edge>,
    limits: EdgeLimits,
    drain: Drain,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker could not start");
                return;
            }
        };
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept(listener, holder, edge, limits, drain).await,
                Err(error) => tracing::error!(%error, "a worker could not listen"),
            }
        });
    })
}

async fn accept(listener: TcpListener, holder: Holder, edge: Arc<Edge>, limits: EdgeLimits, drain: Drain) {
    let mut connections = JoinSet::new();
    let mut asked = std::pin::pin!(drain.asked());
    let mut pulse = tokio::time::interval(PULSE);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < limits.connections_max => match accepted {
                Ok((stream, client)) => {
                    let edge = Arc::clone(&edge);
                    connections.spawn(serve(stream, client, edge, limits, drain.clone(), drain.open()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = pulse.tick() => {}
            () = &mut asked => break,
        }
    }
    // Those who wait at the door are served too, though they may be more than `connections_max`.
    handover::leave(listener, holder, |stream, client| {
        connections.spawn(serve(stream, client, Arc::clone(&edge), limits, drain.clone(), drain.open()));
    })
    .await;
    while connections.join_next().await.is_some() {}
    // Attempts whose callers have left run in tasks of their own on this runtime: they are given time too.
    while !edge.ledger.live().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    edge: Arc<Edge>,
    limits: EdgeLimits,
    drain: Drain,
    _open: Open,
) {
    // Small answers must not wait for more to come.
    let _ = stream.set_nodelay(true);
    let ip = client.ip();
    let ending = drain.clone();
    let service = service_fn(move |request| {
        let (edge, ending) = (Arc::clone(&edge), ending.clone());
        async move {
            let mut served = edge.serve(request, ip).await;
            if let Ok(response) = &mut served
                && ending.is_asked()
            {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            served
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // Head and body of a small answer go out in one buffer: a plain send costs less than a gathering one.
            .writev(false)
            .header_read_timeout(limits.header_timeout)
            .max_headers(limits.headers_max)
            .max_buf_size(limits.header_bytes_max)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut closing = std::pin::pin!(drain.idle_closed());
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = &mut closing => {
            // The request under way is answered, and no other is read.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, %client, "a connection ended badly");
    }
}
