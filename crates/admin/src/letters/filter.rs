//! Which dead letters are meant: read from what was asked, and said in words.

use std::time::Duration;

use steadfast_core::Timestamp;
use steadfast_ledger::{Cursor, LetterFilter};

use crate::{api::LetterQuery, parameters::read_time, problem::Problem, router::AdminParts};

/// The longest age that can be asked for.
const AGE_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// How the last attempt of a dead letter may have ended.
const ENDS: [&str; 3] = ["refused", "not_sent", "unknown"];

/// The filter, on the ledger's clock.
pub(super) async fn filter(parts: &AdminParts, query: &LetterQuery) -> Result<LetterFilter, Problem> {
    if let Some(end) = query.end.as_deref().filter(|end| !ENDS.contains(end)) {
        let shown: String = end.chars().take(40).collect();
        return Err(Problem::bad_request(
            format!("No dead letter ends with `{shown}`."),
            "Ask for one of refused, not_sent and unknown.",
        ));
    }
    let died_before = match &query.older_than {
        None => None,
        Some(age) => {
            let age = read_time(age, AGE_MAX).ok_or_else(|| {
                Problem::bad_request(
                    "`older_than` is not a time from 1s to 3650d.",
                    "Write a whole number and s, m, h or d: 1h.",
                )
            })?;
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            let now = parts.ledger.now().await?;
            Some(Timestamp::from_millis(now.as_millis().saturating_sub(age)))
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Into::into);
    Ok(LetterFilter {
        route: text(&query.route),
        end: text(&query.end),
        cause: text(&query.cause),
        status: query.status,
        died_before,
        doubtful: query.in_doubt,
    })
}

/// Refuses what would mean every dead letter that there is.
pub(super) fn require_some(query: &LetterQuery) -> Result<(), Problem> {
    if !query.is_empty() {
        return Ok(());
    }
    Err(Problem::bad_request(
        "It does not say which dead letters are meant.",
        "Name a route, an end, a cause, a status, in_doubt or older_than: nobody means all of all routes.",
    ))
}

/// Where a call ended.
pub(super) fn cursor(text: &str) -> Result<Cursor, Problem> {
    text.parse().map(Cursor).map_err(|_| {
        Problem::bad_request(
            "`from` is not where a call ended.",
            "Send the next of the call before it, as it came.",
        )
    })
}

/// The filter in words, for the audit log.
pub(super) fn words(query: &LetterQuery) -> String {
    let status = query.status.map(|status| status.to_string());
    let in_doubt = query.in_doubt.map(|in_doubt| in_doubt.to_string());
    let parts = [
        ("route", query.route.as_deref()),
        ("end", query.end.as_deref()),
        ("cause", query.cause.as_deref()),
        ("status", status.as_deref()),
        ("older than", query.older_than.as_deref()),
        ("in doubt", in_doubt.as_deref()),
    ];
    let said = parts.iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value}")));
    said.collect::<Vec<_>>().join(", ")
}
