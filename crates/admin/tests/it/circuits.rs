//! Circuits, seen and held by hand.

use std::time::Duration;

use serde_json::json;
use steadfast_admin::CircuitOrder;

use crate::desk::Desk;

#[tokio::test]
async fn every_endpoint_is_listed_with_its_circuit() {
    let desk = Desk::open().await;
    let listed = desk.get("/api/circuits").await.json();
    let circuit = json!({
        "state": "closed", "for_seconds": 2.0, "why": "it began so", "left_seconds": null, "by_hand": false,
        "mode": "enforce", "calls": 0, "failed": 0, "slow": 0,
    });
    let endpoint = json!({
        "upstream": "bank", "endpoint": "http://bank:9000", "healthy": true, "in_flight": 3, "cost_ms": 12.0,
        "circuit": circuit,
    });
    assert_eq!(listed, json!([endpoint]));
}

#[tokio::test]
async fn a_circuit_is_held_for_a_time_or_let_go() {
    let desk = Desk::open().await;
    for (order, expected) in [
        (
            json!({"state": "open", "for": "30s", "reason": "maintenance", "by": "ada"}),
            CircuitOrder::Open(Duration::from_secs(30)),
        ),
        (
            json!({"state": "closed", "endpoint": "http://bank:9000"}),
            CircuitOrder::Closed(Duration::from_secs(600)),
        ),
        (json!({"state": "automatic"}), CircuitOrder::Automatic),
    ] {
        let ordered = desk.post("/api/circuits/bank", &order.to_string()).await.json();
        assert_eq!(ordered, json!({"upstream": "bank", "state": order["state"], "circuits": 1}));
        assert_eq!(*desk.gateway.ordered.lock().unwrap(), Some(expected));
    }
}

#[tokio::test]
async fn an_order_that_means_nothing_is_refused_and_says_why() {
    let desk = Desk::open().await;
    let order = |order: serde_json::Value| order.to_string();
    for (upstream, order, status, code) in [
        ("shop", order(json!({"state": "open"})), 404, "upstream-not-found"),
        ("plain", order(json!({"state": "open"})), 409, "no-circuit"),
        ("bank", order(json!({"state": "open", "endpoint": "http://other"})), 404, "endpoint-not-found"),
        ("bank", order(json!({"state": "ajar"})), 400, "request-invalid"),
        ("bank", order(json!({"state": "open", "for": "25h"})), 400, "request-invalid"),
        ("bank", order(json!({"state": "automatic", "for": "1h"})), 400, "request-invalid"),
        ("bank", order(json!({"state": "open", "by": "a".repeat(201)})), 400, "request-invalid"),
        ("bank", order(json!({})), 400, "request-invalid"),
    ] {
        desk.post(&format!("/api/circuits/{upstream}"), &order).await.refused(status, code);
    }
    assert_eq!(*desk.gateway.ordered.lock().unwrap(), None);
}
