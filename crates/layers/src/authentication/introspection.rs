//! Opaque tokens, which their issuer is asked about (RFC 7662). What it said is kept for a while, good and bad; of several
//! requests with the same token at once, one asks.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use serde_json::{Map, Value};
use steadfast_core::{CredentialDigest, Timestamp};

use super::{
    authenticator::Verdict,
    jwt::{claims, credential_id},
    known::{Known, NamedAs},
    learned::Learned,
    outbound::Outbound,
};
use crate::PrincipalFacts;

/// For how long a token that is no good is not asked about again, at most.
const REFUSED_KEPT_MAX: Duration = Duration::from_secs(10);

/// How an issuer is asked, and what is read from its answers.
#[derive(Clone, PartialEq, Eq)]
pub struct IntrospectionPolicy {
    /// Where: the path and query.
    pub target: http::Uri,
    /// How the gateway says who it is: the `Authorization` of its questions.
    pub authorization: Option<HeaderValue>,
    /// For how long an answer is good.
    pub keep: Duration,
    /// The member with the principal's name.
    pub principal: String,
    /// Attributes, and the members that they are read from.
    pub attributes: Vec<(String, String)>,
    /// Whom tokens must be for, where that is asked.
    pub audience: Vec<String>,
}

/// Opaque tokens of one issuer.
#[derive(Debug)]
pub struct Introspection {
    policy: IntrospectionPolicy,
    outbound: Arc<dyn Outbound>,
    named_as: NamedAs,
    hides: Option<http::HeaderName>,
    learned: Learned,
}

/// The secret is in no log.
impl std::fmt::Debug for IntrospectionPolicy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IntrospectionPolicy").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Introspection {
    /// Tokens that are asked about over `outbound`. `hides` is the header whose credential goes no further.
    #[must_use]
    pub fn new(
        policy: IntrospectionPolicy,
        outbound: Arc<dyn Outbound>,
        named_as: NamedAs,
        hides: Option<http::HeaderName>,
    ) -> Self {
        Self { policy, outbound, named_as, hides, learned: Learned::default() }
    }

    /// What is known of a token already.
    pub(super) fn check(&self, token: &[u8], now: Timestamp) -> Option<Verdict> {
        self.learned.get(digest(token)?, now)
    }

    /// What there is to know of it.
    pub(super) async fn ask(&self, token: &[u8], now: Timestamp) -> Verdict {
        let Some(digest) = digest(token) else { return Verdict::NotMine };
        self.learned.or_ask(digest, now, async { self.introspect(token, digest, now).await }).await
    }

    /// Asks; what is known then, and until when.
    async fn introspect(
        &self,
        token: &[u8],
        digest: CredentialDigest,
        now: Timestamp,
    ) -> (Verdict, Timestamp) {
        let said = match self.question(token) {
            Ok(question) => self.outbound.ask(question).await,
            Err(error) => Err(error),
        };
        let said = said.and_then(|answer| match answer.status() {
            StatusCode::OK => {
                serde_json::from_slice::<Map<String, Value>>(answer.body()).map_err(|error| error.to_string())
            }
            other => Err(format!("it was answered {other}")),
        });
        match said {
            Ok(said) => self.read(&said, digest, now),
            Err(error) => {
                tracing::warn!(by = &*self.named_as.by, error, "a token could not be asked about");
                (Verdict::Unavailable("The issuer of this credential does not answer."), now)
            }
        }
    }

    fn question(&self, token: &[u8]) -> Result<Request<Bytes>, String> {
        let body = format!("token={}&token_type_hint=access_token", form_encoded(token));
        let mut request = Request::post(self.policy.target.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.policy.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        request.body(Bytes::from(body)).map_err(|error| error.to_string())
    }

    fn read(
        &self,
        said: &Map<String, Value>,
        digest: CredentialDigest,
        now: Timestamp,
    ) -> (Verdict, Timestamp) {
        let IntrospectionPolicy { keep, principal, attributes, audience, .. } = &self.policy;
        let bad =
            |detail: Cow<'static, str>| (Verdict::Bad(detail), now.after((*keep).min(REFUSED_KEPT_MAX)));
        if said.get("active") != Some(&Value::Bool(true)) {
            return bad("The token is not known, has expired or was revoked.".into());
        }
        if !audience.is_empty() && !claims::is_for(said, audience) {
            return bad("The token is for another audience.".into());
        }
        let expires = said.get("exp").and_then(claims::instant);
        if expires.is_some_and(|expires| expires <= now) {
            return bad("The token has expired.".into());
        }
        if said.get("nbf").and_then(claims::instant).is_some_and(|begins| begins > now) {
            return bad("The token is not valid yet.".into());
        }
        let Some(name) = claims::text(said, principal) else {
            return bad(format!("The token's issuer does not say its `{principal}`.").into());
        };
        let attributes = attributes
            .iter()
            .filter_map(|(name, member)| Some((name.as_str().into(), claims::text(said, member)?.into())));
        let facts = PrincipalFacts {
            name: format!("{}{name}", self.named_as.prefix).into(),
            by: Arc::clone(&self.named_as.by),
            credential: Some(credential_id(digest)),
            attributes: attributes.collect(),
            scopes: claims::words(said, "scope"),
            hidden: self.hides.clone(),
        };
        let until = now.after(*keep);
        let until = expires.map_or(until, |expires| expires.min(until));
        (Verdict::Known(Arc::new(Known::new(facts, Vec::new()))), until)
    }
}

fn digest(token: &[u8]) -> Option<CredentialDigest> {
    CredentialDigest::of([("introspection", token)])
}

/// As forms have it: everything but letters, digits and a few signs is escaped.
#[must_use]
pub fn form_encoded(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                encoded.push(char::from(*byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
