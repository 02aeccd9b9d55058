//! JSON Web Tokens: checked here, with the keys of one issuer and the algorithms that are pinned for it. A token that was
//! found good is remembered until it expires, so that only its first request costs a signature.

mod algorithm;
pub(super) mod claims;
mod key_set;
mod keys;
#[cfg(test)]
mod tests;
mod token;

use std::{borrow::Cow, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use steadfast_core::{CredentialDigest, CredentialId, Timestamp};

pub use algorithm::Algorithm;
pub use key_set::{InvalidKeySet, KeySet};
pub use keys::Keys;

use super::{
    authenticator::Verdict,
    known::{Known, NamedAs},
};
use crate::PrincipalFacts;
use keys::Fetched;
use token::Token;

/// How many tokens are remembered, of each issuer: about a kilobyte each.
const REMEMBERED_MAX: usize = 10_000;

/// What tokens must say, and what is read from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtPolicy {
    /// Who made them: their `iss`, to the letter.
    pub issuer: String,
    /// Whom they are for: one of these is in their `aud`.
    pub audience: Vec<String>,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// By how much the issuer's clock may differ.
    pub leeway: Duration,
    /// The claim with the principal's name.
    pub principal: String,
    /// Attributes, and the claims that they are read from.
    pub attributes: Vec<(String, String)>,
    /// The claim with the scopes: a text of words, or a list.
    pub scopes: String,
}

/// The tokens of one issuer.
#[derive(Debug)]
pub struct Jwt {
    policy: JwtPolicy,
    named_as: NamedAs,
    hides: Option<http::HeaderName>,
    keys: Arc<Keys>,
    remembered: Cache<CredentialDigest, Arc<Remembered>>,
}

/// A token that was found good.
#[derive(Debug)]
struct Remembered {
    known: Arc<Known>,
    until: Timestamp,
    /// Which keys were known then: where they changed, its own may be gone.
    generation: u64,
}

/// What became of looking at a token with the keys that are known.
enum Looked {
    Verdict(Verdict),
    /// It names a key that is not known.
    UnknownKey,
}

impl Jwt {
    /// Tokens that keep `policy`, signed with `keys`. `hides` is the header whose credential goes no further.
    #[must_use]
    pub fn new(
        policy: JwtPolicy,
        keys: Arc<Keys>,
        named_as: NamedAs,
        hides: Option<http::HeaderName>,
    ) -> Self {
        Self { policy, named_as, hides, keys, remembered: Cache::new(REMEMBERED_MAX) }
    }

    /// What a token is good for; `None` where keys must be fetched first.
    pub(super) fn check(&self, text: &[u8], now: Timestamp) -> Option<Verdict> {
        let Some(keys) = self.keys.current() else {
            return match Token::read(text) {
                Some(token) if token.issuer() == Some(&self.policy.issuer) => None,
                _ => Some(Verdict::NotMine),
            };
        };
        match self.look(text, &keys, now) {
            Looked::Verdict(verdict) => Some(verdict),
            Looked::UnknownKey if self.keys.may_refresh() => None,
            Looked::UnknownKey => Some(unknown_key()),
        }
    }

    /// What a token is good for, after fetching keys where one is missing.
    pub(super) async fn check_with_keys(&self, text: &[u8], now: Timestamp) -> Verdict {
        if let Some(verdict) = self.check(text, now) {
            return verdict;
        }
        self.keys.refresh().await;
        let Some(keys) = self.keys.current() else {
            return Verdict::Unavailable("The keys of the token's issuer cannot be fetched.");
        };
        match self.look(text, &keys, now) {
            Looked::Verdict(verdict) => verdict,
            Looked::UnknownKey => unknown_key(),
        }
    }

    fn look(&self, text: &[u8], keys: &Fetched, now: Timestamp) -> Looked {
        // One credential always: `of` is `None` for none.
        let digest = CredentialDigest::of([("jwt", text)]);
        if let Some(remembered) = digest.as_ref().and_then(|digest| self.remembered.get(digest))
            && remembered.generation == keys.generation
            && now < remembered.until
        {
            return Looked::Verdict(Verdict::Known(Arc::clone(&remembered.known)));
        }
        let Some(token) = Token::read(text).filter(|token| token.issuer() == Some(&self.policy.issuer))
        else {
            return Looked::Verdict(Verdict::NotMine);
        };
        match self.signature(&token, keys) {
            Some(Ok(())) => {}
            Some(Err(detail)) => return Looked::Verdict(Verdict::Bad(detail)),
            None => return Looked::UnknownKey,
        }
        let until = match token::good_until(&self.policy, &token.claims, now) {
            Ok(until) => until,
            Err(detail) => return Looked::Verdict(Verdict::Bad(detail)),
        };
        let Some(known) = self.known(&token, digest) else {
            let detail = format!("The token has no `{}`, which says whose it is.", self.policy.principal);
            return Looked::Verdict(Verdict::Bad(detail.into()));
        };
        let known = Arc::new(known);
        if let Some(digest) = digest {
            let remembered = Remembered { known: Arc::clone(&known), until, generation: keys.generation };
            self.remembered.insert(digest, Arc::new(remembered));
        }
        Looked::Verdict(Verdict::Known(known))
    }

    /// Whether the token is signed as it must be; `None` where the key that it names is not known.
    fn signature(&self, token: &Token<'_>, keys: &Fetched) -> Option<Result<(), Cow<'static, str>>> {
        let Some(algorithm) = token.algorithm.filter(|algorithm| self.policy.algorithms.contains(algorithm))
        else {
            return Some(Err("The token is not signed with an algorithm that is taken here.".into()));
        };
        if token.is_critical {
            return Some(Err("The token's header asks for something that is not understood here.".into()));
        }
        let key_id = token.key_id.as_deref();
        let verified = keys.set.verifies(key_id, algorithm, token.message, &token.signature)?;
        Some(if verified { Ok(()) } else { Err("The token's signature is not its issuer's.".into()) })
    }

    fn known(&self, token: &Token<'_>, digest: Option<CredentialDigest>) -> Option<Known> {
        let JwtPolicy { principal, attributes, scopes, .. } = &self.policy;
        let said = &token.claims;
        let name = claims::text(said, principal)?;
        let attributes = attributes
            .iter()
            .filter_map(|(name, claim)| Some((name.as_str().into(), claims::text(said, claim)?.into())));
        let facts = PrincipalFacts {
            name: format!("{}{name}", self.named_as.prefix).into(),
            by: Arc::clone(&self.named_as.by),
            credential: digest.map(credential_id),
            attributes: attributes.collect(),
            scopes: claims::words(said, scopes),
            hidden: self.hides.clone(),
        };
        Some(Known::new(facts, Vec::new()))
    }
}

/// A token has no id that all issuers give: its digest tells it from others.
pub(super) fn credential_id(digest: CredentialDigest) -> CredentialId {
    let mut head = [0; 8];
    head.copy_from_slice(&digest.as_bytes()[..8]);
    CredentialId::from_bits(u64::from_le_bytes(head))
}

fn unknown_key() -> Verdict {
    Verdict::Bad("The token is signed with a key that its issuer does not publish.".into())
}
