//! Conditional requests: a caller's, answered from a kept answer, and our own, which validate one (RFC 9110, section 13;
//! RFC 9111, section 4.3).

use http::{HeaderMap, HeaderName, header};

use super::{
    directives::members_of,
    entry::Entry,
    freshness::{date_in, parse_date},
};

/// Fields that describe a body, and are not sent without one.
const BODYS: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
    HeaderName::from_static("content-md5"),
];

/// Whether a caller with these fields has the kept answer already.
pub(super) fn has_it(request: &HeaderMap, entry: &Entry) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        let etag = entry.headers.get(header::ETAG).map(|etag| opaque(etag.as_bytes().trim_ascii()));
        return members_of(request, &header::IF_NONE_MATCH)
            .any(|member| member == b"*" || etag.is_some_and(|etag| opaque(member) == etag));
    }
    let Some(since) = request.get(header::IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok()) else {
        return false;
    };
    // Without a date of its last change, it has not changed since it was made.
    let modified =
        date_in(&entry.headers, &header::LAST_MODIFIED).or_else(|| date_in(&entry.headers, &header::DATE));
    match (parse_date(since), modified) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Removes what a caller that has the body needs not be told again.
pub(super) fn without_body(headers: &mut HeaderMap) {
    for name in BODYS {
        headers.remove(name);
    }
}

/// Asks whether `entry` still holds, in place of what the caller asked.
pub(super) fn validate(request: &mut HeaderMap, entry: &Entry) {
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
        request.remove(name);
    }
    for (name, validator) in
        [(header::IF_NONE_MATCH, header::ETAG), (header::IF_MODIFIED_SINCE, header::LAST_MODIFIED)]
    {
        if let Some(value) = entry.headers.get(validator) {
            request.insert(name, value.clone());
        }
    }
}

/// An entity tag without the mark that it is weak: here they are compared weakly.
fn opaque(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}
