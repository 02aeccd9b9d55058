//! Making a connection to an upstream.

use std::{sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::{Address, Protocol, UpstreamPolicy, address::Place, stream::Stream, tls::TlsError};

/// Makes connections to one upstream.
pub(crate) struct Dialer {
    address: Address,
    protocol: Protocol,
    timeout: Duration,
    tls: Option<Tls>,
}

/// What TLS is made with.
struct Tls {
    connector: TlsConnector,
    /// For connections that must speak HTTP/1.1 because they are to become something else.
    connector_http1: TlsConnector,
    name: ServerName<'static>,
}

/// A stream, and what is spoken over it.
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    pub(crate) is_http2: bool,
}

impl Dialer {
    pub(crate) fn new(policy: &UpstreamPolicy) -> Result<Self, TlsError> {
        let tls = match policy.address.place() {
            Place::Tcp { host, tls: true, .. } => {
                let offered: &[&[u8]] = match policy.protocol {
                    Protocol::Http1 => &[b"http/1.1"],
                    Protocol::Http2 => &[b"h2"],
                    Protocol::Negotiated => &[b"h2", b"http/1.1"],
                };
                let connector = |config: Arc<ClientConfig>| TlsConnector::from(config);
                Some(Tls {
                    connector: connector(policy.tls.config(offered)?),
                    connector_http1: connector(policy.tls.config(&[b"http/1.1"])?),
                    name: policy.tls.server_name(host)?,
                })
            }
            Place::Tcp { .. } | Place::Unix(_) => None,
        };
        let (address, protocol) = (policy.address.clone(), policy.protocol);
        Ok(Self { address, protocol, timeout: policy.connect_timeout, tls })
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
        let address = &self.address;
        match tokio::time::timeout(self.timeout, dialing).await {
            Ok(Ok(dialed)) => Ok(dialed),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: no connection within {} ms", self.timeout.as_millis())),
        }
    }

    async fn connect(&self, http1: bool) -> Result<Dialed, String> {
        let told = |error: std::io::Error| error.to_string();
        let prior_knowledge = self.protocol == Protocol::Http2 && !http1;
        match self.address.place() {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(told)?;
                Ok(Dialed { stream: Stream::Unix(stream), is_http2: prior_knowledge })
            }
            Place::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(told)?;
                stream.set_nodelay(true).map_err(told)?;
                let Some(tls) = &self.tls else {
                    return Ok(Dialed { stream: Stream::Tcp(stream), is_http2: prior_knowledge });
                };
                let connector = if http1 { &tls.connector_http1 } else { &tls.connector };
                let stream = connector.connect(tls.name.clone(), stream).await.map_err(told)?;
                let agreed = stream.get_ref().1.alpn_protocol();
                let is_http2 = agreed == Some(b"h2");
                if prior_knowledge && !is_http2 {
                    return Err("it does not speak HTTP/2".into());
                }
                Ok(Dialed { stream: Stream::Tls(Box::new(stream)), is_http2 })
            }
        }
    }
}
