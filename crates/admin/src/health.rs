//! Whether the gateway is alive, and whether it wants to be sent requests.

use std::time::{Duration, Instant};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    api::{CheckView, HealthView},
    control::SharedCheck,
    parameters::{bad_query, flag},
    problem::Problem,
    router::AdminParts,
};

/// How long the ledger may take to answer before the gateway counts as not ready.
const LEDGER_TIME_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadyQuery {
    #[serde(default, deserialize_with = "flag")]
    verbose: bool,
}

pub(crate) async fn livez() -> Json<HealthView> {
    Json(HealthView { status: "ok".to_owned(), checks: Vec::new() })
}

pub(crate) async fn readyz(
    State(parts): State<AdminParts>,
    query: Result<Query<ReadyQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) =
        query.map_err(|rejection| bad_query(&rejection, "Ask for /readyz or /readyz?verbose."))?;
    let mut checks = vec![check_gateway(&parts), check_ledger(&parts).await];
    let ready = checks.iter().all(|check| check.ok);
    // Limits go on without it, each as it says: that is told, and takes no node out of service.
    checks.extend(parts.readiness.shared().map(|SharedCheck { ok, detail }| CheckView {
        name: "shared".to_owned(),
        ok,
        detail,
        took_ms: 0,
    }));
    let (status, word) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    let checks = if query.verbose { checks } else { Vec::new() };
    Ok((status, Json(HealthView { status: word.to_owned(), checks })).into_response())
}

fn check_gateway(parts: &AdminParts) -> CheckView {
    let ok = !parts.readiness.is_draining();
    let detail =
        if ok { "it takes requests" } else { "it is draining: it finishes what is under way and ends" };
    CheckView { name: "gateway".to_owned(), ok, detail: detail.to_owned(), took_ms: 0 }
}

async fn check_ledger(parts: &AdminParts) -> CheckView {
    let began = Instant::now();
    let (ok, detail) = match timeout(LEDGER_TIME_MAX, parts.ledger.check()).await {
        Ok(Ok(())) => (true, "it can be written".to_owned()),
        Ok(Err(error)) => (false, error.to_string()),
        Err(_) => (false, format!("it did not answer within {} s", LEDGER_TIME_MAX.as_secs())),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    CheckView { name: "ledger".to_owned(), ok, detail, took_ms }
}

/// The metrics, under the type of the format they are in: OpenMetrics ends with a mark of its own.
pub(crate) async fn metrics(State(parts): State<AdminParts>) -> Response {
    let text = (parts.metrics)();
    let kind = if text.ends_with("# EOF\n") {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}
