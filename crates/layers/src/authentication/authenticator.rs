//! One way of finding out who is calling: an `[authentication.NAME]` of the config.

use std::{borrow::Cow, sync::Arc};

use http::HeaderMap;
use steadfast_core::Timestamp;

use super::{
    api_keys::ApiKeys,
    credential::{CredentialSource, Found, Head},
    forward::Forward,
    introspection::Introspection,
    jwt::Jwt,
    known::Known,
    refusal::Theirs,
};

/// One way of finding out who is calling.
#[derive(Debug)]
pub struct Authenticator {
    /// Its name.
    pub name: Arc<str>,
    /// Where the credential is.
    pub source: CredentialSource,
    /// How it is checked.
    pub kind: Kind,
}

/// How a credential is checked.
#[derive(Debug)]
pub enum Kind {
    /// It is one that the gateway gave out.
    ApiKeys(ApiKeys),
    /// It is a token of an issuer's, signed.
    Jwt(Jwt),
    /// It is a token that its issuer is asked about.
    Introspection(Introspection),
    /// Another service sees the request's head and decides.
    Forward(Forward),
}

/// What an authenticator makes of a request.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It knows who is calling.
    Known(Arc<Known>),
    /// The credential is one of its own, and no good.
    Bad(Cow<'static, str>),
    /// The credential is none of its own.
    NotMine,
    /// It could not find out.
    Unavailable(&'static str),
    /// Another service does not let the request through.
    Theirs(Box<Theirs>),
}

impl Authenticator {
    /// What can be said at once; `None` where somebody has to be asked first.
    pub(super) fn at_once(&self, found: Found<'_>, now: Timestamp) -> Option<Verdict> {
        match (&self.kind, found) {
            (Kind::ApiKeys(keys), Found::Token(token)) => keys.check(token, now),
            (Kind::Jwt(jwt), Found::Token(token)) => jwt.check(token, now),
            (Kind::Introspection(introspection), Found::Token(token)) => introspection.check(token, now),
            (Kind::Forward(_), _) => None,
            (
                Kind::ApiKeys(_) | Kind::Jwt(_) | Kind::Introspection(_),
                Found::Nothing | Found::OtherScheme | Found::Unclear(_),
            ) => Some(Verdict::NotMine),
        }
    }

    /// What there is to say in the end.
    pub(super) async fn ask(&self, head: &Head, now: Timestamp) -> Verdict {
        match (&self.kind, self.read(&head.headers)) {
            (Kind::ApiKeys(keys), Found::Token(token)) => keys.check_when_loaded(token, now).await,
            (Kind::Jwt(jwt), Found::Token(token)) => jwt.check_with_keys(token, now).await,
            (Kind::Introspection(introspection), Found::Token(token)) => introspection.ask(token, now).await,
            (Kind::Forward(forward), _) => forward.ask(head, now).await,
            (
                Kind::ApiKeys(_) | Kind::Jwt(_) | Kind::Introspection(_),
                Found::Nothing | Found::OtherScheme | Found::Unclear(_),
            ) => Verdict::NotMine,
        }
    }

    pub(super) fn read<'h>(&self, headers: &'h HeaderMap) -> Found<'h> {
        self.source.read(headers)
    }
}
