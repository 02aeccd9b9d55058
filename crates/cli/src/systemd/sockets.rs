//! Sockets that a service manager listens on and hands over (`LISTEN_FDS`, `sd_listen_fds(3)`).
//!
//! They stay open while one process follows another: whoever calls in between waits in the kernel's queue instead
//! of being refused.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use steadfast_gateway::{HandedOver, config::Config};

/// The name of a socket that callers are served on.
const PROXY: &str = "proxy";
/// The name of the socket that the admin API is served on.
const ADMIN: &str = "admin";

/// What was handed over; nothing where nobody hands over anything.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Where callers are served. Several for a listener, where the manager opened several on one address.
    pub(crate) proxy: HandedOver,
    /// Where the admin API is served.
    pub(crate) admin: Option<TcpListener>,
}

/// A socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// It is of another kind.
    #[error(
        "the socket `{name}` that the service manager handed over cannot be used: {error}; give it a ListenStream= of an \
         IP address and a port"
    )]
    Unusable { name: String, error: io::Error },
    /// Nobody knows what it is for.
    #[error(
        "the service manager handed over the socket `{name}` on {address}, which is neither a listener's ({listeners}) \
         nor `admin` ({admin}): name it with FileDescriptorName=proxy or =admin, or give it one of these addresses"
    )]
    Unknown { name: String, address: SocketAddr, listeners: String, admin: SocketAddr },
    /// Two of what there is one of.
    #[error("the service manager handed over more than one socket for the admin API: leave one of them")]
    TwoAdmins,
}

impl Sockets {
    /// Takes over what was handed to this process, by the names of the sockets (`proxy`, `admin`), or else by the
    /// addresses of `config`. Only the first call gets anything.
    ///
    /// # Errors
    /// [`SocketError`] where one of them cannot be used: to leave it aside would be to let its callers wait for ever.
    pub(crate) fn take(config: &Config) -> Result<Self, SocketError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed_over = ListenFd::from_env();
        let mut sockets = Self::default();
        for index in 0..handed_over.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
            let unusable = |error| SocketError::Unusable { name: name.clone(), error };
            let Some(socket) = handed_over.take_tcp_listener(index).map_err(unusable)? else { continue };
            let address = socket.local_addr().map_err(unusable)?;
            match meant(&name, address, config) {
                Some(Meant::Listener(number)) => sockets.proxy.entry(number).or_default().push(socket),
                Some(Meant::Admin) if sockets.admin.is_some() => return Err(SocketError::TwoAdmins),
                Some(Meant::Admin) => sockets.admin = Some(socket),
                None => {
                    let listeners: Vec<_> =
                        config.listeners.iter().map(|listener| listener.address.to_string()).collect();
                    let (listeners, admin) = (listeners.join(", "), config.admin);
                    return Err(SocketError::Unknown { name, address, listeners, admin });
                }
            }
        }
        Ok(sockets)
    }
}

/// What a socket is for.
#[derive(Debug, PartialEq, Eq)]
enum Meant {
    /// Callers of the listener with this number.
    Listener(usize),
    /// The admin API.
    Admin,
}

/// What a socket is for. One that is only called `proxy` is the first listener's.
fn meant(name: &str, address: SocketAddr, config: &Config) -> Option<Meant> {
    // A socket on [::] takes IPv4 callers too: it is what `:8080` asks for.
    let is_at = |wanted: SocketAddr| {
        let is_any = wanted.ip().is_unspecified() && address.ip().is_unspecified();
        wanted.port() == address.port()
            && (wanted.ip().to_canonical() == address.ip().to_canonical() || is_any)
    };
    let listener = config.listeners.iter().position(|listener| is_at(listener.address));
    match (name, listener) {
        (ADMIN, _) => Some(Meant::Admin),
        (PROXY, number) => Some(Meant::Listener(number.unwrap_or(0))),
        (_, Some(number)) => Some(Meant::Listener(number)),
        (_, None) => is_at(config.admin).then_some(Meant::Admin),
    }
}

#[cfg(test)]
mod tests {
    use steadfast_gateway::config::{Environment, Overrides, parse};

    use super::*;

    #[test]
    fn a_socket_is_known_by_its_name_or_else_by_its_address() {
        let text =
            "listen = \":8080\"\nadmin = \"127.0.0.1:8081\"\n[[listeners]]\naddress = \"127.0.0.1:8443\"";
        let config = parse("f", text, &Environment::default(), &Overrides::default()).unwrap().config;
        for (name, address, expected) in [
            ("proxy", "127.0.0.1:1", Some(Meant::Listener(0))),
            ("proxy", "127.0.0.1:8443", Some(Meant::Listener(1))),
            ("admin", "127.0.0.1:1", Some(Meant::Admin)),
            ("steadfast.socket", "0.0.0.0:8080", Some(Meant::Listener(0))),
            ("steadfast.socket", "[::]:8080", Some(Meant::Listener(0))),
            ("steadfast.socket", "127.0.0.1:8443", Some(Meant::Listener(1))),
            ("steadfast.socket", "127.0.0.1:8081", Some(Meant::Admin)),
            ("steadfast.socket", "[::ffff:127.0.0.1]:8081", Some(Meant::Admin)),
            ("steadfast.socket", "127.0.0.1:8080", None),
            ("unknown", "[::]:8081", None),
        ] {
            assert_eq!(meant(name, address.parse().unwrap(), &config), expected, "{name} {address}");
        }
    }
}
