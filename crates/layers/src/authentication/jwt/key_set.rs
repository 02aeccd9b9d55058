//! Sets of keys as authorities publish them (JWK sets, RFC 7517). Keys that are not for signatures, or of a kind that is not
//! taken, are left out, as the RFC wants it: an authority may add what nobody knows yet.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::algorithm::{Algorithm, VerifyingKey};

/// The most keys of a set that are taken.
const KEYS_MAX: usize = 100;

/// The keys of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<NamedKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedKey {
    id: Option<String>,
    /// The only algorithm that it may be used with, where its set says so.
    algorithm: Option<Algorithm>,
    key: VerifyingKey,
}

/// A text is not a set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// It is not the JSON that it should be.
    #[error("it is not a JWK set: {0}")]
    NotOne(String),
    /// There is no key in it that could be used.
    #[error("there is no key for signatures in it that could be used")]
    Empty,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The public keys of a JWK set. Shared secrets are none of it: whoever publishes a set would give them away.
    ///
    /// # Errors
    /// [`InvalidKeySet`].
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeySet> {
        let set: RawSet =
            serde_json::from_slice(text).map_err(|error| InvalidKeySet::NotOne(error.to_string()))?;
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok().and_then(public));
        let keys: Vec<NamedKey> = keys.take(KEYS_MAX).collect();
        if keys.is_empty() { Err(InvalidKeySet::Empty) } else { Ok(Self { keys }) }
    }

    /// The one secret that an issuer and this gateway share.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        let key = VerifyingKey::Secret(secret.to_vec());
        Self { keys: vec![NamedKey { id: None, algorithm: Some(Algorithm::Hs256), key }] }
    }

    /// Whether one of the keys that a token with this key id could be signed with made this signature; `None` where there
    /// is no such key.
    pub(super) fn verifies(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signed: &[u8],
    ) -> Option<bool> {
        let mut candidates = self
            .keys
            .iter()
            .filter(|key| match (&key.id, id) {
                (Some(known), Some(id)) => known == id,
                // Either says nothing of which key it is.
                (None, _) | (_, None) => true,
            })
            .filter(|key| key.key.fits(algorithm) && key.algorithm.is_none_or(|only| only == algorithm))
            .peekable();
        candidates.peek()?;
        Some(candidates.any(|key| key.key.verifies(algorithm, message, signed)))
    }
}

fn public(raw: RawKey) -> Option<NamedKey> {
    if raw.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |text: &Option<String>| {
        let text = text.as_deref()?.trim_end_matches('=');
        BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| !bytes.is_empty())
    };
    let coordinates = |length: usize| {
        let (x, y) = (bytes(&raw.x)?, bytes(&raw.y)?);
        (x.len() == length && y.len() == length).then(|| [&[4], &x[..], &y[..]].concat())
    };
    let key = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => {
            // Some write a zero before the modulus, which is a sign in other encodings.
            let stripped = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            VerifyingKey::Rsa { n: stripped(bytes(&raw.n)?), e: stripped(bytes(&raw.e)?) }
        }
        ("EC", Some("P-256")) => VerifyingKey::P256(coordinates(32)?),
        ("EC", Some("P-384")) => VerifyingKey::P384(coordinates(48)?),
        ("OKP", Some("Ed25519")) => VerifyingKey::Ed25519(bytes(&raw.x).filter(|x| x.len() == 32)?),
        _ => return None,
    };
    let algorithm = match raw.alg.as_deref() {
        None => None,
        // Of an algorithm that is not taken.
        Some(name) => Some(Algorithm::named(name)?),
    };
    Some(NamedKey { id: raw.kid, algorithm, key })
}
