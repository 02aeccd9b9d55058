//! What the config says of connections and listeners.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Size, Time};

/// What a connection may ask of the gateway.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawEdge {
    /// How long a request's head may take to arrive, and how long a connection may stay idle between requests.
    #[schemars(extend("default" = "1m", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header_timeout: Option<At<Time>>,
    /// How many header fields a request may have.
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) headers_max: Option<At<u64>>,
    /// How many bytes a request's head may have.
    #[schemars(extend("default" = "64KB", "x-min" = "8KB", "x-max" = "1MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) header_bytes_max: Option<At<Size>>,
    /// How long a request's body may stay away without a byte.
    #[schemars(extend("default" = "30s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) body_timeout: Option<At<Time>>,
    /// How many connections each worker holds at once, on each listener.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 20000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) connections_max: Option<At<u64>>,
    /// How many bytes a request's target may have. A longer one is refused with 414.
    #[schemars(extend("default" = "16KB", "x-min" = "256B", "x-max" = "64KB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) uri_bytes_max: Option<At<Size>>,
    /// The largest body of any request; keyed ones have `request_bytes_max` too. No bound unless stated: what streams
    /// through takes no memory.
    #[schemars(extend("x-min" = "1B"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) body_bytes_max: Option<At<Size>>,
    /// How long a caller may take no byte of what waits for it; then its connection is closed.
    #[schemars(extend("default" = "1m", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) write_timeout: Option<At<Time>>,
    /// How many requests a connection of HTTP/2 may have under way.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) streams_max: Option<At<u64>>,
    /// How upstreams are told who is calling. What callers themselves say of it is removed, unless they are
    /// `trusted_proxies`.
    #[schemars(extend("default" = "x-forwarded"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) forwarded: Option<At<RawForwarded>>,
    /// Whether `Via` is added to requests (RFC 9110, section 7.6.3).
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) via: Option<At<bool>>,
    /// Networks of proxies, such as `10.0.0.0/8`, that are believed when they say who is calling.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) trusted_proxies: Option<At<Vec<At<String>>>>,
}

/// One address where callers are served.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawListener {
    /// An address and a port. `:8443` means every IPv4 address. Port 0 takes a free one.
    pub(in crate::config) address: At<String>,
    /// With it, callers speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<At<RawListenerTls>>,
    /// Networks of proxies, such as `10.0.0.0/8`, whose connections begin with a PROXY protocol header (version 1 or
    /// 2) that says who is calling. One without the header is closed; connections from elsewhere have none.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) proxy_protocol: Option<At<Vec<At<String>>>>,
    /// Whether a caller that shuts its sending half still gets its answer. Otherwise that is taken for hanging up:
    /// over TCP the two look the same.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) half_close: Option<At<bool>>,
}

/// TLS towards callers. The files are read again when they change.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawListenerTls {
    /// PEM files with a certificate chain each. A caller gets the one that has the name it asks for (SNI), or else the
    /// first.
    pub(in crate::config) certificate_files: At<Vec<At<String>>>,
    /// PEM files with their private keys, in the same order.
    pub(in crate::config) key_files: At<Vec<At<String>>>,
    /// A PEM file with the authorities whose certificates callers may show. The one shown is passed on in
    /// `Client-Cert` (RFC 9440).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_ca_file: Option<At<String>>,
    /// Whether callers must show one. With `client_ca_file`.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) client_required: Option<At<bool>>,
}

/// How upstreams are told who is calling.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum RawForwarded {
    /// Not at all.
    None,
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
}
