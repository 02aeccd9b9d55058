//! How a request says where its body ends. What two servers might read differently is not passed on: the one
//! behind this could take a part of a body for another request.

use http::{HeaderMap, HeaderValue, header};

/// Whether the body is framed in a way that everybody reads alike: by its length, or by the one transfer coding
/// `chunked`, said once.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => is_chunked(coding),
        (Some(_), Some(_)) => false,
    }
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_coding_is_plain_and_it_is_chunked() {
        for (codings, plain) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked"], true),
            (&["chunked", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["gzip, chunked"], false),
            (&["gzip"], false),
            (&["chunked;q=1"], false),
            (&[""], false),
        ] {
            let mut headers = HeaderMap::new();
            for coding in codings {
                headers.append(header::TRANSFER_ENCODING, coding.parse().expect("a value"));
            }
            assert_eq!(is_plain(&headers), plain, "{codings:?}");
        }
    }
}
