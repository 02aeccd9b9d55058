//! Checks what a config says of its routes.

use std::sync::Arc;

use http::{HeaderName, Method, header};
use steadfast_layers::{
    BodyFingerprint, IdempotencyPolicy, IdentityPolicy, InProgress, Kept, KeySource, NamespaceScope,
    OnLedgerLoss,
};
use steadfast_ledger::{KeepFrom, Retention};

use super::{
    super::{
        EdgePolicy, HostPattern, Route, UpstreamContract,
        raw::{
            At, RawConfig, RawFingerprint, RawIdempotency, RawInProgress, RawKept, RawKey, RawNamespace,
            RawOnLedgerLoss, RawRoute,
        },
        suggest::advice,
    },
    Checker, Finding, Upstreams,
    concurrency::priority,
    matching::{parse_path, served_by_both},
    time_or, whole,
};

/// The methods that a route can name.
const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

/// The longest window: what is meant is a button that was clicked twice.
const WINDOW_HOURS_MAX: u64 = 24;

impl Checker<'_> {
    pub(super) fn routes(&mut self, raw: &RawConfig, upstreams: &Upstreams, edge: &EdgePolicy) -> Vec<Route> {
        let names: Vec<&str> = raw.upstreams.keys().map(String::as_str).collect();
        let authenticators: Vec<&str> = raw.authentication.keys().map(String::as_str).collect();
        let mut routes: Vec<(&At<RawRoute>, Route)> = Vec::new();
        for raw_route in &raw.routes {
            let upstream = &raw_route.get().upstream;
            if !names.contains(&upstream.get().as_str()) {
                let what = format!("there is no upstream `{}`", upstream.get());
                let next = match names.as_slice() {
                    [] => format!("add [upstreams.{}] with its url", upstream.get()),
                    names => advice(upstream.get(), names),
                };
                self.error(&upstream.span(), what, next);
            }
            let is_encrypted = raw.encryption.is_some();
            let Some(mut route) =
                self.route(raw_route.get(), upstreams, &names, &authenticators, edge, is_encrypted)
            else {
                continue;
            };
            route.limits = self.route_limits(raw_route.get(), &raw.limits);
            if !self.partial {
                for (other_raw, other) in &routes {
                    self.compare(raw_route.get(), &route, other_raw.get(), other);
                }
            }
            routes.push((raw_route, route));
        }
        routes.into_iter().map(|(_, route)| route).collect()
    }

    /// The route of `raw`. `upstreams` are those that are all right, `names` those of all that there are.
    fn route(
        &mut self,
        raw: &RawRoute,
        upstreams: &Upstreams,
        names: &[&str],
        authenticators: &[&str],
        edge: &EdgePolicy,
        is_encrypted: bool,
    ) -> Option<Route> {
        let upstream = upstreams.get(raw.upstream.get());
        let path = self.take(&raw.path.span(), parse_path(raw.path.get()));
        let hosts = self.hosts(raw.hosts.as_ref());
        let methods = self.methods(raw);
        let headers = self.headers(raw.headers.as_ref());
        let name: Arc<str> = raw.name.as_ref().unwrap_or(&raw.path).get().as_str().into();
        if let Some(name) = &raw.name {
            self.take(&name.span(), check_name(name.get()));
        }
        let default_contract = UpstreamContract::default();
        let authentication = raw
            .authentication
            .as_ref()
            .map(|authentication| self.route_authentication(authentication.get(), authenticators));
        let principals = authentication.as_ref().is_some_and(|asked| !asked.optional);
        // What is done in the background is an operation like any other.
        let implied =
            raw.background.as_ref().map(|background| At::new(RawIdempotency::default(), background.span()));
        let idempotency = raw.idempotency.as_ref().or(implied.as_ref()).and_then(|idempotency| {
            let contract = upstream.map_or(&default_contract, |upstream| &upstream.contract);
            let mut policy = self.idempotency(idempotency, &name, &methods, contract, principals, edge)?;
            let background = raw.background.as_ref();
            policy.background =
                background.map(|background| self.background(background, &policy, is_encrypted));
            // Who serves every host below one serves tenants: the same key means something else to each.
            let room_per_host = hosts.iter().any(|host| matches!(host, HostPattern::Below(_)));
            Some(IdempotencyPolicy { room_per_host, ..policy })
        });
        let retry = raw.retry.as_ref().map(|retry| {
            let otherwise = upstream.and_then(|upstream| upstream.retry.clone()).unwrap_or_default();
            self.retry(retry.get(), &otherwise)
        });
        let cache = raw.cache.as_ref().map(|cache| self.cache(cache, &methods));
        let cors = raw.cors.as_ref().map(|cors| self.cors(cors.get(), &methods));
        if let (Some(cors), Some(policy)) = (&raw.cors, &idempotency) {
            self.warn_of_hidden_key(cors.get(), policy);
        }
        let fallback =
            raw.fallback.as_ref().and_then(|fallback| self.fallback(fallback, raw, &methods, names));
        let lifecycle = raw.lifecycle.as_ref().map(|lifecycle| self.lifecycle(lifecycle, &name));
        let require_precondition = self.require_precondition(raw.require_precondition.as_ref(), &methods);
        Some(Route {
            name,
            hosts,
            path: path?,
            methods,
            headers,
            upstream: raw.upstream.get().clone(),
            deadline: raw.deadline.as_ref().map(|time| time.get().0),
            authentication,
            priority: priority(raw.priority.as_ref()),
            idempotency,
            retry,
            cache,
            fallback,
            cors,
            lifecycle,
            require_precondition,
            documented: raw.documented.as_ref().is_none_or(|documented| *documented.get()),
            limits: Vec::new(),
            limit_headers: self.limit_headers(raw),
            refusal: raw.refusal.as_ref().and_then(|refusal| self.refusal(refusal.get())),
            decision_header: raw.decision_header.as_ref().is_some_and(|header| *header.get()),
            rewrite: self.rewrite(raw),
        })
    }

    fn compare(&mut self, raw: &RawRoute, route: &Route, other_raw: &RawRoute, other: &Route) {
        let line = self.source.place(&other_raw.path.span()).line();
        let there = line.map_or_else(String::new, |line| format!(" (line {line})"));
        if route.matching().clashes_with(&other.matching()) {
            let what = format!(
                "the route `{}` and the route `{}`{there} both serve {}, and neither is more specific",
                route.name,
                other.name,
                served_by_both(route, other)
            );
            let next = "give them different hosts, paths, methods or headers, or remove one";
            self.error(&raw.path.span(), what, next.into());
        } else if route.name == other.name {
            let what =
                format!("two routes are called `{}`, the other one{there}: keys would mix", route.name);
            let span = raw.name.as_ref().unwrap_or(&raw.path).span();
            self.error(&span, what, "give one of them a `name` of its own".into());
        }
    }

    fn methods(&mut self, raw: &RawRoute) -> Vec<Method> {
        let Some(list) = &raw.methods else { return Vec::new() };
        self.method_list(list, "the route would serve nothing")
    }

    /// `if_empty` is what it would mean if there were none.
    pub(super) fn method_list(&mut self, list: &At<Vec<At<String>>>, if_empty: &str) -> Vec<Method> {
        if list.get().is_empty() {
            let next = "name some, or remove `methods` for all of them";
            self.error(&list.span(), format!("`methods` is empty: {if_empty}"), next.into());
        }
        let known: Vec<&str> = METHODS.iter().map(Method::as_str).collect();
        let mut methods: Vec<Method> = Vec::new();
        for text in list.get() {
            match METHODS.iter().find(|method| method.as_str() == text.get()) {
                Some(method) if methods.contains(method) => {
                    self.error(&text.span(), format!("{method} is there twice"), "remove one of them".into());
                }
                Some(method) => methods.push(method.clone()),
                None => {
                    let what = format!("`{}` is not a method that a route can name", text.get());
                    self.error(&text.span(), what, advice(text.get(), &known));
                }
            }
        }
        methods
    }

    fn idempotency(
        &mut self,
        raw: &At<RawIdempotency>,
        route: &Arc<str>,
        methods: &[Method],
        contract: &UpstreamContract,
        principals: bool,
        edge: &EdgePolicy,
    ) -> Option<IdempotencyPolicy> {
        let default = IdempotencyPolicy::for_route(route);
        let (span, raw) = (raw.span(), raw.get());
        let policy = IdempotencyPolicy {
            methods: if methods.is_empty() { default.methods.clone() } else { unsafe_methods(methods) },
            key: self.key(raw.key.as_ref()),
            required: raw.required.as_ref().is_some_and(|required| *required.get()),
            anonymous: raw.anonymous.as_ref().is_some_and(|anonymous| *anonymous.get()),
            namespace: self.namespace(raw.namespace.as_ref(), principals),
            identity: self.identity(raw.credential_headers.as_ref()),
            in_progress: self.in_progress(raw),
            fingerprint: self.fingerprint(raw.fingerprint.as_ref()),
            retention: Retention {
                keep: time_or(raw.keep.as_ref(), default.retention.keep),
                from: KeepFrom::Finish,
                tombstone: raw.tombstone.as_ref().map(|time| time.get().0),
            },
            request_bytes_max: raw
                .request_bytes_max
                .as_ref()
                .map_or(default.request_bytes_max, |size| whole(size.get().0)),
            request_memory_max: raw
                .request_memory_max
                .as_ref()
                .map_or(default.request_memory_max, |size| whole(size.get().0)),
            request_idle_max: edge.body_timeout,
            answer_bytes_max: raw
                .answer_bytes_max
                .as_ref()
                .map_or(default.answer_bytes_max, |size| whole(size.get().0)),
            kept: self.kept(raw.kept.as_ref()),
            answers: contract.answers.clone(),
            repeatable_for: contract.repeatable_for,
            times: contract.times,
            on_ledger_loss: match raw.on_ledger_loss.as_ref().map(At::get) {
                None | Some(RawOnLedgerLoss::Refuse) => OnLedgerLoss::Refuse,
                Some(RawOnLedgerLoss::Forward) => OnLedgerLoss::Forward,
            },
            ..default
        };
        if policy.methods.is_empty() {
            let what = "`idempotency` or `async` on a route that serves only safe methods does nothing";
            self.error(
                &span,
                what.into(),
                "remove it, or add POST, PUT, PATCH or DELETE to `methods`".into(),
            );
        }
        if let Err(invalid) = policy.check() {
            // The key is the part that contradicts; without one, the policy as a whole.
            let span = raw.key.as_ref().map_or(span, At::span);
            self.error(&span, format!("`idempotency`: {invalid}"), "change one of the two".into());
        }
        Some(policy)
    }

    fn key(&mut self, raw: Option<&At<RawKey>>) -> KeySource {
        let Some(raw) = raw else { return KeySource::Header };
        match raw.get() {
            RawKey::Header => KeySource::Header,
            RawKey::Field(path) => KeySource::HeaderOrField(self.fields(std::slice::from_ref(path)).concat()),
            RawKey::Fields(paths) => KeySource::Fields(self.fields(paths.get())),
            RawKey::Window(window) => {
                if window.get().0.as_secs() > WINDOW_HOURS_MAX * 3600 {
                    self.error(
                        &window.span(),
                        "`idempotency.key.window` is too large".into(),
                        format!("{WINDOW_HOURS_MAX}h is the most; 10s is usual"),
                    );
                }
                KeySource::Window(window.get().0)
            }
        }
    }

    /// Dotted paths into a JSON body.
    pub(super) fn fields(&mut self, paths: &[At<String>]) -> Vec<String> {
        for path in paths {
            if path.get().is_empty() || path.get().split('.').any(str::is_empty) {
                let what = format!("`{}` is not a path of fields", path.get());
                self.error(&path.span(), what, "write a field, or fields joined by dots: order.id".into());
            }
        }
        paths.iter().map(|path| path.get().clone()).collect()
    }

    /// `principals`: whether every request of the route has a verified one.
    fn namespace(&mut self, raw: Option<&At<RawNamespace>>, principals: bool) -> NamespaceScope {
        let Some(raw) = raw else {
            return if principals { NamespaceScope::PrincipalAndRoute } else { NamespaceScope::Route };
        };
        if !principals && matches!(raw.get(), RawNamespace::Principal | RawNamespace::PrincipalAndRoute) {
            let what = "`namespace` needs verified principals, and this route lets requests in without one";
            let next = "add `authentication` to the route (not `optional`), or use \"route\": an answer is still \
                        disclosed only to the credential that made it";
            self.error(&raw.span(), what.into(), next.into());
        }
        match raw.get() {
            RawNamespace::Route => NamespaceScope::Route,
            RawNamespace::Global => NamespaceScope::Global,
            RawNamespace::Principal => NamespaceScope::Principal,
            RawNamespace::PrincipalAndRoute => NamespaceScope::PrincipalAndRoute,
        }
    }

    fn identity(&mut self, raw: Option<&At<Vec<At<String>>>>) -> IdentityPolicy {
        let Some(raw) = raw else { return IdentityPolicy::default() };
        let mut credential_headers = Vec::new();
        for text in raw.get() {
            match HeaderName::from_bytes(text.get().as_bytes()) {
                Ok(name) if name == header::COOKIE => self.error(
                    &text.span(),
                    "a cookie is never a credential here: it changes between a request and its retry".into(),
                    "name a header that stays the same, such as Authorization".into(),
                ),
                Ok(name) if credential_headers.contains(&name) => {
                    self.error(&text.span(), format!("`{name}` is there twice"), "remove one of them".into());
                }
                Ok(name) => credential_headers.push(name),
                Err(_) => {
                    let what = format!("`{}` is not the name of a header", text.get().escape_debug());
                    self.error(&text.span(), what, "write one such as Authorization or X-Api-Key".into());
                }
            }
        }
        IdentityPolicy { credential_headers }
    }

    fn kept(&mut self, raw: Option<&At<RawKept>>) -> Kept {
        let Some(raw) = raw.map(At::get) else { return Kept::default() };
        let is = |flag: Option<&At<bool>>| flag.is_none_or(|flag| *flag.get());
        let mut names = |list: &At<Vec<At<String>>>| self.kept_headers(list.get());
        let (headers, drop_headers) =
            (raw.headers.as_ref().map(&mut names), raw.drop_headers.as_ref().map(names));
        let redact = raw.redact.as_ref().map(|paths| self.fields(paths.get())).unwrap_or_default();
        let drop_headers = drop_headers.unwrap_or_default();
        let kept =
            Kept { headers, drop_headers, body: is(raw.body.as_ref()), redact, path: is(raw.path.as_ref()) };
        if !self.partial
            && let Some(drop) = raw.drop_headers.as_ref().filter(|drop| !drop.get().is_empty())
            && kept.headers.is_some()
        {
            self.error(
                &drop.span(),
                "`headers` names all that is kept, so `drop_headers` beside it does nothing".into(),
                "remove one of them".into(),
            );
        }
        if !self.partial
            && let Some(body) = raw.body.as_ref().filter(|_| !kept.body)
            && (kept.headers.is_some() || !kept.drop_headers.is_empty() || !kept.redact.is_empty())
        {
            self.error(
                &body.span(),
                "`body = false` keeps nothing of an answer but its status, so there is nothing to choose from it"
                    .into(),
                "remove `headers`, `drop_headers` and `redact`, or this".into(),
            );
        }
        kept
    }

    fn kept_headers(&mut self, list: &[At<String>]) -> Vec<HeaderName> {
        let mut names = Vec::new();
        for text in list {
            match HeaderName::from_bytes(text.get().as_bytes()) {
                Ok(name) if !Kept::may_keep(&name) => self.error(
                    &text.span(),
                    format!("`{name}` is never kept: it belongs to one moment, not to the answer"),
                    "remove it".into(),
                ),
                Ok(name) if names.contains(&name) => {
                    self.error(&text.span(), format!("`{name}` is there twice"), "remove one of them".into());
                }
                Ok(name) => names.push(name),
                Err(_) => {
                    let what = format!("`{}` is not the name of a header", text.get().escape_debug());
                    self.error(&text.span(), what, "write one such as Location or X-Request-Cost".into());
                }
            }
        }
        names
    }

    fn in_progress(&mut self, raw: &RawIdempotency) -> InProgress {
        let kind = raw.in_progress.as_ref().map_or(RawInProgress::Wait, |kind| *kind.get());
        if let Some(wait) = &raw.in_progress_wait
            && !matches!(kind, RawInProgress::Wait)
            && !self.partial
        {
            self.error(
                &wait.span(),
                "`in_progress_wait` without `in_progress = \"wait\"` does nothing".into(),
                "remove one of them".into(),
            );
        }
        match (kind, IdempotencyPolicy::for_route("").in_progress) {
            (RawInProgress::Wait, InProgress::Wait(default)) => {
                InProgress::Wait(time_or(raw.in_progress_wait.as_ref(), default))
            }
            (RawInProgress::Wait, other) => other,
            (RawInProgress::Conflict, _) => InProgress::Conflict,
            (RawInProgress::TooManyRequests, _) => InProgress::TooManyRequests,
            (RawInProgress::Accepted, _) => InProgress::Accepted,
        }
    }

    fn fingerprint(&mut self, raw: Option<&At<RawFingerprint>>) -> BodyFingerprint {
        match raw.map(At::get) {
            None | Some(RawFingerprint::Bytes) => BodyFingerprint::Bytes,
            Some(RawFingerprint::Json(json)) => BodyFingerprint::Json {
                omit: json.omit.as_ref().map(|paths| self.fields(paths.get())).unwrap_or_default(),
            },
            Some(RawFingerprint::Multipart(multipart)) => BodyFingerprint::Multipart {
                omit: multipart
                    .omit
                    .iter()
                    .flat_map(|names| names.get())
                    .map(|name| name.get().clone())
                    .collect(),
            },
        }
    }
}

/// Those of `methods` that change something.
fn unsafe_methods(methods: &[Method]) -> Vec<Method> {
    methods.iter().filter(|method| !method.is_safe()).cloned().collect()
}

fn check_name(name: &str) -> Finding<()> {
    if (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let what = format!("the route's name `{}` is not a plain name", name.escape_debug());
    Err((what, "use 1 to 128 printable ASCII characters without spaces".into()))
}
