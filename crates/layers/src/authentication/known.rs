//! A caller who is known: the principal, and the headers by which the upstream is told, made once for all requests with
//! the same credential.

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue, Request};

use super::reserved;
use crate::{
    Principal, PrincipalFacts,
    principal::{PLAN, TENANT},
};

/// How an authenticator's principals are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedAs {
    /// The authenticator's name.
    pub by: std::sync::Arc<str>,
    /// What stands before every name, so that two authenticators cannot mean two people by one name.
    pub prefix: Box<str>,
}

/// A caller who is known.
#[derive(Clone, Debug)]
pub struct Known {
    principal: Option<Principal>,
    told: Box<[(HeaderName, HeaderValue)]>,
}

impl Known {
    /// One of whom this is known. `also` goes upstream beside the usual headers.
    #[must_use]
    pub fn new(facts: PrincipalFacts, also: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut told = vec![(reserved::PRINCIPAL, told_as(&facts.name))];
        let scopes = facts.scopes.join(" ");
        if !scopes.is_empty() {
            told.push((reserved::SCOPES, told_as(&scopes)));
        }
        for (name, value) in &facts.attributes {
            if let Some(name) = reserved::header_of(name) {
                told.push((name, told_as(value)));
            }
        }
        told.extend(also);
        Self { principal: Some(Principal::new(facts)), told: told.into() }
    }

    /// One who is let through without a name.
    #[must_use]
    pub fn without_principal(told: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { principal: None, told: told.into() }
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Tells everything inside, and the upstream, who makes `request`.
    pub(super) fn stamp<B>(&self, request: &mut Request<B>) {
        let headers = request.headers_mut();
        headers.reserve(self.told.len());
        for (name, value) in &self.told {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(principal) = &self.principal {
            request.extensions_mut().insert(principal.clone());
        }
    }
}

/// `text` as the value of a header: what is not printable ASCII, a space at an end, and `%` are percent-encoded, so that
/// no two texts are told in the same way and none breaks the header.
fn told_as(text: &str) -> HeaderValue {
    let mut told = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let at_an_end = at == 0 || at + 1 == text.len();
        match byte {
            b'%' => told.push_str("%25"),
            0x21..=0x7e => told.push(char::from(byte)),
            b' ' if !at_an_end => told.push(' '),
            _ => drop(write!(told, "%{byte:02X}")),
        }
    }
    // It is ASCII without control characters.
    HeaderValue::from_str(&told).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The names of the attributes that have headers of their own.
pub(super) const OWN_HEADER: [&str; 2] = [PLAN, TENANT];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_breaks_a_header_and_no_two_are_told_alike() {
        for (text, told) in [
            ("acme", "acme"),
            ("auth0|5f7c/ü", "auth0|5f7c/%C3%BC"),
            ("a\r\nX-Admin: 1", "a%0D%0AX-Admin: 1"),
            (" a b ", "%20a b%20"),
            ("100%", "100%25"),
        ] {
            assert_eq!(told_as(text), told, "{text}");
        }
    }

    #[test]
    fn the_upstream_is_told_of_principal_attributes_and_scopes() {
        let facts = PrincipalFacts {
            name: "acme".into(),
            attributes: vec![("plan".into(), "pro".into()), ("region".into(), "eu".into())],
            scopes: vec!["a".into(), "b:c".into()],
            ..PrincipalFacts::default()
        };
        let mut request = Request::new(());
        Known::new(facts, Vec::new()).stamp(&mut request);
        let told = |name: &str| request.headers()[name].to_str().expect("a text").to_owned();
        assert_eq!(told("steadfast-principal"), "acme");
        assert_eq!(told("steadfast-plan"), "pro");
        assert_eq!(told("steadfast-attribute-region"), "eu");
        assert_eq!(told("steadfast-scopes"), "a b:c");
        assert_eq!(request.extensions().get::<Principal>().map(Principal::name), Some("acme"));
    }
}
