//! Runs that send many dead letters round again: begun after they were counted, listed, stopped and resumed.

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
};
use steadfast_ledger::{CANARIES_MAX, LetterFilter, RedriveRun, RunError, RunId, RunOrder, RunTurn};

use super::{BODY_BYTES_MAX, by_hand, filter, group_view, read_by_hand, totals};
use crate::{
    api::{RedriveRequest, RedriveView, RunView},
    instant::rfc3339,
    parameters::read_json,
    problem::Problem,
    router::AdminParts,
};

/// How many letters a second a run sends unless stated.
const RATE: &str = "10/s";

/// The highest rate: 1,000 a second.
const PER_HOUR_MAX: u32 = 3_600_000;

const EXPECTED: &str = "Send {\"of\": {\"route\": \"…\", \"status\": 503}, \"rate\": \"10/s\", \"canary\": 5, \"reason\": \
                        \"…\", \"by\": \"…\"}, with \"dry_run\": true to count.";

pub(crate) async fn redrive_many(
    State(parts): State<AdminParts>,
    body: Body,
) -> Result<Json<RedriveView>, Problem> {
    let request: RedriveRequest = read_json(body, BODY_BYTES_MAX, EXPECTED).await?;
    filter::require_some(&request.of)?;
    let per_hour = read_rate(request.rate.as_deref().unwrap_or(RATE))?;
    if request.canary > CANARIES_MAX {
        let detail = format!("At most {CANARIES_MAX} can be tried first.");
        return Err(Problem::bad_request(detail, "Try fewer first: they show whether the rest can follow."));
    }
    let of = filter(&parts, &request.of).await?;
    if request.dry_run {
        return Ok(Json(counted(&parts, of, None).await?));
    }
    let (reason, by) = by_hand(&request.reason, &request.by)?;
    let mut view = counted(&parts, of.clone(), None).await?;
    let order = RunOrder {
        of,
        per_hour,
        canary: request.canary,
        matched: view.matched,
        by: by.clone(),
        reason: reason.clone(),
    };
    let begun = parts.ledger.begin_run(order).await;
    let result = begun
        .as_ref()
        .map_or_else(|error| format!("refused: {error}"), |run| format!("run {} began", run.id));
    tracing::info!(
        target: "audit",
        action = "redrive_dead_letters",
        of = filter::words(&request.of),
        matched = view.matched,
        canary = request.canary,
        rate = shown_rate(per_hour),
        by = &*by,
        reason = &*reason,
        result,
        "dead letters were to be sent round again"
    );
    view.run = Some(run_view(&begun.map_err(|error| refused(error, None))?));
    view.dry_run = false;
    Ok(Json(view))
}

async fn counted(parts: &AdminParts, of: LetterFilter, run: Option<RunView>) -> Result<RedriveView, Problem> {
    let groups = parts.ledger.count_letters(of).await?;
    let (matched, _) = totals(&groups);
    Ok(RedriveView { dry_run: true, matched, groups: groups.iter().map(group_view).collect(), run })
}

pub(crate) async fn list(State(parts): State<AdminParts>) -> Result<Json<Vec<RunView>>, Problem> {
    Ok(Json(parts.ledger.runs().await?.iter().map(run_view).collect()))
}

pub(crate) async fn stop(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<RunView>, Problem> {
    let (reason, by) = read_by_hand(body).await?;
    let turn = RunTurn::Stop { why: format!("{by} stopped it: {reason}").into() };
    turned(&parts, parse(&id)?, turn, ("stop_redrive", &by, &reason)).await
}

pub(crate) async fn resume(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<RunView>, Problem> {
    let (reason, by) = read_by_hand(body).await?;
    turned(&parts, parse(&id)?, RunTurn::Resume, ("resume_redrive", &by, &reason)).await
}

async fn turned(
    parts: &AdminParts,
    id: RunId,
    turn: RunTurn,
    (action, by, reason): (&'static str, &str, &str),
) -> Result<Json<RunView>, Problem> {
    let turned = parts.ledger.turn_run(id, turn).await;
    let result =
        turned.as_ref().map_or_else(|error| format!("refused: {error}"), |run| run.state.as_str().to_owned());
    tracing::info!(target: "audit", action, run = id.0, by, reason, result, "a redrive run was to be turned by hand");
    turned.map(|run| Json(run_view(&run))).map_err(|error| refused(error, Some(id)))
}

fn parse(id: &str) -> Result<RunId, Problem> {
    id.parse().map(RunId).map_err(|_| {
        Problem::bad_request("That is not the number of a run.", "Take it from GET /api/redrives.")
    })
}

fn refused(error: RunError, id: Option<RunId>) -> Problem {
    let which = id.map_or_else(|| "The run".to_owned(), |id| format!("Run {id}"));
    match error {
        RunError::NotFound => Problem::new(
            StatusCode::NOT_FOUND,
            "run-not-found",
            format!("There is no run {}.", id.map_or(0, |id| id.0)),
            "Look at GET /api/redrives, or run steadfast dead-letters runs.",
        ),
        RunError::TooMany => Problem::new(
            StatusCode::CONFLICT,
            "too-many-runs",
            format!("Nothing was begun: {error}."),
            "Stop one, or wait until one has finished.",
        ),
        RunError::Stands(_) => Problem::new(
            StatusCode::CONFLICT,
            "run-stands",
            format!("{which} was not changed: {error}."),
            "A running one can be stopped, a stopped one resumed.",
        ),
        RunError::Ledger(error) => error.into(),
    }
}

/// How many an hour: a whole number and `/s`, `/min` or `/h`.
fn read_rate(text: &str) -> Result<u32, Problem> {
    let hours = |unit: &str| match unit.trim() {
        "s" => Some(3_600),
        "m" | "min" => Some(60),
        "h" => Some(1),
        _ => None,
    };
    let parts = text.split_once('/');
    let read = parts.and_then(|(number, unit)| number.trim().parse::<u32>().ok()?.checked_mul(hours(unit)?));
    read.filter(|per_hour| (1..=PER_HOUR_MAX).contains(per_hour)).ok_or_else(|| {
        Problem::bad_request(
            "`rate` is not a rate from 1/h to 1000/s.",
            "Write a whole number and /s, /min or /h: 10/s.",
        )
    })
}

/// A rate as people write it, in the largest unit in which it is whole.
fn shown_rate(per_hour: u32) -> String {
    match per_hour {
        _ if per_hour.is_multiple_of(3_600) => format!("{}/s", per_hour / 3_600),
        _ if per_hour.is_multiple_of(60) => format!("{}/min", per_hour / 60),
        _ => format!("{per_hour}/h"),
    }
}

fn run_view(run: &RedriveRun) -> RunView {
    RunView {
        id: run.id.0,
        state: run.state.as_str().to_owned(),
        why: run.why.as_deref().map(str::to_owned),
        of: words(&run.of),
        rate: shown_rate(run.per_hour),
        canary: run.canary,
        canaries: run.canaries.iter().map(ToString::to_string).collect(),
        proven: run.is_proven,
        matched: run.matched,
        redriven: run.redriven,
        refused: run.refused,
        failed: run.failed,
        by: run.by.to_string(),
        reason: run.reason.to_string(),
        started_at: rfc3339(run.started_at),
        changed_at: rfc3339(run.changed_at),
    }
}

/// Which letters a run is about.
fn words(of: &LetterFilter) -> String {
    let status = of.status.map(|status| status.to_string());
    let before = of.died_before.map(rfc3339);
    let in_doubt = of.doubtful.map(|doubtful| doubtful.to_string());
    let parts = [
        ("route", of.route.as_deref()),
        ("end", of.end.as_deref()),
        ("cause", of.cause.as_deref()),
        ("status", status.as_deref()),
        ("in doubt", in_doubt.as_deref()),
        ("died before", before.as_deref()),
    ];
    let said = parts.iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value}")));
    said.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_numbers_with_a_unit_and_read_back_as_they_are_shown() {
        for (text, per_hour) in
            [("10/s", 36_000), ("1 / min", 60), ("7/m", 420), ("5/h", 5), ("1000/s", 3_600_000)]
        {
            let read = read_rate(text).expect("a rate");
            assert_eq!(read, per_hour, "{text}");
            assert_eq!(read_rate(&shown_rate(read)).expect("a rate"), read);
        }
        assert_eq!([shown_rate(36_000), shown_rate(420), shown_rate(61)], ["10/s", "7/min", "61/h"]);
        for text in ["", "10", "0/s", "/s", "-1/s", "1.5/s", "1001/s", "1/d", "99999999/s"] {
            assert!(read_rate(text).is_err(), "{text}");
        }
    }
}
