//! Checks what a config says of the pages that may use a route.

use std::time::Duration;

use http::{HeaderName, Method};
use steadfast_layers::{
    AllowedOrigins, CorsPolicy, IdempotencyPolicy, InvalidOrigin, KeySource, OriginPattern,
};

use super::{
    super::raw::{At, RawCors},
    Checker, Finding, time_or,
};

impl Checker<'_> {
    /// `served` are the route's methods; all of them where there is none.
    pub(super) fn cors(&mut self, raw: &RawCors, served: &[Method]) -> CorsPolicy {
        let methods = match &raw.methods {
            None => served.to_vec(),
            Some(list) => self.method_list(list, "the pages could do nothing"),
        };
        for method in methods.iter().filter(|_| !served.is_empty()) {
            if !served.contains(method) {
                let what = format!("`cors.methods` has {method}, which the route does not serve");
                let span = raw.methods.as_ref().map_or(0..0, At::span);
                self.error(&span, what, "add it to the route's `methods`, or remove it here".into());
            }
        }
        CorsPolicy {
            origins: self.origins(raw),
            methods,
            headers: raw.headers.as_ref().map(|headers| self.header_list(headers, "cors.headers")),
            expose: raw
                .expose
                .as_ref()
                .map(|names| self.header_list(names, "cors.expose"))
                .unwrap_or_default(),
            max_age: time_or(raw.max_age.as_ref(), Duration::from_secs(600)),
        }
    }

    /// A page that may not send the key is refused by the browser, where no log tells of it.
    pub(super) fn warn_of_hidden_key(&mut self, raw: &RawCors, policy: &IdempotencyPolicy) {
        let Some(headers) = &raw.headers else { return };
        let names_it = headers.get().iter().any(|name| name.get().eq_ignore_ascii_case("idempotency-key"));
        if !names_it && matches!(policy.key, KeySource::Header) {
            let what = "`cors.headers` leaves out Idempotency-Key: pages of other origins cannot send one";
            self.warn(&headers.span(), what.into());
        }
    }

    fn origins(&mut self, raw: &RawCors) -> AllowedOrigins {
        let list = raw.origins.get();
        let credentials = raw.credentials.as_ref().filter(|credentials| *credentials.get());
        if let Some(star) = list.iter().find(|text| text.get() == "*") {
            if list.len() > 1 {
                let what = "`\"*\"` allows every origin, and there are others beside it";
                self.error(&star.span(), what.into(), "leave `\"*\"` alone, or remove it".into());
            }
            if let Some(credentials) = credentials {
                let what = "`credentials` with every origin: any page could act as whoever looks at it, and read \
                            what it gets; browsers refuse it";
                let next = "name the origins that may, or remove `credentials`";
                self.error(&credentials.span(), what.into(), next.into());
            }
            return AllowedOrigins::Any;
        }
        if list.is_empty() {
            let next = "name some, or remove `cors`";
            self.error(&raw.origins.span(), "`cors.origins` is empty: it allows no page".into(), next.into());
        }
        let mut origins: Vec<OriginPattern> = Vec::new();
        for text in list {
            match self.take(&text.span(), parse_origin(text.get())) {
                Some(origin) if origins.contains(&origin) => {
                    self.error(
                        &text.span(),
                        format!("`{origin}` is there twice"),
                        "remove one of them".into(),
                    );
                }
                Some(origin) => origins.push(origin),
                None => {}
            }
        }
        AllowedOrigins::These { origins, credentials: credentials.is_some() }
    }

    fn header_list(&mut self, list: &At<Vec<At<String>>>, path: &str) -> Vec<HeaderName> {
        let mut names = Vec::new();
        for text in list.get() {
            if text.get() == "*" {
                let next = match path {
                    "cors.headers" => "remove `headers`: then pages may send those that they ask for",
                    _ => "name the headers",
                };
                self.error(&text.span(), format!("`{path}`: `*` is not a header"), next.into());
                continue;
            }
            match HeaderName::from_bytes(text.get().as_bytes()) {
                Ok(name) if names.contains(&name) => {
                    self.error(&text.span(), format!("`{name}` is there twice"), "remove one of them".into());
                }
                Ok(name) => names.push(name),
                Err(_) => {
                    let what =
                        format!("`{path}`: `{}` is not the name of a header", text.get().escape_debug());
                    self.error(&text.span(), what, "write one such as Idempotency-Key".into());
                }
            }
        }
        names
    }
}

fn parse_origin(text: &str) -> Finding<OriginPattern> {
    text.parse().map_err(|invalid: InvalidOrigin| {
        let next = match invalid {
            InvalidOrigin::NoScheme if text == "null" => {
                "name the page's own origin; `null` is any sandboxed page's, whoever made it".into()
            }
            InvalidOrigin::NoScheme => format!("write https://{}", text.trim_start_matches("://")),
            InvalidOrigin::Path => "leave out everything after the host and the port".into(),
            InvalidOrigin::UsualPort => "leave out the port".into(),
            InvalidOrigin::Host => {
                "write https://app.example.com, or https://*.example.com for all below".into()
            }
        };
        (format!("`{}` is not an origin: {invalid}", text.escape_debug()), next)
    })
}
