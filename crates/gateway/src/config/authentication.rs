//! What a config says of who is calling, checked.

use std::path::PathBuf;

use http::{HeaderName, Uri};
use steadfast_layers::{CredentialSource, ForwardPolicy, IntrospectionPolicy, JwtPolicy, KeySet};
use steadfast_upstream::Address;

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
    /// It is a token that an issuer signed.
    Jwt(JwtConfig),
    /// It is a token that its issuer is asked about.
    Introspection(IntrospectionConfig),
    /// Another service decides.
    Forward(ForwardConfig),
}

/// Tokens that an issuer signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// What they must say, and what is read from them.
    pub policy: JwtPolicy,
    /// What they are checked with.
    pub keys: JwtKeys,
}

/// What tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKeys {
    /// What the issuer publishes there.
    Url(AskedUrl),
    /// What was in this file.
    File(PathBuf, KeySet),
    /// The secret that was in this file.
    Secret(PathBuf, KeySet),
}

/// Tokens that their issuer is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntrospectionConfig {
    /// Where it is asked.
    pub url: AskedUrl,
    /// Who the gateway is there, and where its password stands.
    pub client: Option<(String, PathBuf)>,
    /// How it is asked, and what is read from its answers.
    pub policy: IntrospectionPolicy,
}

/// A service that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Where it is asked.
    pub url: AskedUrl,
    /// How it is asked, and what is read from its answers.
    pub policy: ForwardPolicy,
}

/// A URL that the gateway itself asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedUrl {
    /// As it is written.
    pub text: String,
    /// Its scheme, host and port.
    pub address: Address,
    /// Its path and query.
    pub target: Uri,
}

impl AuthenticationConfig {
    /// The header whose credential goes no further than the gateway, if so.
    #[must_use]
    pub fn hides(&self) -> Option<HeaderName> {
        (!self.pass_on).then(|| self.source.header().clone())
    }
}
