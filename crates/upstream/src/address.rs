//! Where an upstream is.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use http::{HeaderValue, Uri, uri::Scheme};

/// Where an upstream is: `http://host:port` or `https://host:port`, with a path that is put before every request's
/// own, if it has one; or `unix:/path/of/socket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    place: Place,
    path: String,
}

/// What is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A host, its IPv6 address without brackets, and a port.
    Tcp { host: String, port: u16, tls: bool },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A text is not an upstream's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It is not a URL.
    #[error("`{0}` is not a URL such as http://127.0.0.1:8000")]
    NotUrl(String),
    /// Its scheme is not spoken.
    #[error("`{0}`: an upstream's URL begins with http://, https:// or unix:")]
    Scheme(String),
    /// It has a query.
    #[error("`{0}`: an upstream's URL has no query")]
    Query(String),
    /// A socket's path is not absolute.
    #[error("`{0}`: the path of a Unix socket is absolute, as in unix:/run/app.sock")]
    Relative(String),
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') || path.len() == 1 {
                return Err(InvalidAddress::Relative(text.into()));
            }
            return Ok(Self { place: Place::Unix(path.into()), path: String::new() });
        }
        let uri: Uri = text.parse().map_err(|_| InvalidAddress::NotUrl(text.into()))?;
        let (Some(scheme), Some(host)) = (uri.scheme(), uri.host().filter(|host| !host.is_empty())) else {
            return Err(InvalidAddress::NotUrl(text.into()));
        };
        let tls = *scheme == Scheme::HTTPS;
        if !tls && *scheme != Scheme::HTTP {
            return Err(InvalidAddress::Scheme(text.into()));
        }
        if uri.query().is_some() {
            return Err(InvalidAddress::Query(text.into()));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = uri.path().trim_end_matches('/').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { place: Place::Tcp { host, port, tls }, path })
    }
}

impl Address {
    /// What is put before every request's path; empty or beginning with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.place, Place::Tcp { tls: true, .. })
    }

    /// Whether the same requests can be sent to both: scheme and path are the same.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        let is_unix = |address: &Self| matches!(address.place, Place::Unix(_));
        self.is_tls() == other.is_tls() && self.path == other.path && is_unix(self) == is_unix(other)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What has to be looked up before it can be connected to, and the port there; nothing where its host is an
    /// address, or this machine.
    pub(crate) fn name(&self) -> Option<(&str, u16)> {
        match &self.place {
            Place::Tcp { host, port, .. } if sockets_of(host, *port).is_none() => Some((host, *port)),
            Place::Tcp { .. } | Place::Unix(_) => None,
        }
    }

    /// Whether addresses behind it have to be looked up.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self.place, Place::Tcp { .. }) && self.sockets().is_none()
    }

    /// What is connected to, one after the other, where nothing has to be looked up.
    pub(crate) fn sockets(&self) -> Option<Vec<SocketAddr>> {
        match &self.place {
            Place::Tcp { host, port, .. } => sockets_of(host, *port),
            Place::Unix(_) => None,
        }
    }

    /// The scheme of requests to it.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.is_tls() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// The Host that its own URL names.
    pub(crate) fn authority(&self) -> HeaderValue {
        let text = match &self.place {
            Place::Tcp { .. } => {
                let origin = self.origin();
                origin.split_once("://").map_or(origin.clone(), |(_, authority)| authority.to_owned())
            }
            Place::Unix(_) => "localhost".to_owned(),
        };
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("upstream"))
    }

    /// It without its path, and without the port that its scheme means anyhow.
    fn origin(&self) -> String {
        match &self.place {
            Place::Tcp { host, port, tls } => {
                let scheme = if *tls { "https" } else { "http" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                match (*tls, *port) {
                    (true, 443) | (false, 80) => format!("{scheme}://{open}{host}{close}"),
                    _ => format!("{scheme}://{open}{host}{close}:{port}"),
                }
            }
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin(), self.path)
    }
}

/// The sockets of a host that is an address, or `localhost`: that name means this machine (RFC 6761, section 6.3),
/// and one server there may listen on either of its addresses.
fn sockets_of(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") => {
            vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
        }
        Err(_) => return None,
    };
    Some(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().expect(text)
    }

    #[test]
    fn an_address_is_a_url_or_a_socket() {
        let plain = address("http://localhost:8000/api/");
        assert_eq!((plain.path(), plain.is_tls()), ("/api", false));
        assert_eq!(plain.to_string(), "http://localhost:8000/api");
        assert_eq!(plain.authority(), "localhost:8000");
        let secure = address("https://bank.example/v1");
        assert!(secure.is_tls());
        assert_eq!(secure.place(), &Place::Tcp { host: "bank.example".into(), port: 443, tls: true });
        assert_eq!(secure.authority(), "bank.example");
        assert_eq!(address("http://[::1]:8080").to_string(), "http://[::1]:8080");
        assert_eq!(address("http://[::1]:8080").authority(), "[::1]:8080");
        let socket = address("unix:/run/app.sock");
        assert_eq!((socket.place(), socket.path()), (&Place::Unix("/run/app.sock".into()), ""));
        assert_eq!(socket.authority(), "localhost");
    }

    #[test]
    fn only_names_are_looked_up() {
        for (text, name, sockets) in [
            ("http://bank.example:8000", Some(("bank.example", 8000)), None),
            ("https://bank", Some(("bank", 443)), None),
            ("http://127.0.0.2:80", None, Some(vec!["127.0.0.2:80"])),
            ("https://[::1]", None, Some(vec!["[::1]:443"])),
            ("http://localhost:81", None, Some(vec!["[::1]:81", "127.0.0.1:81"])),
            ("http://LocalHost.:81", None, Some(vec!["[::1]:81", "127.0.0.1:81"])),
            ("unix:/run/app.sock", None, None),
        ] {
            let address = address(text);
            assert_eq!(address.name(), name, "{text}");
            let sockets = sockets.map(|all| all.iter().map(|one| one.parse().expect("a socket")).collect());
            assert_eq!(address.sockets(), sockets, "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        assert!(matches!("ftp://a".parse::<Address>(), Err(InvalidAddress::Scheme(_))));
        assert!(matches!(
            "localhost:8000".parse::<Address>(),
            Err(InvalidAddress::NotUrl(_) | InvalidAddress::Scheme(_))
        ));
        assert!(matches!("http://a/?q".parse::<Address>(), Err(InvalidAddress::Query(_))));
        assert!(matches!("unix:app.sock".parse::<Address>(), Err(InvalidAddress::Relative(_))));
        assert!(matches!("unix:/".parse::<Address>(), Err(InvalidAddress::Relative(_))));
    }
}
