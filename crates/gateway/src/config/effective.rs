//! Everything in force, written as a config file: what `config show --effective` prints.

mod abuse;
mod background;
mod limits;
mod schedules;

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use steadfast_core::{Brownout, Reading, Timestamp, circuit::CircuitPolicy};
use steadfast_layers::{
    AllowedOrigins, BodyFingerprint, BulkheadPolicy, CachePolicy, CorsPolicy, CourtesyPolicy,
    CredentialSource, HeaderEdits, IdempotencyPolicy, InProgress, KeySource, LifecyclePolicy, NamespaceScope,
    OnLedgerLoss, Priority, RetryPolicy, RouteAuthenticationPolicy, SpoolLimits,
};
use steadfast_upstream::{AnswerRule, HealthPolicy, HostPolicy, Protocol, TlsFiles};

use super::{
    AuthenticationConfig, AuthenticationKind, Config, DocumentPolicy, EdgePolicy, ForwardConfig,
    ForwardingStyle, HeaderCondition, HeaderSays, IntrospectionConfig, JwtConfig, JwtKeys, LedgerLocation,
    Listener, Route, RouteFallback, ServerTls, SharedStore, UpstreamConfig,
    error::secrets,
    raw::{
        At, Instant, PerTime, Percent, RawAnswer, RawApiKeys, RawAuthentication, RawBalance, RawBrownout,
        RawCache, RawCacheStore, RawCircuit, RawConcurrency, RawConfig, RawCors, RawCourtesy, RawDocument,
        RawEdge, RawEncryption, RawExplain, RawFallback, RawFingerprint, RawForward, RawForwarded,
        RawHeaderCondition, RawHeaderEdits, RawHealth, RawHttp, RawIdempotency, RawInProgress,
        RawIntrospection, RawJson, RawJwt, RawKept, RawKey, RawLifecycle, RawListener, RawListenerTls,
        RawMeans, RawMode, RawMultipart, RawNamespace, RawOnLedgerLoss, RawPriority, RawResolver, RawRetry,
        RawRoute, RawRouteAuthentication, RawShared, RawSpool, RawTimeout, RawUpstream, RawUpstreamTls,
        Share, Size, Status, Time,
    },
};

/// What stands for a secret.
const REDACTED: &str = "REDACTED";

/// `config` as a TOML file with every default filled in. Passwords in URLs are replaced by `REDACTED`; apart from
/// them, to read the file gives the same config.
#[must_use]
pub fn effective(config: &Config) -> String {
    let (listen, listeners) = match &*config.listeners {
        [first, others @ ..] if *first == Listener::plain(first.address) => {
            (some(first.address.to_string()), others)
        }
        all => (None, all),
    };
    let raw = RawConfig {
        listen,
        listeners: listeners.iter().map(|listener| At::nowhere(raw_listener(listener))).collect(),
        admin: some(config.admin.to_string()),
        ledger: some(plain(&ledger(&config.ledger))),
        ledger_file: None,
        lease: some(Time(config.lease)),
        shared: config.shared.as_ref().and_then(shared),
        shared_password_file: config.shared.as_ref().and_then(|shared| {
            let file = shared.password_file.as_ref()?;
            some(plain(&file.display().to_string()))
        }),
        encryption: config.encryption.as_ref().and_then(|encryption| {
            let key_file = At::nowhere(plain(&encryption.key_file.display().to_string()));
            some(RawEncryption { key_file })
        }),
        workers: some(config.workers as u64),
        drain_timeout: some(Time(config.drain_timeout)),
        edge: some(edge(&config.edge)),
        spool: some(spool(&config.spool)),
        cache: some(RawCacheStore { memory_max: some(Size(config.cache_memory_max)) }),
        explain: some(RawExplain {
            requests_max: some(config.explain.requests_max as u64),
            slow: some(Time(config.explain.slow)),
        }),
        resolver: resolver(&config.resolver),
        document: config.document.as_ref().and_then(|policy| some(document(policy))),
        authentication: config
            .authentication
            .iter()
            .map(|(name, config)| (name.clone(), At::nowhere(authentication(config))))
            .collect(),
        abuse: abuse::abuse(&config.abuse),
        upstreams: config
            .upstreams
            .iter()
            .map(|(name, config)| (name.clone(), At::nowhere(upstream(config))))
            .collect(),
        limits: limits::limits(config),
        routes: config.routes.iter().map(|route| At::nowhere(raw_route(route))).collect(),
        schedules: schedules::schedules(config),
    };
    // Tables of texts and numbers: there is nothing in them that TOML could not say.
    toml::to_string(&raw).unwrap_or_else(|error| format!("# {error}\n"))
}

#[expect(clippy::unnecessary_wraps, reason = "every field of a raw type is an Option")]
fn some<T>(value: T) -> Option<At<T>> {
    Some(At::nowhere(value))
}

/// A text that reads as itself, though `${` would name a variable and `$$` is a plain `$`.
fn plain(text: &str) -> String {
    text.replace('$', "$$")
}

fn all<T, R>(values: impl IntoIterator<Item = T>, raw: impl Fn(T) -> R) -> Option<At<Vec<At<R>>>> {
    some(values.into_iter().map(|value| At::nowhere(raw(value))).collect())
}

fn ledger(location: &LedgerLocation) -> String {
    match location {
        LedgerLocation::Sqlite(path) => format!("sqlite:{}", path.display()),
        LedgerLocation::Postgres(url) => redacted(url),
    }
}

/// A URL without its password.
fn redacted(url: &str) -> String {
    let mut url = url.to_owned();
    for secret in secrets(&url).into_iter().rev() {
        url.replace_range(secret, REDACTED);
    }
    url
}

fn shared(store: &SharedStore) -> Option<At<RawShared>> {
    let mut urls = store.urls.iter().map(|url| toml::Value::String(plain(&redacted(url))));
    if store.is_cluster {
        return some(RawShared(toml::Value::Array(urls.collect())));
    }
    urls.next().and_then(|url| some(RawShared(url)))
}

fn raw_listener(listener: &Listener) -> RawListener {
    RawListener {
        address: At::nowhere(listener.address.to_string()),
        tls: listener.tls.as_ref().and_then(|tls| some(listener_tls(tls))),
        proxy_protocol: all(&listener.proxy_protocol, IpNet::to_string),
        half_close: some(listener.half_close),
    }
}

fn listener_tls(tls: &ServerTls) -> RawListenerTls {
    let path = |path: &Path| At::nowhere(plain(&path.display().to_string()));
    let (certificates, keys) = tls.certificates.iter().map(|(chain, key)| (path(chain), path(key))).unzip();
    RawListenerTls {
        certificate_files: At::nowhere(certificates),
        key_files: At::nowhere(keys),
        client_ca_file: tls.client_ca.as_deref().map(path),
        client_required: tls.client_ca.as_ref().and_then(|_| some(tls.client_required)),
    }
}

fn edge(limits: &EdgePolicy) -> RawEdge {
    RawEdge {
        header_timeout: some(Time(limits.header_timeout)),
        headers_max: some(limits.headers_max as u64),
        header_bytes_max: some(Size(limits.header_bytes_max as u64)),
        body_timeout: some(Time(limits.body_timeout)),
        connections_max: some(limits.connections_max as u64),
        uri_bytes_max: some(Size(limits.uri_bytes_max as u64)),
        body_bytes_max: limits.body_bytes_max.and_then(|max| some(Size(max))),
        write_timeout: some(Time(limits.write_timeout)),
        streams_max: some(u64::from(limits.streams_max)),
        forwarded: some(match limits.forwarding.style {
            ForwardingStyle::None => RawForwarded::None,
            ForwardingStyle::XForwarded => RawForwarded::XForwarded,
            ForwardingStyle::Forwarded => RawForwarded::Forwarded,
            ForwardingStyle::Both => RawForwarded::Both,
        }),
        via: some(limits.forwarding.via),
        trusted_proxies: all(&limits.forwarding.trusted, IpNet::to_string),
    }
}

fn spool(limits: &SpoolLimits) -> RawSpool {
    RawSpool {
        folder: some(plain(&limits.folder.display().to_string())),
        bytes_max: some(Size(limits.bytes_max)),
        requests_max: some(limits.requests_max),
        memory_max: some(Size(limits.memory_max)),
    }
}

fn authentication(config: &AuthenticationConfig) -> RawAuthentication {
    let mut raw = RawAuthentication {
        header: match &config.source {
            CredentialSource::Bearer => None,
            CredentialSource::Header(name) => some(name.to_string()),
        },
        name_prefix: some(plain(&config.name_prefix)),
        pass_on: some(config.pass_on),
        ..RawAuthentication::default()
    };
    match &config.kind {
        AuthenticationKind::ApiKeys { prefix } => {
            raw.api_keys = some(RawApiKeys { prefix: some(prefix.to_string()) });
        }
        AuthenticationKind::Jwt(config) => raw.jwt = some(jwt(config)),
        AuthenticationKind::Introspection(config) => raw.introspection = some(introspection(config)),
        AuthenticationKind::Forward(config) => raw.forward = some(forward(config)),
    }
    raw
}

fn jwt(JwtConfig { policy, keys }: &JwtConfig) -> RawJwt {
    let path = |path: &Path| some(plain(&path.display().to_string()));
    let algorithms = policy.algorithms.iter().map(|algorithm| At::nowhere(algorithm.as_str().to_owned()));
    let mut raw = RawJwt {
        issuer: At::nowhere(plain(&policy.issuer)),
        audience: At::nowhere(policy.audience.iter().map(|text| At::nowhere(plain(text))).collect()),
        jwks: None,
        jwks_file: None,
        secret_file: None,
        algorithms: At::nowhere(algorithms.collect()),
        leeway: some(Time(policy.leeway)),
        principal: some(plain(&policy.principal)),
        attributes: pairs(&policy.attributes),
        scopes: some(plain(&policy.scopes)),
    };
    match keys {
        JwtKeys::Url(url) => raw.jwks = some(plain(&url.text)),
        JwtKeys::File(file, _) => raw.jwks_file = path(file),
        JwtKeys::Secret(file, _) => raw.secret_file = path(file),
    }
    raw
}

fn introspection(IntrospectionConfig { url, client, policy }: &IntrospectionConfig) -> RawIntrospection {
    RawIntrospection {
        url: At::nowhere(plain(&url.text)),
        client_id: client.as_ref().and_then(|(id, _)| some(plain(id))),
        client_secret_file: client.as_ref().and_then(|(_, file)| some(plain(&file.display().to_string()))),
        keep: some(Time(policy.keep)),
        principal: some(plain(&policy.principal)),
        attributes: pairs(&policy.attributes),
        audience: if policy.audience.is_empty() { None } else { all(&policy.audience, |text| plain(text)) },
    }
}

fn forward(ForwardConfig { url, policy }: &ForwardConfig) -> RawForward {
    let name = |name: &HeaderName| some(name.to_string());
    let attributes = policy.attributes.iter();
    let attributes: Vec<_> =
        attributes.map(|(attribute, name)| (attribute.clone(), name.to_string())).collect();
    RawForward {
        url: At::nowhere(plain(&url.text)),
        headers: all(&policy.headers, HeaderName::to_string),
        principal: policy.principal.as_ref().and_then(name),
        attributes: pairs(&attributes),
        scopes: policy.scopes.as_ref().and_then(name),
        keep: some(Time(policy.keep)),
    }
}

/// Names and texts; nothing where there are none.
fn pairs(pairs: &[(String, String)]) -> Option<At<BTreeMap<String, At<String>>>> {
    if pairs.is_empty() {
        return None;
    }
    some(pairs.iter().map(|(name, text)| (name.clone(), At::nowhere(plain(text)))).collect())
}

/// What a route asks of its callers.
fn asked(policy: &RouteAuthenticationPolicy) -> RawRouteAuthentication {
    let attributes = policy.attributes.iter();
    let attributes =
        attributes.filter_map(|(name, values)| Some((name.clone(), all(values, |value| plain(value))?)));
    RawRouteAuthentication {
        by: At::nowhere(policy.by.iter().map(|name| At::nowhere(name.to_string())).collect()),
        scopes: all(&policy.scopes, |scope| plain(scope)),
        attributes: some(attributes.collect()),
        optional: some(policy.optional),
    }
}

fn cache(policy: &CachePolicy) -> RawCache {
    RawCache {
        ttl: policy.ttl.and_then(|ttl| some(Time(ttl))),
        stale_while_revalidate: some(Time(policy.stale_while_revalidate)),
        stale_if_error: some(Time(policy.stale_if_error)),
        key_headers: all(&policy.key_headers, HeaderName::to_string),
        ignore_query: all(&policy.ignore_query, |name| plain(name)),
        answer_bytes_max: some(Size(policy.answer_bytes_max as u64)),
        tag_headers: all(&policy.tag_headers, HeaderName::to_string),
        show_tags: some(policy.show_tags),
    }
}

fn resolver(servers: &[SocketAddr]) -> Option<At<RawResolver>> {
    if servers.is_empty() {
        return None;
    }
    some(RawResolver { servers: all(servers, SocketAddr::to_string) })
}

fn document(policy: &DocumentPolicy) -> RawDocument {
    RawDocument {
        title: some(plain(&policy.title)),
        version: some(plain(&policy.version)),
        description: some(plain(&policy.description)),
    }
}

fn lifecycle(policy: &LifecyclePolicy) -> RawLifecycle {
    let instant = |at: Option<Timestamp>| at.and_then(|at| some(Instant(at)));
    let link = |uri: &Option<Box<str>>| uri.as_ref().and_then(|uri| some(plain(uri)));
    let lifecycle = &policy.lifecycle;
    RawLifecycle {
        version: some(plain(&policy.version)),
        deprecated: instant(lifecycle.deprecated),
        sunset: instant(lifecycle.sunset),
        gone: some(lifecycle.gone),
        successor: link(&policy.successor),
        docs: link(&policy.docs),
        sunset_docs: link(&policy.sunset_docs),
        brownouts: all(&lifecycle.brownouts, raw_brownout),
        brownout_status: some(policy.brownout_status.into()),
    }
}

fn raw_brownout(brownout: &Brownout) -> RawBrownout {
    let at = |at| At::nowhere(Instant(at));
    match *brownout {
        Brownout::Once { from, until } => {
            RawBrownout { from: at(from), until: Some(at(until)), every: None, lasts: None }
        }
        Brownout::Repeated { from, until, every, lasts } => RawBrownout {
            from: at(from),
            until: until.map(at),
            every: some(Time(every)),
            lasts: some(Time(lasts)),
        },
    }
}

fn health(policy: &HealthPolicy) -> RawHealth {
    RawHealth {
        path: At::nowhere(plain(policy.path.as_str())),
        interval: some(Time(policy.interval)),
        timeout: some(Time(policy.timeout)),
        rise: some(u64::from(policy.thresholds.rise)),
        fall: some(u64::from(policy.thresholds.fall)),
    }
}

fn upstream(
    UpstreamConfig { policy, contract, retry, concurrency, courtesy, openapi }: &UpstreamConfig,
) -> RawUpstream {
    let statuses = |list: &[u16]| all(list.to_vec(), Status);
    RawUpstream {
        url: match &policy.addresses[..] {
            [only] => some(plain(&only.to_string())),
            _ => None,
        },
        urls: match &policy.addresses[..] {
            [_] => None,
            several => all(several, |address| plain(&address.to_string())),
        },
        http: some(match policy.protocol {
            Protocol::Http1 => RawHttp::One,
            Protocol::Http2 => RawHttp::Two,
            Protocol::Negotiated => RawHttp::Auto,
        }),
        tls: upstream_tls(policy.tls.files()),
        host: some(match &policy.host {
            HostPolicy::Caller => "caller".to_owned(),
            HostPolicy::Upstream => "upstream".to_owned(),
            HostPolicy::Named(host) => plain(&String::from_utf8_lossy(host.as_bytes())),
        }),
        repeatable_for: contract.repeatable_for.and_then(|time| some(Time(time))),
        refused: statuses(&contract.answers.refused),
        completed: statuses(&contract.answers.completed),
        in_progress: statuses(&contract.answers.in_progress),
        timeout: some(RawTimeout {
            connect: some(Time(policy.connect_timeout)),
            tls: policy.tls_timeout.and_then(|time| some(Time(time))),
            write: policy.write_timeout.and_then(|time| some(Time(time))),
            one_try: policy.try_timeout.and_then(|time| some(Time(time))),
            first_byte: some(Time(policy.first_byte_timeout)),
            between_bytes: some(Time(policy.between_bytes_timeout)),
            total: some(Time(contract.times.total)),
            late: some(Time(contract.times.late)),
            queue: concurrency.and_then(|policy| some(Time(policy.wait_max))),
        }),
        idle_timeout: some(Time(policy.idle_timeout)),
        idle_max: some(policy.idle_max as u64),
        health: policy.health.as_ref().and_then(|policy| some(health(policy))),
        circuit: policy.circuit.as_ref().and_then(|policy| some(circuit(policy))),
        balance: policy.slow_start.and_then(|time| some(RawBalance { slow_start: some(Time(time)) })),
        retry: retry.as_ref().and_then(|policy| some(raw_retry(policy))),
        answers: policy.rules.iter().map(|rule| At::nowhere(answer(rule))).collect(),
        concurrency: concurrency.as_ref().and_then(|policy| some(raw_concurrency(policy))),
        courtesy: courtesy.as_ref().and_then(|policy| some(raw_courtesy(policy))),
        openapi: openapi.as_ref().and_then(|path| some(plain(path))),
    }
}

fn circuit(policy: &CircuitPolicy) -> RawCircuit {
    RawCircuit {
        failure_ratio: some(Share::of(policy.failure_ratio)),
        slow: policy.slow.and_then(|time| some(Time(time))),
        slow_ratio: some(Share::of(policy.slow_ratio)),
        window: some(Time(policy.window)),
        volume_min: some(u64::from(policy.volume_min)),
        consecutive: policy.consecutive.and_then(|most| some(u64::from(most))),
        open_for: some(Time(policy.open_for)),
        open_for_max: some(Time(policy.open_for_max)),
        probes: some(u64::from(policy.probes)),
        mode: some(RawMode::of(policy.is_shadow)),
    }
}

fn raw_retry(policy: &RetryPolicy) -> RawRetry {
    RawRetry {
        attempts: some(u64::from(policy.attempts)),
        base: some(Time(policy.backoff.base)),
        cap: some(Time(policy.backoff.cap)),
        budget: some(Percent(policy.budget.percent)),
        budget_min: some(u64::from(policy.budget.per_second_min)),
        methods: all(&policy.methods, Method::to_string),
        mode: some(RawMode::of(policy.is_shadow)),
    }
}

fn answer(rule: &AnswerRule) -> RawAnswer {
    RawAnswer {
        when: At::nowhere(plain(rule.when())),
        means: At::nowhere(match rule.means() {
            Reading::Completed => RawMeans::Completed,
            Reading::Refused => RawMeans::Refused,
            Reading::Unknown => RawMeans::Unknown,
        }),
    }
}

fn raw_concurrency(policy: &BulkheadPolicy) -> RawConcurrency {
    RawConcurrency {
        max: some(policy.max.into()),
        queue: some(policy.queue.into()),
        adaptive: some(policy.is_adaptive),
        min: some(policy.min.into()),
        reserve: some(Percent(policy.reserve_percent)),
        mode: some(RawMode::of(policy.is_shadow)),
    }
}

fn raw_courtesy(policy: &CourtesyPolicy) -> RawCourtesy {
    RawCourtesy {
        rate: policy.rate.and_then(|(rate, _)| some(PerTime(rate))),
        burst: policy.rate.and_then(|(_, burst)| some(burst.into())),
    }
}

fn upstream_tls(files: &TlsFiles) -> Option<At<RawUpstreamTls>> {
    if *files == TlsFiles::default() {
        return None;
    }
    let path = |path: &Path| At::nowhere(plain(&path.display().to_string()));
    let certificate = files.certificate.as_ref();
    some(RawUpstreamTls {
        ca_file: files.roots.as_deref().map(path),
        certificate_file: certificate.map(|(certificate, _)| path(certificate)),
        key_file: certificate.map(|(_, key)| path(key)),
        server_name: files.server_name.as_deref().map(|name| At::nowhere(plain(name))),
    })
}

/// Changes to header fields; nothing where there are none.
fn edits(edits: &HeaderEdits) -> Option<At<RawHeaderEdits>> {
    if *edits == HeaderEdits::default() {
        return None;
    }
    let value = |value: &HeaderValue| At::nowhere(plain(&String::from_utf8_lossy(value.as_bytes())));
    let fields = |fields: &[(HeaderName, HeaderValue)]| {
        some(fields.iter().map(|(name, text)| (name.to_string(), value(text))).collect())
    };
    some(RawHeaderEdits {
        remove: all(&edits.remove, HeaderName::to_string),
        set: fields(&edits.set),
        add: fields(&edits.add),
    })
}

fn raw_route(route: &Route) -> RawRoute {
    let rewrite = route.rewrite.as_ref();
    let prefix = |prefix: &str| (!prefix.is_empty()).then(|| At::nowhere(plain(prefix)));
    RawRoute {
        path: At::nowhere(plain(&route.path.to_string())),
        hosts: if route.hosts.is_empty() { None } else { all(&route.hosts, ToString::to_string) },
        name: some(plain(&route.name)),
        // No methods mean all; an empty list would mean none.
        methods: if route.methods.is_empty() {
            None
        } else {
            all(&route.methods, |method: &Method| method.to_string())
        },
        headers: if route.headers.is_empty() { None } else { some(headers(&route.headers)) },
        upstream: At::nowhere(route.upstream.clone()),
        deadline: route.deadline.and_then(|time| some(Time(time))),
        authentication: route.authentication.as_ref().and_then(|policy| some(asked(policy))),
        priority: some(match route.priority {
            Priority::Critical => RawPriority::Critical,
            Priority::Normal => RawPriority::Normal,
            Priority::Low => RawPriority::Low,
        }),
        idempotency: route.idempotency.as_ref().and_then(|policy| some(idempotency(policy))),
        background: route
            .idempotency
            .as_ref()
            .and_then(|policy| policy.background.as_ref())
            .and_then(|policy| some(background::background(policy))),
        retry: route.retry.as_ref().and_then(|policy| some(raw_retry(policy))),
        cache: route.cache.as_ref().and_then(|policy| some(cache(policy))),
        fallback: route.fallback.as_ref().and_then(|answer| some(fallback(answer))),
        cors: route.cors.as_ref().and_then(|policy| some(cors(policy))),
        lifecycle: route.lifecycle.as_ref().and_then(|policy| some(lifecycle(policy))),
        require_precondition: some(route.require_precondition),
        documented: some(route.documented),
        limits: if route.limits.is_empty() { None } else { all(&route.limits, |name| name.clone()) },
        limit_headers: if route.limits.is_empty() {
            None
        } else {
            some(limits::headers(route.limit_headers))
        },
        refusal: route.refusal.as_ref().and_then(|template| some(limits::refusal(template))),
        decision_header: some(route.decision_header),
        strip_prefix: rewrite.and_then(|rewrite| prefix(&rewrite.strip_prefix)),
        add_prefix: rewrite.and_then(|rewrite| prefix(&rewrite.add_prefix)),
        request_headers: rewrite.and_then(|rewrite| edits(&rewrite.requests)),
        answer_headers: rewrite.and_then(|rewrite| edits(&rewrite.answers)),
    }
}

fn headers(conditions: &[HeaderCondition]) -> BTreeMap<String, At<RawHeaderCondition>> {
    let raw = |condition: &HeaderCondition| match &condition.says {
        HeaderSays::Anything => RawHeaderCondition::Anything(true),
        // It was a text of the config before it was a header's value.
        HeaderSays::This(value) => RawHeaderCondition::This(plain(value.to_str().unwrap_or_default())),
    };
    conditions.iter().map(|condition| (condition.name.to_string(), At::nowhere(raw(condition)))).collect()
}

fn fallback(fallback: &RouteFallback) -> RawFallback {
    let fixed = match fallback {
        RouteFallback::Upstream(name) => {
            return RawFallback { upstream: some(name.clone()), ..RawFallback::default() };
        }
        RouteFallback::Fixed(fixed) => fixed,
    };
    // They were texts of the config before they were an answer.
    let text = |bytes: &[u8]| plain(&String::from_utf8_lossy(bytes));
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), At::nowhere(text(value.as_bytes())));
    RawFallback {
        upstream: None,
        status: some(u64::from(fixed.status.as_u16())),
        headers: some(fixed.headers.iter().map(field).collect()),
        body: (!fixed.body.is_empty()).then(|| At::nowhere(text(&fixed.body))),
        body_file: None,
    }
}

fn cors(policy: &CorsPolicy) -> RawCors {
    let (origins, credentials) = match &policy.origins {
        AllowedOrigins::Any => (vec!["*".to_owned()], false),
        AllowedOrigins::These { origins, credentials } => {
            (origins.iter().map(ToString::to_string).collect(), *credentials)
        }
    };
    let methods = Some(&policy.methods).filter(|methods| !methods.is_empty());
    RawCors {
        origins: At::nowhere(origins.into_iter().map(At::nowhere).collect()),
        methods: methods.and_then(|methods| all(methods, Method::to_string)),
        headers: policy.headers.as_ref().and_then(|names| all(names, |name| plain(name.as_str()))),
        expose: all(&policy.expose, |name| plain(name.as_str())),
        credentials: some(credentials),
        max_age: some(Time(policy.max_age)),
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
            BodyFingerprint::Multipart { omit } => {
                RawFingerprint::Multipart(RawMultipart { omit: all(omit, |name: &String| plain(name)) })
            }
        }),
        credential_headers: all(&policy.identity.credential_headers, HeaderName::to_string),
        request_bytes_max: some(Size(policy.request_bytes_max as u64)),
        request_memory_max: some(Size(policy.request_memory_max as u64)),
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
