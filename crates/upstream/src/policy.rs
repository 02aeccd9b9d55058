//! How an upstream is reached: where it is, what is spoken there, and how long each step towards it may take.

use std::{net::SocketAddr, time::Duration};

use http::HeaderValue;
use steadfast_core::{AnswerPolicy, circuit::CircuitPolicy};

use crate::{Address, AnswerRules, HealthPolicy, TlsClient};

/// How an upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPolicy {
    /// Its name.
    pub name: String,
    /// Where its endpoints are: at least one, all with the same scheme and path.
    pub addresses: Vec<Address>,
    /// Which version of HTTP it speaks.
    pub protocol: Protocol,
    /// Whose certificates are believed and which is shown; of meaning where the address says `https`.
    pub tls: TlsClient,
    /// Which Host it is asked for.
    pub host: HostPolicy,
    /// How long making a connection may take, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// How long the TLS handshake may take, where it does not count as part of making the connection.
    pub tls_timeout: Option<Duration>,
    /// How long it may take no byte of what is being sent to it.
    pub write_timeout: Option<Duration>,
    /// How long its answer's head may take, from the moment the request is handed over. Keyed requests have
    /// their own bound on the whole attempt.
    pub first_byte_timeout: Duration,
    /// How long one try may take in all, connecting included, to its answer's head; `total_timeout` unless stated.
    /// Not of keyed requests.
    pub try_timeout: Option<Duration>,
    /// The same of all tries together; whoever makes several sees to the rest.
    pub total_timeout: Duration,
    /// How long an answer's body, or a tunnel, may stay without a byte.
    pub between_bytes_timeout: Duration,
    /// How long an idle connection is kept for reuse. Shorter than the upstream's own, or requests meet
    /// connections that it is just closing.
    pub idle_timeout: Duration,
    /// How many idle connections each worker keeps.
    pub idle_max: usize,
    /// How the statuses of its answers are read.
    pub answers: AnswerPolicy,
    /// The servers that are asked for the addresses behind its name; the system where there are none.
    pub resolver: Vec<SocketAddr>,
    /// How its endpoints are checked; they are not unless this is stated.
    pub health: Option<HealthPolicy>,
    /// What opens the circuit of an endpoint; none has one unless stated.
    pub circuit: Option<CircuitPolicy>,
    /// For how long an endpoint that is new, or well again, gets less than its share of requests. Its share at once,
    /// unless stated.
    pub slow_start: Option<Duration>,
    /// What says more than their statuses do.
    pub rules: AnswerRules,
}

/// Which version of HTTP an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS, with prior knowledge without.
    Http2,
    /// What TLS agrees on (ALPN), HTTP/2 first; HTTP/1.1 without TLS.
    Negotiated,
}

/// Which Host an upstream is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// The one that the caller asked for.
    Caller,
    /// The one in the upstream's own URL.
    Upstream,
    /// This one.
    Named(HeaderValue),
}

impl UpstreamPolicy {
    /// Whether it may have several endpoints: places of its own, or addresses behind a name.
    #[must_use]
    pub fn may_have_several_endpoints(&self) -> bool {
        self.addresses.len() > 1 || self.addresses.iter().any(Address::is_name)
    }

    /// The defaults: HTTP/1.1 and the caller's Host over `http` and Unix sockets, what ALPN agrees on and the
    /// upstream's own Host over `https`; 2 s to connect, 30 s to the first byte and in all, 5 min between bytes, 512
    /// connections kept for 4 s (below the 5 s after which the servers of Node and uvicorn close theirs).
    #[must_use]
    pub fn new(name: &str, address: Address) -> Self {
        let (protocol, host) = if address.is_tls() {
            (Protocol::Negotiated, HostPolicy::Upstream)
        } else {
            (Protocol::Http1, HostPolicy::Caller)
        };
        Self {
            name: name.into(),
            addresses: vec![address],
            protocol,
            tls: TlsClient::default(),
            host,
            connect_timeout: Duration::from_secs(2),
            tls_timeout: None,
            write_timeout: None,
            first_byte_timeout: Duration::from_secs(30),
            try_timeout: None,
            total_timeout: Duration::from_secs(30),
            between_bytes_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(4),
            idle_max: 512,
            answers: AnswerPolicy::default(),
            resolver: Vec::new(),
            health: None,
            circuit: None,
            slow_start: None,
            rules: AnswerRules::default(),
        }
    }
}
