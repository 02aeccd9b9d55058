//! Everything in force, written as a config file: what `config show --effective` prints.

use http::{HeaderName, Method};
use steadfast_layers::{
    BodyFingerprint, IdempotencyPolicy, InProgress, KeySource, NamespaceScope, OnLedgerLoss,
};
use steadfast_upstream::UpstreamPolicy;

use super::{
    Config, EdgeLimits, LedgerLocation, PathPattern, Route, UpstreamContract,
    error::secrets,
    raw::{
        At, RawConfig, RawEdge, RawEncryption, RawFingerprint, RawIdempotency, RawInProgress, RawJson,
        RawKept, RawKey, RawNamespace, RawOnLedgerLoss, RawRoute, RawTimeout, RawUpstream, Size, Status,
        Time,
    },
};

/// What stands for a secret.
const REDACTED: &str = "REDACTED";

/// `config` as a TOML file with every default filled in. Passwords in URLs are replaced by `REDACTED`; apart from
/// them, to read the file gives the same config.
#[must_use]
pub fn effective(config: &Config) -> String {
    let raw = RawConfig {
        listen: some(config.listen.to_string()),
        admin: some(config.admin.to_string()),
        ledger: some(plain(&ledger(&config.ledger))),
        ledger_file: None,
        encryption: config.encryption.as_ref().and_then(|encryption| {
            let key_file = At::nowhere(plain(&encryption.key_file.display().to_string()));
            some(RawEncryption { key_file })
        }),
        workers: some(config.workers as u64),
        drain_timeout: some(Time(config.drain_timeout)),
        edge: some(edge(config.edge)),
        upstreams: config
            .upstreams
            .iter()
            .map(|(name, policy)| {
                let contract = config.contracts.get(name).cloned().unwrap_or_default();
                (name.clone(), At::nowhere(upstream(policy, &contract)))
            })
            .collect(),
        routes: config.routes.iter().map(|route| At::nowhere(raw_route(route))).collect(),
    };
    // Tables of texts and numbers: there is nothing in them that TOML could not say.
    toml::to_string(&raw).unwrap_or_else(|error| format!("# {error}\n"))
}

#[expect(clippy::unnecessary_wraps, reason = "every field of a raw type is an Option")]
fn some<T>(value: T) -> Option<At<T>> {
    Some(At::nowhere(value))
}

/// A text that reads as itself, though `${` would name a variable.
fn plain(text: &str) -> String {
    text.replace("${", "$${")
}

fn all<T, R>(values: impl IntoIterator<Item = T>, raw: impl Fn(T) -> R) -> Option<At<Vec<At<R>>>> {
    some(values.into_iter().map(|value| At::nowhere(raw(value))).collect())
}

fn ledger(location: &LedgerLocation) -> String {
    match location {
        LedgerLocation::Sqlite(path) => format!("sqlite:{}", path.display()),
        LedgerLocation::Postgres(url) => {
            let mut url = url.clone();
            for secret in secrets(&url).into_iter().rev() {
                url.replace_range(secret, REDACTED);
            }
            url
        }
    }
}

fn edge(limits: EdgeLimits) -> RawEdge {
    RawEdge {
        header_timeout: some(Time(limits.header_timeout)),
        headers_max: some(limits.headers_max as u64),
        header_bytes_max: some(Size(limits.header_bytes_max as u64)),
        body_timeout: some(Time(limits.body_timeout)),
        connections_max: some(limits.connections_max as u64),
    }
}

fn upstream(policy: &UpstreamPolicy, contract: &UpstreamContract) -> RawUpstream {
    let statuses = |list: &[u16]| all(list.to_vec(), Status);
    RawUpstream {
        url: At::nowhere(plain(&policy.address.to_string())),
        repeatable_for: contract.repeatable_for.and_then(|time| some(Time(time))),
        refused: statuses(&contract.answers.refused),
        completed: statuses(&contract.answers.completed),
        in_progress: statuses(&contract.answers.in_progress),
        timeout: some(RawTimeout {
            connect: some(Time(policy.connect_timeout)),
            first_byte: some(Time(policy.first_byte_timeout)),
            total: some(Time(contract.times.total)),
            late: some(Time(contract.times.late)),
        }),
        idle_timeout: some(Time(policy.idle_timeout)),
        idle_max: some(policy.idle_max as u64),
    }
}

fn raw_route(route: &Route) -> RawRoute {
    let path = match &route.path {
        PathPattern::Exact(path) => path.to_string(),
        PathPattern::Prefix(prefix) => format!("{prefix}*"),
    };
    RawRoute {
        path: At::nowhere(plain(&path)),
        name: some(plain(&route.name)),
        // No methods mean all; an empty list would mean none.
        methods: if route.methods.is_empty() {
            None
        } else {
            all(&route.methods, |method: &Method| method.to_string())
        },
        upstream: At::nowhere(route.upstream.clone()),
        deadline: route.deadline.and_then(|time| some(Time(time))),
        idempotency: route.idempotency.as_ref().and_then(|policy| some(idempotency(policy))),
    }
}

fn idempotency(policy: &IdempotencyPolicy) -> RawIdempotency {
    let (in_progress, wait) = match policy.in_progress {
        InProgress::Wait(wait) => (RawInProgress::Wait, some(Time(wait))),
        InProgress::Conflict => (RawInProgress::Conflict, None),
        InProgress::TooManyRequests => (RawInProgress::TooManyRequests, None),
        InProgress::Accepted => (RawInProgress::Accepted, None),
    };
    RawIdempotency {
        required: some(policy.required),
        keep: some(Time(policy.retention.keep)),
        tombstone: policy.retention.tombstone.and_then(|time| some(Time(time))),
        anonymous: some(policy.anonymous),
        namespace: some(match policy.namespace {
            NamespaceScope::Route => RawNamespace::Route,
            NamespaceScope::Principal => RawNamespace::Principal,
            NamespaceScope::PrincipalAndRoute => RawNamespace::PrincipalAndRoute,
            NamespaceScope::Global => RawNamespace::Global,
        }),
        key: some(match &policy.key {
            KeySource::Header => RawKey::Header,
            KeySource::HeaderOrField(path) => RawKey::Field(At::nowhere(plain(path))),
            KeySource::Fields(paths) => {
                RawKey::Fields(At::nowhere(paths.iter().map(|path| At::nowhere(plain(path))).collect()))
            }
            KeySource::Window(window) => RawKey::Window(At::nowhere(Time(*window))),
        }),
        in_progress: some(in_progress),
        in_progress_wait: wait,
        fingerprint: some(match &policy.fingerprint {
            BodyFingerprint::Bytes => RawFingerprint::Bytes,
            BodyFingerprint::Json { omit } => {
                RawFingerprint::Json(RawJson { omit: all(omit, |path: &String| plain(path)) })
            }
        }),
        credential_headers: all(&policy.identity.credential_headers, HeaderName::to_string),
        request_bytes_max: some(Size(policy.request_bytes_max as u64)),
        answer_bytes_max: some(Size(policy.answer_bytes_max as u64)),
        kept: some(RawKept {
            headers: policy.kept.headers.as_ref().and_then(|names| all(names, HeaderName::to_string)),
            drop_headers: all(&policy.kept.drop_headers, HeaderName::to_string),
            body: some(policy.kept.body),
            redact: all(&policy.kept.redact, |path: &String| plain(path)),
            path: some(policy.kept.path),
        }),
        on_ledger_loss: some(match policy.on_ledger_loss {
            OnLedgerLoss::Refuse => RawOnLedgerLoss::Refuse,
            OnLedgerLoss::Forward => RawOnLedgerLoss::Forward,
        }),
    }
}
