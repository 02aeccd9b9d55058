//! Accepting connections: one worker thread per core, each with a runtime and a listening socket of its own
//! (`SO_REUSEPORT`), so that a request stays on the core it arrived at.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{connection::Door, drain::Drain, edge::Edge, handover};

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

/// Starts a worker on its sockets, one for each door. It ends when it is asked to and its connections are done.
pub(crate) fn start_worker(
    number: usize,
    doors: Vec<(StdListener, Arc<Door>)>,
    edge: Arc<Edge>,
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
        runtime.block_on(work(doors, edge, drain));
    })
}

async fn work(doors: Vec<(StdListener, Arc<Door>)>, edge: Arc<Edge>, drain: Drain) {
    let mut accepting = JoinSet::new();
    for (listener, door) in doors {
        match TcpListener::from_std(listener) {
            Ok(listener) => drop(accepting.spawn(accept(listener, door, drain.clone()))),
            Err(error) => tracing::error!(%error, "a worker could not listen"),
        }
    }
    let mut pulse = tokio::time::interval(PULSE);
    loop {
        tokio::select! {
            ended = accepting.join_next() => if ended.is_none() { break },
            _ = pulse.tick() => {}
        }
    }
    // Attempts whose callers have left run in tasks of their own on this runtime: they are given time too.
    while !edge.ledger.live().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn accept(listener: TcpListener, door: Arc<Door>, drain: Drain) {
    let mut connections = JoinSet::new();
    let mut asked = std::pin::pin!(drain.asked());
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < door.policy.connections_max => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(Arc::clone(&door).serve(stream, peer, drain.open()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = &mut asked => break,
        }
    }
    // Those who wait at the door are served too, though they may be more than `connections_max`.
    handover::leave(listener, door.holder, |stream, peer| {
        connections.spawn(Arc::clone(&door).serve(stream, peer, drain.open()));
    })
    .await;
    while connections.join_next().await.is_some() {}
}
