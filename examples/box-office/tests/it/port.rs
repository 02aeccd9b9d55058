//! A port that nobody else gets while a service is down.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of this test's own, until dropped.
///
/// The socket is bound and never listens. Whoever names the port may bind it too (SO_REUSEADDR), but whoever asks for
/// any free port is given another: or a test that restarts a service would now and then find its port taken.
pub(crate) struct Port {
    socket: Socket,
}

impl Port {
    pub(crate) fn reserve() -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        Port { socket }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap().as_socket().unwrap()
    }
}
