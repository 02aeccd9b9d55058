//! Checks what a config says of the document that the gateway publishes, and of upstreams' own.

use super::{
    super::{
        DocumentPolicy,
        raw::{At, RawDocument},
    },
    Checker, Finding,
};

/// How many characters the title and the version of the document have at most.
const WORD_CHARS_MAX: usize = 200;

/// How many its description has.
const TEXT_CHARS_MAX: usize = 10_000;

impl Checker<'_> {
    pub(super) fn document(&mut self, raw: Option<&At<RawDocument>>) -> Option<DocumentPolicy> {
        let raw = raw?.get();
        let mut text = |key, raw: &Option<At<String>>, default: &str, chars_max| match raw {
            None => default.to_owned(),
            Some(raw) => self.take(&raw.span(), check_text(key, raw.get(), chars_max)).unwrap_or_default(),
        };
        let default = DocumentPolicy::default();
        Some(DocumentPolicy {
            title: text("title", &raw.title, &default.title, WORD_CHARS_MAX),
            version: text("version", &raw.version, &default.version, WORD_CHARS_MAX),
            description: text("description", &raw.description, "", TEXT_CHARS_MAX),
        })
    }

    /// Where an upstream has its own OpenAPI document.
    pub(super) fn openapi(&mut self, raw: Option<&At<String>>) -> Option<String> {
        let raw = raw?;
        self.take(&raw.span(), check_openapi(raw.get()))
    }
}

fn check_text(key: &str, text: &str, chars_max: usize) -> Finding<String> {
    let wrong = |what: &str, next: String| Err((format!("`document.{key}` {what}"), next));
    if key != "description" && text.trim().is_empty() {
        return wrong("is empty", "say something, or leave it out".into());
    }
    if text.chars().count() > chars_max {
        return wrong("is too long", format!("use {chars_max} characters at most"));
    }
    if text.chars().any(|char| char.is_control() && char != '\n') {
        return wrong("has control characters", "leave them out".into());
    }
    Ok(text.to_owned())
}

fn check_openapi(text: &str) -> Finding<String> {
    let is_path = text.starts_with('/')
        && text.len() <= 1_024
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#{}*\\".contains(&byte));
    if is_path {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().take(100).collect();
    let what = format!("`openapi`: `{}` is not the path of a document", shown.escape_debug());
    Err((what, "write the path that the upstream has it at: /openapi.json".into()))
}
