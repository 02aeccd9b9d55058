//! Which of the answers of one target is for which request: the header fields that tell them apart (RFC 9111, section
//! 4.1). Values that mean the same are the same.

use http::{HeaderMap, HeaderName, header};

use super::{directives::members_of, policy::CachePolicy};

/// The fields of a request that told its answer apart, each with its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection(Box<[Field]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: HeaderName,
    /// What it said, in one form; `None` where it was not there.
    value: Option<Box<[u8]>>,
}

impl Selection {
    /// What told the answer with `answer`'s header apart, of a request with `request`'s.
    pub(super) fn of(request: &HeaderMap, answer: &HeaderMap, policy: &CachePolicy) -> Self {
        let varied = members_of(answer, &header::VARY).filter_map(|name| HeaderName::from_bytes(name).ok());
        let mut names: Vec<HeaderName> = policy.key_headers.iter().cloned().chain(varied).collect();
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let field = |name: HeaderName| Field { value: normal(request, &name), name };
        Self(names.into_iter().map(field).collect())
    }

    /// Whether the answer is one for a request with these fields.
    pub(super) fn fits(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|field| {
            let mut lines = request.get_all(&field.name).iter();
            match (lines.next(), lines.next(), &field.value) {
                (None, _, value) => value.is_none(),
                (Some(_), _, None) => false,
                (Some(only), None, Some(value)) if only.as_bytes() == &**value => true,
                (Some(_), _, Some(value)) => normal(request, &field.name).as_ref() == Some(value),
            }
        })
    }

    /// The fields that it is about.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|field| &field.name)
    }

    /// How many bytes it takes up, about.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|field| 64 + field.value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

/// The value of a field in one form: its lines joined, without spaces round the commas. Where the order and the case of
/// members mean nothing, in one order and in small letters.
fn normal(headers: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    if !headers.contains_key(name) {
        return None;
    }
    let negotiates = [header::ACCEPT, header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE].contains(name);
    let mut members: Vec<Vec<u8>> = members_of(headers, name).map(<[u8]>::to_vec).collect();
    if negotiates {
        for member in &mut members {
            member.make_ascii_lowercase();
            member.retain(|byte| !byte.is_ascii_whitespace());
        }
        members.sort();
    }
    Some(members.join(&b", "[..]).into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    fn fits(
        vary: &'static str,
        stored: &[(&'static str, &'static str)],
        asked: &[(&'static str, &'static str)],
    ) -> bool {
        let policy = CachePolicy::default();
        let answer = headers(&[("vary", vary)]);
        Selection::of(&headers(stored), &answer, &policy).fits(&headers(asked))
    }

    #[test]
    fn values_that_mean_the_same_are_the_same() {
        for (vary, stored, asked, expected) in [
            ("foo", &[("foo", "1")][..], &[("foo", "1"), ("bar", "2")][..], true),
            ("foo", &[("foo", "1")], &[("foo", "2")], false),
            ("foo", &[("foo", "1")], &[], false),
            ("foo", &[], &[("foo", "1")], false),
            ("foo", &[], &[], true),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true),
            ("foo", &[("foo", "1,2")], &[("foo", " 1 ,  2 ")], true),
            ("foo", &[("foo", "1, 2")], &[("foo", "2, 1")], false),
            ("foo", &[("foo", "a")], &[("foo", "A")], false),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "DE,en")], true),
            ("Foo, Bar", &[("foo", "1"), ("bar", "2")], &[("foo", "1"), ("bar", "3")], false),
        ] {
            assert_eq!(fits(vary, stored, asked), expected, "{vary}: {stored:?} {asked:?}");
        }
    }

    #[test]
    fn the_route_may_name_fields_that_the_answer_does_not() {
        let policy = CachePolicy { key_headers: vec![header::HOST], ..CachePolicy::default() };
        let selection = Selection::of(&headers(&[("host", "a")]), &HeaderMap::new(), &policy);
        assert!(selection.fits(&headers(&[("host", "a")])));
        assert!(!selection.fits(&headers(&[("host", "b")])));
    }
}
