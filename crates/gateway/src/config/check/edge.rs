//! Checks what a config says of listeners and of the connections that they take.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;

use super::{
    super::{
        EdgePolicy, Forwarding, ForwardingStyle, Listener, ServerTls,
        raw::{At, RawConfig, RawEdge, RawForwarded, RawListener, RawListenerTls},
    },
    Checker, Finding, time_or, whole,
};
use crate::certificates::Certificates;

/// Where callers are served unless something else is stated.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

impl Checker<'_> {
    /// Every address where callers are served.
    pub(super) fn listeners(&mut self, raw: &RawConfig) -> Option<Vec<Listener>> {
        let mut listeners: Vec<Option<Listener>> = Vec::new();
        if raw.listen.is_some() || raw.listeners.is_empty() {
            let address = self.socket(raw.listen.as_ref(), "listen", SocketAddr::from(LISTEN));
            listeners.push(address.map(Listener::plain));
        }
        for raw in &raw.listeners {
            let listener = self.listener(raw.get());
            let twice = |other: &Listener| {
                let address = listener.as_ref().map(|listener| listener.address);
                other.address.port() != 0 && Some(other.address) == address
            };
            if listeners.iter().flatten().any(twice) {
                let address = &raw.get().address;
                let what = format!("two listeners take `{}`", address.get());
                self.error(&address.span(), what, "give one of them another port".into());
            }
            listeners.push(listener);
        }
        listeners.into_iter().collect()
    }

    fn listener(&mut self, raw: &RawListener) -> Option<Listener> {
        let address = self.socket(Some(&raw.address), "listeners.address", SocketAddr::from(LISTEN));
        let proxy_protocol = self.networks(raw.proxy_protocol.as_ref(), "proxy_protocol");
        let tls = match &raw.tls {
            Some(tls) => Some(self.listener_tls(tls)?),
            None => None,
        };
        let half_close = raw.half_close.as_ref().is_some_and(|half_close| *half_close.get());
        Some(Listener { address: address?, tls, proxy_protocol, half_close })
    }

    fn listener_tls(&mut self, raw: &At<RawListenerTls>) -> Option<ServerTls> {
        let (span, raw) = (raw.span(), raw.get());
        let (certificates, keys) = (raw.certificate_files.get(), raw.key_files.get());
        if certificates.is_empty() || certificates.len() != keys.len() {
            let what =
                format!("`tls` has {} certificate files and {} key files", certificates.len(), keys.len());
            self.error(&span, what, "name a key file for each certificate file, in the same order".into());
            return None;
        }
        if let (Some(required), None) = (&raw.client_required, &raw.client_ca_file) {
            let what = "`client_required` without `client_ca_file`: no certificate could be believed";
            self.error(&required.span(), what.into(), "add client_ca_file".into());
            return None;
        }
        let path = |text: &At<String>| PathBuf::from(text.get());
        let tls = ServerTls {
            certificates: certificates.iter().map(path).zip(keys.iter().map(path)).collect(),
            client_ca: raw.client_ca_file.as_ref().map(path),
            client_required: raw.client_required.as_ref().is_some_and(|required| *required.get()),
        };
        let next = "name PEM files that the user whom the gateway runs as can read";
        let usable = Certificates::load(&tls);
        self.take(&span, usable.map_err(|error| (format!("`tls`: {error}"), next.into())))?;
        Some(tls)
    }

    /// What a connection may ask of the gateway.
    pub(super) fn edge(&mut self, raw: Option<&At<RawEdge>>) -> EdgePolicy {
        let default = EdgePolicy::default();
        let Some(raw) = raw.map(At::get) else { return default };
        EdgePolicy {
            header_timeout: time_or(raw.header_timeout.as_ref(), default.header_timeout),
            headers_max: raw.headers_max.as_ref().map_or(default.headers_max, |max| whole(*max.get())),
            header_bytes_max: raw
                .header_bytes_max
                .as_ref()
                .map_or(default.header_bytes_max, |max| whole(max.get().0)),
            uri_bytes_max: raw.uri_bytes_max.as_ref().map_or(default.uri_bytes_max, |max| whole(max.get().0)),
            body_bytes_max: raw.body_bytes_max.as_ref().map(|max| max.get().0),
            body_timeout: time_or(raw.body_timeout.as_ref(), default.body_timeout),
            write_timeout: time_or(raw.write_timeout.as_ref(), default.write_timeout),
            connections_max: raw
                .connections_max
                .as_ref()
                .map_or(default.connections_max, |max| whole(*max.get())),
            streams_max: raw
                .streams_max
                .as_ref()
                .map_or(default.streams_max, |max| u32::try_from(*max.get()).unwrap_or(u32::MAX)),
            forwarding: Forwarding {
                style: match raw.forwarded.as_ref().map(At::get) {
                    None => default.forwarding.style,
                    Some(RawForwarded::None) => ForwardingStyle::None,
                    Some(RawForwarded::XForwarded) => ForwardingStyle::XForwarded,
                    Some(RawForwarded::Forwarded) => ForwardingStyle::Forwarded,
                    Some(RawForwarded::Both) => ForwardingStyle::Both,
                },
                via: raw.via.as_ref().map_or(default.forwarding.via, |via| *via.get()),
                trusted: self.networks(raw.trusted_proxies.as_ref(), "trusted_proxies"),
            },
        }
    }

    fn networks(&mut self, raw: Option<&At<Vec<At<String>>>>, key: &str) -> Vec<IpNet> {
        let texts = raw.map(At::get).into_iter().flatten();
        texts.filter_map(|text| self.take(&text.span(), parse_network(text.get(), key))).collect()
    }
}

/// Reads `10.0.0.0/8`, or one address.
fn parse_network(text: &str, key: &str) -> Finding<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| {
        (
            format!("`{key}`: `{}` is neither a network nor an address", text.escape_debug()),
            "write 10.0.0.0/8, 192.0.2.7 or fd00::/8".into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses() {
        for (text, expected) in
            [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.7", "192.0.2.7/32"), ("fd00::/8", "fd00::/8")]
        {
            assert_eq!(parse_network(text, "x").map(|network| network.to_string()).as_deref(), Ok(expected));
        }
        for text in ["", "10.0.0.0/33", "example.org", "10.0.0"] {
            assert!(parse_network(text, "x").is_err(), "{text}");
        }
    }
}
