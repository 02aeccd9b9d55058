//! What claims say, of tokens and of what issuers say of tokens.

use serde_json::{Map, Value};
use steadfast_core::Timestamp;

/// Whether one of these audiences is meant.
pub(in crate::authentication) fn is_for(claims: &Map<String, Value>, audiences: &[String]) -> bool {
    let for_us = |audience: &str| audiences.iter().any(|ours| ours == audience);
    match claims.get("aud") {
        Some(Value::String(audience)) => for_us(audience),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(for_us),
        _ => false,
    }
}

/// Seconds since 1970, perhaps with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "it saturates, which is as good as the end of time")]
pub(in crate::authentication) fn instant(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite())?;
    Some(Timestamp::from_millis((seconds * 1e3) as i64))
}

/// The claim at `path`: that of this very name, or else the one that its parts lead to.
fn claim<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_object()?.get(part))
}

/// The claim at `path` as a text: a number or a truth value as it is written.
pub(in crate::authentication) fn text(claims: &Map<String, Value>, path: &str) -> Option<String> {
    match claim(claims, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The claim at `path` as a list: of a text, its words.
pub(in crate::authentication) fn words(claims: &Map<String, Value>, path: &str) -> Vec<Box<str>> {
    match claim(claims, path) {
        Some(Value::String(text)) => text.split_ascii_whitespace().map(Into::into).collect(),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(Into::into).collect(),
        _ => Vec::new(),
    }
}
