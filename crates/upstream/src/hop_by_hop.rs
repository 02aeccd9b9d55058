//! Fields that belong to one connection and are not passed on (RFC 9110, section 7.6.1).

use http::{HeaderMap, HeaderName, header};

/// The fields that are always one connection's own. `TE` and `Trailer` are dropped with them: no trailers are
/// passed on yet.
const ALWAYS: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
];

/// Removes what belongs to the connection that `headers` came over.
pub(crate) fn remove(headers: &mut HeaderMap) {
    // Nearly every message has none of them, and a look over its few fields is quicker than a search for each.
    if !headers.keys().any(|name| name == header::CONNECTION || ALWAYS.contains(name)) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        headers.remove(header::CONNECTION);
        for name in listed {
            // What frames or routes the message is not the sender's to remove.
            if name != header::CONTENT_LENGTH && name != header::HOST {
                headers.remove(name);
            }
        }
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // The coding said where the body ended (RFC 9112, section 6.3); the length beside it is a lie.
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in &ALWAYS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_one_connection_is_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine, Content-Length"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, value.parse().expect("a header value"));
        }
        remove(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length"]);
    }

    #[test]
    fn a_length_beside_a_transfer_coding_is_not_believed() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 5.into());
        headers.insert(header::TRANSFER_ENCODING, "chunked".parse().expect("a header value"));
        remove(&mut headers);
        assert!(headers.is_empty());
    }
}
