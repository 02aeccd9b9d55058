//! From one process to the next without a caller refused: listening sockets that somebody hands over, and how a
//! process leaves those of its own.
//!
//! A socket that was handed over stays open with whoever holds it: to leave it is to stop accepting, and the next
//! process answers what waits. A socket of this process's own takes its queue with it when it is closed. So nothing
//! new is let in first, and whatever is in the queue is taken out of it.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    time::Duration,
};

use socket2::{SockFilter, SockRef};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};

/// How long connections that are just being made are given to arrive: longer than a handshake takes on most ways.
const HANDSHAKE_TIME: Duration = Duration::from_millis(100);

/// How long it is from an accept that failed to the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A classic BPF program, run on every packet to a listening socket, that drops those that ask for a new connection
/// (SYN without ACK) and lets the rest through: handshakes that have begun are finished.
const NO_NEW_CONNECTIONS: [SockFilter; 5] = [
    // The flags are the fourteenth byte of a TCP header.
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x54, 0, 0, ACK | SYN),
    SockFilter::new(0x15, 0, 1, SYN),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// Whose a listening socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Its queue ends with this process.
    ThisProcess,
    /// It was handed over, and is there for the next process too.
    ServiceManager,
}

/// One listening socket per worker, from those that were handed over; a socket that several workers share is
/// accepted from by whichever comes first.
pub(crate) fn share(sockets: &[StdListener], workers: usize) -> io::Result<Vec<StdListener>> {
    let one_each = sockets.iter().cycle().take(workers.max(sockets.len()));
    one_each
        .map(|socket| {
            socket.set_nonblocking(true)?;
            socket.try_clone()
        })
        .collect()
}

/// Leaves a listening socket. `take` gets every connection that had been made, or was just being made, by then.
///
/// A caller whose first packet is dropped in that time sends it again after a second, to whoever listens by then: a
/// process beside this one (`SO_REUSEPORT`), or nobody, who refuses.
pub(crate) async fn leave(
    listener: TcpListener,
    holder: Holder,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    if holder == Holder::ServiceManager {
        return;
    }
    match SockRef::from(&listener).attach_filter(&NO_NEW_CONNECTIONS) {
        Ok(()) => {
            let until = Instant::now() + HANDSHAKE_TIME;
            while let Ok(accepted) = timeout_at(until, listener.accept()).await {
                match accepted {
                    Ok((stream, client)) => take(stream, client),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "new connections cannot be kept away: one may be cut off at the end")
        }
    }
    // What the runtime was told of may be less than what there is: the kernel itself is asked.
    let rest = listener.into_std().map_or_else(|_| Vec::new(), |listener| queued(&listener));
    for (stream, client) in rest {
        if let Ok(stream) = TcpStream::from_std(stream) {
            take(stream, client);
        }
    }
}

/// Everything that waits in a listening socket's queue, which its backlog bounds.
fn queued(listener: &StdListener) -> Vec<(std::net::TcpStream, SocketAddr)> {
    let mut queued = Vec::new();
    loop {
        match listener.accept() {
            Ok((stream, client)) if stream.set_nonblocking(true).is_ok() => queued.push((stream, client)),
            // A caller that has given up is no reason to let the next one down.
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!(%error, "connections that wait cannot be accepted");
                }
                return queued;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, Ipv6Addr, TcpStream as StdStream},
    };

    use super::*;

    async fn leave_all(listener: StdListener, holder: Holder) -> Vec<TcpStream> {
        listener.set_nonblocking(true).unwrap();
        let mut taken = Vec::new();
        leave(TcpListener::from_std(listener).unwrap(), holder, |stream, _| taken.push(stream)).await;
        taken
    }

    #[tokio::test]
    async fn who_waits_in_the_queue_is_taken_out_of_it_and_nobody_comes_in_after_that() {
        queue_is_left_empty(StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).await;
        // The filter looks into the TCP header, whatever is around it; some machines have no IPv6.
        if let Ok(listener) = StdListener::bind((Ipv6Addr::LOCALHOST, 0)) {
            queue_is_left_empty(listener).await;
        }
    }

    async fn queue_is_left_empty(listener: StdListener) {
        let address = listener.local_addr().unwrap();
        let before: Vec<_> = (0..10).map(|_| StdStream::connect(address).unwrap()).collect();
        let filtered = listener.try_clone().unwrap();
        let taken = leave_all(listener, Holder::ThisProcess).await;
        assert_eq!(taken.len(), before.len());
        // The socket is still open in the test's own hands, and lets nobody in any more.
        let late = StdStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.expect_err("nobody answers").kind(), io::ErrorKind::TimedOut);
        assert!(queued(&filtered).is_empty());
        // What has been let in works as ever.
        for (mut client, server) in before.into_iter().zip(taken) {
            client.write_all(b"x").unwrap();
            let mut server = server.into_std().unwrap();
            server.set_nonblocking(false).unwrap();
            server.read_exact(&mut [0]).unwrap();
        }
    }

    #[tokio::test]
    async fn who_waits_at_a_socket_of_the_service_manager_waits_for_the_next_process() {
        let held = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _client = StdStream::connect(held.local_addr().unwrap()).unwrap();
        let shared = share(std::slice::from_ref(&held), 3).unwrap();
        assert_eq!(shared.len(), 3);
        for listener in shared {
            assert!(leave_all(listener, Holder::ServiceManager).await.is_empty());
        }
        assert_eq!(queued(&held).len(), 1);
    }
}
