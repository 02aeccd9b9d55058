//! `Prefer`: what a caller would like, as far as it is about being answered later (RFC 7240, sections 4.1 and 4.3).
//!
//! A preference may be ignored, so one that cannot be read is: nothing is refused for it.

use http::{HeaderMap, HeaderName};

/// The header in which callers say what they would like.
pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The header that says which of it was followed.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a caller would like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// `respond-async`: rather a 202 than a long wait.
    pub(crate) respond_async: bool,
    /// `wait`: how many seconds it would wait.
    pub(crate) wait_s: Option<u32>,
}

impl Preferences {
    /// What the caller of a request with these headers would like. Of a preference that is there twice the first one
    /// counts; parameters change none of these.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let (mut found, mut wait_is_said) = (Self::default(), false);
        for value in headers.get_all(PREFER) {
            let Ok(list) = value.to_str() else { continue };
            for preference in Parts::of(list, ',') {
                let Some(preference) = Parts::of(preference, ';').next() else { continue };
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                let (name, value) = (name.trim(), unquoted(value.trim()));
                if name.eq_ignore_ascii_case("respond-async") {
                    found.respond_async |= value.is_empty();
                } else if name.eq_ignore_ascii_case("wait") && !wait_is_said {
                    wait_is_said = true;
                    found.wait_s = seconds(value);
                }
            }
        }
        found
    }
}

/// Digits alone: a sign, a fraction or nothing is no number of seconds. More than fits is as much as fits.
fn seconds(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

/// What stands between quotes. No value that is looked for has an escape in it.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The parts of a text between separators, of which those between quotes are none.
struct Parts<'a> {
    rest: Option<&'a str>,
    separator: char,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str, separator: char) -> Self {
        Self { rest: Some(text), separator }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.take()?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        for (at, char) in rest.char_indices() {
            match char {
                _ if is_escaped => is_escaped = false,
                '\\' if is_quoted => is_escaped = true,
                '"' => is_quoted = !is_quoted,
                _ if char == self.separator && !is_quoted => {
                    self.rest = Some(&rest[at + char.len_utf8()..]);
                    return Some(&rest[..at]);
                }
                _ => {}
            }
        }
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferences(values: &[&str]) -> (bool, Option<u32>) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, value.parse().expect("a value"));
        }
        let Preferences { respond_async, wait_s } = Preferences::of(&headers);
        (respond_async, wait_s)
    }

    #[test]
    fn preferences_are_found_in_any_spelling_and_in_any_number_of_lines() {
        for (values, expected) in [
            (&["respond-async"][..], (true, None)),
            (&["Respond-Async, WAIT=10"], (true, Some(10))),
            (&["respond-async", "wait=10"], (true, Some(10))),
            (&["wait = \"10\" ; x=1 , return=minimal;foo=\"a,respond-async\""], (false, Some(10))),
            (&["foo; respond-async"], (false, None)),
            (&["foo=\"a\\\",respond-async\", wait=3"], (false, Some(3))),
            (&["respond-async; q=\"1,2\";p"], (true, None)),
            (&[",, respond-async=\"\" ,"], (true, None)),
        ] {
            assert_eq!(preferences(values), expected, "{values:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_preference() {
        for values in [
            &["respond-async=yes"][..],
            &["wait"],
            &["wait=-1"],
            &["wait=1.5"],
            &["wait=\"1"],
            &["wait=soon, wait=3"],
            &["respond_async"],
            &["\"respond-async"],
            &[""],
            &[],
        ] {
            assert_eq!(preferences(values), (false, None), "{values:?}");
        }
        assert_eq!(preferences(&["wait=5, wait=9"]), (false, Some(5)));
        assert_eq!(preferences(&["wait=99999999999999"]), (false, Some(u32::MAX)));
    }
}
