//! The proxy's listening socket, which can be closed and opened again without losing its port.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// An address that stays ours while nothing listens on it.
///
/// It is a socket that is bound and never listens: connecting is refused, yet nobody else is given the port.
#[derive(Debug)]
pub(crate) struct Reservation {
    addr: SocketAddr,
    _bound: Socket,
}

impl Reservation {
    pub(crate) fn of(addr: SocketAddr) -> io::Result<Self> {
        let bound = bind(addr)?;
        let addr = local_addr(&bound)?;
        Ok(Reservation { addr, _bound: bound })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Begins to listen. Needs a tokio runtime.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = bind(self.addr)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?.as_socket();
    addr.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an internet address"))
}
