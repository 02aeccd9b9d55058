//! Checks what a config says of how names are found.

use std::net::{IpAddr, SocketAddr};

use super::{
    super::raw::{At, RawResolver},
    Checker, Finding,
};

/// The port that DNS servers are asked on unless another one is stated.
const DNS_PORT: u16 = 53;
/// How many servers there may be.
const SERVERS_MAX: usize = 8;

impl Checker<'_> {
    /// The servers that are asked for names; none where the system is.
    pub(super) fn resolver(&mut self, raw: Option<&At<RawResolver>>) -> Vec<SocketAddr> {
        let Some(servers) = raw.and_then(|raw| raw.get().servers.as_ref()) else { return Vec::new() };
        let stated = servers.get().len();
        if !(1..=SERVERS_MAX).contains(&stated) {
            self.error(
                &servers.span(),
                format!("`resolver.servers` names {stated} servers, and has to name 1 to {SERVERS_MAX}"),
                "name those that are nearest, or remove `servers` to let the system find names".into(),
            );
        }
        let mut found = Vec::new();
        for server in servers.get() {
            let Some(address) = self.take(&server.span(), parse_server(server.get())) else { continue };
            if found.contains(&address) {
                self.warn(&server.span(), format!("`resolver.servers` has {address} twice"));
            } else {
                found.push(address);
            }
        }
        found
    }
}

fn parse_server(text: &str) -> Finding<SocketAddr> {
    let address = text
        .parse()
        .or_else(|_| text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)));
    match address {
        Ok(address) if address.port() == 0 || address.ip().is_unspecified() => Err((
            format!("`resolver.servers`: nobody can be asked at `{text}`"),
            "write the address of a DNS server, such as \"10.0.0.2\" or \"10.0.0.2:53\"".into(),
        )),
        Ok(address) => Ok(address),
        Err(_) => Err((
            format!("`resolver.servers`: `{}` is not an address", text.escape_debug()),
            "write an address such as \"10.0.0.2\", \"10.0.0.2:5353\" or \"[fd00::2]:53\"; a server's own name could \
             not be looked up"
                .into(),
        )),
    }
}
