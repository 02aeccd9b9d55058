//! What the config says of an upstream.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    At, RawAnswer, RawBalance, RawCircuit, RawConcurrency, RawCourtesy, RawHealth, RawRetry, Status, Time,
};

/// One upstream: an API that requests are forwarded to.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["url"] }, { "required": ["urls"] }]))]
pub(in crate::config) struct RawUpstream {
    /// Where it is: `http://host:port` or `https://host:port`, with a path that is put before every request's own,
    /// if it has one; or `unix:/path/of/socket`. It has this, or `urls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) url: Option<At<String>>,
    /// Where its endpoints are, where there are several that answer alike: URLs with the same scheme and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) urls: Option<At<Vec<At<String>>>>,
    /// Which version of HTTP it speaks. Unless stated, `auto` over https, `1.1` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) http: Option<At<RawHttp>>,
    /// Whose certificates are believed and which one is shown. Only with https. The system's roots are believed
    /// unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<At<RawUpstreamTls>>,
    /// Which Host it is asked for: `caller` passes on the caller's, `upstream` takes the one in `url`, anything
    /// else is the Host itself. Unless stated, `upstream` over https, `caller` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) host: Option<At<String>>,
    /// For how long after the first send it takes the same `Idempotency-Key` only once. Unless stated it is not
    /// repeatable: what is unknown is in doubt, and never sent again.
    #[schemars(extend("x-min" = "1s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) repeatable_for: Option<At<Time>>,
    /// Statuses of its answers that mean: not executed. The next request with the same key runs afresh.
    #[schemars(extend("default" = [425, 429]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) refused: Option<At<Vec<At<Status>>>>,
    /// Statuses of its answers that are final, though 408 and 5xx leave the outcome unknown by default.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) completed: Option<At<Vec<At<Status>>>>,
    /// Statuses by which an attempt after doubt learns only that the earlier one still runs.
    #[schemars(extend("default" = [409]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) in_progress: Option<At<Vec<At<Status>>>>,
    /// How long each step towards it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) timeout: Option<At<RawTimeout>>,
    /// How requests are tried again where that is safe. Nothing is unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) retry: Option<At<RawRetry>>,
    /// How long an idle connection is kept for reuse. Shorter than the upstream's own, or requests meet
    /// connections that it is just closing.
    #[schemars(extend("default" = "4s", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idle_timeout: Option<At<Time>>,
    /// How many idle connections each worker keeps.
    #[schemars(range(min = 0, max = 65_536), extend("default" = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) idle_max: Option<At<u64>>,
    /// Asks every endpoint whether it is well. Nobody is asked unless this is stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) health: Option<At<RawHealth>>,
    /// When an endpoint of it that fails is left alone, and for how long. Never, unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) circuit: Option<At<RawCircuit>>,
    /// How its endpoints share its requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) balance: Option<At<RawBalance>>,
    /// What its answers mean where their statuses alone do not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::config) answers: Vec<At<RawAnswer>>,
    /// How many requests it is given at once. As many as come unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) concurrency: Option<At<RawConcurrency>>,
    /// How often it is called, and that it is heeded when it asks to be called less. Unless stated, it is called
    /// whenever there is reason to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) courtesy: Option<At<RawCourtesy>>,
    /// The path at which it has its own OpenAPI document, as JSON. Callers who get it through a route get it with what
    /// the gateway knows of the operations in it. It is passed on as it is unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) openapi: Option<At<String>>,
}

/// Which version of HTTP is spoken.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(in crate::config) enum RawHttp {
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2: agreed on by TLS; with prior knowledge where there is no TLS, as gRPC services speak it.
    #[serde(rename = "2")]
    Two,
    /// HTTP/2 where TLS agrees on it, HTTP/1.1 otherwise.
    #[serde(rename = "auto")]
    Auto,
}

/// TLS towards an upstream.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawUpstreamTls {
    /// A PEM file with the certificates that are believed, instead of the system's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) ca_file: Option<At<String>>,
    /// A PEM file with the certificate chain to show to an upstream that asks who is calling. With `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) certificate_file: Option<At<String>>,
    /// A PEM file with that certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) key_file: Option<At<String>>,
    /// The name that the upstream's certificate must have, where it is not the host in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) server_name: Option<At<String>>,
}

/// How long each step towards an upstream may take.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawTimeout {
    /// Making a connection, name resolution included, and TLS unless `tls` is stated. At most `total`.
    #[schemars(extend("default" = "2s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) connect: Option<At<Time>>,
    /// The handshake of TLS, which then has a time of its own and does not count as part of `connect`. At most
    /// `total`.
    #[schemars(extend("x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) tls: Option<At<Time>>,
    /// How long the upstream may take no byte of what is being sent to it. Not bounded apart from the other times
    /// unless stated.
    #[schemars(extend("x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) write: Option<At<Time>>,
    /// The head of its answer, from the moment the request was handed over. At most `total`, and that unless
    /// stated.
    #[schemars(extend("default" = "30s", "x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) first_byte: Option<At<Time>>,
    /// One try, from its beginning to the head of its answer. That of a keyed request is given up only where another
    /// may follow. At most `total`, and that unless stated.
    #[schemars(extend("x-min" = "1ms", "x-max" = "24h"))]
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub(in crate::config) one_try: Option<At<Time>>,
    /// The whole attempt of a keyed request with all its tries, from its claim to the end of the answer; then its
    /// outcome is unknown. Of other requests, all tries to the head of the answer. At least `first_byte`.
    #[schemars(extend("default" = "30s", "x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) total: Option<At<Time>>,
    /// The longest silence within the body of an answer, or in a tunnel such as a WebSocket. Keyed requests have
    /// `total`.
    #[schemars(extend("default" = "5m", "x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) between_bytes: Option<At<Time>>,
    /// How much longer the late answer to a keyed request is still taken in and kept.
    #[schemars(extend("default" = "30s", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) late: Option<At<Time>>,
    /// How long a request waits for a place at the upstream, never past its deadline. Only with
    /// `concurrency`.
    #[schemars(extend("default" = "1s", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::config) queue: Option<At<Time>>,
}
