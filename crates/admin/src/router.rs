//! The admin API's router: what stands where.

use std::{fmt, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{Method, StatusCode, Uri},
    middleware,
    routing::{get, post},
};
use serde::Deserialize;
use steadfast_ledger::SharedLedger;

use crate::{
    api::{ConfigView, OverriddenView, ReloadView},
    bans, cache, circuits,
    control::{ConfigOrigin, Control, Readiness, ReloadReport},
    credentials, erase, explain, guard, health, letters, limits, operations,
    parameters::read_json,
    problem::Problem,
    queue, settle, usage,
};

/// The longest body of a request, unless a handler says otherwise.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What the admin API is built from.
#[derive(Clone)]
pub struct AdminParts {
    /// The ledger that it shows and settles.
    pub ledger: SharedLedger,
    /// Writes the metrics as Prometheus or OpenMetrics text. Must not block.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether the gateway wants to be sent requests.
    pub readiness: Arc<dyn Readiness>,
    /// Operates the gateway.
    pub control: Arc<dyn Control>,
}

impl fmt::Debug for AdminParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AdminParts").finish_non_exhaustive()
    }
}

/// The admin API. [`serve`](crate::serve) serves it; it must not be reachable from beyond the machine.
pub fn router(parts: AdminParts) -> Router {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/api/operations", get(operations::list))
        .route("/api/operations/{id}", get(operations::get))
        .route("/api/operations/{id}/settle", post(settle::settle))
        .route("/api/dead-letters", get(letters::groups))
        .route("/api/dead-letters/list", get(letters::list))
        .route("/api/dead-letters/redrive", post(letters::redrive_many))
        .route("/api/dead-letters/purge", post(letters::purge_many))
        .route("/api/dead-letters/{id}", get(letters::show))
        .route("/api/dead-letters/{id}/redrive", post(letters::redrive))
        .route("/api/dead-letters/{id}/purge", post(letters::purge))
        .route("/api/dead-letters/{id}/edit", post(letters::edit))
        .route("/api/redrives", get(letters::runs))
        .route("/api/redrives/{run}/stop", post(letters::stop))
        .route("/api/redrives/{run}/resume", post(letters::resume))
        .route("/api/queue", get(queue::list))
        .route("/api/queue/pause", post(queue::pause))
        .route("/api/queue/resume", post(queue::resume))
        .route("/api/queue/cancel", post(queue::cancel))
        .route("/api/erase", post(erase::erase))
        .route("/api/cache", get(cache::show))
        .route("/api/cache/purge", post(cache::purge))
        .route("/api/counts", get(operations::counts))
        .route("/api/circuits", get(circuits::list))
        .route("/api/circuits/{upstream}", post(circuits::order))
        .route("/api/explain/{request_id}", get(explain::explain))
        .route("/api/usage", get(usage::list))
        .route("/api/limits", get(limits::list))
        .route("/api/limits/counts", get(limits::counts))
        .route("/api/limits/reset", post(limits::reset))
        .route("/api/limits/raise", post(limits::raise))
        .route("/api/bans", get(bans::list).post(bans::ban))
        .route("/api/bans/lift", post(bans::lift))
        .route("/api/credentials", get(credentials::list).post(credentials::create))
        .route("/api/credentials/{id}/rotate", post(credentials::rotate))
        .route("/api/credentials/{id}/revoke", post(credentials::revoke))
        .route("/api/reload", post(reload))
        .route("/api/config", get(config))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // Last, and so outermost: nothing is answered to a request that a web page may have forged.
        .layer(middleware::from_fn(guard::guard))
        .with_state(parts)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadRequest {}

async fn reload(State(parts): State<AdminParts>, body: Body) -> Result<Json<ReloadView>, Problem> {
    let ReloadRequest {} =
        read_json(body, BODY_BYTES_MAX, "Send {} or nothing: the file says what changes.").await?;
    let reloaded = parts.control.reload().await;
    let result = reloaded.as_ref().map_or_else(|reason| format!("refused: {reason}"), |_| "done".to_owned());
    tracing::info!(target: "audit", action = "reload", result, "a reload of the config was asked for");
    match reloaded {
        Ok(ReloadReport { notes }) => Ok(Json(ReloadView { notes })),
        Err(reason) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "reload-refused",
            format!("The config in force stays: {}.", reason.trim_end_matches('.')),
            "Correct the file, check it with steadfast config check, and reload again.",
        )),
    }
}

async fn config(State(parts): State<AdminParts>) -> Json<ConfigView> {
    let ConfigOrigin { file, overridden } = parts.control.config_origin();
    let overridden = overridden.into_iter().map(|(path, by)| OverriddenView { path, by }).collect();
    Json(ConfigView { toml: parts.control.effective_config(), file, overridden })
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        format!("There is nothing at {path}."),
        "There are /livez, /readyz, /metrics, /api/operations, /api/dead-letters, /api/redrives, /api/queue, /api/erase, /api/cache, /api/counts, /api/circuits, /api/explain/{request_id}, /api/usage, /api/limits, /api/bans, /api/credentials, /api/reload and /api/config.",
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{path} does not take {method}."),
        "Read with GET; settle, redrive, edit, pause, cancel, erase, purge, order circuits, reset and raise limits, ban, change credentials and reload with POST. The Allow header says which.",
    )
}
