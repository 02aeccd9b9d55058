//! The life of one connection through the proxy: reached, carried, and taken leave of as its faults demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::conversation::Conversation;
use crate::plan::{Direction, Goodbye};
use crate::proxy::Shared;
use crate::pump::{CHUNK_BYTES, Controls, End, finish, pump};

/// How long the upstream has to accept a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a peer that was told goodbye may take to close its side.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(1);
/// A swallowed reply counts as finished once the upstream has been silent for so long.
const SILENCE: Duration = Duration::from_millis(100);
/// The longest that a swallowed reply is read.
const SWALLOW_TIME_MAX: Duration = Duration::from_secs(5);

/// Counts a connection, as open until it is dropped, however it ends.
pub(crate) struct OpenGuard(Arc<Shared>);

impl OpenGuard {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.board.update(|stats| {
            stats.connections.accepted += 1;
            stats.connections.open += 1;
        });
        OpenGuard(shared)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.board.update(|stats| stats.connections.open -= 1);
    }
}

/// Carries one connection until it has ended, or `severed` changes.
pub(crate) async fn run(
    client: TcpStream,
    conversation: Conversation,
    guard: OpenGuard,
    mut severed: watch::Receiver<u64>,
) {
    // The guard is the last to go: what counts as closed is closed.
    let shared = &guard.0;
    let upstream = tokio::select! {
        biased;
        _ = severed.changed() => {
            shared.board.update(|stats| stats.faults.severed += 1);
            return reset(client);
        }
        upstream = reach(shared.upstream) => upstream,
    };
    let Some(upstream) = upstream else {
        shared.board.update(|stats| stats.connections.upstream_unreachable += 1);
        return reset(client);
    };
    // A proxy that waits to fill packets would add delays nobody planned.
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let controls = Controls { plan: &shared.plan, held: &shared.held, board: &shared.board };
    let ended = tokio::select! {
        biased;
        _ = severed.changed() => {
            shared.board.update(|stats| stats.faults.severed += 1);
            Err(End::Reset)
        }
        ended = async { tokio::try_join!(
            pump(Direction::TowardUpstream, &client, &upstream, &conversation, controls),
            pump(Direction::TowardClient, &upstream, &client, &conversation, controls),
        ) } => ended.map(|_| ()),
    };
    tokio::select! {
        biased;
        _ = severed.changed() => {}
        () = part(client, upstream, ended) => {}
    }
}

async fn reach(upstream: SocketAddr) -> Option<TcpStream> {
    timeout(CONNECT_TIME_MAX, TcpStream::connect(upstream)).await.ok()?.ok()
}

/// Takes leave of both sides.
async fn part(client: TcpStream, upstream: TcpStream, ended: Result<(), End>) {
    match ended {
        Ok(()) => {}
        Err(End::Reset) => {
            reset(client);
            reset(upstream);
        }
        Err(End::Close) => {
            tokio::join!(leave(client), leave(upstream));
        }
        Err(End::ReplyDropped(Goodbye::Reset)) => {
            reset(client);
            swallow(upstream).await;
        }
        Err(End::ReplyDropped(Goodbye::Close)) => {
            tokio::join!(leave(client), swallow(upstream));
        }
    }
}

/// Ends a connection at once: the peer's next read fails.
pub(crate) fn reset(stream: TcpStream) {
    // With no time to linger, closing sends RST instead of FIN.
    let _ = stream.set_zero_linger();
    drop(stream);
}

/// Ends a connection in order.
async fn leave(stream: TcpStream) {
    finish(&stream);
    // Closing a socket with unread data would send RST, so what still comes is read.
    let _ = timeout(LEAVE_TIME_MAX, async { while discard(&stream).await {} }).await;
}

/// Reads the rest of a reply that nobody will see.
async fn swallow(upstream: TcpStream) {
    let _ = timeout(SWALLOW_TIME_MAX, async {
        while timeout(SILENCE, discard(&upstream)).await.unwrap_or(false) {}
    })
    .await;
}

/// Reads and forgets something; false at the end of the stream.
async fn discard(stream: &TcpStream) -> bool {
    if stream.readable().await.is_err() {
        return false;
    }
    match stream.try_read(&mut vec![0; CHUNK_BYTES]) {
        Ok(len) => len > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}
