//! Limits on callers: how they stand, how one caller's counts stand, and to forget those or allow more for a time, each of
//! which is written down as a security event.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};

use crate::{
    api::{
        LimitChangedView, LimitCountView, LimitCountsQuery, LimitRaiseRequest, LimitResetRequest, LimitsView,
    },
    control::LimitsRefused,
    parameters::{bad_query, read_json, read_time},
    problem::Problem,
    router::AdminParts,
    settle::{BY_CHARS_MAX, REASON_CHARS_MAX, stated},
};

/// The longest body of an order.
const BODY_BYTES_MAX: usize = 16 << 10;

/// For how long limits are raised unless stated, and at most, so that none is forgotten.
const RAISED_FOR: Duration = Duration::from_secs(3_600);
const RAISED_FOR_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How many times as much can be allowed; less than one is a squeeze.
const FACTORS: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;

const SUBJECT_CHARS_MAX: usize = 1_024;

const EXPECTED_QUERY: &str = "Ask with ?subject=NAME, and &limit=NAME or &plan=NAME.";
const EXPECTED_RESET: &str =
    "Send {\"subject\": \"…\", \"reason\": \"…\", \"by\": \"…\"}, with \"limit\" for one of several.";
const EXPECTED_RAISE: &str = "Send {\"subject\": \"…\", \"factor\": 3, \"for\": \"2h\", \"reason\": \"…\", \"by\": \"…\"}, with \
                              \"limit\" for one of several.";

pub(crate) async fn list(State(parts): State<AdminParts>) -> Json<LimitsView> {
    Json(parts.control.limits())
}

pub(crate) async fn counts(
    State(parts): State<AdminParts>,
    query: Result<Query<LimitCountsQuery>, QueryRejection>,
) -> Result<Json<Vec<LimitCountView>>, Problem> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection, EXPECTED_QUERY))?;
    subject(&query.subject, EXPECTED_QUERY)?;
    let counts = parts.control.limit_counts(&query, false).await.map_err(|refusal| refused(&refusal))?;
    Ok(Json(counts))
}

pub(crate) async fn reset(
    State(parts): State<AdminParts>,
    body: Body,
) -> Result<Json<LimitChangedView>, Problem> {
    let request: LimitResetRequest = read_json(body, BODY_BYTES_MAX, EXPECTED_RESET).await?;
    subject(&request.subject, EXPECTED_RESET)?;
    let (reason, by) = noted(&request.reason, &request.by)?;
    let LimitResetRequest { subject, limit, .. } = request;
    let query = LimitCountsQuery { subject, limit, plan: None };
    let counts = parts.control.limit_counts(&query, true).await;
    let result = match &counts {
        Ok(counts) => format!("{} counts", counts.len()),
        Err(refusal) => format!("refused: {refusal}"),
    };
    tracing::info!(
        target: "audit",
        action = "limits_reset",
        kind = "security",
        subject = query.subject,
        limit = query.limit,
        by,
        reason,
        result,
        "the counts of a caller's limits were to be forgotten"
    );
    let changed = counts.map_err(|refusal| refused(&refusal))?.len();
    Ok(Json(LimitChangedView { subject: query.subject, changed }))
}

pub(crate) async fn raise(
    State(parts): State<AdminParts>,
    body: Body,
) -> Result<Json<LimitChangedView>, Problem> {
    let request: LimitRaiseRequest = read_json(body, BODY_BYTES_MAX, EXPECTED_RAISE).await?;
    subject(&request.subject, EXPECTED_RAISE)?;
    if !FACTORS.contains(&request.factor) {
        return Err(Problem::bad_request("`factor` is not from 0.01 to 1000.", EXPECTED_RAISE));
    }
    let time = request.time.as_deref().map_or(Ok(RAISED_FOR), raised_for)?;
    let (reason, by) = noted(&request.reason, &request.by)?;
    let changed = parts.control.raise_limits(&request, time);
    let result = match &changed {
        Ok(changed) => format!("{changed} raised"),
        Err(refusal) => format!("refused: {refusal}"),
    };
    tracing::info!(
        target: "audit",
        action = "limits_raise",
        kind = "security",
        subject = request.subject,
        limit = request.limit,
        factor = request.factor,
        seconds = time.as_secs(),
        by,
        reason,
        result,
        "a caller's limits were to be raised"
    );
    let changed = changed.map_err(|refusal| refused(&refusal))?;
    Ok(Json(LimitChangedView { subject: request.subject, changed }))
}

fn subject(subject: &str, expected: &str) -> Result<(), Problem> {
    let chars = subject.trim().chars().count();
    if chars == 0 || chars > SUBJECT_CHARS_MAX || subject.chars().any(char::is_control) {
        let detail =
            format!("`subject` must have 1 to {SUBJECT_CHARS_MAX} characters, and no control characters.");
        return Err(Problem::bad_request(detail, expected));
    }
    Ok(())
}

fn noted(reason: &str, by: &str) -> Result<(String, String), Problem> {
    let reason = stated("reason", reason, REASON_CHARS_MAX, "Say why: the audit log keeps it.")?;
    let by = stated("by", by, BY_CHARS_MAX, "Say who you are: your name, or your account's.")?;
    Ok((reason.to_string(), by.to_string()))
}

/// For how long a limit is raised.
fn raised_for(text: &str) -> Result<Duration, Problem> {
    read_time(text, RAISED_FOR_MAX).ok_or_else(|| {
        Problem::bad_request(
            "`for` is not a time from 1s to 7d.",
            "Write a whole number and s, m, h or d: 2h. For longer, change the config: a plan is for that.",
        )
    })
}

fn refused(refusal: &LimitsRefused) -> Problem {
    match refusal {
        LimitsRefused::NoSuchLimit => Problem::new(
            StatusCode::NOT_FOUND,
            "limit-not-found",
            "There is no limit of that name.".to_owned(),
            "Look at /api/limits, or run steadfast limits list.",
        ),
        LimitsRefused::TooMany => Problem::new(
            StatusCode::CONFLICT,
            "too-many-raised",
            "Too many limits are raised at once.".to_owned(),
            "End some with a factor of 1, or change the config: a plan is for that.",
        ),
        LimitsRefused::Lost(why) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "shared-limits-lost",
            format!("The shared counts cannot be reached: {why}."),
            "Try again when they can be.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_numbers_with_a_unit_up_to_a_week() {
        for (text, seconds) in [("1s", 1), (" 2h ", 7_200), ("7d", 604_800)] {
            assert_eq!(raised_for(text).ok(), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0s", "10", "8d", "-1s", "1.5h", "99999999999999999999h", "h"] {
            assert!(raised_for(text).is_err(), "{text}");
        }
    }
}
