//! How queries and bodies are read: bounded, in time, and without anything that is not known.

use std::time::Duration;

use axum::{body::Body, extract::rejection::QueryRejection, http::StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use tokio::time::timeout;

use crate::problem::Problem;

/// How long a request's body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Reads a body of at most `bytes_max` as JSON; an empty one as an empty object.
pub(crate) async fn read_json<T: DeserializeOwned>(
    body: Body,
    bytes_max: usize,
    expected: &str,
) -> Result<T, Problem> {
    let collected = timeout(BODY_TIME_MAX, Limited::new(body, bytes_max).collect()).await;
    let bytes = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                format!("The body is longer than {bytes_max} bytes."),
                "Send a shorter one.",
            ));
        }
        Ok(Err(_)) => {
            return Err(Problem::bad_request("The body did not arrive whole.", "Send it again."));
        }
        Err(_) => {
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-too-slow",
                format!("The body took longer than {} s.", BODY_TIME_MAX.as_secs()),
                "Send it again.",
            ));
        }
    };
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text).map_err(|error| {
        Problem::bad_request(format!("The body is not what is expected: {error}."), expected)
    })
}

/// A time as people write it: a whole number and `s`, `m`, `h` or `d`, from a second to `max`.
pub(crate) fn read_time(text: &str, max: Duration) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|char: char| !char.is_ascii_digit())?);
    let unit_seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit_seconds)?;
    Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero() && *time <= max)
}

/// The refusal of a query that could not be read.
pub(crate) fn bad_query(rejection: &QueryRejection, expected: &str) -> Problem {
    Problem::bad_request(format!("{}.", rejection.body_text()), expected)
}

/// Reads a flag of a query: `verbose`, `verbose=true`, `verbose=1` or the opposites.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match &*String::deserialize(deserializer)? {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(serde::de::Error::custom(format!("`{other}` is neither true nor false"))),
    }
}
