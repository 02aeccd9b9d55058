//! Refusals as `application/problem+json` (RFC 9457), with the retry hints that real clients obey.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};
use steadfast_core::{Code, HELP_BASE, OperationId, Resend};

use crate::RequestId;

/// A refusal on its way to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    status: u16,
    detail: Option<Box<str>>,
    instance: Option<RequestId>,
    operation: Option<OperationId>,
    retry_after: Option<Duration>,
    resend: Resend,
    /// What few refusals say.
    more: Option<Box<More>>,
}

/// What only some refusals say. Apart, so that others are small enough to be returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct More {
    next_step: Option<&'static str>,
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// The refusal with this code, with its usual status and retry advice.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            code,
            status: code.status(),
            detail: None,
            instance: None,
            operation: None,
            retry_after: None,
            resend: code.resend(),
            more: None,
        }
    }

    /// Another status than the code's usual one.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// What happened in this case. The caller reads it: nothing secret belongs here.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into_boxed_str());
        self
    }

    /// The request's id.
    #[must_use]
    pub fn instance(mut self, request_id: Option<&RequestId>) -> Self {
        self.instance = request_id.cloned();
        self
    }

    /// The operation that it is about.
    #[must_use]
    pub fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }

    /// When to come again; rounded up to whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether the same request with the same key will later succeed by itself.
    #[must_use]
    pub fn resend(mut self, resend: Resend) -> Self {
        self.resend = resend;
        self
    }

    /// What to do next, where it is not what the code advises.
    #[must_use]
    pub fn next_step(mut self, next_step: &'static str) -> Self {
        self.more.get_or_insert_default().next_step = Some(next_step);
        self
    }

    /// One member more of the document.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: Value) -> Self {
        self.more.get_or_insert_default().members.push((name, value));
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The status.
    pub(crate) fn status_code(&self) -> u16 {
        self.status
    }

    /// What happened, in words.
    #[must_use]
    pub fn words(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.code.title())
    }

    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.more.as_ref().and_then(|more| more.next_step).unwrap_or(self.code.next_step())
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        self.instance.as_ref().map(RequestId::as_str)
    }

    /// In how many seconds to come again.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|after| after.as_millis().div_ceil(1_000).max(1) as u64)
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let members = &self.more.as_ref()?.members;
        members.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// A member of its own kind, where it is a text: the name of the policy that refused, say.
    #[must_use]
    pub fn text_member(&self, name: &str) -> Option<&str> {
        self.find(name)?.as_str()
    }

    pub(crate) fn number_member(&self, name: &str) -> Option<u64> {
        self.find(name)?.as_u64()
    }

    /// The answer that the caller gets. Its code is an extension of it, and so is the problem itself.
    #[must_use]
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let retry_after = self.retry_after_seconds();
        let body = self.document(retry_after);
        let mut response = Response::new(B::from(Bytes::from(body)));
        // For whoever says the same in another protocol.
        response.extensions_mut().insert(self.code);
        // Statuses are constants of this crate and of core, all of them valid.
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let hint = HeaderValue::from_static(self.resend.as_str());
        headers.insert("stripe-should-retry", hint.clone());
        headers.insert("x-should-retry", hint);
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For whoever says it in other words.
        response.extensions_mut().insert(self);
        response
    }

    fn document(&self, retry_after: Option<u64>) -> Vec<u8> {
        let mut document = Map::new();
        let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
        let help = format!("{HELP_BASE}{}", self.code.as_str());
        if let Some(registered) = self.code.registered_type() {
            put("type", registered.into());
            put("help", help.into());
        } else {
            put("type", help.into());
        }
        put("title", self.code.title().into());
        put("status", self.status.into());
        put("code", self.code.as_str().into());
        if let Some(detail) = &self.detail {
            put("detail", (**detail).into());
        }
        if let Some(instance) = &self.instance {
            put("instance", instance.as_str().into());
        }
        if let Some(operation) = self.operation {
            put("operation", format!("/.steadfast/operations/{operation}").into());
        }
        if let Some(seconds) = retry_after {
            put("retry_after", seconds.into());
        }
        for (name, value) in self.more.iter().flat_map(|more| &more.members) {
            put(name, value.clone());
        }
        put("next_step", self.advice().into());
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_next_in_words_and_in_headers() {
        let problem = Problem::new(Code::OperationInProgress)
            .instance(Some(&RequestId::accept(&HeaderValue::from_static("req-1")).expect("valid")))
            .retry_after(Duration::from_millis(1_001))
            .detail("It began a second ago.");
        let response: Response<Bytes> = problem.into_response();
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["stripe-should-retry"], "true");
        assert_eq!(response.headers()["x-should-retry"], "true");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let document: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(document["type"], "/.steadfast/problems/operation-in-progress");
        assert_eq!(document["status"], 409);
        assert_eq!(document["retry_after"], 2);
        assert_eq!(document["instance"], "req-1");
        assert!(document["next_step"].as_str().is_some_and(|words| words.contains("again")));
    }
}
