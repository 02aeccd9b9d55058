//! Checks what a config says of those who are asked who is calling: issuers of tokens, and forward-auth services.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, HeaderValue, Uri};
use steadfast_layers::{Algorithm, ForwardPolicy, IntrospectionPolicy, JwtPolicy, KeySet, form_encoded};
use steadfast_upstream::Address;

use super::{
    super::{
        AskedUrl, ForwardConfig, IntrospectionConfig, JwtConfig, JwtKeys,
        load::read,
        raw::{At, RawForward, RawIntrospection, RawJwt},
        suggest::advice,
    },
    Checker, Finding, SECRET_BYTES_MAX, time_or,
};

/// The largest file of keys, in bytes.
const KEYS_BYTES_MAX: u64 = 1 << 20;

/// The shortest secret that signs tokens, in bytes: what RFC 7518 (section 3.2) wants of HS256.
const SECRET_BYTES_MIN: usize = 32;

/// The permissions of everybody but the owner and the group.
const OTHERS: u32 = 0o007;

/// For how long answers are kept, and by how much clocks may differ, unless stated.
const USUAL: Duration = Duration::from_secs(30);

impl Checker<'_> {
    pub(super) fn jwt(&mut self, raw: &RawJwt) -> Option<JwtConfig> {
        let algorithms = self.algorithms(&raw.algorithms);
        let keys = self.keys(raw, &algorithms);
        if raw.issuer.get().is_empty() {
            let next = "write the `iss` of the tokens";
            self.error(&raw.issuer.span(), "`jwt.issuer` is empty".into(), next.into());
        }
        let policy = JwtPolicy {
            issuer: raw.issuer.get().clone(),
            audience: self.audience(&raw.audience, "jwt.audience"),
            algorithms,
            leeway: time_or(raw.leeway.as_ref(), USUAL),
            principal: text_or(raw.principal.as_ref(), "sub"),
            attributes: pairs(raw.attributes.as_ref()),
            scopes: text_or(raw.scopes.as_ref(), "scope"),
        };
        Some(JwtConfig { policy, keys: keys? })
    }

    fn algorithms(&mut self, raw: &At<Vec<At<String>>>) -> Vec<Algorithm> {
        let known: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.as_str()).collect();
        let mut algorithms = Vec::new();
        for text in raw.get() {
            match Algorithm::named(text.get()) {
                Some(algorithm) if algorithms.contains(&algorithm) => {
                    let what = format!("{} is there twice", text.get());
                    self.error(&text.span(), what, "remove one of them".into());
                }
                Some(algorithm) => algorithms.push(algorithm),
                None if text.get().eq_ignore_ascii_case("none") => self.error(
                    &text.span(),
                    "`none` is no signature: anybody could make such a token".into(),
                    "name the algorithm that the issuer signs with".into(),
                ),
                None => {
                    let what = format!("`{}` is not an algorithm that is taken", text.get().escape_debug());
                    self.error(&text.span(), what, advice(text.get(), &known));
                }
            }
        }
        if raw.get().is_empty() {
            let next = "name the one that the issuer signs with, such as RS256";
            let what = "`jwt.algorithms` is empty: every token would be refused";
            self.error(&raw.span(), what.into(), next.into());
        }
        if algorithms.len() > 1 && algorithms.contains(&Algorithm::Hs256) {
            let what = "HS256 is beside others: one issuer has either a secret or public keys";
            self.error(&raw.span(), what.into(), "give HS256 an authenticator of its own".into());
        }
        algorithms
    }

    fn keys(&mut self, raw: &RawJwt, algorithms: &[Algorithm]) -> Option<JwtKeys> {
        let keys = match (&raw.jwks, &raw.jwks_file, &raw.secret_file) {
            (Some(url), None, None) => {
                self.take(&url.span(), asked_url("jwt.jwks", url.get())).map(JwtKeys::Url)
            }
            (None, Some(file), None) => {
                let path = Path::new(file.get());
                let text =
                    read(path, KEYS_BYTES_MAX).map_err(|reason| unreadable("jwt.jwks_file", path, &reason));
                let keys = text.and_then(|text| {
                    KeySet::parse(text.as_bytes()).map_err(|invalid| {
                        let what = format!("`jwt.jwks_file`: `{}` is of no use: {invalid}", path.display());
                        (what, "write the issuer's JWK set into it".into())
                    })
                });
                self.take(&file.span(), keys).map(|keys| JwtKeys::File(path.to_owned(), keys))
            }
            (None, None, Some(file)) => {
                let secret = self.secret(file, "jwt.secret_file")?;
                if secret.len() < SECRET_BYTES_MIN {
                    let what =
                        format!("the secret has {} bytes, and can be guessed from a token", secret.len());
                    let next = format!("share {SECRET_BYTES_MIN} random bytes or more with the issuer");
                    self.error(&file.span(), what, next);
                }
                Some(JwtKeys::Secret(file.get().into(), KeySet::secret(secret.as_bytes())))
            }
            (None, None, None) => {
                let next = "add `jwks` with the URL of its keys, `jwks_file`, or `secret_file` for HS256";
                let what = "`jwt` does not say what the issuer's tokens are checked with";
                self.error(&raw.issuer.span(), what.into(), next.into());
                return None;
            }
            _ => {
                let what = "`jwt` says twice what the issuer's tokens are checked with";
                let next = "leave one of `jwks`, `jwks_file` and `secret_file`";
                self.error(&raw.issuer.span(), what.into(), next.into());
                return None;
            }
        };
        let is_shared = algorithms.contains(&Algorithm::Hs256);
        if !algorithms.is_empty() && is_shared != raw.secret_file.is_some() {
            let (what, next) = if is_shared {
                (
                    "HS256 needs the secret that is shared with the issuer",
                    "add `secret_file` in place of its keys",
                )
            } else {
                (
                    "`secret_file` is for HS256 alone",
                    "say `algorithms = [\"HS256\"]`, or name the issuer's keys",
                )
            };
            self.error(&raw.algorithms.span(), what.into(), next.into());
        }
        keys
    }

    pub(super) fn introspection(&mut self, at: &At<RawIntrospection>) -> Option<IntrospectionConfig> {
        let raw = at.get();
        let url = self.take(&raw.url.span(), asked_url("introspection.url", raw.url.get()));
        let client = match (&raw.client_id, &raw.client_secret_file) {
            (None, None) => {
                let what = "the issuer is asked by nobody in particular, and should not answer: add `client_id` and \
                            `client_secret_file`";
                self.warn(&at.span(), what.into());
                None
            }
            (Some(id), Some(file)) => {
                let secret = self.secret(file, "introspection.client_secret_file")?;
                Some((id.get().clone(), file.get().into(), secret))
            }
            (Some(one), None) | (None, Some(one)) => {
                let what = "`client_id` and `client_secret_file` go together";
                self.error(&one.span(), what.into(), "add the other one".into());
                None
            }
        };
        let url = url?;
        let policy = IntrospectionPolicy {
            target: url.target.clone(),
            authorization: client.as_ref().map(|(id, _, secret)| basic(id, secret)),
            keep: time_or(raw.keep.as_ref(), USUAL),
            principal: text_or(raw.principal.as_ref(), "sub"),
            attributes: pairs(raw.attributes.as_ref()),
            audience: raw
                .audience
                .as_ref()
                .map(|audience| self.audience(audience, "introspection.audience"))
                .unwrap_or_default(),
        };
        Some(IntrospectionConfig { url, client: client.map(|(id, file, _)| (id, file)), policy })
    }

    pub(super) fn forward(&mut self, raw: &RawForward) -> Option<ForwardConfig> {
        let url = self.take(&raw.url.span(), asked_url("forward.url", raw.url.get()));
        let mut header = |text: &At<String>| self.take(&text.span(), told_header(text.get()));
        let headers = raw.headers.iter().flat_map(|headers| headers.get()).filter_map(&mut header).collect();
        let principal = raw.principal.as_ref().and_then(&mut header);
        let scopes = raw.scopes.as_ref().and_then(&mut header);
        let attributes = raw.attributes.iter().flat_map(|attributes| attributes.get());
        let attributes = attributes.filter_map(|(name, text)| Some((name.clone(), header(text)?))).collect();
        let of_principal = raw.attributes.as_ref().map(At::span).or(raw.scopes.as_ref().map(At::span));
        if let (None, Some(span)) = (&raw.principal, of_principal) {
            let what = "attributes and scopes are a principal's, and `forward.principal` names no header";
            self.error(&span, what.into(), "add `principal` with the header that says whose they are".into());
        }
        let url = url?;
        let keep = time_or(raw.keep.as_ref(), Duration::ZERO);
        let target = url.target.clone();
        Some(ForwardConfig {
            url,
            policy: ForwardPolicy { target, headers, principal, attributes, scopes, keep },
        })
    }

    /// Whom tokens are for.
    fn audience(&mut self, list: &At<Vec<At<String>>>, key: &str) -> Vec<String> {
        if list.get().is_empty() || list.get().iter().any(|text| text.get().is_empty()) {
            let what = format!("`{key}` is empty, or has an empty text: no token would be for anybody here");
            self.error(&list.span(), what, "write what the `aud` of the tokens says".into());
        }
        list.get().iter().map(|text| text.get().clone()).collect()
    }

    /// A secret, without the line's end that editors add.
    fn secret(&mut self, file: &At<String>, key: &str) -> Option<String> {
        let path = Path::new(file.get());
        let text = read(path, SECRET_BYTES_MAX).map_err(|reason| unreadable(key, path, &reason));
        let text = self.take(&file.span(), text)?;
        if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & OTHERS != 0) {
            let what = format!(
                "everybody on this machine may read or change the secret in `{}`: chmod 600",
                path.display()
            );
            self.warn(&file.span(), what);
        }
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

fn unreadable(key: &str, path: &Path, reason: &dyn std::fmt::Display) -> (String, String) {
    let what = format!("`{key}`: `{}` cannot be read: {reason}", path.display());
    (what, "create it, or make it readable for the user that the gateway runs as".into())
}

fn text_or(raw: Option<&At<String>>, default: &str) -> String {
    raw.map_or_else(|| default.to_owned(), |text| text.get().clone())
}

fn pairs(raw: Option<&At<BTreeMap<String, At<String>>>>) -> Vec<(String, String)> {
    let pairs = raw.into_iter().flat_map(|pairs| pairs.get());
    pairs.map(|(name, value)| (name.clone(), value.get().clone())).collect()
}

fn asked_url(key: &str, text: &str) -> Finding<AskedUrl> {
    let wrong = |what: &str| {
        let what = format!("`{key}`: `{}` {what}", text.escape_debug());
        (what, "write a URL such as https://id.example/keys".to_owned())
    };
    let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("is not a URL"));
    };
    if authority.as_str().contains('@') {
        return Err((
            "a URL with a name or a password in it is not taken".into(),
            format!("write `{key}` without"),
        ));
    }
    let address: Result<Address, _> = format!("{scheme}://{authority}").parse();
    let address = address.map_err(|error| wrong(&format!("is no place to ask: {error}")))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = target.parse().map_err(|_| wrong("has no path"))?;
    Ok(AskedUrl { text: text.to_owned(), address, target })
}

/// A header by which a service tells of callers, and which no caller may send.
fn told_header(text: &str) -> Finding<HeaderName> {
    const OF_THE_MESSAGE: [&str; 9] = [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name: HeaderName = text.parse().map_err(|_| {
        (
            format!("`{}` is not the name of a header", text.escape_debug()),
            "write one such as X-User".to_owned(),
        )
    })?;
    if OF_THE_MESSAGE.contains(&name.as_str()) {
        return Err((
            format!("`{name}` is the caller's own to send, and would be taken away"),
            "leave it out".into(),
        ));
    }
    Ok(name)
}

/// RFC 6749, section 2.3.1: both are encoded as forms are before they are joined.
fn basic(id: &str, secret: &str) -> HeaderValue {
    let pair = format!("{}:{}", form_encoded(id.as_bytes()), form_encoded(secret.as_bytes()));
    let text = format!("Basic {}", BASE64_STANDARD.encode(pair));
    // Base 64 is plain ASCII.
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}
