//! Checks what a config says of the end of a route's version, and of preconditions.

use std::sync::Arc;

use http::{Method, Uri};
use steadfast_core::{Brownout, Lifecycle, Timestamp};
use steadfast_layers::{LifecyclePolicy, PRECONDITION_METHODS};

use super::{
    super::raw::{At, Instant, RawBrownout, RawLifecycle},
    Checker, Finding, whole,
};

/// How many brownouts a version has at most; each request for it looks at all of them.
const BROWNOUTS_MAX: usize = 64;

/// How many bytes a version's name has at most: it is a label of metrics.
const VERSION_BYTES_MAX: usize = 64;

/// How many bytes a link has at most.
const LINK_BYTES_MAX: usize = 2_048;

impl Checker<'_> {
    /// What is said of the route with this name.
    pub(super) fn lifecycle(&mut self, raw: &At<RawLifecycle>, route: &Arc<str>) -> LifecyclePolicy {
        let raw = raw.get();
        let version = raw.version.as_ref().map_or_else(
            || Arc::clone(route),
            |version| {
                self.take(&version.span(), check_version(version.get()));
                version.get().as_str().into()
            },
        );
        let lifecycle = Lifecycle {
            deprecated: instant(raw.deprecated.as_ref()),
            sunset: instant(raw.sunset.as_ref()),
            gone: raw.gone.as_ref().is_some_and(|gone| *gone.get()),
            brownouts: self.brownouts(raw),
        };
        self.check_order(raw, &lifecycle);
        let mut link = |key, raw: &Option<At<String>>| {
            let raw = raw.as_ref()?;
            self.take(&raw.span(), parse_link(key, raw.get()))
        };
        let successor = link("successor", &raw.successor);
        let docs = link("docs", &raw.docs);
        let sunset_docs = link("sunset_docs", &raw.sunset_docs);
        LifecyclePolicy {
            version,
            lifecycle,
            successor,
            docs,
            sunset_docs,
            brownout_status: self.brownout_status(raw.brownout_status.as_ref()),
        }
    }

    fn check_order(&mut self, raw: &RawLifecycle, lifecycle: &Lifecycle) {
        let Lifecycle { deprecated, sunset, gone, .. } = *lifecycle;
        if let (Some(raw), Some(deprecated), Some(sunset)) = (&raw.sunset, deprecated, sunset)
            && sunset < deprecated
        {
            self.error(
                &raw.span(),
                "`sunset` is before `deprecated`".into(),
                "a version is deprecated first, and goes later: exchange them, or move one".into(),
            );
        }
        if self.partial {
            return;
        }
        if let Some(raw) = raw.gone.as_ref().filter(|_| gone && sunset.is_none()) {
            self.error(
                &raw.span(),
                "`gone` without `sunset` does nothing: it is gone after its sunset".into(),
                "add sunset = 2027-01-01T00:00:00Z, or remove this".into(),
            );
        }
        if let Some(brownouts) = raw.brownouts.as_ref().filter(|list| !list.get().is_empty())
            && deprecated.is_none()
        {
            self.error(
                &brownouts.span(),
                "`brownouts` of a version that is not deprecated".into(),
                "say first that it is: deprecated = 2026-01-01T00:00:00Z".into(),
            );
        }
        if let (Some(docs), None, None) = (&raw.docs, deprecated, sunset) {
            self.error(
                &docs.span(),
                "`docs` without `deprecated` or `sunset` is said nowhere".into(),
                "add one of them, or remove this".into(),
            );
        }
        if let (Some(docs), None) = (&raw.sunset_docs, sunset) {
            let next = "add sunset = 2027-01-01T00:00:00Z, or remove this";
            self.error(&docs.span(), "`sunset_docs` without `sunset` is said nowhere".into(), next.into());
        }
    }

    fn brownouts(&mut self, raw: &RawLifecycle) -> Vec<Brownout> {
        let Some(list) = &raw.brownouts else { return Vec::new() };
        if list.get().len() > BROWNOUTS_MAX {
            let what = format!("`brownouts` has {}, and {BROWNOUTS_MAX} are the most", list.get().len());
            self.error(&list.span(), what, "say those that repeat with `every` and `lasts`".into());
        }
        let deprecated = instant(raw.deprecated.as_ref());
        let gone = raw.gone.as_ref().is_some_and(|gone| *gone.get());
        let gone_from = instant(raw.sunset.as_ref()).filter(|_| gone);
        let mut brownouts = Vec::new();
        for raw in list.get() {
            let from = raw.get().from.get().0;
            if deprecated.is_some_and(|deprecated| from < deprecated) {
                let next = "begin later: whoever calls a version has to be told first that it will end";
                let what = "the brownout begins before `deprecated`";
                self.error(&raw.get().from.span(), what.into(), next.into());
            }
            if gone_from.is_some_and(|gone_from| from >= gone_from) {
                let what = "the brownout begins after `sunset`, when everything is answered 410 anyway";
                self.error(&raw.get().from.span(), what.into(), "remove it, or begin earlier".into());
            }
            brownouts.extend(self.take(&raw.span(), parse_brownout(raw.get())));
        }
        brownouts
    }

    fn brownout_status(&mut self, raw: Option<&At<u64>>) -> u16 {
        let Some(raw) = raw else { return 503 };
        if ![410, 503].contains(raw.get()) {
            let what = format!("`brownout_status` cannot be {}", raw.get());
            self.error(&raw.span(), what, "choose 503, or 410".into());
        }
        u16::try_from(whole(*raw.get())).unwrap_or(503)
    }

    /// Whether changes of a route for `methods` must say what they are based on.
    pub(super) fn require_precondition(&mut self, raw: Option<&At<bool>>, methods: &[Method]) -> bool {
        let Some(raw) = raw.filter(|required| *required.get()) else { return false };
        if !methods.is_empty() && !methods.iter().any(|method| PRECONDITION_METHODS.contains(method)) {
            let what = "`require_precondition` is for PUT and PATCH, and the route serves neither";
            self.error(&raw.span(), what.into(), "remove it, or add PUT or PATCH to `methods`".into());
        }
        true
    }
}

fn instant(raw: Option<&At<Instant>>) -> Option<Timestamp> {
    raw.map(|raw| raw.get().0)
}

fn parse_brownout(raw: &RawBrownout) -> Finding<Brownout> {
    let wrong = |what: &str, next: &str| Err((format!("the brownout {what}"), next.to_owned()));
    let (from, until) = (raw.from.get().0, instant(raw.until.as_ref()));
    if until.is_some_and(|until| until <= from) {
        return wrong("ends before it begins", "exchange `from` and `until`, or move one");
    }
    match (&raw.every, &raw.lasts, until) {
        (None, None, Some(until)) => Ok(Brownout::Once { from, until }),
        (None, None, None) => wrong(
            "does not say when it ends",
            "add until = 2026-11-02T09:10:00Z, or every = \"24h\" and lasts = \"10m\"",
        ),
        (Some(every), Some(lasts), until) => {
            let (every, lasts) = (every.get().0, lasts.get().0);
            if lasts >= every {
                return wrong("lasts until the next one begins", "make `lasts` shorter than `every`");
            }
            Ok(Brownout::Repeated { from, until, every, lasts })
        }
        (Some(_), None, _) => wrong("does not say how long it lasts", "add lasts = \"10m\""),
        (None, Some(_), _) => wrong(
            "has `lasts` without `every`",
            "add every = \"24h\", or say when it ends: until = 2026-11-02T09:10:00Z",
        ),
    }
}

fn check_version(name: &str) -> Finding<()> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'`');
    if (1..=VERSION_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    let what = format!("the version's name `{}` is not a plain name", name.escape_debug());
    let next = format!("use 1 to {VERSION_BYTES_MAX} printable ASCII characters without spaces and quotes");
    Err((what, next))
}

/// A URL with a scheme and a host, or a path: what a `Link` can point to, and callers may know.
fn parse_link(key: &str, text: &str) -> Finding<Box<str>> {
    let shown: String = text.chars().take(100).collect();
    let wrong = |what: &str, next: &str| {
        Err((
            format!("`{key}`: `{}` {what}", super::super::error::starred(&shown).escape_debug()),
            next.to_owned(),
        ))
    };
    let next = "write one such as https://docs.example.com/v2 or /v2/orders";
    if text.len() > LINK_BYTES_MAX {
        return wrong("is too long for a link", "use a shorter one");
    }
    let is_uri = |byte: u8| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte);
    let (is_path, scheme) = (text.starts_with('/') && !text.starts_with("//"), text.split_once("://"));
    let is_web = scheme
        .is_some_and(|(scheme, _)| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)));
    let parsed = text.parse::<Uri>().ok().filter(|_| text.bytes().all(is_uri));
    match parsed {
        Some(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            wrong("has a user in it, and everybody will see it", "leave out everything up to the @")
        }
        Some(_) if is_path || is_web => Ok(text.into()),
        Some(_) | None => wrong("is not a URL, and not a path", next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_url_or_a_path_and_nothing_that_ends_a_header_early() {
        for text in ["https://a.example/v2", "HTTP://a/", "/v2/orders?x=1", "https://a.example/#frag"] {
            assert_eq!(parse_link("docs", text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "v2",
            "//a.example/x",
            "javascript:alert(1)",
            "https://a.example/>; rel=\"x\"",
            "https://a.example/{id}",
            "https://a.example/a b",
            "https://me:secret@a.example/",
            "/ü",
            "/a\r\nb",
        ] {
            let (what, _) = parse_link("docs", text).expect_err(text);
            assert!(!what.contains("secret"), "{what}");
        }
    }
}
