//! Plays systemd: holds listening sockets, and hands them to whatever process it starts.

use std::{
    ffi::OsString,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Domain, Socket, Type};

/// Sockets that outlive the processes which serve on them.
#[derive(Debug)]
pub struct ServiceManager {
    sockets: Vec<(String, OwnedFd)>,
}

impl ServiceManager {
    /// Listens on these addresses, each socket with its name (`FileDescriptorName=`).
    ///
    /// # Panics
    /// One of them cannot be listened on.
    #[must_use]
    pub fn listening(sockets: &[(&str, SocketAddr)]) -> Self {
        let listen = |addr: SocketAddr| {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
            // Without SO_REUSEPORT: a process that bound the address itself would find it taken.
            socket.set_reuse_address(true)?;
            socket.bind(&addr.into())?;
            socket.listen(1024)?;
            let socket = OwnedFd::from(socket);
            // Processes that this one starts find it under the same number.
            fcntl_setfd(&socket, FdFlags::empty())?;
            Ok::<_, std::io::Error>(socket)
        };
        let sockets =
            sockets.iter().map(|(name, addr)| ((*name).to_owned(), listen(*addr).expect("a socket")));
        Self { sockets: sockets.collect() }
    }

    /// What to start instead of `program`, and the arguments that go before its own: it gets the sockets from number
    /// 3 on and is told so, as `sd_listen_fds(3)` has it.
    pub(crate) fn command(&self, program: &Path) -> (PathBuf, Vec<OsString>) {
        let moves: String = (3..)
            .zip(&self.sockets)
            .map(|(to, (_, from))| {
                // By way of numbers that none of them has.
                format!("exec {}<&{}; ", to + 500, from.as_raw_fd())
            })
            .collect();
        let places: String =
            (3..).zip(&self.sockets).map(|(to, _)| format!("exec {to}<&{0} {0}<&-; ", to + 500)).collect();
        let names: Vec<_> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        let script = format!(
            "{moves}{places}export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}; exec \"$@\"",
            self.sockets.len(),
            names.join(":"),
        );
        let arguments = ["-c".into(), script.into(), "bash".into(), program.into()];
        ("bash".into(), arguments.into())
    }
}
