//! Refusals in the words of an API that has an error format of its own: a template whose placeholders are filled in from the
//! problem that would have been sent. Status and header stay what they are.

use std::str::FromStr;

use bytes::Bytes;
use http::{HeaderValue, Response, header};

use crate::{HeldBody, Problem};

/// What refusals look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalTemplate {
    parts: Vec<Part>,
    content_type: HeaderValue,
    escaping: Escaping,
}

/// How texts are written, so that they end nothing that the template began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escaping {
    /// As within the quotes of a JSON string.
    Json,
    /// As in HTML and XML.
    Markup,
    /// As they are.
    Plain,
}

impl Escaping {
    fn of(content_type: &HeaderValue) -> Self {
        let kind = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        match kind.rsplit(['/', '+']).next() {
            Some("json") => Self::Json,
            Some("html" | "xml") => Self::Markup,
            _ => Self::Plain,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Filled(Placeholder),
}

/// What a template can be filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Code,
    Title,
    Detail,
    Message,
    NextStep,
    Status,
    Instance,
    RetryAfter,
    Policy,
    Limit,
    Remaining,
}

/// All of them, by the names that they have in braces.
const PLACEHOLDERS: [(&str, Placeholder); 11] = [
    ("code", Placeholder::Code),
    ("title", Placeholder::Title),
    ("detail", Placeholder::Detail),
    ("message", Placeholder::Message),
    ("next_step", Placeholder::NextStep),
    ("status", Placeholder::Status),
    ("instance", Placeholder::Instance),
    ("retry_after", Placeholder::RetryAfter),
    ("policy", Placeholder::Policy),
    ("limit", Placeholder::Limit),
    ("remaining", Placeholder::Remaining),
];

/// A text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// It names something that no refusal has.
    #[error("a refusal has no `{0}`")]
    Unknown(String),
    /// What it comes to is not JSON, though it says that it is.
    #[error("filled in, it is not JSON: {0}")]
    NotJson(String),
}

impl RefusalTemplate {
    /// The names that may stand in braces.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PLACEHOLDERS.into_iter().map(|(name, _)| name)
    }

    /// Reads a template. What stands in braces and is made of letters and `_` is a placeholder; other braces stand for
    /// themselves.
    ///
    /// # Errors
    /// [`InvalidTemplate`].
    pub fn new(body: &str, content_type: HeaderValue) -> Result<Self, InvalidTemplate> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = body;
        while let Some(open) = rest.find('{') {
            text.push_str(&rest[..open]);
            rest = &rest[open..];
            let name = rest[1..].find('}').map(|close| &rest[1..=close]);
            let is_name = |name: &&str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            let Some(name) = name.filter(is_name) else {
                text.push('{');
                rest = &rest[1..];
                continue;
            };
            let placeholder = name.parse()?;
            parts.push(Part::Text(std::mem::take(&mut text).into()));
            parts.push(Part::Filled(placeholder));
            rest = &rest[name.len() + 2..];
        }
        text.push_str(rest);
        parts.push(Part::Text(text.into()));
        let escaping = Escaping::of(&content_type);
        let template = Self { parts, content_type, escaping };
        if escaping == Escaping::Json {
            let filled = template.fill(&Problem::new(steadfast_core::Code::QuotaExceeded));
            serde_json::from_str::<serde::de::IgnoredAny>(&filled)
                .map_err(|error| InvalidTemplate::NotJson(error.to_string()))?;
        }
        Ok(template)
    }

    /// What it says it is.
    #[must_use]
    pub fn content_type(&self) -> &HeaderValue {
        &self.content_type
    }

    /// As it is written.
    #[must_use]
    pub fn body(&self) -> String {
        let mut body = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => body.push_str(text),
                Part::Filled(placeholder) => {
                    let named = PLACEHOLDERS.iter().find(|(_, known)| known == placeholder);
                    body.push_str(&format!("{{{}}}", named.map_or("", |(name, _)| name)));
                }
            }
        }
        body
    }

    /// Gives a refusal this form; any other answer is left as it is.
    pub fn apply<R>(&self, response: &mut Response<HeldBody<R>>) {
        let Some(problem) = response.extensions().get::<Problem>() else { return };
        let body = self.fill(problem);
        *response.body_mut() = HeldBody::whole(Bytes::from(body));
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
    }

    fn fill(&self, problem: &Problem) -> String {
        let mut body = String::with_capacity(256);
        for part in &self.parts {
            match part {
                Part::Text(text) => body.push_str(text),
                Part::Filled(placeholder) => self.put(&mut body, *placeholder, problem),
            }
        }
        body
    }

    fn put(&self, body: &mut String, placeholder: Placeholder, problem: &Problem) {
        let number = |body: &mut String, number: Option<u64>| match number {
            Some(number) => body.push_str(&number.to_string()),
            None => body.push_str(if self.escaping == Escaping::Json { "null" } else { "" }),
        };
        match placeholder {
            Placeholder::Code => self.text(body, problem.code().as_str()),
            Placeholder::Title => self.text(body, problem.code().title()),
            Placeholder::Detail => self.text(body, problem.words()),
            Placeholder::Message => {
                self.text(body, &format!("{} {}", problem.words(), problem.advice()));
            }
            Placeholder::NextStep => self.text(body, problem.advice()),
            Placeholder::Status => number(body, Some(problem.status_code().into())),
            Placeholder::Instance => self.text(body, problem.request_id().unwrap_or_default()),
            Placeholder::RetryAfter => number(body, problem.retry_after_seconds()),
            Placeholder::Policy => self.text(body, problem.text_member("policy").unwrap_or_default()),
            Placeholder::Limit => number(body, problem.number_member("limit")),
            Placeholder::Remaining => number(body, problem.number_member("remaining")),
        }
    }

    fn text(&self, body: &mut String, text: &str) {
        match self.escaping {
            Escaping::Plain => body.push_str(text),
            Escaping::Json => {
                // With the quotes round it, which the template has already.
                let quoted = serde_json::to_string(text).unwrap_or_default();
                body.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
            }
            Escaping::Markup => text.chars().for_each(|char| match char {
                '&' => body.push_str("&amp;"),
                '<' => body.push_str("&lt;"),
                '>' => body.push_str("&gt;"),
                '"' => body.push_str("&quot;"),
                '\'' => body.push_str("&#39;"),
                char => body.push(char),
            }),
        }
    }
}

impl FromStr for Placeholder {
    type Err = InvalidTemplate;

    fn from_str(name: &str) -> Result<Self, InvalidTemplate> {
        let found = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
        found.map(|(_, placeholder)| *placeholder).ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use steadfast_core::Code;

    use super::*;

    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    const OURS: &str = r#"{"error":"{code}","message":"{detail}","retry_after":{retry_after}}"#;

    fn given(template: &RefusalTemplate, problem: Problem) -> (Response<HeldBody<()>>, String) {
        let mut response: Response<HeldBody<()>> = problem.into_response();
        template.apply(&mut response);
        let HeldBody::Whole(Some(body)) = response.body() else { panic!("a body") };
        let body = String::from_utf8(body.to_vec()).expect("text");
        (response, body)
    }

    #[test]
    fn a_refusal_is_written_as_the_api_writes_its_errors() {
        let template = RefusalTemplate::new(OURS, JSON).expect("a template");
        let problem = Problem::new(Code::QuotaExceeded)
            .detail("Said \"enough\".\n")
            .retry_after(Duration::from_secs(7));
        let (response, body) = given(&template, problem);
        assert_eq!(body, r#"{"error":"quota-exceeded","message":"Said \"enough\".\n","retry_after":7}"#);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["x-should-retry"], "true");
        // What is not known is null, and the title stands for a detail that is not there.
        let (_, body) = given(&template, Problem::new(Code::RouteNotFound));
        assert_eq!(
            body,
            r#"{"error":"route-not-found","message":"Nothing is served here","retry_after":null}"#
        );
    }

    #[test]
    fn what_a_caller_sent_is_no_markup_in_a_page_about_it() {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        let template = RefusalTemplate::new("<p>{detail}</p>", html).expect("a template");
        let problem = Problem::new(Code::TargetUnclear).detail("<script>'\"&");
        assert_eq!(given(&template, problem).1, "<p>&lt;script&gt;&#39;&quot;&amp;</p>");
    }

    #[test]
    fn what_is_no_refusal_is_left_alone() {
        let template = RefusalTemplate::new(OURS, JSON).expect("a template");
        let mut response: Response<HeldBody<()>> =
            Response::new(HeldBody::whole(Bytes::from_static(b"mine")));
        template.apply(&mut response);
        assert!(matches!(response.body(), HeldBody::Whole(Some(body)) if body == "mine"));
    }

    #[test]
    fn a_template_names_what_there_is_and_braces_stand_for_themselves() {
        let text = HeaderValue::from_static("text/plain");
        let template = RefusalTemplate::new("{ {code} } {A} {", text.clone()).expect("a template");
        assert_eq!(given(&template, Problem::new(Code::QuotaExceeded)).1, "{ quota-exceeded } {A} {");
        assert_eq!(template.body(), "{ {code} } {A} {");
        assert_eq!(RefusalTemplate::new("{kode}", text), Err(InvalidTemplate::Unknown("kode".to_owned())));
        assert!(matches!(
            RefusalTemplate::new(r#"{"error": {code}}"#, JSON),
            Err(InvalidTemplate::NotJson(_))
        ));
    }
}
