//! The config as it stands in a file. The comments here become the JSON Schema and the reference in
//! `docs/config.md`; defaults and bounds are part of the schema, which checks them.

use std::{borrow::Cow, collections::BTreeMap, ops::Range, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use toml::Spanned;

use super::{
    duration::{parse_duration, write_duration},
    size::{parse_size, write_size},
};

/// What belongs to the gateway as a whole.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    /// Where callers are served: an address and a port. `:8080` means every IPv4 address. Port 0 takes a free one.
    /// Short for one of `listeners` without TLS; the default applies where there are none of those either.
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listen: Option<At<String>>,
    /// Where the people who run it are served: operations, metrics, health. Loopback only, because there is no
    /// authentication there yet.
    #[schemars(extend("default" = "127.0.0.1:8081"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<At<String>>,
    /// Where the ledger is: `sqlite:PATH` (from the working directory) or `postgres://…`.
    #[schemars(extend("default" = "sqlite:steadfast.db"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ledger: Option<At<String>>,
    /// A file whose content is the ledger's location, for a URL with a password in it. Instead of `ledger`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ledger_file: Option<At<String>>,
    /// Encrypts what is kept of answers. Nothing is encrypted without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encryption: Option<At<RawEncryption>>,
    /// How many worker threads serve callers. One per core unless stated.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<At<u64>>,
    /// How long running requests may go on after the gateway was asked to stop.
    #[schemars(extend("default" = "30s", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drain_timeout: Option<At<Time>>,
    /// What a connection may ask of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) edge: Option<At<RawEdge>>,
    /// Where callers are served, each with TLS or without. All of them speak HTTP/1.1 and HTTP/2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) listeners: Vec<At<RawListener>>,
    /// Where large bodies of keyed requests wait until they are sent. What finds no room in memory goes to disk; what
    /// finds none there is answered 503 with Retry-After, and nothing of it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spool: Option<At<RawSpool>>,
    /// The upstreams, by name: letters, digits, `-` and `_`.
    #[serde(default)]
    pub(super) upstreams: BTreeMap<String, At<RawUpstream>>,
    /// The routes. The most specific one wins, whatever their order.
    #[serde(default)]
    pub(super) routes: Vec<At<RawRoute>>,
}

/// Encrypts what is kept of answers: their header fields and bodies, in the ledger, its logs and its evidence.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEncryption {
    /// A file of keys, one a line, as `steadfast config new-key` prints them. The first encrypts, all decrypt. To
    /// rotate, put a new line first and restart; remove an old one when all that it encrypted has expired.
    pub(super) key_file: At<String>,
}

/// What a connection may ask of the gateway.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEdge {
    /// How long a request's head may take to arrive, and how long a connection may stay idle between requests.
    #[schemars(extend("default" = "1m", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) header_timeout: Option<At<Time>>,
    /// How many header fields a request may have.
    #[schemars(range(min = 1, max = 1000), extend("default" = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers_max: Option<At<u64>>,
    /// How many bytes a request's head may have.
    #[schemars(extend("default" = "64KB", "x-min" = "8KB", "x-max" = "1MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) header_bytes_max: Option<At<Size>>,
    /// How long a request's body may stay away without a byte.
    #[schemars(extend("default" = "30s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body_timeout: Option<At<Time>>,
    /// How many connections each worker holds at once, on each listener.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 20000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connections_max: Option<At<u64>>,
    /// How many bytes a request's target may have. A longer one is refused with 414.
    #[schemars(extend("default" = "16KB", "x-min" = "256B", "x-max" = "64KB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uri_bytes_max: Option<At<Size>>,
    /// The largest body of any request; keyed ones have `request_bytes_max` too. No bound unless stated: what streams
    /// through takes no memory.
    #[schemars(extend("x-min" = "1B"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body_bytes_max: Option<At<Size>>,
    /// How long a caller may take no byte of what waits for it; then its connection is closed.
    #[schemars(extend("default" = "1m", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) write_timeout: Option<At<Time>>,
    /// How many requests a connection of HTTP/2 may have under way.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 200))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) streams_max: Option<At<u64>>,
    /// How upstreams are told who is calling. What callers themselves say of it is removed, unless they are
    /// `trusted_proxies`.
    #[schemars(extend("default" = "x-forwarded"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) forwarded: Option<At<RawForwarded>>,
    /// Whether `Via` is added to requests (RFC 9110, section 7.6.3).
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) via: Option<At<bool>>,
    /// Networks of proxies, such as `10.0.0.0/8`, that are believed when they say who is calling.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trusted_proxies: Option<At<Vec<At<String>>>>,
}

/// One address where callers are served.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListener {
    /// An address and a port. `:8443` means every IPv4 address. Port 0 takes a free one.
    pub(super) address: At<String>,
    /// With it, callers speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<At<RawListenerTls>>,
    /// Networks of proxies, such as `10.0.0.0/8`, whose connections begin with a PROXY protocol header (version 1 or
    /// 2) that says who is calling. One without the header is closed; connections from elsewhere have none.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proxy_protocol: Option<At<Vec<At<String>>>>,
    /// Whether a caller that shuts its sending half still gets its answer. Otherwise that is taken for hanging up:
    /// over TCP the two look the same.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) half_close: Option<At<bool>>,
}

/// TLS towards callers. The files are read again when they change.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListenerTls {
    /// PEM files with a certificate chain each. A caller gets the one that has the name it asks for (SNI), or else the
    /// first.
    pub(super) certificate_files: At<Vec<At<String>>>,
    /// PEM files with their private keys, in the same order.
    pub(super) key_files: At<Vec<At<String>>>,
    /// A PEM file with the authorities whose certificates callers may show. The one shown is passed on in
    /// `Client-Cert` (RFC 9440).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_ca_file: Option<At<String>>,
    /// Whether callers must show one. With `client_ca_file`.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_required: Option<At<bool>>,
}

/// How upstreams are told who is calling.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawForwarded {
    /// Not at all.
    None,
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
}

/// Where large bodies of keyed requests wait until they are sent.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSpool {
    /// The folder of the files, on a disk (`/tmp` is often memory). They have no names, so nothing is left there,
    /// however the gateway ends. Unless stated, beside an SQLite ledger, and with Postgres the system's folder for
    /// temporary files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) folder: Option<At<String>>,
    /// How many bytes are on disk at once.
    #[schemars(extend("default" = "1GB", "x-min" = "16MB", "x-max" = "1024GB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_max: Option<At<Size>>,
    /// How many requests have their bodies on disk at once. With 0, what is larger than `request_memory_max` is
    /// refused with 413.
    #[schemars(range(min = 0, max = 4096), extend("default" = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requests_max: Option<At<u64>>,
    /// How many bytes of bodies are in memory at once. Beyond it smaller ones go to disk as well.
    #[schemars(extend("default" = "64MB", "x-min" = "1MB", "x-max" = "64GB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory_max: Option<At<Size>>,
}

/// One upstream: an API that requests are forwarded to.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUpstream {
    /// Where it is: `http://host:port` or `https://host:port`, with a path that is put before every request's own,
    /// if it has one; or `unix:/path/of/socket`.
    pub(super) url: At<String>,
    /// Which version of HTTP it speaks. Unless stated, `auto` over https, `1.1` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) http: Option<At<RawHttp>>,
    /// Whose certificates are believed and which one is shown. Only with https. The system's roots are believed
    /// unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<At<RawUpstreamTls>>,
    /// Which Host it is asked for: `caller` passes on the caller's, `upstream` takes the one in `url`, anything
    /// else is the Host itself. Unless stated, `upstream` over https, `caller` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<At<String>>,
    /// For how long after the first send it takes the same `Idempotency-Key` only once. Unless stated it is not
    /// repeatable: what is unknown is in doubt, and never sent again.
    #[schemars(extend("x-min" = "1s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repeatable_for: Option<At<Time>>,
    /// Statuses of its answers that mean: not executed. The next request with the same key runs afresh.
    #[schemars(extend("default" = [425, 429]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<At<Vec<At<Status>>>>,
    /// Statuses of its answers that are final, though 408 and 5xx leave the outcome unknown by default.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completed: Option<At<Vec<At<Status>>>>,
    /// Statuses by which an attempt after doubt learns only that the earlier one still runs.
    #[schemars(extend("default" = [409]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_progress: Option<At<Vec<At<Status>>>>,
    /// How long each step towards it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<At<RawTimeout>>,
    /// How long an idle connection is kept for reuse. Shorter than the upstream's own, or requests meet
    /// connections that it is just closing.
    #[schemars(extend("default" = "4s", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_timeout: Option<At<Time>>,
    /// How many idle connections each worker keeps.
    #[schemars(range(min = 0, max = 65_536), extend("default" = 512))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle_max: Option<At<u64>>,
}

/// Which version of HTTP is spoken.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) enum RawHttp {
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
pub(super) struct RawUpstreamTls {
    /// A PEM file with the certificates that are believed, instead of the system's roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ca_file: Option<At<String>>,
    /// A PEM file with the certificate chain to show to an upstream that asks who is calling. With `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificate_file: Option<At<String>>,
    /// A PEM file with that certificate's private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_file: Option<At<String>>,
    /// The name that the upstream's certificate must have, where it is not the host in `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_name: Option<At<String>>,
}

/// How long each step towards an upstream may take.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTimeout {
    /// Making a connection, name resolution included. At most `total`.
    #[schemars(extend("default" = "2s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connect: Option<At<Time>>,
    /// The head of its answer, from the moment the request was handed over. At most `total`, and that unless
    /// stated.
    #[schemars(extend("default" = "30s", "x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) first_byte: Option<At<Time>>,
    /// The whole attempt of a keyed request, from its claim to the end of the answer; then its outcome is
    /// unknown. At least `first_byte`.
    #[schemars(extend("default" = "30s", "x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<At<Time>>,
    /// The longest silence within the body of an answer, or in a tunnel such as a WebSocket. Keyed requests have
    /// `total`.
    #[schemars(extend("default" = "5m", "x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) between_bytes: Option<At<Time>>,
    /// How much longer the late answer to a keyed request is still taken in and kept.
    #[schemars(extend("default" = "30s", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) late: Option<At<Time>>,
}

/// One route: which requests go where, and under which policies.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    /// Which paths it serves: `/payments` is that path alone, `/orders/{id}/items` has one segment, whichever, for
    /// `{id}`, `/files/*` is everything below, `/*` everything. Compared with the path as it is sent.
    pub(super) path: At<String>,
    /// Which hosts it serves: `api.example.com` is that host alone, `*.example.com` every host below it. In any
    /// case, on any port. Any host unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hosts: Option<At<Vec<At<String>>>>,
    /// Its name in metrics, logs and namespaces; its path unless stated. Two routes never share one. To change it
    /// is to forget the keys of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<At<String>>,
    /// Which methods it serves. All of them unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) methods: Option<At<Vec<At<String>>>>,
    /// What headers must say, all of it: `{ x-api-version = "2", x-beta = true }` asks for exactly that value of the
    /// one and that the other is there. Nothing unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<At<BTreeMap<String, At<RawHeaderCondition>>>>,
    /// The name of the upstream that it forwards to.
    pub(super) upstream: At<String>,
    /// By when its callers must have an answer. None unless stated.
    #[schemars(extend("x-min" = "1ms", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deadline: Option<At<Time>>,
    /// How its retried writes take effect once. It applies to the route's methods except GET, HEAD, OPTIONS and
    /// TRACE; to POST and PATCH where the route names no methods. Without it, requests stream straight through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idempotency: Option<At<RawIdempotency>>,
    /// Which pages of other origins may use it from a browser. Preflights are then answered here, and the answers'
    /// `Access-Control-…` headers are the gateway's. Without it, all of that is left to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cors: Option<At<RawCors>>,
    /// What is taken from the beginning of the path before it goes to the upstream, by whole segments: with `/api`,
    /// `/api/orders` becomes `/orders`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strip_prefix: Option<At<String>>,
    /// What is put before the path then; the path of the upstream's `url` goes before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) add_prefix: Option<At<String>>,
    /// What is changed of requests' header fields on their way to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_headers: Option<At<RawHeaderEdits>>,
    /// What is changed of the header fields of every answer, replays and refusals among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer_headers: Option<At<RawHeaderEdits>>,
}

/// Which pages of other origins may use a route.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCors {
    /// Where the pages come from: `https://app.example.com`, `https://*.example.com` for every host below that one,
    /// or `["*"]` for every origin.
    pub(super) origins: At<Vec<At<String>>>,
    /// Which methods they may use. The route's unless stated; on a route for all methods, those that they ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) methods: Option<At<Vec<At<String>>>>,
    /// Which headers they may send. Those that they ask for unless stated, `Idempotency-Key` among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<At<Vec<At<String>>>>,
    /// Which headers of answers they may read, beside those of the gateway, such as `Retry-After`, `X-Request-Id`
    /// and `Idempotent-Replayed`, and those that browsers always show.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expose: Option<At<Vec<At<String>>>>,
    /// Whether browsers send cookies and the like along, and show the answers. Not with `["*"]`.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<At<bool>>,
    /// For how long a browser may keep the answer to a preflight, in whole seconds. Browsers have limits of their
    /// own, 2 hours in Chrome.
    #[schemars(extend("default" = "10m", "x-max" = "24h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_age: Option<At<Time>>,
}

/// What one header must say: a text, or `true` for anything.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum RawHeaderCondition {
    This(String),
    /// Whether it must be there; only `true` is taken.
    Anything(bool),
}

impl JsonSchema for RawHeaderCondition {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HeaderCondition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "const": true }], "x-kind": "text or true" })
    }
}

/// Changes to header fields: what is removed goes first, what is added last.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHeaderEdits {
    /// Fields to remove.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remove: Option<At<Vec<At<String>>>>,
    /// Fields to set, in place of what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) set: Option<At<BTreeMap<String, At<String>>>>,
    /// Fields to add to what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) add: Option<At<BTreeMap<String, At<String>>>>,
}

/// How a route's retried writes take effect once.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIdempotency {
    /// Whether a request without a key is refused. Otherwise it passes unprotected.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) required: Option<At<bool>>,
    /// For how long a completed answer is replayed. For a key of `window`, the window goes before it.
    #[schemars(extend("default" = "24h", "x-min" = "1s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) keep: Option<At<Time>>,
    /// How long a key stays taken after that: it is answered 410 instead of running afresh. Not at all unless
    /// stated.
    #[schemars(extend("x-min" = "1s"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tombstone: Option<At<Time>>,
    /// Whether keyed requests without any credential are accepted.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) anonymous: Option<At<bool>>,
    /// In what room a key is unique.
    #[schemars(extend("default" = "route"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) namespace: Option<At<RawNamespace>>,
    /// Where a request's key comes from.
    #[schemars(extend("default" = "header"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<At<RawKey>>,
    /// What a duplicate of a running request gets.
    #[schemars(extend("default" = "wait"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_progress: Option<At<RawInProgress>>,
    /// How long a duplicate waits at most, never past its deadline. Only with `in_progress = "wait"`.
    #[schemars(extend("default" = "5s", "x-min" = "1ms", "x-max" = "1h"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) in_progress_wait: Option<At<Time>>,
    /// How a body counts when two requests with one key are compared.
    #[schemars(extend("default" = "bytes"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<At<RawFingerprint>>,
    /// Which headers carry the caller's credential. An answer is disclosed only to the credential that made it.
    /// Never `Cookie`, which changes between a request and its retry.
    #[schemars(extend("default" = ["authorization"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credential_headers: Option<At<Vec<At<String>>>>,
    /// The largest body of a keyed request. A larger one is refused with 413.
    #[schemars(extend("default" = "10MB", "x-min" = "1B", "x-max" = "64GB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_bytes_max: Option<At<Size>>,
    /// Up to what size such a body stays in memory; a larger one waits on disk (see `[spool]`). What has to be read
    /// as a whole may not be larger, and is refused with 413: bodies that a key is read from, and JSON where
    /// `fingerprint` is `json`.
    #[schemars(extend("default" = "1MB", "x-min" = "1KB", "x-max" = "256MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_memory_max: Option<At<Size>>,
    /// The largest answer that is kept for replay. A larger one still reaches its caller; a retry gets 409
    /// `replay-unavailable`.
    #[schemars(extend("default" = "1MB", "x-max" = "256MB"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer_bytes_max: Option<At<Size>>,
    /// What of a request and its answer is written down. Everything that a replay needs, unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<At<RawKept>>,
    /// What happens to a keyed request when the ledger cannot be reached.
    #[schemars(extend("default" = "refuse"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) on_ledger_loss: Option<At<RawOnLedgerLoss>>,
}

/// What of a request and its answer is written down. The first caller always gets the upstream's own answer; a
/// replay gets the one that was kept, and where something was left out of that it says so in
/// `Steadfast-Redacted`: `headers`, `body`, or both.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKept {
    /// Only these header fields of an answer. All that belong to the answer unless stated; those of one connection,
    /// session, moment or trace (such as `Set-Cookie` and `Date`) never are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<At<Vec<At<String>>>>,
    /// All header fields of an answer but these.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drop_headers: Option<At<Vec<At<String>>>>,
    /// Whether an answer's header fields and body are kept at all. If not, only its status is, and a retry gets 409
    /// `replay-unavailable`.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<At<bool>>,
    /// Values of a JSON body (dotted paths, through arrays) to replace by `"[redacted]"`; its `ETag` and digests go
    /// with them. Of a body that is no JSON, or compressed, only the status is kept.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) redact: Option<At<Vec<At<String>>>>,
    /// Whether the request's path is kept. If not, only the name of the route is.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<At<bool>>,
}

/// In what room a key is unique.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) enum RawNamespace {
    /// All callers of the route share it; on a route with a wildcard among its `hosts`, all callers of one host.
    #[serde(rename = "route")]
    Route,
    /// The verified principal, on every route. Not available yet: nothing verifies principals.
    #[serde(rename = "principal")]
    Principal,
    /// The verified principal, on this route. Not available yet: nothing verifies principals.
    #[serde(rename = "principal+route")]
    PrincipalAndRoute,
    /// Everything shares it.
    #[serde(rename = "global")]
    Global,
}

/// Where a request's key comes from.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RawKey {
    /// The `Idempotency-Key` header.
    Header,
    /// The header, or else this field of a JSON body (a dotted path).
    Field(At<String>),
    /// Derived from these fields of a JSON body (dotted paths), all of which must be there.
    Fields(At<Vec<At<String>>>),
    /// The header, or else: the same request by the same caller within this time is the same operation. At most
    /// 24h.
    Window(At<Time>),
}

/// What a duplicate of a running request gets.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) enum RawInProgress {
    /// It waits for the answer, `in_progress_wait` at most; then 409 and Retry-After.
    #[serde(rename = "wait")]
    Wait,
    /// 409 and Retry-After, at once.
    #[serde(rename = "409")]
    Conflict,
    /// 429 and Retry-After, at once.
    #[serde(rename = "429")]
    TooManyRequests,
    /// 202 and the operation's Location, at once.
    #[serde(rename = "202")]
    Accepted,
}

/// How a body counts when two requests with one key are compared.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(transform = also_as_a_word)]
pub(super) enum RawFingerprint {
    /// Byte by byte.
    Bytes,
    /// As JSON in canonical form, where a key's place and white space do not matter.
    Json(RawJson),
    /// As multipart (of a form, say) whose boundary does not matter, since clients make up a new one for every retry.
    /// What is not multipart counts byte by byte.
    Multipart(RawMultipart),
}

/// Lets a choice that is a table be its name alone, where nothing in the table has to be said.
fn also_as_a_word(schema: &mut Schema) {
    let Some(serde_json::Value::Array(choices)) = schema.get_mut("oneOf") else { return };
    let names: Vec<String> = choices
        .iter()
        .filter_map(|choice| choice.get("properties")?.as_object()?.keys().next().cloned())
        .collect();
    choices.extend(names.into_iter().map(|name| {
        let description = format!("The same as `{{ {name} = {{}} }}`.");
        serde_json::json!({ "type": "string", "const": name, "description": description })
    }));
}

/// How a JSON body counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJson {
    /// Fields (dotted paths) to leave out, such as the time of sending.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) omit: Option<At<Vec<At<String>>>>,
}

/// How a multipart body counts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMultipart {
    /// Parts to leave out, by the name of their form field.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) omit: Option<At<Vec<At<String>>>>,
}

/// What happens to a keyed request when the ledger cannot be reached.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawOnLedgerLoss {
    /// 503 and Retry-After; nothing is sent.
    Refuse,
    /// It is forwarded unprotected, and marked `Steadfast-Protection: none`.
    Forward,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T>(Spanned<T>);

impl<T> At<T> {
    pub(super) fn new(value: T, span: Range<usize>) -> Self {
        Self(Spanned::new(span, value))
    }

    /// A value that stands nowhere: one that is going to be written.
    pub(super) fn nowhere(value: T) -> Self {
        Self::new(value, 0..0)
    }

    pub(super) fn get(&self) -> &T {
        self.0.get_ref()
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.0.span()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A duration, written `250ms`, `10s`, `5m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write_duration(self.0))
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$", "x-kind": "duration" })
    }
}

/// A size in bytes, written `65536`, `64KB` or `10MB`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => parse_size(&text).map(Self).map_err(D::Error::custom),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write_size(self.0))
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]+ ?([KMGkmg][iI]?)?[bB]?$",
            "minimum": 0,
            "x-kind": "size",
        })
    }
}

/// A status of an answer.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Status(pub(super) u16);

impl JsonSchema for Status {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Status".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 100, "maximum": 599 })
    }
}
