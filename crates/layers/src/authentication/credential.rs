//! Where a request carries its credential, and what it says there. Never in its URL.

use http::{HeaderMap, HeaderName, Method, Request, Uri, header};

/// The longest credential that is looked at, in bytes.
pub(super) const CREDENTIAL_BYTES_MAX: usize = 16 << 10;

/// Which header carries the credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CredentialSource {
    /// `Authorization: Bearer …` (RFC 6750).
    #[default]
    Bearer,
    /// A header of its own, which has nothing but the credential.
    Header(HeaderName),
}

impl CredentialSource {
    /// The header.
    #[must_use]
    pub fn header(&self) -> &HeaderName {
        match self {
            Self::Bearer => &header::AUTHORIZATION,
            Self::Header(name) => name,
        }
    }

    /// What `headers` carry there.
    pub(super) fn read<'h>(&self, headers: &'h HeaderMap) -> Found<'h> {
        let mut values = headers.get_all(self.header()).iter();
        let Some(value) = values.next() else { return Found::Nothing };
        if values.next().is_some() {
            return Found::Unclear("The header that carries the credential is there twice.");
        }
        let value = value.as_bytes().trim_ascii();
        let token = match self {
            Self::Header(_) => value,
            Self::Bearer => match value.split_at_checked(7) {
                // Nearly everybody writes it like this.
                Some((b"Bearer ", token)) => token.trim_ascii(),
                Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
                _ => return Found::OtherScheme,
            },
        };
        match token.len() {
            0 => Found::Nothing,
            1..=CREDENTIAL_BYTES_MAX => Found::Token(token),
            _ => Found::Unclear("The credential is too long to be one."),
        }
    }
}

/// What a request carries where its credential should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'h> {
    /// Nothing.
    Nothing,
    /// A credential of another scheme than `Bearer`.
    OtherScheme,
    /// What it should.
    Token(&'h [u8]),
    /// It cannot be said what.
    Unclear(&'static str),
}

/// The head of a request, for whoever needs more of it than its headers.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
    /// Its fields.
    pub headers: HeaderMap,
}

impl Head {
    /// That of `request`.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        let read = |values: &[&'static str]| match CredentialSource::Bearer.read(&headers(values)) {
            Found::Token(token) => String::from_utf8_lossy(token).into_owned(),
            Found::Nothing => "nothing".to_owned(),
            Found::OtherScheme => "another scheme".to_owned(),
            Found::Unclear(_) => "unclear".to_owned(),
        };
        assert_eq!(read(&["Bearer abc"]), "abc");
        assert_eq!(read(&["bEARER   abc "]), "abc");
        assert_eq!(read(&[]), "nothing");
        assert_eq!(read(&["Bearer "]), "another scheme");
        assert_eq!(read(&["Basic YTpi"]), "another scheme");
        assert_eq!(read(&["Bearerabc"]), "another scheme");
        assert_eq!(read(&["Bearer a", "Bearer a"]), "unclear");
    }

    #[test]
    fn a_header_of_its_own_has_nothing_but_the_credential() {
        let source = CredentialSource::Header(HeaderName::from_static("x-api-key"));
        let mut headers = headers(&["Bearer elsewhere"]);
        assert_eq!(source.read(&headers), Found::Nothing);
        headers.insert("x-api-key", " abc ".parse().expect("a value"));
        assert_eq!(source.read(&headers), Found::Token(b"abc"));
        let long = "x".repeat(CREDENTIAL_BYTES_MAX + 1);
        headers.insert("x-api-key", long.parse().expect("a value"));
        assert!(matches!(source.read(&headers), Found::Unclear(_)));
    }
}
