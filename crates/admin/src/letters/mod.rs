//! Dead letters, for people: found, looked at, sent round again, edited, removed. Whatever is done is written down by name.

mod edit;
mod filter;
mod runs;
mod show;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use steadfast_core::{OperationId, Refused};
use steadfast_ledger::{
    ChangeError, Cursor, DeadLetters, KeptWork, Letter, Letters, OperationRecord, PAGE_ROWS_MAX,
};

use self::filter::filter;
pub(crate) use self::{
    edit::edit,
    runs::{list as runs, redrive_many, resume, stop},
    show::show,
};
use crate::{
    api::{
        ByHandRequest, ChangedView, LetterGroupView, LetterQuery, LetterView, LettersView,
        PurgeLettersRequest, PurgedLettersView,
    },
    instant::rfc3339,
    operations::parse_id,
    parameters::{bad_query, read_json},
    problem::Problem,
    router::AdminParts,
    settle::{BY_CHARS_MAX, REASON_CHARS_MAX, stated},
    view,
};

/// The longest body of an order.
const BODY_BYTES_MAX: usize = 16 << 10;

/// How many letters a page has where nobody says otherwise.
const PAGE_ROWS: u32 = 100;

/// How many letters one call removes at most.
const PURGED_AT_ONCE: u32 = 200;

const EXPECTED_QUERY: &str = "Ask with route, end, cause, status, older_than (1h) and in_doubt, or with none; a list also takes \
                              limit and after (a page's next).";
const EXPECTED: &str = "Send {\"reason\": \"…\", \"by\": \"…\"}.";
const EXPECTED_PURGE: &str = "Send {\"of\": {\"route\": \"…\"}, \"reason\": \"…\", \"by\": \"…\"}, with \"from\" where the call \
                              before it ended and \"dry_run\": true to count.";

/// A filter, and which page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    route: Option<String>,
    end: Option<String>,
    cause: Option<String>,
    status: Option<u16>,
    older_than: Option<String>,
    in_doubt: Option<bool>,
    limit: Option<u32>,
    after: Option<u64>,
}

pub(crate) async fn groups(
    State(parts): State<AdminParts>,
    query: Result<Query<LetterQuery>, QueryRejection>,
) -> Result<Json<Vec<LetterGroupView>>, Problem> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection, EXPECTED_QUERY))?;
    let of = filter(&parts, &query).await?;
    Ok(Json(parts.ledger.count_letters(of).await?.iter().map(group_view).collect()))
}

pub(crate) async fn list(
    State(parts): State<AdminParts>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<LettersView>, Problem> {
    let Query(query) = query.map_err(|rejection| bad_query(&rejection, EXPECTED_QUERY))?;
    let ListQuery { route, end, cause, status, older_than, in_doubt, limit, after } = query;
    let of = filter(&parts, &LetterQuery { route, end, cause, status, older_than, in_doubt }).await?;
    let limit = limit.unwrap_or(PAGE_ROWS);
    if !(1..=PAGE_ROWS_MAX).contains(&limit) {
        let detail = format!("A page has 1 to {PAGE_ROWS_MAX} letters, not {limit}.");
        return Err(Problem::bad_request(detail, "Ask for fewer, and for the next page with after."));
    }
    let Letters { letters, next } = parts.ledger.letters(of, after.map(Cursor), limit).await?;
    let now = parts.ledger.now().await?;
    let view = |letter: &Letter| LetterView {
        operation: view::operation(&letter.operation),
        end: letter.end.to_string(),
        cause: letter.cause.as_deref().map(str::to_owned),
        status: letter.status,
        dead_for_seconds: now.since(letter.operation.changed_at).as_secs(),
    };
    Ok(Json(LettersView {
        letters: letters.iter().map(view).collect(),
        next: next.map(|Cursor(at)| at.to_string()),
    }))
}

pub(crate) async fn redrive(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<ChangedView>, Problem> {
    let id = parse_id(&id)?;
    let (reason, by) = read_by_hand(body).await?;
    let record = found(&parts, id).await?;
    let chance = parts.control.chance(&record.route).ok_or_else(|| no_route(&record.route))?;
    let redriven = parts.ledger.redrive(id, chance).await;
    audit("redrive", id, &redriven, (&by, &reason));
    let state = redriven.map_err(|error| refused(error, id))?;
    parts.control.note_redriven(&record.route);
    Ok(Json(ChangedView { id: id.to_string(), state: state.as_str().to_owned(), note: None }))
}

pub(crate) async fn purge(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<ChangedView>, Problem> {
    let id = parse_id(&id)?;
    let (reason, by) = read_by_hand(body).await?;
    require_dead(&found(&parts, id).await?)?;
    let purged = parts.ledger.purge(id).await;
    audit("purge", id, &purged, (&by, &reason));
    let state = purged.map_err(|error| refused(error, id))?;
    Ok(Json(ChangedView { id: id.to_string(), state: state.as_str().to_owned(), note: None }))
}

/// Removes a bounded number of letters that pass a filter. Those in doubt stay.
pub(crate) async fn purge_many(
    State(parts): State<AdminParts>,
    body: Body,
) -> Result<Json<PurgedLettersView>, Problem> {
    let request: PurgeLettersRequest = read_json(body, BODY_BYTES_MAX, EXPECTED_PURGE).await?;
    filter::require_some(&request.of)?;
    let of = filter(&parts, &request.of).await?;
    if request.dry_run {
        let groups = parts.ledger.count_letters(of).await?;
        let (all, in_doubt) = totals(&groups);
        return Ok(Json(PurgedLettersView { purged: all - in_doubt, in_doubt, next: None, dry_run: true }));
    }
    let (reason, by) = by_hand(&request.reason, &request.by)?;
    let from = request.from.as_deref().map(filter::cursor).transpose()?;
    let page = parts.ledger.letters(of, from, PURGED_AT_ONCE).await?;
    let mut view =
        PurgedLettersView { next: page.next.map(|Cursor(at)| at.to_string()), ..Default::default() };
    let mut result = Ok(());
    for letter in &page.letters {
        match parts.ledger.purge(letter.operation.id).await {
            Ok(_) => view.purged += 1,
            Err(ChangeError::Refused(Refused::InDoubt)) => view.in_doubt += 1,
            // Somebody else did something about it.
            Err(ChangeError::NotFound | ChangeError::Refused(_)) => {}
            Err(ChangeError::Ledger(error)) => {
                result = Err(error);
                break;
            }
        }
    }
    let outcome = result.as_ref().map_or_else(|error| format!("failed: {error}"), |()| "done".to_owned());
    tracing::info!(
        target: "audit",
        action = "purge_dead_letters",
        of = filter::words(&request.of),
        purged = view.purged,
        in_doubt = view.in_doubt,
        by = &*by,
        reason = &*reason,
        result = outcome,
        "dead letters were to be removed"
    );
    result?;
    Ok(Json(view))
}

/// What is in doubt and what is not, of all.
fn totals(groups: &[DeadLetters]) -> (u64, u64) {
    let sum = |of: fn(&DeadLetters) -> u64| groups.iter().map(of).sum();
    (sum(|group| group.count), sum(|group| group.doubtful))
}

async fn read_by_hand(body: Body) -> Result<(Box<str>, Box<str>), Problem> {
    let ByHandRequest { reason, by } = read_json(body, BODY_BYTES_MAX, EXPECTED).await?;
    by_hand(&reason, &by)
}

/// Why something is done by hand, and by whom.
pub(crate) fn by_hand(reason: &str, by: &str) -> Result<(Box<str>, Box<str>), Problem> {
    let reason = stated("reason", reason, REASON_CHARS_MAX, "Say why: the audit log keeps it.")?;
    let by = stated("by", by, BY_CHARS_MAX, "Say who you are: your name, or your account's.")?;
    Ok((reason, by))
}

async fn found(parts: &AdminParts, id: OperationId) -> Result<OperationRecord, Problem> {
    parts.ledger.operation(id).await?.ok_or_else(|| Problem::no_such_operation(&id.to_string()))
}

async fn kept(parts: &AdminParts, record: &OperationRecord) -> Result<KeptWork, Problem> {
    parts.ledger.kept_work(record.id).await?.ok_or_else(|| {
        Problem::new(
            StatusCode::CONFLICT,
            "no-request-kept",
            format!(
                "{} keeps no request: its caller made its attempts, or it was purged or erased.",
                record.id
            ),
            "Look at it with GET /api/operations/{id}, or steadfast operations get.",
        )
    })
}

fn require_dead(record: &OperationRecord) -> Result<(), Problem> {
    if record.state == steadfast_core::StateName::Dead {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "not-dead",
        format!("{} is {}, not dead.", record.id, record.state.as_str()),
        "Look at it again: somebody did something about it, or it was never a dead letter.",
    ))
}

pub(super) fn audit<T>(
    action: &'static str,
    id: OperationId,
    changed: &Result<T, ChangeError>,
    (by, reason): (&str, &str),
) {
    let result = changed.as_ref().map_or_else(|error| format!("refused: {error}"), |_| "done".to_owned());
    tracing::info!(target: "audit", action, operation = %id, by, reason, result, "an operation was to be changed by hand");
}

/// Nobody can send what came by this route.
fn no_route(route: &str) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "route-not-in-background",
        format!("Nobody can send it: the route `{route}` is gone, or lets nothing happen in the background."),
        "Put the route back into the config, with `async`, and reload; or settle or purge it.",
    )
}

/// Why an operation was not changed.
pub(crate) fn refused(error: ChangeError, id: OperationId) -> Problem {
    match error {
        ChangeError::NotFound => Problem::no_such_operation(&id.to_string()),
        ChangeError::Ledger(error) => error.into(),
        ChangeError::Refused(refusal) => {
            let next_step = match refusal {
                Refused::InDoubt => {
                    "Nobody knows whether it took effect. Find out, and settle it: steadfast dead-letters settle."
                }
                Refused::InProgress => "Wait until its attempt has ended; then look at it again.",
                Refused::StaleFence | Refused::Finished(_) | Refused::NoSuchTransition { .. } => {
                    "Look at it again: it is not in the state in which that can be done."
                }
            };
            Problem::new(
                StatusCode::CONFLICT,
                "change-refused",
                format!("{id} was not changed: {refusal}."),
                next_step,
            )
        }
    }
}

pub(super) fn group_view(group: &DeadLetters) -> LetterGroupView {
    LetterGroupView {
        route: group.route.to_string(),
        end: group.end.to_string(),
        cause: group.cause.as_deref().map(str::to_owned),
        status: group.status,
        count: group.count,
        in_doubt: group.doubtful,
        oldest_at: rfc3339(group.oldest_at),
        newest_at: rfc3339(group.newest_at),
    }
}
