//! The circuits of upstreams: how they stand, and holding them open or closed by hand for a time, written down by name.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::StatusCode,
};

use crate::{
    api::{CircuitOrderRequest, CircuitOrderedView, CircuitView, EndpointView},
    control::{CircuitOrder, CircuitOrdered, CircuitReport, EndpointReport, OrderRefused},
    parameters::{read_json, read_time},
    problem::Problem,
    router::AdminParts,
    settle::{BY_CHARS_MAX, REASON_CHARS_MAX},
};

/// The longest body of an order.
const BODY_BYTES_MAX: usize = 16 << 10;
/// For how long an order holds, unless it says so; and at most, so that none is forgotten.
const HELD_FOR: Duration = Duration::from_secs(600);
const HELD_FOR_MAX: Duration = Duration::from_secs(24 * 3600);

const EXPECTED: &str = "Send {\"state\": \"open\", \"closed\" or \"automatic\", \"for\": \"10m\", \"reason\": \"…\", \
                        \"by\": \"…\"}, with \"endpoint\" for one of several.";

pub(crate) async fn list(State(parts): State<AdminParts>) -> Json<Vec<EndpointView>> {
    Json(parts.control.endpoints().into_iter().map(endpoint).collect())
}

fn endpoint(report: EndpointReport) -> EndpointView {
    EndpointView {
        upstream: report.upstream,
        endpoint: report.endpoint,
        healthy: report.is_healthy,
        in_flight: report.in_flight,
        cost_ms: report.cost.map(|cost| rounded(cost.as_secs_f64() * 1e3)),
        circuit: report.circuit.map(circuit),
    }
}

fn circuit(CircuitReport { view, age, left, is_enforced }: CircuitReport) -> CircuitView {
    CircuitView {
        state: view.phase.as_str().to_owned(),
        for_seconds: rounded(age.as_secs_f64()),
        why: view.why.to_string(),
        left_seconds: left.map(|left| rounded(left.as_secs_f64())),
        by_hand: view.by_hand,
        mode: if is_enforced { "enforce" } else { "shadow" }.to_owned(),
        calls: view.calls,
        failed: view.failed,
        slow: view.slow,
    }
}

/// To three places.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

pub(crate) async fn order(
    State(parts): State<AdminParts>,
    Path(upstream): Path<String>,
    body: Body,
) -> Result<Json<CircuitOrderedView>, Problem> {
    let request: CircuitOrderRequest = read_json(body, BODY_BYTES_MAX, EXPECTED).await?;
    let order = read_order(&request)?;
    let reason = noted("reason", &request.reason, REASON_CHARS_MAX)?;
    let by = noted("by", &request.by, BY_CHARS_MAX)?;
    let ordered = parts.control.order_circuits(&upstream, request.endpoint.as_deref(), order);
    let result = match &ordered {
        Ok(CircuitOrdered(circuits)) => format!("{circuits} circuits"),
        Err(refused) => format!("refused: {refused}"),
    };
    tracing::info!(
        target: "audit",
        action = "circuit",
        upstream,
        endpoint = request.endpoint,
        state = request.state,
        time = request.time,
        by,
        reason,
        result,
        "an order for circuits was given"
    );
    let CircuitOrdered(circuits) = ordered.map_err(|refusal| refused(refusal, &upstream))?;
    Ok(Json(CircuitOrderedView { upstream, state: request.state, circuits }))
}

fn read_order(request: &CircuitOrderRequest) -> Result<CircuitOrder, Problem> {
    let time = request.time.as_deref().map_or(Ok(HELD_FOR), held_for);
    match request.state.as_str() {
        "open" => time.map(CircuitOrder::Open),
        "closed" => time.map(CircuitOrder::Closed),
        "automatic" if request.time.is_none() => Ok(CircuitOrder::Automatic),
        "automatic" => Err(Problem::bad_request(
            "`automatic` is not for a time.",
            "Leave `for` out: it goes by what happens until somebody says something else.",
        )),
        _ => Err(Problem::bad_request("There is no such `state`.", EXPECTED)),
    }
}

/// For how long an order is to hold.
fn held_for(text: &str) -> Result<Duration, Problem> {
    read_time(text, HELD_FOR_MAX).ok_or_else(|| {
        Problem::bad_request(
            "`for` is not a time from 1s to 24h.",
            "Write a whole number and s, m or h: 10m. Give the order again where a day is too short.",
        )
    })
}

/// A text for the audit log, which need not be stated.
fn noted<'a>(field: &str, text: &'a str, chars_max: usize) -> Result<&'a str, Problem> {
    let text = text.trim();
    if text.chars().count() > chars_max || text.chars().any(|char| char.is_control() && char != '\n') {
        return Err(Problem::bad_request(
            format!("`{field}` must have {chars_max} characters at most, and no control characters."),
            EXPECTED,
        ));
    }
    Ok(if text.is_empty() { "not stated" } else { text })
}

fn refused(refusal: OrderRefused, upstream: &str) -> Problem {
    let shown: String = upstream.chars().take(100).collect();
    match refusal {
        OrderRefused::NoSuchUpstream => Problem::new(
            StatusCode::NOT_FOUND,
            "upstream-not-found",
            format!("There is no upstream `{shown}`."),
            "Look at /api/circuits, or run steadfast circuits list.",
        ),
        OrderRefused::NoSuchEndpoint => Problem::new(
            StatusCode::NOT_FOUND,
            "endpoint-not-found",
            format!("The upstream `{shown}` has no such endpoint."),
            "Name it as /api/circuits does, or leave it out to mean all.",
        ),
        OrderRefused::NoCircuit => Problem::new(
            StatusCode::CONFLICT,
            "no-circuit",
            format!("The upstream `{shown}` has no circuit."),
            "Give it one in the config, `circuit = {}` with all defaults say, and reload.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_numbers_with_a_unit_up_to_a_day() {
        for (text, seconds) in [("1s", 1), ("10m", 600), (" 24h ", 86_400), ("86400s", 86_400)] {
            assert_eq!(held_for(text).ok(), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "0s",
            "10",
            "10d",
            "25h",
            "-1s",
            "1.5h",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            assert!(held_for(text).is_err(), "{text}");
        }
    }
}
