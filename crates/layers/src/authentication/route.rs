//! Whom a route lets through: who must say who they are, to whom, and what they must be allowed.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderValue};
use steadfast_ledger::Clock;

use super::{
    authenticator::{Authenticator, Verdict},
    credential::{CredentialSource, Found, Head},
    known::Known,
    refusal::{Refusal, quoted},
    reserved::Reserved,
};
use crate::{Principal, RouteTally};

/// What a route asks of its callers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteAuthenticationPolicy {
    /// Who finds out who is calling; the first one whose credential it is decides. Not empty.
    pub by: Vec<Arc<str>>,
    /// What they must be allowed: all of it.
    pub scopes: Vec<String>,
    /// What must be said of them: of each attribute one of these values.
    pub attributes: Vec<(String, Vec<String>)>,
    /// Whether a request without any credential is let through, as nobody's.
    pub optional: bool,
}

/// What a route asks of its callers, ready to be asked.
#[derive(Debug)]
pub struct RouteAuthentication {
    policy: RouteAuthenticationPolicy,
    authenticators: Vec<Arc<Authenticator>>,
    reserved: Arc<Reserved>,
    clock: Clock,
    tally: Arc<RouteTally>,
}

/// Who is calling, where the route lets them through: somebody, or nobody where it does not insist.
#[derive(Clone, Debug)]
pub struct Verified(Option<Arc<Known>>);

impl Verified {
    /// Who is calling.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.0.as_ref().and_then(|known| known.principal())
    }

    pub(super) fn stamp<B>(&self, request: &mut http::Request<B>) {
        if let Some(known) = &self.0 {
            known.stamp(request);
        }
    }
}

impl RouteAuthentication {
    /// A route that asks `authenticators` (those that its policy names, in their order), and counts in `tally`.
    #[must_use]
    pub fn new(
        policy: RouteAuthenticationPolicy,
        authenticators: Vec<Arc<Authenticator>>,
        reserved: Arc<Reserved>,
        clock: Clock,
        tally: Arc<RouteTally>,
    ) -> Self {
        Self { policy, authenticators, reserved, clock, tally }
    }

    /// The headers that carry credentials here.
    pub fn headers(&self) -> impl Iterator<Item = &http::HeaderName> {
        self.authenticators.iter().map(|authenticator| authenticator.source.header())
    }

    /// Who makes a request with these headers, wherever it goes: for what is no route's own. What the route asks beyond
    /// that is not asked. `None` for a credential that is not good, or cannot be checked now, or none.
    pub async fn who(self: Arc<Self>, mut head: Head) -> Option<Verified> {
        self.reserved.strip(&mut head.headers);
        for authenticator in &self.authenticators {
            match authenticator.ask(&head, self.clock.wall()).await {
                Verdict::NotMine => {}
                Verdict::Known(known) => return Some(Verified(Some(known))),
                Verdict::Bad(_) | Verdict::Unavailable(_) | Verdict::Theirs(_) => return None,
            }
        }
        None
    }

    pub(super) fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    /// Whether a request is let through, where that can be said at once.
    pub(super) fn at_once(&self, headers: &HeaderMap) -> Option<Result<Verified, Refusal>> {
        let now = self.clock.wall();
        let mut seen = Found::Nothing;
        for authenticator in &self.authenticators {
            let found = authenticator.read(headers);
            match authenticator.at_once(found, now)? {
                Verdict::NotMine => seen = more_telling(seen, found),
                verdict => return Some(self.decided(authenticator, verdict)),
            }
        }
        Some(self.nobody(seen))
    }

    /// Whether a request is let through.
    pub(super) async fn ask(self: Arc<Self>, head: Head) -> Result<Verified, Refusal> {
        let mut seen = Found::Nothing;
        for authenticator in &self.authenticators {
            match authenticator.ask(&head, self.clock.wall()).await {
                Verdict::NotMine => seen = more_telling(seen, authenticator.read(&head.headers)),
                verdict => return self.decided(authenticator, verdict),
            }
        }
        self.nobody(seen)
    }

    fn decided(&self, authenticator: &Authenticator, verdict: Verdict) -> Result<Verified, Refusal> {
        match verdict {
            Verdict::Known(known) => self.permitted(authenticator, known),
            Verdict::Bad(detail) => Err(self.unauthenticated(Some("invalid_token"), detail)),
            Verdict::Unavailable(detail) => {
                self.tally.authentication_unavailable.add();
                Err(Refusal::Unavailable { detail })
            }
            Verdict::Theirs(theirs) => {
                self.tally.unauthenticated.add();
                Err(Refusal::Theirs(theirs))
            }
            Verdict::NotMine => self.nobody(Found::Nothing),
        }
    }

    /// Whether somebody who is known may do what they ask for.
    fn permitted(&self, authenticator: &Authenticator, known: Arc<Known>) -> Result<Verified, Refusal> {
        let RouteAuthenticationPolicy { scopes, attributes, .. } = &self.policy;
        let Some(principal) = known.principal() else {
            if scopes.is_empty() && attributes.is_empty() {
                return Ok(Verified(Some(known)));
            }
            self.tally.forbidden.add();
            let detail = "It is not known what you may do here.".to_owned();
            return Err(Refusal::Forbidden { challenge: None, detail });
        };
        if scopes.iter().any(|scope| !principal.has_scope(scope)) {
            self.tally.forbidden.add();
            return Err(lacks_scopes(authenticator, principal, scopes));
        }
        let fits = |(name, values): &(String, Vec<String>)| {
            principal.attribute(name).is_some_and(|value| values.iter().any(|allowed| allowed == value))
        };
        if let Some((name, values)) = attributes.iter().find(|attribute| !fits(attribute)) {
            self.tally.forbidden.add();
            let detail = match principal.attribute(name) {
                Some(value) => format!("Your {name} is `{value}`; this is for {}.", values.join(", ")),
                None => format!("You have no {name}; this is for {}.", values.join(", ")),
            };
            return Err(Refusal::Forbidden { challenge: None, detail });
        }
        Ok(Verified(Some(known)))
    }

    /// No authenticator knows the credential, of which this is the most that was seen.
    fn nobody(&self, seen: Found<'_>) -> Result<Verified, Refusal> {
        match seen {
            Found::Nothing if self.policy.optional => Ok(Verified(None)),
            Found::Nothing => Err(self.unauthenticated(None, "The request has no credential.".into())),
            Found::OtherScheme => Err(self.unauthenticated(
                None,
                "The credential in Authorization is not of a scheme that this API takes.".into(),
            )),
            Found::Unclear(what) => Err(self.unauthenticated(Some("invalid_request"), what.into())),
            Found::Token(_) => Err(self.unauthenticated(
                Some("invalid_token"),
                "The credential is of no kind that this API takes, or of an issuer that it does not know."
                    .into(),
            )),
        }
    }

    fn unauthenticated(&self, error: Option<&str>, detail: Cow<'static, str>) -> Refusal {
        self.tally.unauthenticated.add();
        let mut challenges = Vec::new();
        for authenticator in &self.authenticators {
            let mut challenge = challenge(authenticator);
            if let Some(error) = error {
                challenge.push_str(&format!(", error=\"{error}\", error_description={}", quoted(&detail)));
            }
            if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                challenges.push(challenge);
            }
        }
        Refusal::Unauthenticated { challenges, detail }
    }
}

/// How to ask for a credential of this authenticator's.
fn challenge(authenticator: &Authenticator) -> String {
    let realm = quoted(&authenticator.name);
    match &authenticator.source {
        CredentialSource::Bearer => format!("Bearer realm={realm}"),
        CredentialSource::Header(name) => format!("ApiKey realm={realm}, header={}", quoted(name.as_str())),
    }
}

fn lacks_scopes(authenticator: &Authenticator, principal: &Principal, scopes: &[String]) -> Refusal {
    let missing: Vec<&str> =
        scopes.iter().map(String::as_str).filter(|scope| !principal.has_scope(scope)).collect();
    let all = quoted(&scopes.join(" "));
    let challenge = format!("{}, error=\"insufficient_scope\", scope={all}", challenge(authenticator));
    let detail = match missing.as_slice() {
        [one] => format!("Your credential lacks the scope `{one}`."),
        several => format!("Your credential lacks the scopes `{}`.", several.join("`, `")),
    };
    Refusal::Forbidden { challenge: HeaderValue::from_str(&challenge).ok(), detail }
}

/// Of two things that were seen, the one that says more about what is wrong.
fn more_telling<'h>(one: Found<'h>, other: Found<'h>) -> Found<'h> {
    let rank = |found: &Found<'_>| match found {
        Found::Nothing => 0,
        Found::OtherScheme => 1,
        Found::Token(_) => 2,
        Found::Unclear(_) => 3,
    };
    if rank(&other) > rank(&one) { other } else { one }
}
