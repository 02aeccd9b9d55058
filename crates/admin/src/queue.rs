//! What each route has to do in the background, letting it rest, and calling single operations off by hand.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, body::Body, extract::State, http::StatusCode};
use steadfast_ledger::{Cancelled, PauseError, PauseOrder, RoutePause};

use crate::{
    api::{CancelRequest, ChangedView, PauseRequest, PauseView, QueueView},
    instant::rfc3339,
    letters::{audit, by_hand, refused},
    operations::parse_id,
    parameters::{read_json, read_time},
    problem::Problem,
    router::AdminParts,
};

/// The longest body of an order.
const BODY_BYTES_MAX: usize = 16 << 10;

/// The longest time for which a route rests; beyond that somebody should have to say so.
const REST_MAX: Duration = Duration::from_secs(365 * 86_400);

const EXPECTED_PAUSE: &str =
    "Send {\"route\": \"…\", \"reason\": \"…\", \"by\": \"…\"}, with \"for\": \"2h\" for a time.";
const EXPECTED_RESUME: &str = "Send {\"route\": \"…\", \"reason\": \"…\", \"by\": \"…\"}.";
const EXPECTED_CANCEL: &str = "Send {\"id\": \"op_…\", \"reason\": \"…\", \"by\": \"…\"}.";

pub(crate) async fn list(State(parts): State<AdminParts>) -> Result<Json<Vec<QueueView>>, Problem> {
    let now = parts.ledger.now().await?;
    let mut queues: BTreeMap<String, QueueView> = BTreeMap::new();
    let empty = |route: &str, configured: bool| QueueView {
        route: route.to_owned(),
        configured,
        due: 0,
        later: 0,
        oldest_due_seconds: None,
        pause: None,
    };
    for route in parts.control.work_routes() {
        queues.insert(route.clone(), empty(&route, true));
    }
    for backlog in parts.ledger.backlog().await? {
        let queue = queues.entry(backlog.route.to_string()).or_insert_with(|| empty(&backlog.route, false));
        (queue.due, queue.later) = (backlog.due, backlog.later);
        queue.oldest_due_seconds = backlog.oldest_due_at.map(|at| now.since(at).as_secs());
    }
    for pause in parts.ledger.pauses().await? {
        let queue = queues.entry(pause.route.to_string()).or_insert_with(|| empty(&pause.route, false));
        queue.pause = Some(pause_view(&pause));
    }
    Ok(Json(queues.into_values().collect()))
}

pub(crate) async fn pause(State(parts): State<AdminParts>, body: Body) -> Result<Json<PauseView>, Problem> {
    let request: PauseRequest = read_json(body, BODY_BYTES_MAX, EXPECTED_PAUSE).await?;
    let (reason, by) = by_hand(&request.reason, &request.by)?;
    let time = request.time.as_deref().map(rest_for).transpose()?;
    require_known(&parts, &request.route).await?;
    let order =
        PauseOrder { route: request.route.as_str().into(), time, by: by.clone(), reason: reason.clone() };
    let paused = parts.ledger.pause(order).await;
    let result = paused.as_ref().map_or_else(|error| format!("refused: {error}"), |_| "done".to_owned());
    tracing::info!(
        target: "audit",
        action = "queue_pause",
        route = request.route,
        time = request.time,
        by = &*by,
        reason = &*reason,
        result,
        "a route was to rest"
    );
    paused.map(|pause| Json(pause_view(&pause))).map_err(not_paused)
}

pub(crate) async fn resume(State(parts): State<AdminParts>, body: Body) -> Result<Json<PauseView>, Problem> {
    let request: PauseRequest = read_json(body, BODY_BYTES_MAX, EXPECTED_RESUME).await?;
    let (reason, by) = by_hand(&request.reason, &request.by)?;
    if request.time.is_some() {
        return Err(Problem::bad_request("A route is not resumed for a time.", EXPECTED_RESUME));
    }
    let ended = parts.ledger.resume(request.route.as_str().into()).await;
    let result = match &ended {
        Ok(Some(_)) => "done".to_owned(),
        Ok(None) => "refused: it does not rest".to_owned(),
        Err(error) => format!("failed: {error}"),
    };
    tracing::info!(
        target: "audit",
        action = "queue_resume",
        route = request.route,
        by = &*by,
        reason = &*reason,
        result,
        "a route was to go on"
    );
    let ended = ended?.ok_or_else(|| {
        let shown: String = request.route.chars().take(100).collect();
        Problem::new(
            StatusCode::NOT_FOUND,
            "route-not-paused",
            format!("The route `{shown}` does not rest."),
            "Look at /api/queue, or run steadfast queue list.",
        )
    })?;
    Ok(Json(pause_view(&ended)))
}

pub(crate) async fn cancel(
    State(parts): State<AdminParts>,
    body: Body,
) -> Result<Json<ChangedView>, Problem> {
    let request: CancelRequest = read_json(body, BODY_BYTES_MAX, EXPECTED_CANCEL).await?;
    let (reason, by) = by_hand(&request.reason, &request.by)?;
    let id = parse_id(&request.id)?;
    let cancelled = parts.ledger.cancel(id).await;
    audit("queue_cancel", id, &cancelled, (&by, &reason));
    let (state, note) = match cancelled.map_err(|error| refused(error, id))? {
        Cancelled::Now(state) => (state.as_str(), None),
        Cancelled::AfterThisAttempt => {
            ("claimed", Some("An attempt is under way: if it brings nothing, none follows.".to_owned()))
        }
    };
    Ok(Json(ChangedView { id: id.to_string(), state: state.to_owned(), note }))
}

/// A route that is mistyped would seem to rest and would not.
async fn require_known(parts: &AdminParts, route: &str) -> Result<(), Problem> {
    let is_configured = parts.control.work_routes().iter().any(|known| known == route);
    if is_configured || parts.ledger.backlog().await?.iter().any(|queue| &*queue.route == route) {
        return Ok(());
    }
    let shown: String = route.chars().take(100).collect();
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        "queue-not-found",
        format!("No route `{shown}` lets anything happen in the background."),
        "Look at /api/queue, or run steadfast queue list.",
    ))
}

fn rest_for(text: &str) -> Result<Duration, Problem> {
    read_time(text, REST_MAX).ok_or_else(|| {
        Problem::bad_request(
            "`for` is not a time from 1s to 365d.",
            "Write a whole number and s, m, h or d: 2h. Leave it out to let it rest until it is resumed.",
        )
    })
}

fn not_paused(error: PauseError) -> Problem {
    match error {
        PauseError::TooMany => Problem::new(
            StatusCode::CONFLICT,
            "too-many-pauses",
            format!("It does not rest: {error}."),
            "Resume some of the others.",
        ),
        PauseError::Ledger(error) => error.into(),
    }
}

fn pause_view(pause: &RoutePause) -> PauseView {
    PauseView {
        route: pause.route.to_string(),
        since: rfc3339(pause.since),
        until: pause.until.map(rfc3339),
        by: pause.by.to_string(),
        reason: pause.reason.to_string(),
    }
}
