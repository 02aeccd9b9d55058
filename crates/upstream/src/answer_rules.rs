//! What an upstream's answers mean, where their status alone does not tell: a 503 that says it is busy executed
//! nothing, a 200 whose body says `"status": "pending"` is no outcome. Written in CEL, the Common Expression Language.

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::Bytes;
use cel::{Env, Value};
use http::{Method, Response, header};
use http_body::Body as _;
use serde_json::Value as Json;
use steadfast_core::Reading;
use steadfast_layers::{Expression, InvalidExpression, expression_context, headers_value};

use crate::{OutgoingBody, UpstreamBody};

/// What an expression may ask about.
const VARIABLES: [&str; 5] = ["status", "headers", "body", "method", "path"];

/// How much of a body is read to look into it, in bytes. A larger one matches no rule that asks for it.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// Rules in their order: the first that matches says what an answer means.
#[derive(Clone, Default)]
pub struct AnswerRules {
    rules: Arc<[AnswerRule]>,
    env: Option<Arc<Env>>,
}

/// What an answer means that an expression is true of.
#[derive(Clone)]
pub struct AnswerRule {
    when: Expression,
    means: Reading,
    /// Whether it asks for the answer's body.
    reads_body: bool,
}

impl AnswerRule {
    /// The rule that answers of which `when` is true mean that.
    ///
    /// # Errors
    /// [`InvalidExpression`] says what is wrong with the expression.
    pub fn new(when: &str, means: Reading) -> Result<Self, InvalidExpression> {
        let when = Expression::new(when, &VARIABLES)?;
        let reads_body = when.asks_about("body");
        Ok(Self { when, means, reads_body })
    }

    /// The expression.
    #[must_use]
    pub fn when(&self) -> &str {
        self.when.text()
    }

    /// What an answer means that it is true of.
    #[must_use]
    pub fn means(&self) -> Reading {
        self.means
    }
}

impl PartialEq for AnswerRule {
    fn eq(&self, other: &Self) -> bool {
        self.when == other.when && self.means == other.means
    }
}

impl Eq for AnswerRule {}

impl fmt::Debug for AnswerRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} means {:?}", self.when, self.means)
    }
}

impl FromIterator<AnswerRule> for AnswerRules {
    fn from_iter<I: IntoIterator<Item = AnswerRule>>(rules: I) -> Self {
        let rules: Arc<[AnswerRule]> = rules.into_iter().collect();
        let env = (!rules.is_empty()).then(|| Arc::new(Env::stdlib()));
        Self { rules, env }
    }
}

impl PartialEq for AnswerRules {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
    }
}

impl Eq for AnswerRules {}

impl fmt::Debug for AnswerRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.rules.iter()).finish()
    }
}

impl AnswerRules {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &AnswerRule> {
        self.rules.iter()
    }

    /// Says on an answer what it means, if a rule does. What had to be read of its body for that comes first when it is
    /// read again.
    pub(crate) async fn judge<B: OutgoingBody>(
        &self,
        method: &Method,
        path: &str,
        mut response: Response<UpstreamBody<B>>,
        until: tokio::time::Instant,
    ) -> Response<UpstreamBody<B>> {
        let Some(env) = &self.env else { return response };
        let mut context = expression_context(env);
        context.add_variable_from_value("status", i64::from(response.status().as_u16()));
        context.add_variable_from_value("method", method.as_str());
        context.add_variable_from_value("path", path);
        context.add_variable_from_value("headers", headers_value(response.headers()));
        let mut body_is = BodyIs::Unread;
        for rule in &*self.rules {
            if rule.reads_body && body_is == BodyIs::Unread {
                body_is = match read_ahead(&mut response, until).await {
                    Some(bytes) => {
                        context.add_variable_from_value("body", body_value(&bytes));
                        BodyIs::There
                    }
                    None => BodyIs::TooMuch,
                };
            }
            if rule.reads_body && body_is == BodyIs::TooMuch {
                continue;
            }
            // What is asked about something that is not there is not true of it.
            if rule.when.value(&context) == Some(Value::Bool(true)) {
                response.extensions_mut().insert(rule.means);
                break;
            }
        }
        response
    }
}

/// How far an answer's body is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyIs {
    Unread,
    There,
    /// It is too large, does not end, or broke off.
    TooMuch,
}

/// The whole body, as far as it can be looked into.
async fn read_ahead<B: OutgoingBody>(
    response: &mut Response<UpstreamBody<B>>,
    until: tokio::time::Instant,
) -> Option<Bytes> {
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    let endless =
        |kind: &[u8]| kind.starts_with(b"text/event-stream") || kind.starts_with(b"application/grpc");
    if kind.is_some_and(endless) || response.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
        return None;
    }
    tokio::time::timeout_at(until, response.body_mut().read_ahead(BODY_BYTES_MAX)).await.ok()?
}

/// A body as JSON, if it is that; else as text.
fn body_value(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(json) => json_value(json),
        Err(_) => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}

fn json_value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => text.into(),
        Json::Array(items) => items.into_iter().map(json_value).collect::<Vec<_>>().into(),
        Json::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, json_value(value)));
            members.collect::<HashMap<_, _>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    /// What a rule says of an answer with these headers and this body.
    fn is_true(when: &str, body: &str) -> bool {
        let rule = AnswerRule::new(when, Reading::Refused).expect("a rule");
        let mut headers = HeaderMap::new();
        headers.insert("x-reason", "busy".parse().expect("a value"));
        headers.append("via", "a".parse().expect("a value"));
        headers.append("via", "b".parse().expect("a value"));
        let mut context = expression_context(&Arc::new(Env::stdlib()));
        context.add_variable_from_value("status", 503_i64);
        context.add_variable_from_value("method", "POST");
        context.add_variable_from_value("path", "/orders");
        context.add_variable_from_value("headers", headers_value(&headers));
        context.add_variable_from_value("body", body_value(body.as_bytes()));
        rule.when.value(&context) == Some(Value::Bool(true))
    }

    #[test]
    fn an_expression_asks_about_status_headers_body_method_and_path() {
        let body = r#"{"error":{"code":7,"kind":"limit","tags":["a","b"]},"ratio":0.5}"#;
        for (when, expected) in [
            ("status == 503", true),
            ("status >= 500 && status != 503", false),
            (r#"status == 503 && headers["x-reason"] == "busy""#, true),
            (r#"headers["via"] == "a, b""#, true),
            (r#"headers["not-there"] == "x""#, false),
            (r#""not-there" in headers"#, false),
            ("body.error.code == 7", true),
            (r#"body.error.kind.startsWith("lim")"#, true),
            (r#"body.error.tags.exists(tag, tag == "b")"#, true),
            ("has(body.error.missing)", false),
            ("body.missing == 1", false),
            ("body.ratio < 1.0", true),
            (r#"method == "POST" && path == "/orders""#, true),
            // Not true, but no answer to a yes-or-no question either.
            ("status", false),
        ] {
            assert_eq!(is_true(when, body), expected, "{when}");
        }
        assert!(is_true(r#"body.contains("maintenance")"#, "<h1>maintenance</h1>"));
        assert!(is_true(r#"body == """#, ""));
    }

    #[test]
    fn what_is_no_expression_and_what_asks_about_nothing_is_refused() {
        for when in ["", "status ==", "status == 503 &&& true", "\"", "(status"] {
            assert!(
                matches!(AnswerRule::new(when, Reading::Refused), Err(InvalidExpression::Syntax(_))),
                "{when}"
            );
        }
        let unknown = |name: &str| Err(InvalidExpression::Unknown(name.to_owned()));
        assert_eq!(AnswerRule::new("statuz == 503", Reading::Refused), unknown("statuz"));
        assert_eq!(AnswerRule::new("[1].exists(x, x == y)", Reading::Refused), unknown("y"));
        assert!(AnswerRule::new("[1].exists(x, x == status)", Reading::Refused).is_ok());
    }

    #[test]
    fn only_what_asks_for_the_body_has_it_read() {
        let reads = |when| AnswerRule::new(when, Reading::Refused).expect("a rule").reads_body;
        assert!(reads("has(body.x)"));
        assert!(reads(r#"status == 200 && body.a.b == "x""#));
        assert!(!reads(r#"headers["body"] == "x""#));
    }
}
