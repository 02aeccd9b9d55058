//! Fields that belong to one connection and are not passed on (RFC 9110, section 7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The fields that are always one connection's own. (`Trailer` describes the message, and goes with it.)
const ALWAYS: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::UPGRADE,
    header::TRANSFER_ENCODING,
];

/// What a message asked of the connection that it came over, and what is asked again of the next one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The protocol that the connection is to become.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Trailers are understood.
    pub(crate) trailers: bool,
}

/// Removes what belongs to the connection that `headers` came over.
pub(crate) fn remove(headers: &mut HeaderMap) -> Asked {
    // Nearly every message has none of them, and a look over its few fields is quicker than a search for each.
    if !headers.keys().any(|name| name == header::CONNECTION || ALWAYS.contains(name)) {
        return Asked::default();
    }
    let asked = Asked { upgrade: upgrade(headers), trailers: takes_trailers(headers) };
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> =
            tokens(headers, header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
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
    asked
}

/// The protocol that the connection is to become, if it is a single one. Never HTTP/2: whoever speaks that over
/// a tunnel goes past everything here.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut named = headers.get_all(header::UPGRADE).iter();
    let (Some(protocol), None) = (named.next(), named.next()) else { return None };
    let asked = tokens(headers, header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let text = protocol.to_str().ok()?.trim();
    let plain = !text.is_empty() && !text.contains(',') && !text.to_ascii_lowercase().starts_with("h2c");
    (asked && plain).then(|| protocol.clone())
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, header::TE).any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// The members of a list field.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn what_belongs_to_one_connection_is_not_passed_on() {
        let mut headers = headers(&[
            ("connection", "close, X-Mine, Content-Length"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ]);
        assert_eq!(remove(&mut headers), Asked { upgrade: None, trailers: true });
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length"]);
    }

    #[test]
    fn a_length_beside_a_transfer_coding_is_not_believed() {
        let mut headers = headers(&[("content-length", "5"), ("transfer-encoding", "chunked")]);
        remove(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn an_upgrade_is_asked_for_by_both_fields_and_never_to_http_2() {
        for (connection, upgrade, asked) in [
            ("Upgrade", "websocket", true),
            ("keep-alive, upgrade", "websocket", true),
            ("keep-alive", "websocket", false),
            ("upgrade", "h2c", false),
            ("upgrade, http2-settings", "H2C", false),
            ("upgrade", "websocket, h2c", false),
            ("upgrade", "", false),
        ] {
            let mut headers = headers(&[("connection", connection), ("upgrade", upgrade)]);
            assert_eq!(remove(&mut headers).upgrade.is_some(), asked, "{connection}: {upgrade}");
        }
    }
}
