//! A port that nobody else gets while a process that serves on it is down.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of this test's own, until dropped.
///
/// The socket is bound and never listens. Whoever names the port may bind it too (`SO_REUSEADDR`), but whoever asks
/// for any free port is given another: or a test that restarts a process would now and then find its port taken.
#[derive(Debug)]
pub struct Port {
    addr: SocketAddr,
    _socket: Socket,
}

impl Port {
    /// Reserves a free port of 127.0.0.1.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn reserve() -> Self {
        let reserved = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            let addr = socket.local_addr()?.as_socket();
            Ok::<_, std::io::Error>((socket, addr))
        };
        let (socket, addr) = reserved().expect("a free port");
        Self { addr: addr.expect("an IPv4 address"), _socket: socket }
    }

    /// The address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}
