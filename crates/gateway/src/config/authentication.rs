//! What a config says of who is calling, checked.

use http::HeaderName;
use steadfast_layers::CredentialSource;

/// One way of finding out who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// Where the credential is.
    pub source: CredentialSource,
    /// What stands before the names of its principals.
    pub name_prefix: Box<str>,
    /// Whether the upstream gets the credential too.
    pub pass_on: bool,
    /// How the credential is checked.
    pub kind: AuthenticationKind,
}

/// How a credential is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationKind {
    /// It is a key with this prefix, whose digest is in the ledger.
    ApiKeys {
        /// What the keys begin with.
        prefix: Box<str>,
    },
}

impl AuthenticationConfig {
    /// The header whose credential goes no further than the gateway, if so.
    #[must_use]
    pub fn hides(&self) -> Option<HeaderName> {
        (!self.pass_on).then(|| self.source.header().clone())
    }
}
