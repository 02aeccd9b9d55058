//! What the gateway serves itself, below `/.steadfast/`: the operations of the caller who made them, and the pages
//! of refusals.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use steadfast_core::{Code, HELP_BASE, OperationId, Owner};
use steadfast_layers::{AbuseGuard, Head, Problem, RequestId, RouteAuthentication};
use steadfast_ledger::{AttemptRecord, OperationRecord, SharedLedger};

use crate::{
    config::write_instant,
    edge::OWN_ROUTE,
    pages,
    stack::{EdgeResponse, ReplyBody},
};

/// What stands before everything that the gateway serves itself.
pub(crate) const OWN_BASE: &str = "/.steadfast/";

const OPERATIONS: &str = "/.steadfast/operations/";

/// Who makes a request, as far as is known before anybody is asked.
pub(crate) struct CallerOfOwn {
    pub(crate) owner: Owner,
    /// Who finds out, where the route asks.
    pub(crate) asked: Option<(Arc<RouteAuthentication>, Head)>,
}

impl CallerOfOwn {
    async fn known(self) -> Owner {
        let Some((asked, head)) = self.asked else { return self.owner };
        // A credential that is no longer good opens nothing, not even what it made itself.
        let Some(verified) = asked.who(head).await else { return Owner::default() };
        let principal = verified.principal().map(|who| steadfast_core::Principal::new(who.name()));
        Owner { principal, ..self.owner }
    }
}

/// What a request asks of the gateway itself.
pub(crate) struct Asks<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) request_id: &'a RequestId,
}

/// Answers a request below [`OWN_BASE`]. `caller` finds out who makes it, as the route that an operation came by would.
pub(crate) async fn serve(
    ledger: &SharedLedger,
    abuse: &AbuseGuard,
    caller: impl Fn(&str) -> CallerOfOwn,
    Asks { method, path, request_id }: Asks<'_>,
) -> EdgeResponse {
    let reply = if !method.is_safe() {
        Err(Problem::new(Code::RouteNotFound))
    } else if let Some(code) = path.strip_prefix(HELP_BASE) {
        Code::from_text(code).map(page).ok_or_else(|| Problem::new(Code::RouteNotFound))
    } else if let Some(id) = path.strip_prefix(OPERATIONS) {
        let banned = |name: &str| abuse.refuse_principal(name, OWN_ROUTE, Some(request_id));
        operation(ledger, caller, banned, id).await
    } else {
        Err(Problem::new(Code::RouteNotFound))
    };
    reply.unwrap_or_else(|problem| problem.instance(Some(request_id)).into_response())
}

fn page(code: Code) -> EdgeResponse {
    respond("text/markdown; charset=utf-8", Bytes::from_static(pages::page(code).as_bytes()))
}

fn respond(content_type: &'static str, body: Bytes) -> EdgeResponse {
    let mut response = Response::new(ReplyBody::whole(body));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn operation(
    ledger: &SharedLedger,
    caller: impl Fn(&str) -> CallerOfOwn,
    banned: impl Fn(&str) -> Option<EdgeResponse>,
    id: &str,
) -> Result<EdgeResponse, Problem> {
    let not_found = || Problem::new(Code::OperationNotFound);
    let unavailable =
        |_| Problem::new(Code::LedgerUnavailable).retry_after(std::time::Duration::from_secs(1));
    let id: OperationId = id.parse().map_err(|_| not_found())?;
    let record = ledger.operation(id).await.map_err(unavailable)?.ok_or_else(not_found)?;
    let caller = caller(&record.route).known().await;
    // Somebody else's operation is not there, as far as this caller is concerned.
    if !record.owner.discloses_to(&caller) {
        return Err(not_found());
    }
    if let Some(refused) = caller.principal.as_ref().and_then(|who| banned(who.as_str())) {
        return Ok(refused);
    }
    let attempts = ledger.attempts(id).await.map_err(unavailable)?;
    let document = document(&record, &attempts);
    Ok(respond("application/json", Bytes::from(document.to_string())))
}

fn document(record: &OperationRecord, attempts: &[AttemptRecord]) -> Value {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    put("id", record.id.to_string().into());
    put("state", record.state.as_str().into());
    put("in_doubt", record.doubtful.into());
    put("key", record.name.key().as_str().into());
    put("method", (&*record.method).into());
    put("path", (&*record.path).into());
    put("created_at", stamp(record.created_at));
    put("changed_at", stamp(record.changed_at));
    if let Some(expires_at) = record.expires_at {
        put("expires_at", stamp(expires_at));
    }
    if let Some(status) = record.answer_status {
        put("answer_status", status.into());
    }
    if let Some(settlement) = &record.settlement {
        put("settled", json!({ "happened": settlement.happened, "at": stamp(settlement.at) }));
    }
    let attempts = attempts.iter().map(|attempt| {
        json!({
            "number": attempt.number,
            "began_at": stamp(attempt.began_at),
            "ended_at": attempt.ended_at.map(stamp),
            "end": attempt.end,
            "cause": attempt.cause,
            "status": attempt.status,
        })
    });
    put("attempts", attempts.collect());
    document.into()
}

fn stamp(at: steadfast_core::Timestamp) -> Value {
    write_instant(at).into()
}
