//! Who is asked for the addresses behind a name: the system, in its own way, or the servers that a config names.
//!
//! The system's way is `getaddrinfo`: it alone knows what `nsswitch.conf` says, the hosts file, mDNS and whatever a
//! machine was set up with, and today's upstreams are found by it. It does not say for how long an answer is true,
//! so it is asked again every few seconds. Servers that are named are asked directly, and their answers' TTLs hold.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    Resolver as Stub, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RecordType},
};
use steadfast_core::{Answered, LookUp};

/// For how long an answer of the system is taken for true.
const SYSTEM_VALID_FOR: Duration = Duration::from_secs(5);
/// How long one server may take for one answer, and how often it is asked again.
const SERVER_TIMEOUT: Duration = Duration::from_secs(1);
const SERVER_RETRIES: usize = 1;
/// How long a whole look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds the addresses behind names; clones share their sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver(Way);

#[derive(Clone, Default)]
enum Way {
    /// As every program on this system does.
    #[default]
    System,
    /// By asking servers.
    Servers(Arc<TokioResolver>),
    /// By asking servers, which cannot be done, and why not.
    Broken(String),
}

impl fmt::Debug for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::System => "System",
            Self::Servers(_) => "Servers",
            Self::Broken(_) => "Broken",
        })
    }
}

/// What a look-up brought, and what there is to say about it in the log where it brought nothing.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) look_up: LookUp,
    pub(crate) detail: String,
}

impl Resolver {
    /// Asks the system.
    pub(crate) fn system() -> Self {
        Self(Way::System)
    }

    /// Asks these servers, over UDP and, where an answer is too long for it, over TCP; the system where there are
    /// none. Names are taken as they are written: neither the hosts file nor a search list is looked at.
    pub(crate) fn of_servers(servers: &[SocketAddr]) -> Self {
        if servers.is_empty() {
            return Self::system();
        }
        let mut config = ResolverConfig::default();
        for server in servers {
            let on_port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
            config.add_name_server(NameServerConfig::new(server.ip(), true, connections));
        }
        let mut builder = Stub::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = SERVER_TIMEOUT;
        options.attempts = SERVER_RETRIES;
        options.use_hosts_file = ResolveHosts::Never;
        // What is known is kept beside the endpoints.
        options.cache_size = 0;
        Self(match builder.build() {
            Ok(stub) => Way::Servers(Arc::new(stub)),
            Err(error) => Way::Broken(error.to_string()),
        })
    }

    /// Looks a name up.
    pub(crate) async fn look_up(&self, host: &str) -> Found {
        let looking = async {
            match &self.0 {
                Way::System => ask_system(host).await,
                Way::Servers(stub) => ask_servers(stub, host).await,
                Way::Broken(why) => {
                    found_of(Answered::NoAnswer, Answered::NoAnswer, Duration::ZERO, why.clone())
                }
            }
        };
        tokio::time::timeout(LOOK_UP_TIMEOUT, looking).await.unwrap_or_else(|_| {
            let detail = format!("no answer within {} ms", LOOK_UP_TIMEOUT.as_millis());
            found_of(Answered::NoAnswer, Answered::NoAnswer, Duration::ZERO, detail)
        })
    }
}

async fn ask_system(host: &str) -> Found {
    // The port means nothing to anybody.
    match tokio::net::lookup_host((host, 0)).await {
        Ok(found) => {
            let (v4, v6): (Vec<_>, Vec<_>) = found.map(|socket| socket.ip()).partition(IpAddr::is_ipv4);
            found_of(listed(v4), listed(v6), SYSTEM_VALID_FOR, "the name has no addresses".into())
        }
        // It does not tell a name that is not there from a server that is not.
        Err(error) => found_of(Answered::NoAnswer, Answered::NoAnswer, Duration::ZERO, error.to_string()),
    }
}

async fn ask_servers(stub: &TokioResolver, host: &str) -> Found {
    let mut name = match Name::from_utf8(host) {
        Ok(name) => name,
        Err(error) => {
            return found_of(Answered::Nothing, Answered::Nothing, Duration::ZERO, error.to_string());
        }
    };
    // Without a search list.
    name.set_fqdn(true);
    let (v4, v6) =
        tokio::join!(stub.lookup(name.clone(), RecordType::A), stub.lookup(name.clone(), RecordType::AAAA));
    let both = [&v4, &v6];
    let valid_for = both.into_iter().filter_map(|found| found.as_ref().ok().and_then(ttl)).min();
    let detail = both.into_iter().find_map(|found| found.as_ref().err().map(ToString::to_string));
    let detail = detail.unwrap_or_else(|| "the name has no addresses".into());
    found_of(answered(v4), answered(v6), valid_for.unwrap_or_default(), detail)
}

/// What was found, without the addresses of IPv6 where this machine has no route to any of them: to try those would
/// cost every other request a detour. Where there are no others they stay.
fn found_of(v4: Answered, v6: Answered, valid_for: Duration, detail: String) -> Found {
    let v6 = match (&v4, v6) {
        (Answered::Addresses(_), Answered::Addresses(all)) if !all.iter().any(has_route) => Answered::Nothing,
        (_, v6) => v6,
    };
    Found { look_up: LookUp { v4, v6, valid_for }, detail }
}

/// The time for which an answer's records are true.
fn ttl(found: &Lookup) -> Option<Duration> {
    let seconds = found.answers().iter().map(|record| record.ttl).min()?;
    Some(Duration::from_secs(seconds.into()))
}

fn answered(found: Result<Lookup, NetError>) -> Answered {
    match found {
        Ok(found) => listed(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect()),
        Err(error) if error.is_no_records_found() => Answered::Nothing,
        Err(_) => Answered::NoAnswer,
    }
}

fn listed(addresses: Vec<IpAddr>) -> Answered {
    if addresses.is_empty() { Answered::Nothing } else { Answered::Addresses(addresses) }
}

/// Whether this machine has a way to `address`. To connect a datagram socket sends nothing: the kernel only looks
/// for a route.
fn has_route(address: &IpAddr) -> bool {
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((unspecified, 0)).and_then(|socket| socket.connect((*address, 9))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_ipv6_without_a_route_are_left_out_beside_others() {
        let v4 = || Answered::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
        // Reserved for documentation or not, an address with a scope that no interface has is nowhere.
        let nowhere = || Answered::Addresses(vec!["ff00::1".parse().expect("an address")]);
        let detail = String::new;
        let found = found_of(v4(), nowhere(), Duration::ZERO, detail());
        if !has_route(&"ff00::1".parse().expect("an address")) {
            assert_eq!((found.look_up.v4, found.look_up.v6), (v4(), Answered::Nothing));
        }
        let found = found_of(Answered::Nothing, nowhere(), Duration::ZERO, detail());
        assert_eq!(found.look_up.v6, nowhere());
        let found = found_of(Answered::NoAnswer, nowhere(), Duration::ZERO, detail());
        assert_eq!(found.look_up.v6, nowhere());
    }

    #[test]
    fn there_is_a_way_to_this_machine() {
        assert!(has_route(&Ipv4Addr::LOCALHOST.into()));
    }

    #[tokio::test]
    async fn the_system_finds_what_its_hosts_file_says() {
        let found = Resolver::system().look_up("localhost").await;
        let LookUp { v4, v6, valid_for } = found.look_up;
        let is_loopback = |answered: &Answered| match answered {
            Answered::Addresses(all) => all.iter().all(IpAddr::is_loopback),
            Answered::Nothing | Answered::NoAnswer => true,
        };
        assert!(is_loopback(&v4) && is_loopback(&v6), "{v4:?} {v6:?}");
        assert!([v4, v6].iter().any(|answered| matches!(answered, Answered::Addresses(_))));
        assert_eq!(valid_for, SYSTEM_VALID_FOR);
    }
}
