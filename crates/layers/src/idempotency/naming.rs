//! From a request to the name of its operation: which key, in which namespace, by whom.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, HeaderName, request::Parts};
use serde_json::value::RawValue;
use steadfast_core::{
    Code, Fingerprint, FingerprintBuilder, ForwardedKey, InvalidKey, Key, Namespace, OperationId, Owner,
    canonical_json,
};
use steadfast_ledger::{KeepFrom, OperationName, Retention};

use super::policy::{IdempotencyPolicy, KeySource, NamespaceScope};
use crate::{Problem, random::next_random};

/// The header that carries a key, both ways.
pub(super) const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// A key that came in the header, before anything else was looked at.
pub(super) fn key_in_header(headers: &HeaderMap) -> Result<Option<Key>, Problem> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid_key("There are two Idempotency-Key headers."));
    }
    Key::from_header(value.as_bytes()).map(Some).map_err(|reason| malformed(reason, "Idempotency-Key"))
}

fn malformed(reason: InvalidKey, place: &str) -> Problem {
    invalid_key(format!("{place}: {reason}."))
}

fn invalid_key(detail: impl Into<String>) -> Problem {
    Problem::new(Code::IdempotencyKeyInvalid).detail(detail)
}

/// What an operation is called, and what goes with that.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: OperationName,
    pub(super) retention: Retention,
    pub(super) origin: KeyOrigin,
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOrigin {
    Header,
    Field,
    Fields,
    Window,
    /// It had none, and got one.
    Generated,
}

impl KeyOrigin {
    /// What the answer says of it, where it was not the header.
    pub(super) const fn mark(self) -> Option<&'static str> {
        match self {
            Self::Header => None,
            Self::Field => Some("body-field"),
            Self::Fields => Some("derived"),
            Self::Window => Some("window"),
            Self::Generated => Some("generated"),
        }
    }
}

/// Names the operation of a request, or `None` where it has no key.
pub(super) fn name(
    policy: &IdempotencyPolicy,
    header_key: Option<Key>,
    owner: &Owner,
    host: &str,
    fingerprint: Fingerprint,
    body: &[u8],
) -> Result<Option<Named>, Problem> {
    let room = namespace(policy, owner, host)?;
    let named = |namespace, key, origin| {
        let retention = match (origin, &policy.key) {
            (KeyOrigin::Window, KeySource::Window(window)) => {
                Retention { keep: *window, from: KeepFrom::Claim, tombstone: None }
            }
            _ => policy.retention,
        };
        Ok(Some(Named { name: OperationName::new(namespace, key), retention, origin }))
    };
    match (&policy.key, header_key) {
        (KeySource::Header, None) => Ok(None),
        (KeySource::Header | KeySource::Window(_), Some(key)) => named(room, key, KeyOrigin::Header),
        (KeySource::HeaderOrField(path), header_key) => match (header_key, key_in_field(body, path)?) {
            (Some(header), Some(field)) if header != field => {
                Err(invalid_key(format!("The Idempotency-Key header and the body's `{path}` disagree.")))
            }
            (Some(key), _) => named(room, key, KeyOrigin::Header),
            (None, Some(key)) => named(room, key, KeyOrigin::Field),
            (None, None) => Ok(None),
        },
        (KeySource::Fields(paths), _) => match derived(body, paths) {
            Some(digits) => named(own_room(&room, "derived")?, key_of_digits(&digits)?, KeyOrigin::Fields),
            None => Ok(None),
        },
        (KeySource::Window(_), None) => {
            if owner.is_anonymous() {
                return Err(unauthenticated());
            }
            let key = key_of_digits(&window_digits(owner, fingerprint))?;
            named(own_room(&room, "window")?, key, KeyOrigin::Window)
        }
    }
}

/// Names the operation of a request that has no key, and needs none because nobody but its operation will be asked for.
pub(super) fn generated(policy: &IdempotencyPolicy, owner: &Owner, host: &str) -> Result<Named, Problem> {
    let room = namespace(policy, owner, host)
        .map_err(|problem| problem.detail("Who leaves work for later must say who they are."))?;
    let digits = u128::from(next_random()) << 64 | u128::from(next_random());
    let key = key_of_digits(&format!("{digits:032x}"))?;
    Ok(Named {
        name: OperationName::new(room, key),
        retention: policy.retention,
        origin: KeyOrigin::Generated,
    })
}

/// Whether there is a room for what this caller asks: not for nobody's, unless the route says so.
pub(super) fn has_room(policy: &IdempotencyPolicy, owner: &Owner) -> bool {
    namespace(policy, owner, "").is_ok()
}

/// Derived keys live in a room of their own, where no caller's key can meet them.
fn own_room(room: &Namespace, what: &str) -> Result<Namespace, Problem> {
    Namespace::new(&format!("{what} {}", room.as_str())).map_err(|_| unauthenticated())
}

fn key_of_digits(digits: &str) -> Result<Key, Problem> {
    Key::new(digits).map_err(|reason| malformed(reason, "the derived key"))
}

fn unauthenticated() -> Problem {
    Problem::new(Code::Unauthenticated).detail("A keyed request must say who is calling.")
}

/// The host that `parts` are for, as they name it.
pub(super) fn host_of(parts: &Parts) -> &str {
    let header = || parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    parts.uri.host().or_else(header).unwrap_or_default()
}

fn namespace(policy: &IdempotencyPolicy, owner: &Owner, host: &str) -> Result<Namespace, Problem> {
    if owner.is_anonymous() && !policy.anonymous {
        return Err(unauthenticated());
    }
    let of_host = |route: &str| {
        // The port is none of the name, nor are its case and the dot of the root.
        let name =
            host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
        format!("{route} at {}", name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
    };
    let route = match policy.room_per_host {
        true => Cow::Owned(of_host(&policy.route)),
        false => Cow::Borrowed(&*policy.route),
    };
    match (policy.namespace, &owner.principal) {
        (NamespaceScope::Global, _) => Ok(Namespace::global()),
        (NamespaceScope::Route, _) => Ok(Namespace::of_route(&route)),
        (NamespaceScope::Principal, Some(principal)) => Ok(Namespace::of_principal(principal)),
        (NamespaceScope::PrincipalAndRoute, Some(principal)) => {
            Ok(Namespace::of_principal_on_route(principal, &route))
        }
        (NamespaceScope::Principal | NamespaceScope::PrincipalAndRoute, None) => Err(unauthenticated()),
    }
}

/// The value at a dotted path of a JSON body, as it is written there: a number too large for a float stays itself.
pub(super) fn field<'a>(body: &'a [u8], path: &str) -> Option<&'a RawValue> {
    let root: &RawValue = serde_json::from_slice(body).ok()?;
    let found = path.split('.').try_fold(root, |value, name| {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
        members.get(name).copied()
    })?;
    (found.get() != "null").then_some(found)
}

fn key_in_field(body: &[u8], path: &str) -> Result<Option<Key>, Problem> {
    let Some(value) = field(body, path) else { return Ok(None) };
    let key = match value.get().as_bytes()[0] {
        b'"' => Key::new(&serde_json::from_str::<String>(value.get()).unwrap_or_default()),
        b'-' | b'0'..=b'9' => Key::new(value.get()),
        _ => return Err(invalid_key(format!("The body's `{path}` is neither a text nor a number."))),
    };
    key.map(Some).map_err(|reason| malformed(reason, path))
}

/// The digest of the named fields, or `None` where one of them is missing.
fn derived(body: &[u8], paths: &[String]) -> Option<String> {
    let mut digest = FingerprintBuilder::new("fields", "", None, None);
    for path in paths {
        let text = canonical_json(field(body, path)?.get().as_bytes(), &[]).ok()?;
        digest.body(&(text.len() as u64).to_le_bytes());
        digest.body(&text);
    }
    Some(hexadecimal(digest.finish().as_bytes()))
}

/// The digest of who asks and what for.
fn window_digits(owner: &Owner, fingerprint: Fingerprint) -> String {
    // The principal, where there is one, is the same caller with a refreshed credential.
    let caller: &[u8] = match (&owner.principal, &owner.credential) {
        (Some(principal), _) => principal.as_str().as_bytes(),
        (None, Some(credential)) => credential.as_bytes(),
        (None, None) => &[],
    };
    let mut digest = FingerprintBuilder::new("window", "", None, Some(caller));
    digest.body(fingerprint.as_bytes());
    hexadecimal(digest.finish().as_bytes())
}

fn hexadecimal(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

/// The key that the upstream gets. The caller's own goes on only where its own credential does; where something
/// in front speaks for the caller, or where the key was derived, it gets one of ours.
pub(super) fn forwarded_key(named: &Named, owner: &Owner, operation: OperationId) -> String {
    lasting_key(named, owner.principal.is_none())
        .unwrap_or_else(|| ForwardedKey::of_window(operation).as_str().to_owned())
}

/// The same, where it is known before the operation has its id: not for a window's. `is_own_caller` says whether the
/// upstream sees the caller's own credential.
pub(super) fn lasting_key(named: &Named, is_own_caller: bool) -> Option<String> {
    let (namespace, key) = (named.name.namespace(), named.name.key());
    match named.origin {
        KeyOrigin::Window => None,
        KeyOrigin::Header | KeyOrigin::Field if is_own_caller => Some(key.as_str().to_owned()),
        KeyOrigin::Header | KeyOrigin::Field | KeyOrigin::Fields | KeyOrigin::Generated => {
            Some(ForwardedKey::of(namespace, key).as_str().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_rooms_of_their_own_where_the_policy_says_so_whatever_their_port_and_case() {
        let owner = Owner { principal: None, credential: None };
        let room = |room_per_host, host| {
            let route = IdempotencyPolicy { anonymous: true, ..IdempotencyPolicy::for_route("r") };
            let policy = IdempotencyPolicy { room_per_host, ..route };
            namespace(&policy, &owner, host).expect("a room").as_str().to_owned()
        };
        assert_ne!(room(true, "a.example"), room(true, "b.example"));
        assert_ne!(room(true, "[::1]"), room(true, "[::2]"));
        for same in ["A.example", "a.example:8080", "a.example.", "a.example.:1"] {
            assert_eq!(room(true, same), room(true, "a.example"), "{same}");
        }
        assert_eq!(room(false, "a.example"), room(false, "b.example"));
    }

    #[test]
    fn keys_are_derived_from_all_named_fields_or_not_at_all() {
        let paths = ["order.id".to_owned(), "line".to_owned()];
        let derived = |body: &'static str| derived(body.as_bytes(), &paths);
        let one = derived(r#"{"order":{"id":"a"},"line":1}"#);
        assert!(one.is_some());
        assert_eq!(one, derived(r#"{"line":1,"note":"x","order":{"id":"a"}}"#));
        assert_ne!(one, derived(r#"{"order":{"id":"a1"},"line":1}"#));
        assert_eq!(derived(r#"{"order":{"id":"a"}}"#), None);
        assert_eq!(derived("no JSON"), None);
        let (one, two) = (
            r#"{"order":{"id":90000000000000000001},"line":1}"#,
            r#"{"order":{"id":90000000000000000002},"line":1}"#,
        );
        assert_ne!(derived(one), derived(two));
    }
}
