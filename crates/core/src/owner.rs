//! Who made an operation, and where its key is unique.

use std::fmt;

use crate::domain::{Domain, truncated};

static CREDENTIAL: Domain = Domain::new("steadfast credential digest v1");

/// Who is calling, verified: by the gateway's authentication, or by the service that uses the layers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(Box<str>);

impl Principal {
    /// The principal with this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Digest of the credential that a caller proved itself with; the credential itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialDigest([u8; 16]);

impl CredentialDigest {
    /// Digests the values of the headers that carry the credential, in the order they are configured; `None`
    /// where not one of them is there.
    #[must_use]
    pub fn of<'a>(values: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let mut hasher = None;
        for (name, value) in values {
            let hasher = hasher.get_or_insert_with(|| CREDENTIAL.hasher());
            for part in [name.as_bytes(), value] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        hasher.map(|hasher| Self(truncated(&hasher)))
    }

    /// The digest with these bytes, as a store kept them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as a store keeps them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for CredentialDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CredentialDigest({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Who made an operation: what an answer is disclosed by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The verified principal, where there was one.
    pub principal: Option<Principal>,
    /// The digest of the credential, where one was sent.
    pub credential: Option<CredentialDigest>,
}

impl Owner {
    /// Whether nothing is known of who is calling.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.principal.is_none() && self.credential.is_none()
    }

    /// Whether what `self` made may be shown to `caller`: the same principal, or the same credential, or both
    /// anonymous. A caller that refreshed its token is still its principal; one without a principal is known
    /// by its credential alone.
    #[must_use]
    pub fn discloses_to(&self, caller: &Self) -> bool {
        if self.is_anonymous() {
            return caller.is_anonymous();
        }
        let same_principal = self.principal.is_some() && self.principal == caller.principal;
        let same_credential = self.credential.is_some() && self.credential == caller.credential;
        same_principal || same_credential
    }
}

/// Where a key is unique: two equal keys in two namespaces name two operations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(Box<str>);

/// A namespace has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the namespace is empty")]
pub struct EmptyNamespace;

impl Namespace {
    /// The namespace with this name.
    ///
    /// # Errors
    /// [`EmptyNamespace`]: a missing identity must fail closed, not share a nameless room.
    pub fn new(name: &str) -> Result<Self, EmptyNamespace> {
        if name.is_empty() { Err(EmptyNamespace) } else { Ok(Self(name.into())) }
    }

    /// The namespace of everything, for routes that say `namespace = "global"`.
    #[must_use]
    pub fn global() -> Self {
        Self("global".into())
    }

    /// What stands for a namespace that was erased.
    #[must_use]
    pub fn erased() -> Self {
        Self("(erased)".into())
    }

    /// The namespace that all callers of a route share.
    #[must_use]
    pub fn of_route(route: &str) -> Self {
        Self(format!("route {route}").into())
    }

    /// The namespace of a schedule's ticks.
    #[must_use]
    pub fn of_schedule(schedule: &str) -> Self {
        Self(format!("schedule {schedule}").into())
    }

    /// The namespace of a principal, on every route.
    #[must_use]
    pub fn of_principal(principal: &Principal) -> Self {
        Self(format!("principal {}", principal.as_str()).into())
    }

    /// The namespace of a principal on one route. The route's length stands before it, so that no choice of
    /// names can make two of them collide.
    #[must_use]
    pub fn of_principal_on_route(principal: &Principal, route: &str) -> Self {
        Self(format!("principal+route {}:{route}:{}", route.len(), principal.as_str()).into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(value: &[u8]) -> Option<CredentialDigest> {
        CredentialDigest::of([("authorization", value)])
    }

    #[test]
    fn an_answer_is_disclosed_only_to_who_made_it() {
        let ada = Owner { principal: Some(Principal::new("ada")), credential: credential(b"Bearer 1") };
        let refreshed = Owner { principal: Some(Principal::new("ada")), credential: credential(b"Bearer 2") };
        let bob = Owner { principal: Some(Principal::new("bob")), credential: credential(b"Bearer 3") };
        let unnamed = Owner { principal: None, credential: credential(b"Bearer 1") };
        let nobody = Owner::default();
        assert!(ada.discloses_to(&ada) && ada.discloses_to(&refreshed) && ada.discloses_to(&unnamed));
        assert!(!ada.discloses_to(&bob) && !ada.discloses_to(&nobody));
        assert!(!nobody.discloses_to(&ada) && nobody.discloses_to(&nobody));
    }

    #[test]
    fn header_names_and_values_cannot_be_shifted_into_each_other() {
        let one = CredentialDigest::of([("a", &b"bc"[..])]);
        let other = CredentialDigest::of([("ab", &b"c"[..])]);
        assert_ne!(one, other);
        assert_eq!(CredentialDigest::of([]), None);
    }

    #[test]
    fn namespaces_do_not_collide_by_concatenation() {
        let one = Namespace::of_principal_on_route(&Principal::new("b:c"), "a");
        let other = Namespace::of_principal_on_route(&Principal::new("c"), "a:b");
        assert_ne!(one, other);
        assert_eq!(Namespace::new(""), Err(EmptyNamespace));
    }
}
