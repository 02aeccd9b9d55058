//! How long an answer stays fresh, and how old it was when it came (RFC 9111, section 4.2). Time comes in as facts.

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    directives::{Directives, seconds},
    policy::CachePolicy,
};

/// The part of its age that an answer without any statement stays fresh for is a tenth, and at most this.
const HEURISTIC_SECONDS_MAX: u64 = 24 * 3600;

/// When a request was sent and its answer came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    /// When the head of the answer came: seconds since 1970 on the wall clock.
    pub(super) received_at: i64,
    /// How long it took, in whole seconds.
    pub(super) delay: u64,
}

/// How old an answer was when it came, and at what age it ceases to be fresh; in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freshness {
    pub(super) lifetime: u64,
    pub(super) initial_age: u64,
}

impl Freshness {
    pub(super) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        said: &Directives,
        exchange: Exchange,
        policy: &CachePolicy,
    ) -> Self {
        let date = date_in(headers, &header::DATE).unwrap_or(exchange.received_at);
        let apparent = exchange.received_at.saturating_sub(date).max(0).unsigned_abs();
        let Some(age) = age_in(headers) else { return Self { lifetime: 0, initial_age: apparent } };
        let initial_age = apparent.max(age.saturating_add(exchange.delay));
        Self { lifetime: lifetime(status, headers, said, date, policy), initial_age }
    }
}

/// Whether an answer with this status may be kept where it does not say so itself (RFC 9110, section 15.1).
pub(super) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Whether the route's own time goes for this status, where the answer states none.
fn takes_route_time(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308)
}

/// Whether `headers` say themselves how long the answer stays fresh.
pub(super) fn is_explicit(headers: &HeaderMap, said: &Directives) -> bool {
    said.max_age.is_some()
        || said.s_maxage.is_some()
        || (!said.targeted && headers.contains_key(header::EXPIRES))
}

fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    said: &Directives,
    date: i64,
    policy: &CachePolicy,
) -> u64 {
    if let Some(stated) = said.s_maxage.or(said.max_age) {
        return stated;
    }
    if !said.targeted && headers.contains_key(header::EXPIRES) {
        // One that is no date has passed.
        return date_in(headers, &header::EXPIRES)
            .map_or(0, |expires| expires.saturating_sub(date).max(0).unsigned_abs());
    }
    if let Some(ttl) = policy.ttl.filter(|_| takes_route_time(status)) {
        return ttl.as_secs();
    }
    if !said.public && !is_heuristically_cacheable(status) {
        return 0;
    }
    let modified = date_in(headers, &header::LAST_MODIFIED);
    modified.map_or(0, |modified| {
        (date.saturating_sub(modified).max(0).unsigned_abs() / 10).min(HEURISTIC_SECONDS_MAX)
    })
}

/// What `Age` says; `None` where it cannot be believed: not one number, so that nobody knows how old the answer is.
fn age_in(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::AGE).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Some(0),
        (Some(only), None) => seconds(Some(only.as_bytes().trim_ascii())),
        (Some(_), Some(_)) => None,
    }
}

/// The date in a field, in seconds since 1970; `None` where there is none, or more than one.
pub(super) fn date_in(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    let mut lines = headers.get_all(name).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    parse_date(only.to_str().ok()?)
}

/// A date in one of the three forms of HTTP, in seconds since 1970.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;

    /// Wed, 01 Jan 2020 00:00:00 GMT.
    const NOW: i64 = 1_577_836_800;

    fn date(at: i64) -> String {
        let since = Duration::from_secs(at.unsigned_abs());
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
    }

    fn found(status: u16, fields: &[(&'static str, String)], policy: &CachePolicy) -> (u64, u64) {
        let field = |(name, value): &(&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        let headers: HeaderMap = fields.iter().map(field).collect();
        let exchange = Exchange { received_at: NOW, delay: 2 };
        let status = StatusCode::from_u16(status).expect("a status");
        let fresh = Freshness::of(status, &headers, &Directives::of(&headers), exchange, policy);
        (fresh.lifetime, fresh.initial_age)
    }

    #[test]
    fn the_nearest_statement_about_time_counts() {
        let policy = CachePolicy::default();
        let expires = |at: i64| ("expires", date(NOW + at));
        let said = |text: &str| ("cache-control", text.to_owned());
        let now = ("date", date(NOW));
        for (fields, lifetime) in [
            (vec![said("max-age=60, s-maxage=5"), expires(1_000)], 5),
            (vec![said("max-age=60"), expires(-1_000)], 60),
            (vec![expires(1_000), now.clone()], 1_000),
            (vec![expires(1_000)], 1_000),
            (vec![expires(1_000), ("date", date(NOW - 500))], 1_500),
            (vec![expires(-1_000), now.clone()], 0),
            (vec![("expires", "0".to_owned())], 0),
            (vec![("last-modified", date(NOW - 1_000)), now.clone()], 100),
            (vec![("last-modified", date(NOW - 864_000_000)), now.clone()], 86_400),
            (vec![("last-modified", date(NOW + 10)), now.clone()], 0),
            (vec![now.clone()], 0),
            (vec![("surrogate-control", "max-age=7".to_owned()), said("max-age=60"), expires(9)], 7),
        ] {
            assert_eq!(found(200, &fields, &policy).0, lifetime, "{fields:?}");
        }
    }

    #[test]
    fn age_is_the_larger_of_what_is_said_and_what_is_seen() {
        let policy = CachePolicy::default();
        let fresh = ("cache-control", "max-age=100".to_owned());
        for (fields, expected) in [
            (vec![], (100, 2)),
            (vec![("age", "30".to_owned())], (100, 32)),
            (vec![("age", "30".to_owned()), ("date", date(NOW - 50))], (100, 50)),
            (vec![("date", date(NOW + 50))], (100, 2)),
            (vec![("age", "-1".to_owned())], (0, 0)),
            (vec![("age", "0".to_owned()), ("age", "0".to_owned())], (0, 0)),
            (vec![("age", "1;x=2".to_owned())], (0, 0)),
        ] {
            let fields: Vec<_> = fields.into_iter().chain([fresh.clone()]).collect();
            assert_eq!(found(200, &fields, &policy), expected, "{fields:?}");
        }
    }

    #[test]
    fn the_routes_time_is_for_what_succeeded_and_says_nothing_of_time() {
        let policy = CachePolicy { ttl: Some(Duration::from_secs(9)), ..CachePolicy::default() };
        let modified = ("last-modified", date(NOW - 1_000));
        assert_eq!(found(200, &[], &policy).0, 9);
        assert_eq!(found(200, std::slice::from_ref(&modified), &policy).0, 9);
        assert_eq!(found(404, &[modified.clone(), ("date", date(NOW))], &policy).0, 100);
        assert_eq!(found(500, &[modified], &policy).0, 0);
        assert_eq!(found(200, &[("cache-control", "max-age=1".to_owned())], &policy).0, 1);
    }
}
