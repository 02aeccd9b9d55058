//! Checks what a config says of who is calling.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use steadfast_core::is_key_prefix;
use steadfast_layers::{CredentialSource, RouteAuthenticationPolicy};

use super::{
    super::{
        AuthenticationConfig, AuthenticationKind,
        raw::{At, RawApiKeys, RawAuthentication, RawConfig, RawRouteAuthentication},
        suggest::{advice, listed},
    },
    Checker, Finding,
};

/// The authenticators that are all right, by name.
pub(super) type Authentication = BTreeMap<String, AuthenticationConfig>;

/// The longest prefix of names, in bytes.
const NAME_PREFIX_BYTES_MAX: usize = 64;

impl Checker<'_> {
    pub(super) fn authentication(&mut self, raw: &RawConfig) -> Authentication {
        let mut all = Authentication::new();
        for (name, authentication) in &raw.authentication {
            let span = authentication.span();
            if !is_name(name) {
                let what = format!("`{}` is not a name for an authenticator", name.escape_debug());
                self.error(&span, what, "use letters, digits, `-` and `_`".into());
            }
            if let Some(checked) = self.one_authentication(name, authentication) {
                all.insert(name.clone(), checked);
            }
        }
        self.names_of_principals(raw);
        self.prefixes_of_keys(raw, &all);
        all
    }

    fn one_authentication(
        &mut self,
        name: &str,
        raw: &At<RawAuthentication>,
    ) -> Option<AuthenticationConfig> {
        let RawAuthentication { header, name_prefix, pass_on, api_keys, jwt, introspection, forward } =
            raw.get();
        let source = match header {
            None => CredentialSource::Bearer,
            Some(header) => {
                CredentialSource::Header(self.take(&header.span(), credential_header(header.get()))?)
            }
        };
        if let Some(prefix) = name_prefix {
            self.take(&prefix.span(), check_name_prefix(prefix.get()));
        }
        let kind = match (api_keys, jwt, introspection, forward) {
            (Some(api_keys), None, None, None) => self.api_keys(api_keys.get()),
            (None, Some(jwt), None, None) => self.jwt(jwt.get()).map(AuthenticationKind::Jwt),
            (None, None, Some(introspection), None) => {
                self.introspection(introspection).map(AuthenticationKind::Introspection)
            }
            (None, None, None, Some(forward)) => self.forward(forward.get()).map(AuthenticationKind::Forward),
            (None, None, None, None) => {
                let what = format!("`authentication.{name}` does not say how credentials are checked");
                let next = "add one of `api_keys`, `jwt`, `introspection` and `forward`; `api_keys = {}` is the shortest";
                self.error(&raw.span(), what, next.into());
                None
            }
            _ => {
                let what =
                    format!("`authentication.{name}` says in several ways how credentials are checked");
                let next = "leave one, and give each of the others a name of its own: a route may name several in `by`";
                self.error(&raw.span(), what, next.into());
                None
            }
        }?;
        if let (AuthenticationKind::Forward(forward), Some(stated)) = (&kind, pass_on)
            && forward.policy.principal.is_none()
            && !*stated.get()
        {
            let what = "`pass_on = false` goes by the principal, and `forward.principal` names no header";
            self.error(&stated.span(), what.into(), "add `forward.principal`, or remove `pass_on`".into());
        }
        let passes_on = !matches!(kind, AuthenticationKind::ApiKeys { .. });
        Some(AuthenticationConfig {
            source,
            name_prefix: name_prefix.as_ref().map(|prefix| prefix.get().as_str().into()).unwrap_or_default(),
            pass_on: pass_on.as_ref().map_or(passes_on, |pass_on| *pass_on.get()),
            kind,
        })
    }

    fn api_keys(&mut self, raw: &RawApiKeys) -> Option<AuthenticationKind> {
        let Some(prefix) = &raw.prefix else {
            return Some(AuthenticationKind::ApiKeys { prefix: "sf".into() });
        };
        if !is_key_prefix(prefix.get()) {
            self.error(
                &prefix.span(),
                format!("`{}` cannot be the prefix of keys", prefix.get().escape_debug()),
                "use up to 20 letters and digits, with `_` between them, such as sf_live".into(),
            );
            return None;
        }
        Some(AuthenticationKind::ApiKeys { prefix: prefix.get().as_str().into() })
    }

    /// Two that name principals must not mean two by one name: they would share keys, limits and answers.
    fn names_of_principals(&mut self, raw: &RawConfig) {
        let unstated: Vec<_> =
            raw.authentication.iter().filter(|(_, one)| one.get().name_prefix.is_none()).collect();
        let [(first, _), others @ ..] = unstated.as_slice() else { return };
        for (name, one) in others {
            self.error(
                &one.span(),
                format!("a principal of `{name}` could have the name of one of `{first}`, and would be taken for it"),
                format!(
                    "add `name_prefix = \"{name}:\"`, or `name_prefix = \"\"` where equal names are the same principal"
                ),
            );
        }
    }

    /// A key says by its prefix whose it is.
    fn prefixes_of_keys(&mut self, raw: &RawConfig, all: &Authentication) {
        // `sf_live_…` begins with `sf_` too.
        let is_within = |long: &str, short: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for (name, one) in all {
            let AuthenticationKind::ApiKeys { prefix } = &one.kind else { continue };
            let other = seen.iter().find(|(_, known)| is_within(prefix, known) || is_within(known, prefix));
            if let Some((other, _)) = other {
                let span = raw.authentication.get(name).map_or(0..0, At::span);
                let what = format!("keys of `{name}` and of `{other}` could begin alike");
                let next = "give one of them an `api_keys.prefix` of its own, such as sf_test beside sf_live";
                self.error(&span, what, next.into());
            }
            seen.push((name, prefix));
        }
    }

    /// What a route asks of its callers; `names` are those of all authenticators.
    pub(super) fn route_authentication(
        &mut self,
        raw: &RawRouteAuthentication,
        names: &[&str],
    ) -> RouteAuthenticationPolicy {
        let mut by: Vec<Arc<str>> = Vec::new();
        for name in raw.by.get() {
            if !names.contains(&name.get().as_str()) {
                let what = format!("there is no authenticator `{}`", name.get().escape_debug());
                let next = match names {
                    [] => format!("add [authentication.{}]", name.get()),
                    names => advice(name.get(), names),
                };
                self.error(&name.span(), what, next);
            } else if by.iter().any(|known| **known == **name.get()) {
                self.error(
                    &name.span(),
                    format!("`{}` is there twice", name.get()),
                    "remove one of them".into(),
                );
            }
            by.push(name.get().as_str().into());
        }
        if by.is_empty() {
            let next = match names {
                [] => "name one, such as `by = [\"customers\"]`, and add [authentication.customers]".into(),
                names => format!("name one or several of {}, or remove `authentication`", listed(names)),
            };
            self.error(
                &raw.by.span(),
                "`authentication.by` is empty: nobody could say who is calling".into(),
                next,
            );
        }
        let mut scopes = Vec::new();
        for scope in raw.scopes.iter().flat_map(|scopes| scopes.get()) {
            if !is_scope(scope.get()) {
                let what = format!("`{}` is not a scope", scope.get().escape_debug());
                self.error(
                    &scope.span(),
                    what,
                    "write printable ASCII without spaces, quotes and backslashes".into(),
                );
            }
            scopes.push(scope.get().clone());
        }
        let mut attributes = Vec::new();
        for (name, values) in raw.attributes.iter().flat_map(|attributes| attributes.get()) {
            if values.get().is_empty() {
                let what =
                    format!("`authentication.attributes.{name}` is empty: nobody would be let through");
                self.error(&values.span(), what, "name the values that are, or remove it".into());
            }
            attributes.push((name.clone(), values.get().iter().map(|value| value.get().clone()).collect()));
        }
        let optional = raw.optional.as_ref().is_some_and(|optional| *optional.get());
        if optional && !(scopes.is_empty() && attributes.is_empty()) {
            let span = raw.optional.as_ref().map_or(0..0, At::span);
            let what = "with `optional`, whoever sends no credential is let through, whatever scopes and attributes say";
            self.warn(&span, what.into());
        }
        RouteAuthenticationPolicy { by, scopes, attributes, optional }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// RFC 6749, appendix A.4.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn credential_header(text: &str) -> Finding<HeaderName> {
    let shown = text.escape_debug();
    let name: HeaderName = text.parse().map_err(|_| {
        (format!("`{shown}` is not the name of a header"), "write one such as X-API-Key".into())
    })?;
    match name.as_str() {
        "authorization" => Err((
            "`header = \"Authorization\"` would be one without a scheme".into(),
            "leave it out: `Authorization: Bearer …` is what is read unless stated".into(),
        )),
        "cookie" | "host" | "content-length" | "transfer-encoding" | "connection" | "idempotency-key" => Err(
            (format!("`{name}` cannot carry a credential"), "name another header, such as X-API-Key".into()),
        ),
        _ => Ok(name),
    }
}

fn check_name_prefix(text: &str) -> Finding<()> {
    if text.len() <= NAME_PREFIX_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let what = format!("`{}` cannot stand before a name", text.escape_debug());
    Err((what, "use up to 64 printable ASCII characters without spaces, such as customers:".into()))
}
