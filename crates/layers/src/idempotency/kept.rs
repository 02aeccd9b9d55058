//! What of a request and its answer is written down: the one place where an upstream's answer becomes the answer
//! that the ledger keeps. What is left out here reaches neither the ledger's tables nor its log nor its evidence.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use steadfast_core::{Answer, HeaderFields};

/// Says on a replay what of the answer was left out because the route says so: `headers`, `body`, or both.
pub(super) const REDACTED: &str = "steadfast-redacted";

/// What stands in a body instead of a value that is not kept.
const REDACTED_VALUE: &[u8] = b"\"[redacted]\"";

/// In how many arrays and objects inside each other a value to redact is looked for. A body that goes deeper is not
/// kept.
const DEPTH_MAX: usize = 64;

/// What of a request and its answer is kept in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Only these header fields of an answer; `None` keeps all that belong to it.
    pub headers: Option<Vec<HeaderName>>,
    /// All but these.
    pub drop_headers: Vec<HeaderName>,
    /// Whether an answer's header fields and body are kept at all. Without them it cannot be replayed.
    pub body: bool,
    /// The values of a JSON body (dotted paths, through arrays) that are replaced by `"[redacted]"`. A body in which
    /// they cannot be looked for is not kept.
    pub redact: Vec<String>,
    /// Whether the request's path is kept, for people; the route's name always is.
    pub path: bool,
}

impl Default for Kept {
    /// Everything that belongs to the answer, and the path.
    fn default() -> Self {
        Self { headers: None, drop_headers: Vec::new(), body: true, redact: Vec::new(), path: true }
    }
}

impl Kept {
    /// Whether a field of this name could be kept: not those of one connection, one caller's session, one moment or
    /// one trace.
    #[must_use]
    pub fn may_keep(name: &HeaderName) -> bool {
        is_the_answers_own(name)
    }

    /// The answer as it is kept. `body` is `None` where it did not come whole, or was too large.
    pub(super) fn answer(&self, status: u16, headers: &HeaderMap, body: Option<&Bytes>) -> Answer {
        let nothing = Answer { status, headers: HeaderFields::default(), body: None };
        if !self.body {
            return nothing;
        }
        let (body, body_differs) = match body {
            Some(whole) if !self.redact.is_empty() && !whole.is_empty() => {
                let Some(found) = values_to_redact(whole, &self.redact) else { return nothing };
                let differs = !found.is_empty();
                (Some(if differs { without(whole, found) } else { whole.clone() }), differs)
            }
            // What did not come whole cannot be looked through, and its digests may be among its headers.
            None if !self.redact.is_empty() => return nothing,
            other => (other.cloned(), false),
        };
        let mut headers_differ = false;
        let mut kept: Vec<(&str, &[u8])> = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            if !is_the_answers_own(name) || named_by_connection(headers, name) {
                continue;
            }
            let wanted = self.wants(name);
            headers_differ |= !wanted;
            // These may be digests of what was redacted: easily guessed from, and of another body.
            if wanted && !(body_differs && is_of_exact_body(name)) {
                kept.push((name.as_str(), value.as_bytes()));
            }
        }
        match (headers_differ, body_differs) {
            (false, false) => {}
            (true, false) => kept.push((REDACTED, b"headers")),
            (false, true) => kept.push((REDACTED, b"body")),
            (true, true) => kept.push((REDACTED, b"headers, body")),
        }
        Answer { status, headers: kept.into_iter().collect(), body }
    }

    fn wants(&self, name: &HeaderName) -> bool {
        self.headers.as_ref().is_none_or(|listed| listed.contains(name)) && !self.drop_headers.contains(name)
    }
}

fn is_the_answers_own(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
            | "set-cookie"
            | "authorization"
            | "date"
            | "traceparent"
            | "tracestate"
            | "server-timing"
            | "x-request-id"
            | "x-correlation-id"
            | "x-trace-id"
            | "x-amzn-trace-id"
            | "x-cloud-trace-context"
            | "b3"
            | "steadfast-degraded"
            | "steadfast-operation"
            | "steadfast-outcome"
            | "steadfast-redacted"
    ) && !name.as_str().starts_with("x-b3-")
}

/// Whether `Connection` lists this field as one of this connection's own.
pub(super) fn named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|list| list.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(name.as_str())))
    })
}

/// Whether the field is true of these very bytes of a body and no others.
fn is_of_exact_body(name: &HeaderName) -> bool {
    matches!(name.as_str(), "etag" | "digest" | "content-digest" | "repr-digest" | "content-md5")
}

/// The values at these dotted paths of a JSON body, as parts of it, in their order and none in another. `None` where
/// the body is no JSON, or too deep.
fn values_to_redact<'a>(body: &'a [u8], paths: &[String]) -> Option<Vec<&'a str>> {
    let root: &RawValue = serde_json::from_slice(body).ok()?;
    let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    let mut found = Vec::new();
    look_in(root.get(), &paths, DEPTH_MAX, &mut found)?;
    Some(found)
}

fn look_in<'a>(value: &'a str, paths: &[&[&str]], depth: usize, found: &mut Vec<&'a str>) -> Option<()> {
    match value.as_bytes().first() {
        Some(b'[') => {
            let depth = depth.checked_sub(1)?;
            let items: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            items.into_iter().try_for_each(|item| look_in(item.get(), paths, depth, found))
        }
        Some(b'{') => {
            let depth = depth.checked_sub(1)?;
            let Members(members) = serde_json::from_str(value).ok()?;
            for (name, member) in members {
                let further: Vec<&[&str]> = paths
                    .iter()
                    .filter_map(|path| path.split_first())
                    .filter_map(|(first, rest)| (*first == name).then_some(rest))
                    .collect();
                if further.iter().any(|path| path.is_empty()) {
                    found.push(member.get());
                } else if !further.is_empty() {
                    look_in(member.get(), &further, depth, found)?;
                }
            }
            Some(())
        }
        _ => Some(()),
    }
}

/// The body with each of these parts of it replaced; the rest stays as it is, byte for byte.
fn without(body: &Bytes, values: Vec<&str>) -> Bytes {
    let mut rest = body.as_ref();
    let mut redacted = Vec::with_capacity(body.len());
    for value in values {
        // Both point into `body`.
        let before = value.as_ptr() as usize - rest.as_ptr() as usize;
        redacted.extend_from_slice(&rest[..before]);
        redacted.extend_from_slice(REDACTED_VALUE);
        rest = &rest[before + value.len()..];
    }
    redacted.extend_from_slice(rest);
    redacted.into()
}

/// The members of an object in their order, also those whose name comes twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn names(answer: &Answer) -> Vec<String> {
        answer.headers.iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn redacting(paths: &[&str]) -> Kept {
        Kept { redact: paths.iter().map(|path| (*path).to_owned()).collect(), ..Kept::default() }
    }

    fn redacted(paths: &[&str], body: &'static str) -> Option<String> {
        let answer =
            redacting(paths).answer(200, &HeaderMap::new(), Some(&Bytes::from_static(body.as_bytes())));
        answer.body.map(|body| String::from_utf8(body.to_vec()).expect("a text"))
    }

    #[test]
    fn what_belongs_to_the_answer_is_kept_and_what_belonged_to_its_moment_is_not() {
        let headers = headers(&[
            ("location", "/orders/1"),
            ("etag", "\"a\""),
            ("content-type", "application/json"),
            ("content-language", "en"),
            ("x-hop", "1"),
            ("connection", "close, X-Hop"),
            ("set-cookie", "session=1"),
            ("date", "now"),
            ("traceparent", "00-1"),
            ("content-length", "3"),
            ("x-b3-traceid", "1"),
            ("steadfast-redacted", "body"),
            ("steadfast-degraded", "retry"),
        ]);
        let answer = Kept::default().answer(200, &headers, Some(&Bytes::new()));
        assert_eq!(names(&answer), ["location", "etag", "content-type", "content-language"]);
    }

    #[test]
    fn only_the_headers_that_the_route_lists_are_kept() {
        let headers =
            headers(&[("location", "/1"), ("x-customer", "ada"), ("x-customer", "bob"), ("date", "now")]);
        let body = Some(Bytes::from_static(b"x"));
        let listed = Kept { headers: Some(vec![header::LOCATION]), ..Kept::default() };
        let answer = listed.answer(200, &headers, body.as_ref());
        assert_eq!(names(&answer), ["location", "steadfast-redacted"]);
        let dropping = Kept { drop_headers: vec![HeaderName::from_static("x-customer")], ..Kept::default() };
        assert_eq!(dropping.answer(200, &headers, body.as_ref()), answer);
    }

    #[test]
    fn nothing_but_the_status_is_kept_of_an_answer_that_is_not_to_be_kept() {
        let kept = Kept { body: false, ..Kept::default() };
        let answer = kept.answer(201, &headers(&[("location", "/1")]), Some(&Bytes::from_static(b"x")));
        assert_eq!(answer, Answer { status: 201, headers: HeaderFields::default(), body: None });
    }

    #[test]
    fn values_are_redacted_wherever_their_path_leads_and_the_rest_stays_byte_for_byte() {
        let paths = ["token", "card.number", "card"];
        for (body, expected) in [
            (r#"{ "token" : "t", "n": 1.50 }"#, r#"{ "token" : "[redacted]", "n": 1.50 }"#),
            (r#"{"a":{"token":"t"}}"#, r#"{"a":{"token":"t"}}"#),
            (r#"{"token":null,"x":[{"token":1}]}"#, r#"{"token":"[redacted]","x":[{"token":1}]}"#),
            (r#"{"card":{"number":1,"name":"n"}}"#, r#"{"card":"[redacted]"}"#),
            (r#"[[{"token":[1,2]}], {"token":{}}]"#, r#"[[{"token":"[redacted]"}], {"token":"[redacted]"}]"#),
            (r#"{"token":"a","\u0074oken":"b"}"#, r#"{"token":"[redacted]","\u0074oken":"[redacted]"}"#),
            ("\"token\"", "\"token\""),
            ("{}", "{}"),
        ] {
            assert_eq!(redacted(&paths, body).as_deref(), Some(expected));
        }
        let cards = r#"{"cards":[{"number":1,"n":2},{"number":"3"}]}"#;
        assert_eq!(
            redacted(&["cards.number"], cards).as_deref(),
            Some(r#"{"cards":[{"number":"[redacted]","n":2},{"number":"[redacted]"}]}"#)
        );
    }

    #[test]
    fn a_body_in_which_nothing_can_be_looked_for_is_not_kept() {
        for body in
            ["token=t", "{\"token\":", "{\"token\":\"t\"} {}", "\u{feff}{\"token\":1}", "{\"\\ud800\":1}"]
        {
            assert_eq!(redacted(&["token"], body), None, "{body}");
        }
        let deep = |levels: usize| {
            let body = format!("{}{{\"token\":1}}{}", "[".repeat(levels), "]".repeat(levels));
            redacting(&["token"]).answer(200, &HeaderMap::new(), Some(&body.into()))
        };
        assert!(deep(DEPTH_MAX - 1).body.is_some_and(|body| body.ends_with(b"]") && body.len() > 130));
        assert_eq!(deep(DEPTH_MAX).body, None);
        assert_eq!(deep(200_000).body, None);
        assert_eq!(redacted(&["token"], "").as_deref(), Some(""));
    }

    #[test]
    fn a_digest_of_what_was_redacted_goes_with_it() {
        let headers = headers(&[("etag", "\"a\""), ("content-digest", "x"), ("x-own", "1")]);
        let kept = redacting(&["token"]);
        let answer =
            |body: &'static str| kept.answer(200, &headers, Some(&Bytes::from_static(body.as_bytes())));
        assert_eq!(names(&answer(r#"{"token":1}"#)), ["x-own", "steadfast-redacted"]);
        assert_eq!(names(&answer(r#"{"other":1}"#)), ["etag", "content-digest", "x-own"]);
    }
}
