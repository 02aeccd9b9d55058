//! What the gateway serves itself, below `/.steadfast/`: the operations of the caller who made them, and the pages
//! of refusals.

mod cancelling;
mod document;
mod result;
mod watching;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use steadfast_core::{Code, HELP_BASE, Mode, OperationId, Owner, Timestamp};
use steadfast_layers::{AbuseGuard, Head, Problem, RequestId, RouteAuthentication};
use steadfast_ledger::{LedgerError, SharedLedger};

use crate::{
    drain::Drain,
    edge::OWN_ROUTE,
    pages,
    stack::{EdgeResponse, ReplyBody},
};
use cancelling::cancel;
use document::document;
use result::result;
use watching::{at_its_end, wait};

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
    pub(crate) query: Option<&'a str>,
    /// When it came.
    pub(crate) now: Timestamp,
    pub(crate) drain: &'a Drain,
    pub(crate) request_id: &'a RequestId,
}

/// Answers a request below [`OWN_BASE`]. `caller` finds out who makes it, as the route that an operation came by would.
pub(crate) async fn serve(
    ledger: &SharedLedger,
    abuse: &AbuseGuard,
    caller: impl Fn(&str) -> CallerOfOwn,
    asks: Asks<'_>,
) -> EdgeResponse {
    let Asks { method, path, request_id, .. } = asks;
    let reply = if let Some(rest) = path.strip_prefix(OPERATIONS) {
        let banned = |name: &str| abuse.refuse_principal(name, OWN_ROUTE, Some(request_id));
        match wanted(method, rest) {
            Ok(wanted) => operation(ledger, caller, banned, wanted, asks).await,
            Err(problem) => Err(problem),
        }
    } else if let (Some(code), true) = (path.strip_prefix(HELP_BASE), method.is_safe()) {
        Code::from_text(code).map(page).ok_or_else(|| Problem::new(Code::RouteNotFound))
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

/// What is asked of an operation.
enum Wanted {
    /// How it stands.
    Standing,
    /// What it came to.
    Result,
    /// That it is called off.
    Cancel,
}

/// What a request for `rest`, which follows [`OPERATIONS`], wants, and of which operation.
fn wanted(method: &Method, rest: &str) -> Result<(Wanted, OperationId), Problem> {
    let (id, wanted) = match (rest.strip_suffix("/result"), method) {
        (Some(id), method) if method.is_safe() => (id, Wanted::Result),
        (None, method) if method.is_safe() => (rest, Wanted::Standing),
        (None, &Method::DELETE) => (rest, Wanted::Cancel),
        _ => return Err(Problem::new(Code::RouteNotFound)),
    };
    Ok((wanted, id.parse().map_err(|_| not_found())?))
}

async fn operation(
    ledger: &SharedLedger,
    caller: impl Fn(&str) -> CallerOfOwn,
    banned: impl Fn(&str) -> Option<EdgeResponse>,
    (wanted, id): (Wanted, OperationId),
    Asks { query, now, drain, .. }: Asks<'_>,
) -> Result<EdgeResponse, Problem> {
    let record = ledger.operation(id).await.map_err(unavailable)?.ok_or_else(not_found)?;
    let caller = caller(&record.route).known().await;
    // Somebody else's operation is not there, as far as this caller is concerned.
    if !record.owner.discloses_to(&caller) {
        return Err(not_found());
    }
    if let Some(refused) = caller.principal.as_ref().and_then(|who| banned(who.as_str())) {
        return Ok(refused);
    }
    let status = match wanted {
        Wanted::Standing | Wanted::Result => StatusCode::OK,
        Wanted::Cancel => cancel(ledger, &record).await?,
    };
    let record = match wanted {
        Wanted::Standing | Wanted::Result => at_its_end(ledger, record, wait(query), drain).await,
        Wanted::Cancel => ledger.operation(id).await,
    };
    let record = record.map_err(unavailable)?.ok_or_else(not_found)?;
    if let Wanted::Result = wanted {
        return result(ledger, &record, now).await;
    }
    let attempts = ledger.attempts(id).await.map_err(unavailable)?;
    let work = match record.mode {
        Mode::Asynchronous => ledger.kept_work(id).await.map_err(unavailable)?,
        Mode::Synchronous => None,
    };
    let document = document(&record, &attempts, work.as_ref());
    let mut response = respond("application/json", Bytes::from(document.to_string()));
    *response.status_mut() = status;
    Ok(response)
}

fn not_found() -> Problem {
    Problem::new(Code::OperationNotFound)
}

fn unavailable(_: LedgerError) -> Problem {
    Problem::new(Code::LedgerUnavailable).retry_after(Duration::from_secs(1))
}
