//! A token taken apart (RFC 7519, RFC 7515), and what its claims say. Nothing in it is believed before its signature is
//! checked, and its header least of all: that says which key of the issuer's is meant, and nothing else.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use steadfast_core::Timestamp;

use super::{
    Algorithm, JwtPolicy,
    claims::{instant, is_for},
};

/// A token in its parts; nothing of it is verified.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// What is signed.
    pub(super) message: &'t [u8],
    pub(super) signature: Vec<u8>,
    pub(super) key_id: Option<String>,
    pub(super) algorithm: Option<Algorithm>,
    /// Whether the header asks for something that must be understood, and is not.
    pub(super) is_critical: bool,
    pub(super) claims: Map<String, Value>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'t> Token<'t> {
    /// The token that `text` is; `None` where it is none.
    pub(super) fn read(text: &'t [u8]) -> Option<Self> {
        let (message, signature) = rsplit_dot(text)?;
        let (header, claims) = rsplit_dot(message)?;
        let decoded = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        Some(Self {
            message,
            signature: decoded(signature)?,
            key_id: header.kid,
            algorithm: Algorithm::named(&header.alg),
            is_critical: header.crit.is_some(),
            claims: serde_json::from_slice(&decoded(claims)?).ok()?,
        })
    }

    /// Who says that they made it.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }
}

fn rsplit_dot(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = text.iter().rposition(|byte| *byte == b'.')?;
    Some((&text[..dot], &text[dot + 1..]))
}

/// Until when a token with these claims is good, in milliseconds.
///
/// # Errors
/// What is wrong, as its bearer may know it.
pub(super) fn good_until(
    policy: &JwtPolicy,
    claims: &Map<String, Value>,
    now: Timestamp,
) -> Result<Timestamp, Cow<'static, str>> {
    if !is_for(claims, &policy.audience) {
        return Err("The token is for another audience.".into());
    }
    if let Some(begins) = claims.get("nbf")
        && instant(begins).ok_or("The token's `nbf` is not a time.")? > now.after(policy.leeway)
    {
        return Err("The token is not valid yet.".into());
    }
    let expires = claims.get("exp").ok_or("The token has no `exp`: it would never expire.")?;
    let until = instant(expires).ok_or("The token's `exp` is not a time.")?.after(policy.leeway);
    if until <= now { Err("The token has expired.".into()) } else { Ok(until) }
}
