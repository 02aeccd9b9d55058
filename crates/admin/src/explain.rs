//! Why one request was refused, or slow: what this node remembers of it, and what the ledger says.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use steadfast_core::OperationId;
use steadfast_ledger::{LedgerError, OperationRecord, SharedLedger};
use tokio::sync::Semaphore;

use crate::{
    api::{ExplainView, LedgerSearched, OperationDetail},
    problem::Problem,
    router::AdminParts,
    view,
};

/// How long the ledger is searched for one request: a bound on how long somebody waits, and the ledger works.
const SEARCH_MAX: Duration = Duration::from_secs(10);

/// Who may search the ledger: one at a time, because a search reads much that nobody else needs.
static SEARCHING: Semaphore = Semaphore::const_new(1);

/// How many operations are shown.
const OPERATIONS_MAX: usize = 20;

/// The longest id that a request has.
const ID_BYTES_MAX: usize = 128;

pub(crate) async fn explain(
    State(parts): State<AdminParts>,
    Path(request_id): Path<String>,
) -> Result<Json<ExplainView>, Problem> {
    if !is_of_a_request(&request_id) {
        return Err(never_given());
    }
    let requests = parts.control.explained(&request_id);
    let mut ids: Vec<OperationId> = Vec::new();
    for id in requests.iter().filter_map(|request| request.operation.as_deref()?.parse().ok()) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let mut ledger = LedgerSearched::Not;
    if ids.is_empty() {
        // A request that is remembered may be the repeat of one that executed: of it the newest page is enough.
        let pages_max = if requests.is_empty() { u32::MAX } else { 1 };
        let (found, searched) = search(&parts.ledger, &request_id, pages_max).await?;
        ids = found.iter().map(|record| record.id).collect();
        ledger = searched;
    }
    let mut operations = Vec::new();
    for id in ids.into_iter().take(OPERATIONS_MAX) {
        operations.extend(detail(&parts.ledger, id).await?);
    }
    if requests.is_empty() && operations.is_empty() {
        return Err(unknown(&request_id, ledger));
    }
    Ok(Json(ExplainView { request_id, requests, operations, ledger }))
}

/// Whether the gateway gives or takes over such ids.
fn is_of_a_request(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

/// The operations of which this request made an attempt, as far back as so many pages and the time allow.
async fn search(
    ledger: &SharedLedger,
    request_id: &str,
    pages_max: u32,
) -> Result<(Vec<OperationRecord>, LedgerSearched), LedgerError> {
    let in_part = (Vec::new(), LedgerSearched::InPart);
    let Ok(_searching) = SEARCHING.try_acquire() else { return Ok(in_part) };
    let found = tokio::time::timeout(SEARCH_MAX, search_pages(ledger, request_id, pages_max)).await;
    match found {
        // The statement took too long, or the connection was lost: what was read before said nothing.
        Err(_) | Ok(Err(LedgerError::Unreachable(_))) => Ok(in_part),
        Ok(found) => found,
    }
}

async fn search_pages(
    ledger: &SharedLedger,
    request_id: &str,
    pages_max: u32,
) -> Result<(Vec<OperationRecord>, LedgerSearched), LedgerError> {
    let mut before = None;
    for _ in 0..pages_max {
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

fn never_given() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-such-request",
        format!(
            "No request has such an id: they have 1 to {ID_BYTES_MAX} letters, digits, dots, colons, `-` and `_`."
        ),
        "Take it from X-Request-Id in the answer, from the problem's instance, or from the access log.",
    )
}

fn unknown(request_id: &str, searched: LedgerSearched) -> Problem {
    let ledger = match searched {
        LedgerSearched::InPart => {
            "the ledger was searched in part only (another search was under way, or it took too long) and had none of its \
             attempts"
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use steadfast_ledger::sqlite::{SqliteLedger, SqliteOptions};

    use super::*;

    #[test]
    fn an_id_that_no_request_has_is_told_from_one_that_may_be() {
        let longest = "x".repeat(ID_BYTES_MAX);
        for id in ["4f1c6a0b", "a.b:c-d_e", &longest] {
            assert!(is_of_a_request(id), "{id}");
        }
        let longer = "x".repeat(ID_BYTES_MAX + 1);
        for id in ["", "a b", "ä", "a/b", &longer] {
            assert!(!is_of_a_request(id), "{id}");
        }
    }

    #[tokio::test]
    async fn while_one_searches_the_next_is_told_that_nothing_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let opened = SqliteLedger::open(&folder.path().join("ledger.db"), SqliteOptions::default());
        let ledger: SharedLedger = Arc::new(opened.expect("a ledger"));
        let searching = SEARCHING.acquire().await.expect("it is never closed");
        let searched = || async { search(&ledger, "req-1", 1).await.expect("a ledger that works").1 };
        assert_eq!(searched().await, LedgerSearched::InPart);
        drop(searching);
        assert_eq!(searched().await, LedgerSearched::Whole);
    }
}
