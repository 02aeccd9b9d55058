//! Telling upstreams who is calling: `X-Forwarded-*`, `Forwarded` (RFC 7239), `Via` and `Client-Cert` (RFC 9440). What
//! callers say of themselves in these fields is believed of trusted proxies only.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Version, header};
use ipnet::IpNet;
use steadfast_layers::REQUEST_ID_HEADER;

use crate::{
    caller::Caller,
    config::{Forwarding, ForwardingStyle},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// Whether the gateway writes this field of a request: says in it who is calling or which request it is, or takes away
/// what they say there.
pub(crate) fn is_told(name: &HeaderName) -> bool {
    const TOLD: [HeaderName; 8] = [
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_FORWARDED_HOST,
        CLIENT_CERT,
        CLIENT_CERT_CHAIN,
        header::FORWARDED,
        header::VIA,
        REQUEST_ID_HEADER,
    ];
    TOLD.contains(name)
}

/// How many fields a request gets at the edge and after it, about.
pub(crate) const FIELDS_ADDED: usize = 7;

impl Forwarding {
    /// Whether this address is that of a proxy that is believed.
    fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network: &IpNet| network.contains(&ip))
    }

    /// Who is calling, where a trusted proxy connected: the last address in `X-Forwarded-For` that none of them has.
    pub(crate) fn client(&self, caller: &Caller, headers: &HeaderMap) -> Option<IpAddr> {
        if self.trusted.is_empty() || !self.trusts(caller.ip) {
            return None;
        }
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.rsplit(','));
        let mut client = caller.ip;
        for hop in hops {
            let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
            client = ip.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }

    /// Says in the request's head who is calling. The host that they ask for is in its `Host`, whatever the target.
    pub(crate) fn stamp<B>(&self, caller: &Caller, request: &mut Request<B>) {
        let trusted = !self.trusted.is_empty() && self.trusts(caller.ip);
        let host =
            request.headers().get(header::HOST).filter(|_| self.style != ForwardingStyle::None).cloned();
        let version = request.version();
        let headers = request.headers_mut();
        if !trusted {
            for name in [header::FORWARDED, CLIENT_CERT, CLIENT_CERT_CHAIN] {
                headers.remove(name);
            }
        }
        if let Some(certificate) = &caller.certificate {
            headers.insert(CLIENT_CERT, certificate.clone());
        }
        let proto = if caller.is_tls { "https" } else { "http" };
        if matches!(self.style, ForwardingStyle::Forwarded | ForwardingStyle::Both) {
            forwarded(headers, caller, proto, host.as_ref());
        }
        match self.style {
            ForwardingStyle::XForwarded | ForwardingStyle::Both => {
                x_forwarded(headers, caller, proto, host, trusted);
            }
            ForwardingStyle::None | ForwardingStyle::Forwarded => {
                if !trusted {
                    for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST] {
                        headers.remove(name);
                    }
                }
            }
        }
        if self.via {
            let by = if version == Version::HTTP_2 { "2 steadfast" } else { "1.1 steadfast" };
            append(headers, header::VIA, HeaderValue::from_static(by));
        }
    }
}

fn x_forwarded(
    headers: &mut HeaderMap,
    caller: &Caller,
    proto: &'static str,
    host: Option<HeaderValue>,
    trusted: bool,
) {
    if trusted {
        append(headers, X_FORWARDED_FOR, caller.ip_value.clone());
        if headers.contains_key(X_FORWARDED_PROTO) {
            return;
        }
    } else {
        headers.insert(X_FORWARDED_FOR, caller.ip_value.clone());
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    match host {
        Some(host) => drop(headers.insert(X_FORWARDED_HOST, host)),
        None => drop(headers.remove(X_FORWARDED_HOST)),
    }
}

fn forwarded(headers: &mut HeaderMap, caller: &Caller, proto: &str, host: Option<&HeaderValue>) {
    let ip = match caller.ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    };
    let mut element = format!("for={ip};proto={proto}");
    // A host that would need escapes is none.
    let host = host.and_then(|host| host.to_str().ok());
    if let Some(host) = host.filter(|host| !host.contains(['"', '\\'])) {
        element.push_str(&format!(";host=\"{host}\""));
    }
    if let Ok(element) = HeaderValue::from_str(&element) {
        append(headers, header::FORWARDED, element);
    }
}

/// Adds a member to a list field, in one line.
fn append(headers: &mut HeaderMap, name: HeaderName, member: HeaderValue) {
    let mut before = headers.get_all(&name).iter();
    let value = match (before.next(), before.next()) {
        (None, _) => member,
        (Some(only), None) => joined([only.as_bytes(), member.as_bytes()]).unwrap_or(member),
        (Some(_), Some(_)) => {
            headers.append(name, member);
            return;
        }
    };
    headers.insert(name, value);
}

fn joined(members: [&[u8]; 2]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&members.join(&b", "[..])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarding(style: ForwardingStyle, trusted: &[&str]) -> Forwarding {
        let trusted = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        Forwarding { style, via: true, trusted }
    }

    fn caller(ip: &str) -> Caller {
        Caller::new(ip.parse().expect("an address"), true, None)
    }

    fn stamped(forwarding: &Forwarding, ip: &str, fields: &[(&str, &str)]) -> HeaderMap {
        let mut request = Request::builder().uri("/").header("host", "shop.example");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).expect("a request");
        forwarding.stamp(&caller(ip), &mut request);
        request.into_parts().0.headers
    }

    const FORGED: [(&str, &str); 5] = [
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-proto", "gopher"),
        ("forwarded", "for=203.0.113.1"),
        ("client-cert", ":AAAA:"),
        ("x-forwarded-host", "evil.example"),
    ];

    #[test]
    fn what_a_stranger_says_of_itself_is_replaced() {
        let headers = stamped(&forwarding(ForwardingStyle::Both, &[]), "192.0.2.7", &FORGED);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "shop.example");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;proto=https;host=\"shop.example\"");
        assert_eq!(headers["via"], "1.1 steadfast");
        assert!(!headers.contains_key("client-cert"));
        let headers = stamped(&forwarding(ForwardingStyle::None, &[]), "192.0.2.7", &FORGED);
        assert_eq!(headers.len(), 2, "{headers:?}");
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_continued() {
        let forwarding = forwarding(ForwardingStyle::XForwarded, &["10.0.0.0/8"]);
        let fields = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-proto", "http"), ("via", "1.0 old")];
        let headers = stamped(&forwarding, "10.1.2.3", &fields);
        assert_eq!(headers["x-forwarded-for"], "203.0.113.1, 10.1.2.3");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["via"], "1.0 old, 1.1 steadfast");
    }

    #[test]
    fn the_client_is_the_last_one_that_is_no_trusted_proxy() {
        let forwarding = forwarding(ForwardingStyle::XForwarded, &["10.0.0.0/8", "127.0.0.1/32"]);
        for (connected, said, client) in [
            ("192.0.2.7", "203.0.113.1", "nobody else"),
            ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
            ("10.0.0.1", "1.1.1.1, 203.0.113.1, 10.0.0.2", "203.0.113.1"),
            ("10.0.0.1", "forged, nonsense", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
            ("::ffff:10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(X_FORWARDED_FOR, said.parse().expect("a value"));
            let found = forwarding.client(&caller(connected), &headers);
            let found = found.map_or_else(|| "nobody else".to_owned(), |ip| ip.to_string());
            assert_eq!(found, client, "{connected} said {said}");
        }
    }

    #[test]
    fn an_ipv6_address_is_quoted_in_forwarded() {
        let headers = stamped(&forwarding(ForwardingStyle::Forwarded, &[]), "2001:db8::1", &[]);
        assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";proto=https;host=\"shop.example\"");
    }
}
