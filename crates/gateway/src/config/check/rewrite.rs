//! Checks what a route changes of messages.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header, uri::PathAndQuery};
use steadfast_layers::{HeaderEdits, RewritePolicy};

use super::{
    super::raw::{At, RawHeaderEdits, RawRoute},
    Checker, Finding,
};

/// Fields that frame a message or belong to its connection, or that are what the gateway goes by.
const KEPT: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

impl Checker<'_> {
    pub(super) fn rewrite(&mut self, raw: &RawRoute) -> Option<RewritePolicy> {
        let mut prefix = |raw: &Option<At<String>>, key| {
            let taken = raw.as_ref().and_then(|raw| self.take(&raw.span(), parse_prefix(raw.get(), key)));
            taken.unwrap_or_default()
        };
        let strip_prefix = prefix(&raw.strip_prefix, "strip_prefix");
        let add_prefix = prefix(&raw.add_prefix, "add_prefix");
        let policy = RewritePolicy {
            strip_prefix,
            add_prefix,
            requests: self.edits(raw.request_headers.as_ref()),
            answers: self.edits(raw.answer_headers.as_ref()),
        };
        (policy != RewritePolicy::default()).then_some(policy)
    }

    fn edits(&mut self, raw: Option<&At<RawHeaderEdits>>) -> HeaderEdits {
        let Some(raw) = raw.map(At::get) else { return HeaderEdits::default() };
        let removed = raw.remove.as_ref().map(At::get).into_iter().flatten();
        let remove = removed.filter_map(|name| self.take(&name.span(), parse_name(name.get()))).collect();
        HeaderEdits { remove, set: self.edited(raw.set.as_ref()), add: self.edited(raw.add.as_ref()) }
    }

    fn edited(&mut self, raw: Option<&At<BTreeMap<String, At<String>>>>) -> Vec<(HeaderName, HeaderValue)> {
        let fields = raw.map(At::get).into_iter().flatten();
        let fields =
            fields.filter_map(|(name, value)| self.take(&value.span(), parse_field(name, value.get())));
        fields.collect()
    }
}

fn parse_prefix(text: &str, key: &str) -> Finding<String> {
    let prefix = text.trim_end_matches('/');
    let plain = text.starts_with('/') && !text.contains(['?', '#']) && PathAndQuery::try_from(text).is_ok();
    if plain {
        Ok(prefix.to_owned())
    } else {
        Err((
            format!("`{key}`: `{}` is not the beginning of a path", text.escape_debug()),
            "write it as /api".into(),
        ))
    }
}

fn parse_name(text: &str) -> Finding<HeaderName> {
    let shown = text.escape_debug();
    let name: HeaderName = text.parse().map_err(|_| {
        (format!("`{shown}` is not the name of a header"), "write one such as x-api-version".into())
    })?;
    if KEPT.contains(&name) {
        let what = format!("`{name}` frames the message or is what the gateway goes by, and stays as it is");
        return Err((what, "leave it out; the Host is said by the upstream's `host`".into()));
    }
    Ok(name)
}

pub(super) fn parse_field(name: &str, value: &str) -> Finding<(HeaderName, HeaderValue)> {
    let name = parse_name(name)?;
    let value = HeaderValue::from_str(value).map_err(|_| {
        (
            format!("the value of `{name}` has characters that a header cannot have"),
            "write plain ASCII".into(),
        )
    })?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        assert_eq!(parse_prefix("/api/", "x"), Ok("/api".into()));
        assert_eq!(parse_prefix("/", "x"), Ok(String::new()));
        for text in ["", "api", "/a?b", "/a b", "http://a/"] {
            assert!(parse_prefix(text, "x").is_err(), "{text}");
        }
    }

    #[test]
    fn what_frames_a_message_cannot_be_changed() {
        for name in ["content-length", "Host", "Transfer-Encoding", "Idempotency-Key", "a b", ""] {
            assert!(parse_name(name).is_err(), "{name}");
        }
        assert!(parse_field("x-a", "b").is_ok());
        assert!(parse_field("x-a", "b\r\nc: d").is_err());
    }
}
