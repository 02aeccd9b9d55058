//! Where an upstream is and how long each step towards it may take.

use std::{fmt, str::FromStr, time::Duration};

use http::{Uri, uri::Scheme};

/// Where an upstream is: `http://host:port`, with a path that is put before every request's own, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    path: String,
}

/// A text is not an upstream's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It is not a URL.
    #[error("`{0}` is not a URL such as http://127.0.0.1:8000")]
    NotUrl(String),
    /// Its scheme is not spoken.
    #[error("`{0}`: only http:// upstreams can be reached so far")]
    Scheme(String),
    /// It has a query.
    #[error("`{0}`: an upstream's URL has no query")]
    Query(String),
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|_| InvalidAddress::NotUrl(text.into()))?;
        let (Some(scheme), Some(host)) = (uri.scheme(), uri.host().filter(|host| !host.is_empty())) else {
            return Err(InvalidAddress::NotUrl(text.into()));
        };
        if *scheme != Scheme::HTTP {
            return Err(InvalidAddress::Scheme(text.into()));
        }
        if uri.query().is_some() {
            return Err(InvalidAddress::Query(text.into()));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), path })
    }
}

impl Address {
    /// Its host name or address, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port; 80 where the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is put before every request's path; empty or beginning with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "http://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(formatter, "http://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

/// How an upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPolicy {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// How long making a connection may take, name resolution included.
    pub connect_timeout: Duration,
    /// How long its answer's head may take, from the moment the request is handed over. Keyed requests have
    /// their own bound on the whole attempt.
    pub first_byte_timeout: Duration,
    /// How long an idle connection is kept for reuse. Shorter than the upstream's own, or requests meet
    /// connections that it is just closing.
    pub idle_timeout: Duration,
    /// How many idle connections each worker keeps.
    pub idle_max: usize,
}

impl UpstreamPolicy {
    /// The defaults: 2 s to connect, 30 s to the first byte, 512 connections kept for 4 s (below the 5 s after
    /// which the servers of Node and uvicorn close theirs).
    #[must_use]
    pub fn new(name: &str, address: Address) -> Self {
        Self {
            name: name.into(),
            address,
            connect_timeout: Duration::from_secs(2),
            first_byte_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(4),
            idle_max: 512,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_plain_http_url() {
        let address: Address = "http://localhost:8000/api/".parse().expect("an address");
        assert_eq!((address.host(), address.port(), address.path()), ("localhost", 8000, "/api"));
        assert_eq!("http://[::1]:80".parse::<Address>().expect("an address").to_string(), "http://[::1]:80");
        assert!(matches!("https://a".parse::<Address>(), Err(InvalidAddress::Scheme(_))));
        assert!(matches!(
            "localhost:8000".parse::<Address>(),
            Err(InvalidAddress::NotUrl(_) | InvalidAddress::Scheme(_))
        ));
        assert!(matches!("http://a/?q".parse::<Address>(), Err(InvalidAddress::Query(_))));
    }
}
