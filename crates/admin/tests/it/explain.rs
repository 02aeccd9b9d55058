//! Why a request was refused, or slow.

use serde_json::json;
use steadfast_admin::api::ExplainedView;

use crate::desk::Desk;

fn remembered(operation: Option<String>) -> ExplainedView {
    let json = json!({
        "at": "2026-11-30T20:00:00.000Z", "because": "slow", "method": "POST", "path": "/orders",
        "route": "orders", "client": "127.0.0.1", "status": 201, "took_ms": 1500.0, "refusal": null,
        "operation": operation, "steps": [], "steps_left_out": 0
    });
    serde_json::from_value(json).expect("a request")
}

#[tokio::test]
async fn what_the_node_remembers_is_told_with_the_operation_as_it_stands() {
    let desk = Desk::open().await;
    let operation = desk.in_doubt("k").await.to_string();
    let both = [remembered(Some(operation.clone())), remembered(Some(operation.clone()))];
    let both = both.map(|request| ("mine".to_owned(), request));
    desk.gateway.explained.lock().unwrap().extend(both);
    let told = desk.get("/api/explain/mine").await.json();
    assert_eq!(told["requests"].as_array().map(Vec::len), Some(2));
    assert_eq!(told["ledger"], "not");
    assert_eq!(told["operations"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!(told["operations"][0]["state"], "in_doubt");
    assert_eq!(told["operations"][0]["id"], operation);
}

#[tokio::test]
async fn what_no_node_remembers_is_found_in_the_ledger() {
    let desk = Desk::open().await;
    let claim = desk.claimed_by(Some("req-7"), "k").await;
    let told = desk.get("/api/explain/req-7").await.json();
    assert_eq!((&told["requests"], &told["ledger"]), (&json!([]), &json!("whole")));
    assert_eq!(told["operations"][0]["id"], claim.operation.to_string());
    assert_eq!(told["operations"][0]["attempts"][0]["request_id"], "req-7");
}

#[tokio::test]
async fn a_repeat_that_was_refused_is_told_with_what_the_first_one_executed() {
    let desk = Desk::open().await;
    let claim = desk.claimed_by(Some("req-7"), "k").await;
    desk.gateway.explained.lock().unwrap().push(("req-7".to_owned(), remembered(None)));
    let told = desk.get("/api/explain/req-7").await.json();
    assert_eq!(told["requests"].as_array().map(Vec::len), Some(1));
    assert_eq!(told["ledger"], "whole");
    assert_eq!(told["operations"][0]["id"], claim.operation.to_string());
}

#[tokio::test]
async fn of_an_unknown_request_it_says_where_to_ask_next() {
    let desk = Desk::open().await;
    let reply = desk.get("/api/explain/nobody").await;
    assert_eq!(reply.status, 404);
    let problem = reply.json();
    assert_eq!(problem["code"], "no-such-request");
    assert!(problem["next_step"].as_str().is_some_and(|words| words.contains("--admin")), "{problem}");
    for nobodys in [&*"x".repeat(129), "a%20b", "%C3%A4"] {
        let reply = desk.get(&format!("/api/explain/{nobodys}")).await;
        assert_eq!(reply.status, 404, "{nobodys}");
        let detail = reply.json()["detail"].to_string();
        assert!(detail.contains("No request has such an id"), "it is not searched for: {detail}");
    }
}
