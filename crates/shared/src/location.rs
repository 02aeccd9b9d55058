//! Where the store is that nodes share: one Redis or Valkey, or the nodes of a Cluster.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// Where a shared store is, and how it is entered. Printing it never shows a password.
#[derive(Clone)]
pub struct Location {
    pub(crate) servers: Vec<ConnectionInfo>,
    pub(crate) is_cluster: bool,
}

/// A location that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocation {
    /// It is no URL of a Redis.
    #[error("it is no redis://, rediss:// or valkey:// URL with a host")]
    NotAUrl,
    /// A Cluster has database 0 only.
    #[error("a Cluster has no databases but 0: leave the number out")]
    ClusterDatabase,
    /// The nodes of a Cluster are found by address.
    #[error("the nodes of a Cluster are named by host and port, not by a socket's path")]
    ClusterSocket,
    /// The nodes of a Cluster are entered in one way.
    #[error("the nodes of one Cluster are entered alike: the same user and password, all with TLS or none")]
    ClusterMixed,
    /// There is nothing in the list.
    #[error("the list names no node")]
    Nothing,
}

impl Location {
    /// One server, by its URL: `redis://`, `rediss://` (TLS, judged by the system's roots) or
    /// `redis+unix:///PATH`; `valkey` may stand for `redis` in each. `password` stands in for one that the URL does
    /// not have.
    ///
    /// # Errors
    /// [`InvalidLocation`] says what is wrong with it.
    pub fn single(url: &str, password: Option<&str>) -> Result<Self, InvalidLocation> {
        Ok(Self { servers: vec![server(url, password)?], is_cluster: false })
    }

    /// A Cluster, by the URLs of some of its nodes; the others are found through them.
    ///
    /// # Errors
    /// [`InvalidLocation`] says what is wrong with them.
    pub fn cluster<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        password: Option<&str>,
    ) -> Result<Self, InvalidLocation> {
        let servers =
            urls.into_iter().map(|url| server(url, password)).collect::<Result<Vec<_>, InvalidLocation>>()?;
        let Some(first) = servers.first() else { return Err(InvalidLocation::Nothing) };
        for server in &servers {
            if matches!(server.addr(), ConnectionAddr::Unix(_)) {
                return Err(InvalidLocation::ClusterSocket);
            }
            if server.redis_settings().db() != 0 {
                return Err(InvalidLocation::ClusterDatabase);
            }
            if entered(server) != entered(first) {
                return Err(InvalidLocation::ClusterMixed);
            }
        }
        Ok(Self { servers, is_cluster: true })
    }

    /// Whether it is a Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.is_cluster
    }
}

/// How a server is entered: user, password, TLS.
fn entered(server: &ConnectionInfo) -> (Option<&str>, Option<&str>, bool) {
    let settings = server.redis_settings();
    let is_tls = matches!(server.addr(), ConnectionAddr::TcpTls { .. });
    (settings.username(), settings.password(), is_tls)
}

fn server(url: &str, password: Option<&str>) -> Result<ConnectionInfo, InvalidLocation> {
    let server = url.into_connection_info().map_err(|_| InvalidLocation::NotAUrl)?;
    let mut settings = server.redis_settings().clone();
    if let (None, Some(password)) = (settings.password(), password) {
        settings = settings.set_password(password);
    }
    Ok(server.set_redis_settings(settings))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, server) in self.servers.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { ", " }, server.addr())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl Eq for Location {}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&ConnectionInfo, &ConnectionInfo)| {
            a.addr() == b.addr()
                && entered(a) == entered(b)
                && a.redis_settings().db() == b.redis_settings().db()
        };
        self.is_cluster == other.is_cluster
            && self.servers.len() == other.servers.len()
            && self.servers.iter().zip(&other.servers).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_neither_user_nor_password() {
        let location = Location::single("redis://me:secret@cache.internal:6380/3", None).expect("a URL");
        assert_eq!(location.to_string(), "cache.internal:6380");
        assert_eq!(format!("{location:?}"), "Location(cache.internal:6380)");
    }

    #[test]
    fn a_password_apart_stands_in_for_one_that_the_url_does_not_have() {
        let with = |url| {
            let location = Location::single(url, Some("apart")).expect("a URL");
            location.servers[0].redis_settings().password().map(str::to_owned)
        };
        assert_eq!(with("redis://127.0.0.1").as_deref(), Some("apart"));
        assert_eq!(with("redis://:within@127.0.0.1").as_deref(), Some("within"));
    }

    #[test]
    fn refuses_what_is_no_server_or_no_cluster() {
        let single = |url| Location::single(url, None).err();
        assert_eq!(single("postgres://127.0.0.1"), Some(InvalidLocation::NotAUrl));
        assert_eq!(single("127.0.0.1:6379"), Some(InvalidLocation::NotAUrl));
        assert_eq!(single("rediss://cache.internal"), None);
        let cluster = |urls: &[&str]| Location::cluster(urls.iter().copied(), None).err();
        assert_eq!(cluster(&[]), Some(InvalidLocation::Nothing));
        assert_eq!(cluster(&["redis://a/1"]), Some(InvalidLocation::ClusterDatabase));
        assert_eq!(cluster(&["redis+unix:///run/redis.sock"]), Some(InvalidLocation::ClusterSocket));
        assert_eq!(cluster(&["redis://a", "rediss://b"]), Some(InvalidLocation::ClusterMixed));
        assert_eq!(cluster(&["redis://:x@a", "redis://:y@b"]), Some(InvalidLocation::ClusterMixed));
        assert_eq!(cluster(&["redis://a:7000", "redis://b:7001"]), None);
    }
}
