//! Forward-auth: another service is shown the head of each request and says whether it is let through. What it says of the
//! caller goes upstream; a refusal of its own, and a redirect to where one logs in, go to the caller as they are.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use steadfast_core::{CredentialDigest, Timestamp};

use super::{
    authenticator::Verdict,
    credential::Head,
    known::{Known, NamedAs},
    learned::Learned,
    outbound::Outbound,
    refusal::Theirs,
};
use crate::PrincipalFacts;

/// Fields of a request that are not shown: they belong to its connection, or to its body, which is not shown either.
const NOT_SHOWN: [HeaderName; 11] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// How a service is asked, and what is read from its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardPolicy {
    /// Where: the path and query.
    pub target: http::Uri,
    /// The fields of its answers that go upstream. What callers send under these names is taken away.
    pub headers: Vec<HeaderName>,
    /// The field with the principal's name. Without it, whoever is let through has none.
    pub principal: Option<HeaderName>,
    /// Attributes, and the fields that they are read from.
    pub attributes: Vec<(String, HeaderName)>,
    /// The field with the scopes.
    pub scopes: Option<HeaderName>,
    /// For how long a yes is good for the same method, target, `Authorization`, `Cookie` and credential.
    pub keep: Duration,
}

/// A service that says who is let through.
#[derive(Debug)]
pub struct Forward {
    policy: ForwardPolicy,
    outbound: Arc<dyn Outbound>,
    named_as: NamedAs,
    hides: Option<HeaderName>,
    /// The header that carries the credential.
    credential: HeaderName,
    learned: Learned,
}

impl Forward {
    /// One that is asked over `outbound`. `hides` is the header whose credential goes no further.
    #[must_use]
    pub fn new(
        policy: ForwardPolicy,
        outbound: Arc<dyn Outbound>,
        named_as: NamedAs,
        credential: HeaderName,
        hides: Option<HeaderName>,
    ) -> Self {
        Self { policy, outbound, named_as, hides, credential, learned: Learned::default() }
    }

    /// The fields that only the service may say.
    pub fn reserved(&self) -> impl Iterator<Item = &HeaderName> {
        let ForwardPolicy { headers, principal, attributes, scopes, .. } = &self.policy;
        headers.iter().chain(principal).chain(attributes.iter().map(|(_, name)| name)).chain(scopes)
    }

    /// Whether a request is let through.
    pub(super) async fn ask(&self, head: &Head, now: Timestamp) -> Verdict {
        if self.policy.keep.is_zero() {
            return self.subrequest(head, now).await.0;
        }
        let Some(digest) = self.digest(head) else { return Verdict::NotMine };
        if let Some(known) = self.learned.get(digest, now) {
            return known;
        }
        self.learned.or_ask(digest, now, async { self.subrequest(head, now).await }).await
    }

    /// What an answer is kept by.
    fn digest(&self, head: &Head) -> Option<CredentialDigest> {
        let target = head.uri.to_string();
        let shown = [&header::HOST, &header::AUTHORIZATION, &header::COOKIE, &self.credential];
        let fields = shown.into_iter().flat_map(|name| {
            head.headers.get_all(name).iter().map(|value| (name.as_str(), value.as_bytes()))
        });
        let request = [("method", head.method.as_str().as_bytes()), ("target", target.as_bytes())];
        CredentialDigest::of(request.into_iter().chain(fields))
    }

    async fn subrequest(&self, head: &Head, now: Timestamp) -> (Verdict, Timestamp) {
        let answer = match self.question(head) {
            Ok(question) => self.outbound.ask(question).await,
            Err(error) => Err(error),
        };
        let unavailable = |error: &str| {
            tracing::warn!(
                by = &*self.named_as.by,
                error,
                "a service was not able to say whether a request is let through"
            );
            (Verdict::Unavailable("The service that checks this credential does not answer."), now)
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return unavailable(&error),
        };
        let status = answer.status();
        if status.is_success() {
            return match self.known(&answer) {
                Some(known) => (Verdict::Known(Arc::new(known)), now.after(self.policy.keep)),
                None => unavailable("it did not say who is calling"),
            };
        }
        if status.is_redirection() || status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return (Verdict::Theirs(Box::new(theirs(answer))), now);
        }
        unavailable(&format!("it was answered {status}"))
    }

    fn question(&self, head: &Head) -> Result<Request<Bytes>, String> {
        let mut request =
            Request::get(self.policy.target.clone()).body(Bytes::new()).map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        for (name, value) in &head.headers {
            if !NOT_SHOWN.contains(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        for (name, value) in [
            ("x-forwarded-method", HeaderValue::from_str(head.method.as_str())),
            ("x-forwarded-uri", HeaderValue::from_str(target)),
        ] {
            headers.insert(HeaderName::from_static(name), value.map_err(|error| error.to_string())?);
        }
        if let Some(host) = head.headers.get(header::HOST) {
            headers.insert(HeaderName::from_static("x-forwarded-host"), host.clone());
        }
        Ok(request)
    }

    /// Who is calling, as the answer says.
    fn known(&self, answer: &Response<Bytes>) -> Option<Known> {
        let ForwardPolicy { headers, principal, attributes, scopes, .. } = &self.policy;
        let said = answer.headers();
        let text = |name: &HeaderName| {
            said.get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .filter(|text| !text.is_empty())
        };
        let also = headers.iter().filter_map(|name| Some((name.clone(), said.get(name)?.clone()))).collect();
        let Some(principal) = principal else { return Some(Known::without_principal(also)) };
        let scopes = scopes.as_ref().and_then(text).unwrap_or_default();
        let facts = PrincipalFacts {
            name: format!("{}{}", self.named_as.prefix, text(principal)?).into(),
            by: Arc::clone(&self.named_as.by),
            credential: None,
            attributes: attributes
                .iter()
                .filter_map(|(attribute, name)| {
                    Some((attribute.as_str().into(), text(name)?.as_ref().into()))
                })
                .collect(),
            scopes: scopes.split([' ', ',']).filter(|scope| !scope.is_empty()).map(Into::into).collect(),
            hidden: self.hides.clone(),
        };
        Some(Known::new(facts, also))
    }
}

/// The service's own words, without what belonged to its connection.
fn theirs(answer: Response<Bytes>) -> Theirs {
    let (parts, body) = answer.into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in &parts.headers {
        if !NOT_SHOWN.contains(name) && *name != header::DATE {
            headers.append(name.clone(), value.clone());
        }
    }
    Theirs { status: parts.status, headers, body }
}
