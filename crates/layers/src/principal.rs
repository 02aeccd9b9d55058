//! Who is calling, verified: an extension of the request that whoever authenticates puts there, and that everything
//! inside goes by. A service that authenticates its callers itself puts one there too.

use std::{fmt, sync::Arc};

use http::HeaderName;
use steadfast_core::CredentialId;

use crate::limits::Digested;

/// The attribute that says which plan a principal is on.
pub const PLAN: &str = "plan";

/// The attribute that says whom a principal belongs to.
pub const TENANT: &str = "tenant";

/// Who is calling. Cheap to clone.
#[derive(Clone)]
pub struct Principal(Arc<Held>);

struct Held {
    facts: PrincipalFacts,
    /// What limits made of its name.
    digested: Digested,
}

/// What is known of a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrincipalFacts {
    /// Its name, the same whichever credential it comes with.
    pub name: Box<str>,
    /// Who verified it: the name of an `[authentication.NAME]`.
    pub by: Arc<str>,
    /// Which credential it came with.
    pub credential: Option<CredentialId>,
    /// What else is said of it, by name.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// What it may do.
    pub scopes: Vec<Box<str>>,
    /// The header with the credential, where that goes no further than the gateway.
    pub hidden: Option<HeaderName>,
}

impl Principal {
    /// The principal of which this is known.
    #[must_use]
    pub fn new(facts: PrincipalFacts) -> Self {
        Self(Arc::new(Held { facts, digested: Digested::default() }))
    }

    /// A principal of which nothing but its name is known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::new(PrincipalFacts { name: name.into(), ..PrincipalFacts::default() })
    }

    pub(crate) fn digested(&self) -> &Digested {
        &self.0.digested
    }

    /// Its name, the same whichever credential it comes with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.facts.name
    }

    /// Who verified it: the name of an `[authentication.NAME]`.
    #[must_use]
    pub fn by(&self) -> &str {
        &self.0.facts.by
    }

    /// Which credential it came with, where it came with one that can be told from its others.
    #[must_use]
    pub fn credential(&self) -> Option<CredentialId> {
        self.0.facts.credential
    }

    /// The header with the credential, where that goes no further than the gateway.
    #[must_use]
    pub fn hidden(&self) -> Option<&HeaderName> {
        self.0.facts.hidden.as_ref()
    }

    /// What is said of it under this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.0.facts.attributes.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// Which plan it is on.
    #[must_use]
    pub fn plan(&self) -> Option<&str> {
        self.attribute(PLAN)
    }

    /// Whom it belongs to.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.attribute(TENANT)
    }

    /// All attributes.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.facts.attributes.iter().map(|(name, value)| (&**name, &**value))
    }

    /// What it may do.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.facts.scopes.iter().map(|scope| &**scope)
    }

    /// Whether it may do what `scope` names.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.facts.scopes.iter().any(|held| **held == *scope)
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.0.facts == other.0.facts
    }
}

impl Eq for Principal {}

impl fmt::Debug for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.facts.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_principal_is_found_by_name() {
        let principal = Principal::new(PrincipalFacts {
            name: "acme".into(),
            attributes: vec![("plan".into(), "pro".into()), ("region".into(), "eu".into())],
            scopes: vec!["orders:read".into()],
            ..PrincipalFacts::default()
        });
        assert_eq!((principal.plan(), principal.tenant()), (Some("pro"), None));
        assert_eq!(principal.attribute("region"), Some("eu"));
        assert!(principal.has_scope("orders:read") && !principal.has_scope("orders"));
    }
}
