//! When a request is to be done, where its caller says so: after so many seconds, or at an instant.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use steadfast_core::{Code, Timestamp};

use crate::Problem;

/// In how many seconds.
pub(super) const DELAY: HeaderName = HeaderName::from_static("steadfast-delay");
/// At which instant (RFC 3339).
pub(super) const RUN_AT: HeaderName = HeaderName::from_static("steadfast-run-at");

/// Whether the caller says when.
pub(super) fn is_said(headers: &HeaderMap) -> bool {
    headers.contains_key(DELAY) || headers.contains_key(RUN_AT)
}

/// How long from `now` the request is to be done; `None` where its caller does not say. An instant that has passed is now.
///
/// # Errors
/// It cannot be read, is said twice, or lies further ahead than `delay_max`.
pub(super) fn delay(
    headers: &HeaderMap,
    now: Timestamp,
    delay_max: Duration,
) -> Result<Option<Duration>, Problem> {
    let delay = match (only(headers, &DELAY)?, only(headers, &RUN_AT)?) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(invalid(
                "There are both Steadfast-Delay and Steadfast-Run-At: one of them is enough.",
            ));
        }
        (Some(seconds), None) => after_seconds(seconds)?,
        (None, Some(instant)) => instant_of(instant)?.since(now),
    };
    if delay > delay_max {
        return Err(invalid(format!("{} seconds ahead is the most here.", delay_max.as_secs())));
    }
    Ok(Some(delay))
}

fn after_seconds(text: &str) -> Result<Duration, Problem> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(invalid("Steadfast-Delay is not a whole number of seconds."));
    }
    // What does not fit is further ahead than any route allows.
    Ok(Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

fn instant_of(text: &str) -> Result<Timestamp, Problem> {
    // Names of time zones are no part of RFC 3339, and mean something else when their rules change.
    let parsed = if text.contains('[') { None } else { text.parse::<jiff::Timestamp>().ok() };
    let instant = parsed.ok_or_else(|| {
        invalid("Steadfast-Run-At is not an instant: date, time and offset are expected (RFC 3339).")
    })?;
    Ok(Timestamp::from_millis(instant.as_millisecond()))
}

/// The one value of this header.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid(format!("There are two headers of the name {name}.")));
    }
    value.to_str().map(|text| Some(text.trim())).map_err(|_| invalid(format!("{name} is not a plain text.")))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BackgroundHeaderInvalid).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// 2027-01-01T00:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_798_761_600_000);

    fn said(fields: &[(HeaderName, &str)]) -> Result<Option<Duration>, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().expect("a value"));
        }
        assert_eq!(is_said(&headers), !fields.is_empty());
        delay(&headers, NOW, DAY)
    }

    #[test]
    fn a_time_is_taken_in_seconds_and_as_an_instant() {
        for (name, value, expected_ms) in [
            (DELAY, "90", 90_000),
            (DELAY, " 0 ", 0),
            (DELAY, "86400", 86_400_000),
            (RUN_AT, "2027-01-01T00:01:30Z", 90_000),
            (RUN_AT, "2027-01-01t02:00:00.250+02:00", 250),
            (RUN_AT, "2026-12-31T00:00:00Z", 0),
        ] {
            let found = said(&[(name, value)]).expect("valid");
            assert_eq!(found, Some(Duration::from_millis(expected_ms)), "{value}");
        }
        assert_eq!(said(&[]), Ok(None));
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        for fields in [
            &[(DELAY, "soon")][..],
            &[(DELAY, "")],
            &[(DELAY, "-1")],
            &[(DELAY, "1.5")],
            &[(DELAY, "86401")],
            &[(DELAY, "99999999999999999999999")],
            &[(DELAY, "1"), (DELAY, "1")],
            &[(DELAY, "1"), (RUN_AT, "2027-01-01T00:00:01Z")],
            &[(RUN_AT, "2027-01-02T00:00:01Z")],
            &[(RUN_AT, "2027-01-01")],
            &[(RUN_AT, "2027-01-01T00:00:00")],
            &[(RUN_AT, "2027-01-01T00:00:00Z[UTC]")],
            &[(RUN_AT, "1798761600")],
        ] {
            let problem = said(fields).expect_err("refused");
            assert_eq!(problem.code(), Code::BackgroundHeaderInvalid, "{fields:?}");
        }
    }
}
