//! One part of a kept answer (RFC 9110, section 14).

use std::ops::Range;

use http::{HeaderMap, header};

use super::{entry::Entry, freshness::date_in};

/// Which part of a body is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: nothing else was asked for, or what was is not given here.
    Whole,
    /// These bytes.
    Bytes(Range<usize>),
    /// None that there is.
    Unsatisfiable,
}

impl Part {
    /// What a request with these fields asks of `entry`. Several parts at once are given as the whole.
    pub(super) fn of(request: &HeaderMap, entry: &Entry) -> Self {
        let mut lines = request.get_all(header::RANGE).iter();
        let (Some(only), None) = (lines.next(), lines.next()) else { return Self::Whole };
        if !is_current(request, entry) {
            return Self::Whole;
        }
        only.to_str().map_or(Self::Whole, |range| Self::read(range, entry.body.len()))
    }

    fn read(range: &str, length: usize) -> Self {
        let Some((unit, range)) = range.split_once('=') else { return Self::Whole };
        let Some((first, last)) = range.trim().split_once('-') else { return Self::Whole };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(usize::MAX))
        };
        if !unit.eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let bytes = match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
            (Some(first), None) if last.is_empty() => first..length,
            (None, Some(last)) if first.is_empty() => length - last.min(length)..length,
            _ => return Self::Whole,
        };
        if bytes.is_empty() { Self::Unsatisfiable } else { Self::Bytes(bytes) }
    }
}

/// Whether the part is wanted of this answer (`If-Range`, compared strongly).
fn is_current(request: &HeaderMap, entry: &Entry) -> bool {
    let Some(wanted) = request.get(header::IF_RANGE) else { return true };
    if wanted.as_bytes().starts_with(b"\"") {
        return entry.headers.get(header::ETAG) == Some(wanted);
    }
    let modified = date_in(&entry.headers, &header::LAST_MODIFIED);
    modified.is_some() && date_in(request, &header::IF_RANGE) == modified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_everything_else_is_the_whole() {
        for (range, expected) in [
            ("bytes=0-1", Part::Bytes(0..2)),
            ("bytes=1-", Part::Bytes(1..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-30", Part::Bytes(0..10)),
            ("bytes=5-50", Part::Bytes(5..10)),
            ("bytes=0-99999999999999999999999", Part::Bytes(0..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=3-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=+1-2", Part::Whole),
        ] {
            assert_eq!(Part::read(range, 10), expected, "{range}");
        }
    }
}
