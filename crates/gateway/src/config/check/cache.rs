//! Checks what a config says of caches.

use std::time::Duration;

use http::{HeaderName, Method, header};
use steadfast_layers::CachePolicy;

use super::{
    super::{
        raw::{At, RawCache, RawConfig, Time},
        size::write_size,
    },
    Checker, time_or, whole,
};

/// How much memory kept answers take up at most, unless stated.
const MEMORY_MAX: u64 = 64 << 20;

/// How many of the largest answers the store must have room for: it is divided, and each finds room in one part.
const LARGEST_ANSWERS: u64 = 4;

impl Checker<'_> {
    pub(super) fn cache_memory_max(&mut self, raw: &RawConfig) -> u64 {
        let memory_max = raw
            .cache
            .as_ref()
            .and_then(|cache| cache.get().memory_max.as_ref())
            .map_or(MEMORY_MAX, |size| size.get().0);
        let caches = raw.routes.iter().filter_map(|route| route.get().cache.as_ref());
        for bytes_max in caches.filter_map(|cache| cache.get().answer_bytes_max.as_ref()) {
            if bytes_max.get().0 > memory_max / LARGEST_ANSWERS {
                let what = format!(
                    "`cache.answer_bytes_max` is more than a quarter of `cache.memory_max` ({})",
                    write_size(memory_max)
                );
                self.error(&bytes_max.span(), what, "raise `memory_max` of [cache], or lower this".into());
            }
        }
        memory_max
    }

    /// The policy of a route for `methods`.
    pub(super) fn cache(&mut self, raw: &At<RawCache>, methods: &[Method]) -> CachePolicy {
        if !methods.is_empty() && !methods.contains(&Method::GET) {
            let what = "`cache` on a route that does not serve GET does nothing";
            self.error(&raw.span(), what.into(), "remove it, or add GET to `methods`".into());
        }
        let raw = raw.get();
        let default = CachePolicy::default();
        CachePolicy {
            ttl: raw.ttl.as_ref().map(|time| self.whole_seconds(time)),
            stale_while_revalidate: time_or(
                raw.stale_while_revalidate.as_ref(),
                default.stale_while_revalidate,
            ),
            stale_if_error: time_or(raw.stale_if_error.as_ref(), default.stale_if_error),
            key_headers: self.cache_headers(raw.key_headers.as_ref(), default.key_headers),
            ignore_query: self.parameters(raw.ignore_query.as_ref()),
            answer_bytes_max: raw
                .answer_bytes_max
                .as_ref()
                .map_or(default.answer_bytes_max, |size| whole(size.get().0)),
            tag_headers: self.cache_headers(raw.tag_headers.as_ref(), default.tag_headers),
            show_tags: raw.show_tags.as_ref().is_none_or(|shown| *shown.get()),
            credential_headers: default.credential_headers,
            space: default.space,
        }
    }

    /// Ages are counted in whole seconds (RFC 9111, section 1.2.2).
    fn whole_seconds(&mut self, time: &At<Time>) -> Duration {
        if time.get().0.subsec_nanos() > 0 {
            let what = "`cache.ttl` is in whole seconds".to_owned();
            self.error(&time.span(), what, "write 0s to ask every time, or 1s at least".into());
        }
        time.get().0
    }

    fn cache_headers(
        &mut self,
        raw: Option<&At<Vec<At<String>>>>,
        default: Vec<HeaderName>,
    ) -> Vec<HeaderName> {
        let Some(raw) = raw else { return default };
        let mut names = Vec::new();
        for text in raw.get() {
            match HeaderName::from_bytes(text.get().as_bytes()) {
                Ok(name) if name == header::HOST => {
                    let what = "the host always tells answers apart".to_owned();
                    self.error(&text.span(), what, "remove it".into());
                }
                Ok(name) if names.contains(&name) => {
                    self.error(&text.span(), format!("`{name}` is there twice"), "remove one of them".into());
                }
                Ok(name) => names.push(name),
                Err(_) => {
                    let what = format!("`{}` is not the name of a header", text.get().escape_debug());
                    self.error(&text.span(), what, "write one such as Accept-Language".into());
                }
            }
        }
        names
    }

    fn parameters(&mut self, raw: Option<&At<Vec<At<String>>>>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for text in raw.into_iter().flat_map(At::get) {
            let name = text.get();
            if name.is_empty() || name.contains(['&', '=', '?', '#', ' ']) {
                let what = format!("`{}` is not the name of a parameter", name.escape_debug());
                self.error(&text.span(), what, "write it as it stands in the query: utm_source".into());
            } else if names.contains(name) {
                self.error(&text.span(), format!("`{name}` is there twice"), "remove one of them".into());
            } else {
                names.push(name.clone());
            }
        }
        names
    }
}
