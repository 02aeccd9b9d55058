//! A request as it is kept until a worker sends it: what its caller asked, without what belonged to its connection, to the
//! moment, or to its caller alone.

use bytes::Bytes;
use http::{HeaderName, header};
use steadfast_core::{ForwardedKey, HeaderFields};
use steadfast_ledger::{KeptRequest, OperationName};

use super::{
    BackgroundPolicy,
    kept::named_by_connection,
    naming::{self, KEY_HEADER},
    policy::IdempotencyPolicy,
    serve::KeyedRequest,
};
use crate::{Principal, authentication::is_told_of_callers, prefer::PREFER};

/// The request as a worker will send it. Its target is the caller's, which the route rewrites when it is sent; its key is
/// the one that is forwarded, where that is known before the operation has its id.
pub(super) fn kept_request(
    policy: &IdempotencyPolicy,
    background: &BackgroundPolicy,
    request: &KeyedRequest,
) -> KeptRequest {
    let KeyedRequest { parts, body, named, owner, .. } = request;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    // What goes no further than the gateway goes into no ledger either.
    let hidden = parts.extensions.get::<Principal>().and_then(Principal::hidden);
    let is_kept = |name: &HeaderName| {
        let is_credential = is_credential(policy, name) && !background.kept_credentials.contains(name);
        !is_credential
            && Some(name) != hidden
            && !belongs_to_the_moment(name)
            && !named_by_connection(&parts.headers, name)
    };
    let travels = |name: &HeaderName| parts.headers.contains_key(name) && is_kept(name);
    let is_own_caller = owner.principal.is_none()
        && (owner.credential.is_none() || policy.identity.credential_headers.iter().any(travels));
    let key = naming::lasting_key(named, is_own_caller);
    let host = parts.uri.authority().filter(|_| !parts.headers.contains_key(header::HOST));
    let fields = parts.headers.iter().filter(|(name, _)| is_kept(name));
    let headers: HeaderFields = fields
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .chain(host.map(|host| ("host", host.as_str().as_bytes())))
        .chain(key.as_deref().map(|key| ("idempotency-key", key.as_bytes())))
        .collect();
    KeptRequest { target: target.into(), headers, body: body.shared().unwrap_or_default() }
}

/// A request that nobody sent by itself, a schedule's tick or an edited dead letter, as it is kept for the operation of this
/// name: under that one's own key, and no other's.
#[must_use]
pub fn under_own_key(request: &KeptRequest, name: &OperationName) -> KeptRequest {
    let key = ForwardedKey::of(name.namespace(), name.key());
    let others = request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(KEY_HEADER.as_str()));
    let key = ("idempotency-key", Bytes::copy_from_slice(key.as_str().as_bytes()));
    let headers = others.chain([key]).collect();
    KeptRequest { target: request.target.clone(), headers, body: request.body.clone() }
}

/// Whether a field proves who is calling.
fn is_credential(policy: &IdempotencyPolicy, name: &HeaderName) -> bool {
    const ALWAYS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];
    ALWAYS.contains(name) || policy.identity.credential_headers.contains(name)
}

/// Whether a field belongs to the connection that the request came by, to how it was to be answered then, or is said anew
/// when it is sent.
fn belongs_to_the_moment(name: &HeaderName) -> bool {
    const THEN: [HeaderName; 12] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("grpc-timeout"),
        KEY_HEADER,
        PREFER,
    ];
    THEN.contains(name) || (name.as_str().starts_with("steadfast-") && !is_told_of_callers(name))
}

#[cfg(test)]
mod tests {
    use steadfast_core::{Key, Namespace};

    use super::*;

    #[test]
    fn what_is_sent_under_another_name_has_that_ones_key_alone() {
        let before = KeptRequest {
            target: "/a?b".into(),
            headers: [("x-a", "1"), ("Idempotency-Key", "old"), ("x-a", "2")].into_iter().collect(),
            body: Bytes::from_static(b"body"),
        };
        let name = OperationName::new(Namespace::global(), Key::new("new").expect("a key"));
        let after = under_own_key(&before, &name);
        let key = ForwardedKey::of(name.namespace(), name.key());
        let fields: Vec<_> =
            after.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        let expected = [("x-a", "1"), ("x-a", "2"), ("idempotency-key", key.as_str())]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(fields, expected);
        assert_eq!((after.target, after.body), (before.target, before.body));
    }
}
