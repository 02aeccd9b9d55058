//! Who is calling: the verified principal, if something in front established one, and the digest of the
//! credential. Cookies are never a credential here: they change between a request and its retry.

use http::{HeaderMap, HeaderName, Request, header};
use steadfast_core::{CredentialDigest, Owner};

use crate::Principal;

/// Which headers carry the caller's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPolicy {
    /// The headers, in the order they are digested. `Authorization` unless stated.
    pub credential_headers: Vec<HeaderName>,
}

impl Default for IdentityPolicy {
    fn default() -> Self {
        Self { credential_headers: vec![header::AUTHORIZATION] }
    }
}

impl IdentityPolicy {
    /// The digest of the credential in `headers`, where there is one.
    #[must_use]
    pub fn credential(&self, headers: &HeaderMap) -> Option<CredentialDigest> {
        CredentialDigest::of(
            self.credential_headers
                .iter()
                .flat_map(|name| headers.get_all(name).iter().map(|value| (name.as_str(), value.as_bytes()))),
        )
    }
}

/// Who makes `request`: its [`Principal`] extension and its credential.
#[must_use]
pub fn owner_of<B>(request: &Request<B>, policy: &IdentityPolicy) -> Owner {
    Owner {
        principal: request
            .extensions()
            .get::<Principal>()
            // A principal without a name is nobody: all of them would share one room.
            .filter(|who| !who.name().is_empty())
            .map(|who| steadfast_core::Principal::new(who.name())),
        credential: policy.credential(request.headers()),
    }
}
