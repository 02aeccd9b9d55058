//! `Retry-After`: how long an upstream asks to be left alone (RFC 9110, section 10.2.3).

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, header};
use steadfast_core::Timestamp;

/// How long the answer with these headers asks to be left alone. An instant is compared with the answer's own `Date`,
/// so that it does not matter whose clock is wrong; without one it is not understood.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(&header::RETRY_AFTER)?;
    let dated = text(&header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let dated = dated.and_then(|date| i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok());
    steadfast_core::retry_after(asked, dated.map(Timestamp::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_taken_and_an_instant_where_the_answer_is_dated() {
        let date = "Tue, 15 Nov 1994 08:12:31 GMT";
        for (asked, dated, expected) in [
            ("2", None, Some(2)),
            (" 120 ", None, Some(120)),
            ("Tue, 15 Nov 1994 08:12:41 GMT", Some(date), Some(10)),
            ("Tue, 15 Nov 1994 08:12:00 GMT", Some(date), Some(0)),
            ("Tue, 15 Nov 1994 08:12:41 GMT", None, None),
            ("-1", None, None),
            ("soon", Some(date), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, asked.parse().expect("a value"));
            if let Some(dated) = dated {
                headers.insert(header::DATE, dated.parse().expect("a value"));
            }
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{asked}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
