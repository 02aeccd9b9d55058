//! Why one request was refused, or slow: what this node remembers of it, and what the ledger says.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use steadfast_core::OperationId;
use steadfast_ledger::{LedgerError, OperationRecord, SharedLedger};

use crate::{
    api::{ExplainView, LedgerSearched, OperationDetail},
    problem::Problem,
    router::AdminParts,
    view,
};

/// How many pages of the ledger are searched for one request: a bound on how long somebody waits, and the ledger works.
const PAGES_MAX: u32 = 50;

/// How many operations are shown.
const OPERATIONS_MAX: usize = 20;

/// The longest id that a request has, in characters.
const ID_CHARS_MAX: usize = 128;

pub(crate) async fn explain(
    State(parts): State<AdminParts>,
    Path(request_id): Path<String>,
) -> Result<Json<ExplainView>, Problem> {
    if request_id.chars().count() > ID_CHARS_MAX {
        return Err(Problem::bad_request(
            format!("The id of a request has {ID_CHARS_MAX} characters at most."),
            "Take it from X-Request-Id in the answer, from the problem's instance, or from the access log.",
        ));
    }
    let requests = parts.control.explained(&request_id);
    let named = requests.iter().filter_map(|request| request.operation.as_deref()?.parse().ok());
    let mut ids: Vec<OperationId> = Vec::new();
    for id in named {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let ledger = if requests.is_empty() {
        let (found, searched) = search(&parts.ledger, &request_id).await?;
        ids = found.iter().map(|record| record.id).collect();
        searched
    } else {
        LedgerSearched::Not
    };
    let mut operations = Vec::new();
    for id in ids.into_iter().take(OPERATIONS_MAX) {
        operations.extend(detail(&parts.ledger, id).await?);
    }
    if requests.is_empty() && operations.is_empty() {
        return Err(unknown(&request_id, ledger));
    }
    Ok(Json(ExplainView { request_id, requests, operations, ledger }))
}

/// The operations of which this request made an attempt, as far back as is searched.
async fn search(
    ledger: &SharedLedger,
    request_id: &str,
) -> Result<(Vec<OperationRecord>, LedgerSearched), LedgerError> {
    let mut before = None;
    for _ in 0..PAGES_MAX {
        let page = ledger.of_request(request_id.into(), before).await?;
        if page.next.is_none() || !page.operations.is_empty() {
            return Ok((page.operations, LedgerSearched::Whole));
        }
        before = page.next;
    }
    Ok((Vec::new(), LedgerSearched::InPart))
}

/// The operation as it stands now; nothing where it is gone.
async fn detail(ledger: &SharedLedger, id: OperationId) -> Result<Option<OperationDetail>, LedgerError> {
    let Some(record) = ledger.operation(id).await? else { return Ok(None) };
    let attempts = ledger.attempts(id).await?;
    let answer = ledger.answer(id).await?;
    Ok(Some(OperationDetail {
        operation: view::operation(&record),
        attempts: attempts.iter().map(view::attempt).collect(),
        answer: answer.map(|answer| view::answer(&answer, false)),
    }))
}

fn unknown(request_id: &str, searched: LedgerSearched) -> Problem {
    let ledger = match searched {
        LedgerSearched::InPart => "none of the newest attempts in the ledger is its",
        LedgerSearched::Not | LedgerSearched::Whole => "no attempt in the ledger is its",
    };
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-request",
        format!("This node remembers no request {request_id}, and {ledger}."),
        "It was neither refused nor slow, or newer ones took its place, or another node served it: ask that one with \
         --admin. The access log has every request.",
    )
}
