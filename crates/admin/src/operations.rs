//! Reading operations.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use steadfast_core::{OperationId, StateName};
use steadfast_ledger::{Cursor, Filter, PAGE_ROWS_MAX};

use crate::{
    api::{CountsView, OperationDetail, PageView},
    parameters::{bad_query, flag},
    problem::Problem,
    router::AdminParts,
    view,
};

/// How many operations a page has where nobody says otherwise.
const PAGE_ROWS: u32 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    state: Option<String>,
    route: Option<String>,
    key: Option<String>,
    #[serde(default, deserialize_with = "flag")]
    cases: bool,
    limit: Option<u32>,
    before: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetQuery {
    #[serde(default, deserialize_with = "flag")]
    body: bool,
}

pub(crate) async fn list(
    State(parts): State<AdminParts>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<PageView>, Problem> {
    let expected =
        "Ask with state, route, key, cases, limit (a number) and before (a page's next), or with none.";
    let Query(query) = query.map_err(|rejection| bad_query(&rejection, expected))?;
    let page = parts.ledger.list(filter(query)?).await?;
    Ok(Json(PageView {
        operations: page.operations.iter().map(view::operation).collect(),
        next: page.next.map(|Cursor(sequence)| sequence.to_string()),
    }))
}

fn filter(query: ListQuery) -> Result<Filter, Problem> {
    let ListQuery { state, route, key, cases, limit, before } = query;
    let state = state.map(|name| state_named(&name)).transpose()?;
    let limit = limit.unwrap_or(PAGE_ROWS);
    if !(1..=PAGE_ROWS_MAX).contains(&limit) {
        return Err(Problem::bad_request(
            format!("A page has 1 to {PAGE_ROWS_MAX} operations, not {limit}."),
            "Ask for fewer, and for the next page with before.",
        ));
    }
    let (route, key) = (route.map(String::into_boxed_str), key.map(String::into_boxed_str));
    Ok(Filter { state, route, key, with_cases: cases, before: before.map(Cursor), limit })
}

fn state_named(name: &str) -> Result<StateName, Problem> {
    let known = StateName::from_name(name).filter(|state| *state != StateName::Absent);
    known.ok_or_else(|| {
        let names = StateName::ALL.iter().filter(|state| **state != StateName::Absent);
        let names: Vec<_> = names.map(|state| state.as_str()).collect();
        Problem::bad_request(
            format!("There is no state `{name}`."),
            format!("Ask for one of {}.", names.join(", ")),
        )
    })
}

pub(crate) async fn get(
    State(parts): State<AdminParts>,
    Path(id): Path<String>,
    query: Result<Query<GetQuery>, QueryRejection>,
) -> Result<Json<OperationDetail>, Problem> {
    let Query(query) = query.map_err(|rejection| {
        bad_query(&rejection, "Ask with body=true for the answer's body, or with nothing.")
    })?;
    let id = parse_id(&id)?;
    let record = parts.ledger.operation(id).await?;
    let record = record.ok_or_else(|| Problem::no_such_operation(&id.to_string()))?;
    let attempts = parts.ledger.attempts(id).await?;
    let answer = parts.ledger.answer(id).await?;
    if query.body && answer.is_some() {
        tracing::info!(target: "audit", action = "read_body", operation = %id, "an answer's body was read");
    }
    Ok(Json(OperationDetail {
        operation: view::operation(&record),
        attempts: attempts.iter().map(view::attempt).collect(),
        answer: answer.map(|answer| view::answer(&answer, query.body)),
    }))
}

pub(crate) async fn counts(State(parts): State<AdminParts>) -> Result<Json<CountsView>, Problem> {
    Ok(Json(view::counts(parts.ledger.counts().await?)))
}

/// Reads an operation's id.
pub(crate) fn parse_id(id: &str) -> Result<OperationId, Problem> {
    let parsed = id.parse::<OperationId>();
    parsed.map_err(|error| {
        Problem::bad_request(
            format!("`{}` is {error}.", id.chars().take(64).collect::<String>()),
            "Take the id from GET /api/operations, which also finds operations by their key.",
        )
    })
}
