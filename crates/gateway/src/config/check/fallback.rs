//! Checks what a config says of a route's fallback.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use steadfast_layers::FixedAnswer;

use super::{
    super::{
        RouteFallback,
        load::read,
        raw::{At, RawFallback, RawRoute},
        suggest::advice,
    },
    Checker,
    rewrite::parse_field,
};

/// The largest body of an answer that is stated.
const BODY_BYTES_MAX: u64 = 64 << 10;

/// Statuses whose answers have no body.
const BODILESS: [StatusCode; 3] =
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];

impl Checker<'_> {
    pub(super) fn fallback(
        &mut self,
        raw: &At<RawFallback>,
        route: &RawRoute,
        methods: &[Method],
        upstreams: &[&str],
    ) -> Option<RouteFallback> {
        let span = raw.span();
        if !methods.is_empty() && !methods.iter().any(|method| [Method::GET, Method::HEAD].contains(method)) {
            self.error(
                &span,
                "`fallback` is for GET and HEAD, and the route serves neither".into(),
                "remove it: a made-up answer to a write would say that something took effect".into(),
            );
        }
        let raw = raw.get();
        match &raw.upstream {
            Some(upstream) => self.other_upstream(raw, upstream, route, upstreams),
            None => self.fixed_answer(raw, &span).map(RouteFallback::Fixed),
        }
    }

    fn other_upstream(
        &mut self,
        raw: &RawFallback,
        upstream: &At<String>,
        route: &RawRoute,
        upstreams: &[&str],
    ) -> Option<RouteFallback> {
        let (span, name) = (upstream.span(), upstream.get());
        for (key, other) in stated(raw) {
            if let Some(other) = other {
                let what = format!("`fallback.{key}` beside `fallback.upstream`: it is one or the other");
                self.error(&other, what, "remove one of them".into());
            }
        }
        if name == route.upstream.get() {
            self.error(
                &span,
                format!("`fallback.upstream`: `{name}` is the route's own upstream"),
                "name another one; to try the same one again, use `retry`".into(),
            );
        } else if !upstreams.contains(&name.as_str()) {
            self.error(&span, format!("there is no upstream `{name}`"), advice(name, upstreams));
        }
        Some(RouteFallback::Upstream(name.clone()))
    }

    fn fixed_answer(&mut self, raw: &RawFallback, span: &std::ops::Range<usize>) -> Option<FixedAnswer> {
        if stated(raw).iter().all(|(_, place)| place.is_none()) {
            let next = "say its `status`, its `body`, or the `upstream` to ask";
            self.error(span, "`fallback` says nothing of the answer".into(), next.into());
        }
        let status = match &raw.status {
            // The schema has seen to it that it is one.
            Some(status) => {
                u16::try_from(*status.get()).ok().and_then(|code| StatusCode::from_u16(code).ok())?
            }
            None => StatusCode::OK,
        };
        let body = self.fallback_body(raw)?;
        if BODILESS.contains(&status) && !body.is_empty() {
            let place = raw.body.as_ref().or(raw.body_file.as_ref()).map_or(span.clone(), At::span);
            let what = format!("an answer with status {} has no body", status.as_u16());
            self.error(&place, what, "remove the body, or use status 200".into());
        }
        let fields = raw.headers.as_ref().map(At::get).into_iter().flatten();
        let mut headers: HeaderMap = fields
            .filter_map(|(name, value)| self.take(&value.span(), parse_field(name, value.get())))
            .collect::<Vec<(HeaderName, HeaderValue)>>()
            .into_iter()
            .collect();
        if !body.is_empty() && !headers.contains_key(header::CONTENT_TYPE) {
            let kind = if serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok() {
                "application/json"
            } else {
                "text/plain; charset=utf-8"
            };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        Some(FixedAnswer { status, headers, body: Bytes::from(body) })
    }

    fn fallback_body(&mut self, raw: &RawFallback) -> Option<String> {
        let (span, found) = match (&raw.body, &raw.body_file) {
            (Some(_), Some(file)) => {
                let what = "`fallback.body` and `fallback.body_file` both say what the body is";
                self.error(&file.span(), what.into(), "leave one of them".into());
                return None;
            }
            (None, None) => return Some(String::new()),
            (Some(body), None) if body.get().len() as u64 > BODY_BYTES_MAX => {
                let what = format!("it has {} bytes, and {BODY_BYTES_MAX} may be", body.get().len());
                (body.span(), Err((format!("`fallback.body`: {what}"), "say it shorter".into())))
            }
            (Some(body), None) => (body.span(), Ok(body.get().clone())),
            (None, Some(file)) => {
                let content = read(Path::new(file.get()), BODY_BYTES_MAX).map_err(|reason| {
                    let next = "name a text of 64 KB at most that the user may read whom the gateway runs as";
                    (format!("`fallback.body_file`: `{}` cannot be read: {reason}", file.get()), next.into())
                });
                (file.span(), content)
            }
        };
        self.take(&span, found)
    }
}

/// What is said of a stated answer, and where.
fn stated(raw: &RawFallback) -> [(&'static str, Option<std::ops::Range<usize>>); 4] {
    [
        ("status", raw.status.as_ref().map(At::span)),
        ("headers", raw.headers.as_ref().map(At::span)),
        ("body", raw.body.as_ref().map(At::span)),
        ("body_file", raw.body_file.as_ref().map(At::span)),
    ]
}
