//! What `Cache-Control` and its targeted relatives say, of an answer and of a request (RFC 9111, section 5.2; RFC 5861;
//! RFC 9213). What cannot be read counts as the more cautious: a time that is none is zero.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Where an answer speaks to caches like this one alone (RFC 9213).
pub(super) const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// The same in its older form (<https://www.w3.org/TR/edge-arch/>): directives may name whom they are for.
pub(super) const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
/// The name that such directives have for this cache.
const DEVICE: &[u8] = b"steadfast";

/// A directive that may be about the whole answer, or about some of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// It is not there.
    #[default]
    None,
    /// These fields.
    Fields(Vec<HeaderName>),
    /// The whole answer.
    Whole,
}

impl Scope {
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// The fields that it is about, where it is not about all.
    pub(super) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::None | Self::Whole => &[],
        }
    }

    fn add(&mut self, value: Option<&[u8]>) {
        let listed = value.and_then(|value| {
            let names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            names.map(|name| HeaderName::from_bytes(name).ok()).collect::<Option<Vec<_>>>()
        });
        match (std::mem::take(self), listed) {
            (Self::Whole, _) | (_, None) => *self = Self::Whole,
            (Self::None, Some(names)) => *self = Self::Fields(names),
            (Self::Fields(mut before), Some(names)) => {
                before.extend(names);
                *self = Self::Fields(before);
            }
        }
    }
}

/// What an answer says to a shared cache. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
    pub(super) no_store: bool,
    pub(super) no_cache: Scope,
    pub(super) private: Scope,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    /// They were said to caches like this one alone: what else the answer says of its time does not count.
    pub(super) targeted: bool,
}

impl Directives {
    /// What `headers` say: the field that is closest to this cache counts, and it alone.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        for name in [CDN_CACHE_CONTROL, SURROGATE_CONTROL] {
            let mut found = Self::default();
            let mut any = false;
            for member in members_of(headers, &name) {
                let member = if name == SURROGATE_CONTROL { for_this_device(member) } else { Some(member) };
                if let Some(member) = member {
                    any |= found.take(member);
                }
            }
            if any {
                return Self { targeted: true, ..found };
            }
        }
        let mut found = Self::default();
        for member in members_of(headers, &header::CACHE_CONTROL) {
            found.take(member);
        }
        found
    }

    /// Takes one directive in; whether it is a known one.
    fn take(&mut self, member: &[u8]) -> bool {
        let (name, value) = name_and_value(member);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let shortest = |before: &mut Option<u64>| {
            let seconds = seconds(value).unwrap_or(0);
            *before = Some(before.map_or(seconds, |before| before.min(seconds)));
        };
        match name.len() {
            7 if is("max-age") => shortest(&mut self.max_age),
            8 if is("s-maxage") => shortest(&mut self.s_maxage),
            22 if is("stale-while-revalidate") => shortest(&mut self.stale_while_revalidate),
            14 if is("stale-if-error") => shortest(&mut self.stale_if_error),
            8 if is("no-store") => self.no_store = true,
            8 if is("no-cache") => self.no_cache.add(value),
            7 if is("private") => self.private.add(value),
            6 if is("public") => self.public = true,
            15 if is("must-revalidate") => self.must_revalidate = true,
            16 if is("proxy-revalidate") => self.proxy_revalidate = true,
            15 if is("must-understand") => self.must_understand = true,
            _ => return false,
        }
        true
    }
}

/// What a caller asks of caches. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) no_cache: bool,
    pub(super) no_store: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    /// How stale an answer may be; any staleness is `u64::MAX`.
    pub(super) max_stale: Option<u64>,
}

impl Wishes {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut wishes = Self::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            let mut pragma = members_of(headers, &header::PRAGMA);
            wishes.no_cache = pragma.any(|member| member.eq_ignore_ascii_case(b"no-cache"));
            return wishes;
        }
        for member in members_of(headers, &header::CACHE_CONTROL) {
            let (name, value) = name_and_value(member);
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("no-cache") {
                wishes.no_cache = true;
            } else if is("no-store") {
                wishes.no_store = true;
            } else if is("only-if-cached") {
                wishes.only_if_cached = true;
            } else if is("max-age") {
                wishes.max_age = Some(seconds(value).unwrap_or(0));
            } else if is("min-fresh") {
                wishes.min_fresh = seconds(value);
            } else if is("max-stale") {
                wishes.max_stale = match value {
                    None => Some(u64::MAX),
                    some => seconds(some),
                };
            }
        }
        wishes
    }
}

/// The members of a list field, over all its lines, without those that are empty.
pub(super) fn members_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|value: &HeaderValue| members(value.as_bytes()))
}

/// The members of a list; commas in quotes separate nothing.
pub(super) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let (member, after) = match outside_quotes(list, b',') {
            Some(at) => (&list[..at], Some(&list[at + 1..])),
            None => (list, None),
        };
        rest = after;
        Some(member.trim_ascii())
    })
    .filter(|member| !member.is_empty())
}

/// Where `wanted` is for the first time outside of a quoted string.
fn outside_quotes(text: &[u8], wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().position(|byte| {
        if escaped {
            escaped = false;
        } else if quoted && *byte == b'\\' {
            escaped = true;
        } else if *byte == b'"' {
            quoted = !quoted;
        } else if !quoted && *byte == wanted {
            return true;
        }
        false
    })
}

/// The directive without the name that it is for, if it is for nobody else.
fn for_this_device(member: &[u8]) -> Option<&[u8]> {
    match outside_quotes(member, b';') {
        None => Some(member),
        Some(at) => (member[at + 1..].trim_ascii() == DEVICE).then(|| member[..at].trim_ascii()),
    }
}

/// A directive's name, and its value without quotes.
fn name_and_value(member: &[u8]) -> (&[u8], Option<&[u8]>) {
    match member.iter().position(|byte| *byte == b'=') {
        None => (member, None),
        Some(at) => {
            let value = &member[at + 1..];
            let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
            (&member[..at], Some(inner.unwrap_or(value)))
        }
    }
}

/// Whole seconds; those that do not fit are as many as fit.
pub(super) fn seconds(value: Option<&[u8]>) -> Option<u64> {
    let digits = value.filter(|value| !value.is_empty() && value.iter().all(u8::is_ascii_digit))?;
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn a_time_that_is_none_is_zero_and_of_two_the_shorter_counts() {
        for (text, expected) in [
            ("max-age=60", Some(60)),
            ("MaX-aGe=60, foo", Some(60)),
            ("max-age=\"60\"", Some(60)),
            ("max-age=0060", Some(60)),
            ("max-age=99999999999999999999999", Some(u64::MAX)),
            ("max-age='60'", Some(0)),
            ("max-age=-60", Some(0)),
            ("max-age=60.5", Some(0)),
            ("max-age= 60", Some(0)),
            ("max-age =60", None),
            ("max-age", Some(0)),
            ("max-age=60, max-age=30", Some(30)),
            ("extension=\"max-age=60\", max-age=1", Some(1)),
            ("extension=\"a\\\", max-age=60\"", None),
        ] {
            assert_eq!(Directives::of(&headers(&[("cache-control", text)])).max_age, expected, "{text}");
        }
    }

    #[test]
    fn the_field_that_is_closest_to_this_cache_counts_alone() {
        let found = |fields: &[(&'static str, &str)]| {
            let found = Directives::of(&headers(fields));
            (found.max_age, found.no_store)
        };
        let cc = ("cache-control", "no-store");
        assert_eq!(found(&[cc, ("cdn-cache-control", "max-age=5")]), (Some(5), false));
        assert_eq!(found(&[cc, ("surrogate-control", "max-age=5")]), (Some(5), false));
        assert_eq!(found(&[cc, ("surrogate-control", "max-age=5;steadfast")]), (Some(5), false));
        assert_eq!(found(&[cc, ("surrogate-control", "max-age=5;other")]), (None, true));
        assert_eq!(found(&[cc, ("cdn-cache-control", "")]), (None, true));
    }

    #[test]
    fn no_cache_and_private_may_be_about_some_fields() {
        let found = Directives::of(&headers(&[("cache-control", "no-cache=\"a, b\", private=\"c\"")]));
        assert_eq!(found.no_cache.fields(), ["a", "b"]);
        assert_eq!(found.private.fields(), ["c"]);
        let whole = Directives::of(&headers(&[("cache-control", "no-cache=\"a\", no-cache")]));
        assert!(whole.no_cache.is_whole());
        let unreadable = Directives::of(&headers(&[("cache-control", "private=\"a b\"")]));
        assert!(unreadable.private.is_whole());
    }

    #[test]
    fn pragma_counts_only_where_cache_control_is_silent() {
        assert!(Wishes::of(&headers(&[("pragma", "no-cache")])).no_cache);
        assert!(!Wishes::of(&headers(&[("pragma", "no-cache"), ("cache-control", "foo")])).no_cache);
        assert_eq!(Wishes::of(&headers(&[("cache-control", "max-stale")])).max_stale, Some(u64::MAX));
        assert_eq!(Wishes::of(&headers(&[("cache-control", "max-stale=5")])).max_stale, Some(5));
    }
}
