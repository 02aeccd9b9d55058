//! The config as it stands in a file. The comments here become the JSON Schema and the reference in
//! `docs/config.md`; defaults and bounds are part of the schema, which checks them.

mod abuse;
mod authentication;
mod background;
mod cache;
mod circuit;
mod concurrency;
mod courtesy;
mod document;
mod edge;
mod explain;
mod fallback;
mod health;
mod idempotency;
mod lifecycle;
mod limit;
mod resolver;
mod retry;
mod route;
mod schedule;
mod shared;
mod upstream;
mod values;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use abuse::{RawAbuse, RawAutomaticBan, RawBan, RawBaseline};
pub(super) use authentication::{
    RawApiKeys, RawAuthentication, RawForward, RawIntrospection, RawJwt, RawRouteAuthentication,
};
pub(super) use background::{RawBackground, RawBackgroundMode, RawOrderTrouble, RawOrdering};
pub(super) use cache::{RawCache, RawCacheStore};
pub(super) use circuit::{RawBalance, RawCircuit};
pub(super) use concurrency::{RawConcurrency, RawPriority};
pub(super) use courtesy::RawCourtesy;
pub(super) use document::RawDocument;
pub(super) use edge::{RawEdge, RawForwarded, RawListener, RawListenerTls};
pub(super) use explain::RawExplain;
pub(super) use fallback::RawFallback;
pub(super) use health::RawHealth;
pub(super) use idempotency::{
    RawFingerprint, RawIdempotency, RawInProgress, RawJson, RawKept, RawKey, RawMultipart, RawNamespace,
    RawOnLedgerLoss,
};
pub(super) use lifecycle::{Instant, RawBrownout, RawLifecycle};
pub(super) use limit::{
    RawAlgorithm, RawCost, RawLimit, RawLimitHeaders, RawOnLoss, RawPer, RawPlan, RawRefusal,
};
pub(super) use resolver::RawResolver;
pub(super) use retry::{RawAnswer, RawMeans, RawRetry};
pub(super) use route::{RawCors, RawHeaderCondition, RawHeaderEdits, RawRoute};
pub(super) use schedule::{RawMissed, RawSchedule};
pub(super) use shared::RawShared;
pub(super) use upstream::{RawHttp, RawTimeout, RawUpstream, RawUpstreamTls};
pub(super) use values::{At, PerTime, Percent, RawMode, Share, Size, Status, Time};

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
    /// For how long a claim is its node's alone without a sign of life from it. Nodes give one three times as often. Of a
    /// node that is gone, claims are taken over after that; with SQLite when it is started again.
    #[schemars(extend("default" = "30s", "x-min" = "1s", "x-max" = "10m"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease: Option<At<Time>>,
    /// Where nodes count limits together: a Redis or Valkey, `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, with TLS
    /// `rediss://…`; or a list of some nodes of a Cluster. Unless stated every node counts for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shared: Option<At<RawShared>>,
    /// A file whose content is the password of `shared`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shared_password_file: Option<At<String>>,
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
    /// Where answers are kept that routes with `cache` give again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache: Option<At<RawCacheStore>>,
    /// Which requests are remembered with what was decided about them, so that `steadfast explain` can say why one was
    /// refused, or slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explain: Option<At<RawExplain>>,
    /// How the addresses behind upstreams' names are found. In the system's own way unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resolver: Option<At<RawResolver>>,
    /// Publishes what callers should know of the routes: how to make keys, what is limited, how long answers are kept,
    /// which errors there are. Nothing is published unless stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) document: Option<At<RawDocument>>,
    /// Ways of finding out who is calling, by name: letters, digits, `-` and `_`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) authentication: BTreeMap<String, At<RawAuthentication>>,
    /// Who is kept out, and when callers are banned without a person's doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) abuse: Option<At<RawAbuse>>,
    /// The upstreams, by name: letters, digits, `-` and `_`.
    #[serde(default)]
    pub(super) upstreams: BTreeMap<String, At<RawUpstream>>,
    /// The limits on callers, by name: letters, digits, `-`, `_` and `.`. Callers read it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) limits: BTreeMap<String, At<RawLimit>>,
    /// The routes. The most specific one wins, whatever their order.
    #[serde(default)]
    pub(super) routes: Vec<At<RawRoute>>,
    /// What is done at certain times, by name: letters, digits, `-`, `_` and `.`. To change a name is to begin anew.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) schedules: BTreeMap<String, At<RawSchedule>>,
}

/// Encrypts what is kept of answers: their header fields and bodies, in the ledger, its logs and its evidence.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEncryption {
    /// A file of keys, one a line, as `steadfast config new-key` prints them. The first encrypts, all decrypt. To
    /// rotate, put a new line first and restart; remove an old one when all that it encrypted has expired.
    pub(super) key_file: At<String>,
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
