//! Making a connection to an upstream.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::{
    Address, Location, Protocol, UpstreamPolicy,
    address::Place,
    names::Unresolved,
    stream::{Stream, Transport},
    tls::TlsError,
};

/// Makes connections to one endpoint.
pub(crate) struct Dialer {
    location: Location,
    target: Target,
    protocol: Protocol,
    /// Without the handshake of TLS, where that has a time of its own.
    timeout: Duration,
    tls_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    tls: Option<Tls>,
}

/// What is connected to.
enum Target {
    Unix(PathBuf),
    /// These, one after the other.
    Sockets(Vec<SocketAddr>),
    /// What a name stands for, which nobody knows yet.
    Unresolved(Unresolved),
}

/// What TLS towards one endpoint is made with.
struct Tls {
    connectors: Arc<Connectors>,
    name: ServerName<'static>,
}

/// What TLS towards all the endpoints of an upstream is made with.
pub(crate) struct Connectors {
    usual: TlsConnector,
    /// For connections that must speak HTTP/1.1 because they are to become something else.
    http1: TlsConnector,
}

impl Connectors {
    /// Those that `policy` needs, if it speaks TLS at all.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(policy: &UpstreamPolicy) -> Result<Option<Arc<Self>>, TlsError> {
        if !policy.addresses.iter().any(Address::is_tls) {
            return Ok(None);
        }
        let offered: &[&[u8]] = match policy.protocol {
            Protocol::Http1 => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2"],
            Protocol::Negotiated => &[b"h2", b"http/1.1"],
        };
        let connector = |config: Arc<ClientConfig>| TlsConnector::from(config);
        Ok(Some(Arc::new(Self {
            usual: connector(policy.tls.config(offered)?),
            http1: connector(policy.tls.config(&[b"http/1.1"])?),
        })))
    }
}

/// A stream, and what is spoken over it.
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    pub(crate) is_http2: bool,
}

impl Dialer {
    pub(crate) fn new(
        policy: &UpstreamPolicy,
        location: Location,
        connectors: Option<Arc<Connectors>>,
        unresolved: Unresolved,
    ) -> Result<Self, TlsError> {
        let target = match (location.address.place(), location.socket.map(|socket| vec![socket])) {
            (Place::Unix(path), _) => Target::Unix(path.clone()),
            (Place::Tcp { .. }, Some(found)) => Target::Sockets(found),
            (Place::Tcp { .. }, None) => {
                location.address.sockets().map_or(Target::Unresolved(unresolved), Target::Sockets)
            }
        };
        let tls = match (location.address.place(), connectors) {
            (Place::Tcp { host, tls: true, .. }, Some(connectors)) => {
                Some(Tls { connectors, name: policy.tls.server_name(host)? })
            }
            _ => None,
        };
        Ok(Self {
            location,
            target,
            protocol: policy.protocol,
            timeout: policy.connect_timeout,
            tls_timeout: policy.tls_timeout,
            write_timeout: policy.write_timeout,
            tls,
        })
    }

    /// Whether what its name stands for was not known when it was made.
    pub(crate) fn is_unresolved(&self) -> bool {
        matches!(self.target, Target::Unresolved(_))
    }

    /// Makes a connection. The error is for the log.
    pub(crate) async fn dial(&self) -> Result<Dialed, String> {
        self.in_time(self.connect(false)).await
    }

    /// Makes one that speaks HTTP/1.1.
    pub(crate) async fn dial_http1(&self) -> Result<Stream, String> {
        self.in_time(self.connect(true)).await.map(|dialed| dialed.stream)
    }

    async fn in_time(&self, dialing: impl Future<Output = Result<Dialed, String>>) -> Result<Dialed, String> {
        let location = &self.location;
        // With a time of its own for TLS each of the two steps is bounded by itself.
        let timeout = self.timeout + self.tls_timeout.unwrap_or_default();
        match tokio::time::timeout(timeout, dialing).await {
            Ok(Ok(dialed)) => Ok(dialed),
            Ok(Err(error)) => Err(format!("{location}: {error}")),
            Err(_) => Err(format!("{location}: no connection within {} ms", timeout.as_millis())),
        }
    }

    async fn connect(&self, http1: bool) -> Result<Dialed, String> {
        let told = |error: std::io::Error| error.to_string();
        let prior_knowledge = self.protocol == Protocol::Http2 && !http1;
        // With a time of its own for TLS each of the two steps is bounded by itself.
        let bound = self.tls_timeout.map(|_| self.timeout);
        let no = "no connection";
        let stream = match &self.target {
            Target::Unix(path) => {
                let stream = within(bound, no, UnixStream::connect(path)).await?;
                return Ok(self.dialed(Transport::Unix(stream), prior_knowledge));
            }
            Target::Sockets(sockets) => within(bound, no, TcpStream::connect(&sockets[..])).await?,
            Target::Unresolved(name) => {
                let connecting = async { TcpStream::connect(&name.sockets().await?[..]).await.map_err(told) };
                within(bound, no, connecting).await?
            }
        };
        stream.set_nodelay(true).map_err(told)?;
        let Some(tls) = &self.tls else {
            return Ok(self.dialed(Transport::Tcp(stream), prior_knowledge));
        };
        let connector = if http1 { &tls.connectors.http1 } else { &tls.connectors.usual };
        let handshake = connector.connect(tls.name.clone(), stream);
        let stream = within(self.tls_timeout, "no TLS", handshake).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        let is_http2 = agreed == Some(b"h2");
        if prior_knowledge && !is_http2 {
            return Err("it does not speak HTTP/2".into());
        }
        Ok(self.dialed(Transport::Tls(Box::new(stream)), is_http2))
    }

    fn dialed(&self, transport: Transport, is_http2: bool) -> Dialed {
        Dialed { stream: Stream::new(transport, self.write_timeout), is_http2 }
    }
}

/// Waits for one step, for so long at most.
async fn within<T, E: ToString>(
    limit: Option<Duration>,
    otherwise: &str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    let done = match limit {
        None => step.await,
        Some(limit) => tokio::time::timeout(limit, step)
            .await
            .map_err(|_| format!("{otherwise} within {} ms", limit.as_millis()))?,
    };
    done.map_err(|error| error.to_string())
}
