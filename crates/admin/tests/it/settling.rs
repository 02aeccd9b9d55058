//! Settling by hand.

use serde_json::{Value, json};

use crate::desk::Desk;

async fn settle(desk: &Desk, id: impl std::fmt::Display, order: &Value) -> crate::desk::Reply {
    desk.post(&format!("/api/operations/{id}/settle"), &order.to_string()).await
}

fn order(happened: bool) -> Value {
    json!({"happened": happened, "reason": "looked it up", "by": "ada"})
}

#[tokio::test]
async fn what_happened_is_settled_with_its_answer() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    let mut order = order(true);
    order["answer"] = json!({"status": 201, "headers": [["Location", "/orders/1"]], "body": "made"});
    let settled = settle(&desk, id, &order).await.json();
    assert_eq!(settled, json!({"id": id.to_string(), "state": "completed", "dry_run": false}));
    let shown = desk.get(&format!("/api/operations/{id}?body=true")).await.json();
    assert_eq!(shown["answer"]["headers"], json!([["location", "/orders/1"]]));
    assert_eq!((&shown["answer"]["status"], &shown["answer"]["body"]), (&json!(201), &json!("made")));
    let settlement = &shown["settlement"];
    assert_eq!((&settlement["by"], &settlement["happened"]), (&json!("ada"), &json!(true)));
    settle(&desk, id, &order).await.refused(409, "settlement-refused");
}

#[tokio::test]
async fn an_answer_that_is_not_text_comes_in_base_64() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    let mut order = order(true);
    order["answer"] = json!({"status": 200, "body_base64": "/wD+"});
    assert_eq!(settle(&desk, id, &order).await.status, 200);
    let shown = desk.get(&format!("/api/operations/{id}?body")).await.json();
    assert_eq!(shown["answer"]["body_base64"], "/wD+");
}

#[tokio::test]
async fn what_did_not_happen_is_free_again() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    assert_eq!(settle(&desk, id, &order(false)).await.json()["state"], "released");
    desk.claimed("k").await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    for (happened, state) in [(true, "completed"), (false, "released")] {
        let mut order = order(happened);
        order["dry_run"] = json!(true);
        let planned = settle(&desk, id, &order).await.json();
        assert_eq!(planned, json!({"id": id.to_string(), "state": state, "dry_run": true}));
    }
    assert_eq!(desk.get(&format!("/api/operations/{id}")).await.json()["state"], "in_doubt");
    let done = desk.completed("done", b"").await;
    let running = desk.claimed("running").await.operation;
    for id in [done, running] {
        for dry_run in [true, false] {
            let mut order = order(true);
            order["dry_run"] = json!(dry_run);
            settle(&desk, id, &order).await.refused(409, "settlement-refused");
        }
    }
}

#[tokio::test]
async fn a_settlement_that_cannot_be_meant_is_refused_and_changes_nothing() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    for (field, value, said) in [
        ("reason", json!(""), "`reason`"),
        ("reason", json!("x".repeat(2_001)), "`reason`"),
        ("by", json!("  "), "`by`"),
        ("by", json!("a\u{1b}[2J"), "`by`"),
        ("happened", json!("yes"), "boolean"),
        ("hapened", json!(true), "unknown field `hapened`"),
        ("answer", json!({"status": 99}), "99 is not the status"),
        ("answer", json!({"status": 204, "body": "x"}), "has no body"),
        ("answer", json!({"status": 200, "bdy": "x"}), "unknown field `bdy`"),
        ("answer", json!({"status": 200, "body": "x", "body_base64": "eA=="}), "both"),
        ("answer", json!({"status": 200, "body_base64": "?"}), "not base 64"),
        ("answer", json!({"status": 200, "headers": [["a b", "c"]]}), "not a header field's name"),
        ("answer", json!({"status": 200, "headers": [["a", "b\r\nc: d"]]}), "The value of `a`"),
        ("answer", json!({"status": 200, "headers": [["Content-Length", "5"]]}), "do not repeat"),
        ("answer", json!({"status": 200, "headers": vec![["a", "b"]; 101]}), "more than 100"),
    ] {
        let mut order = order(true);
        order[field] = value;
        let detail = settle(&desk, id, &order).await.refused(400, "request-invalid");
        assert!(detail.contains(said), "{order}: {detail}");
    }
    let mut order = order(false);
    order["answer"] = json!({"status": 200});
    settle(&desk, id, &order).await.refused(400, "request-invalid");
    for body in ["", "{", "[]", "null"] {
        desk.post(&format!("/api/operations/{id}/settle"), body).await.refused(400, "request-invalid");
    }
    assert_eq!(desk.get(&format!("/api/operations/{id}")).await.json()["state"], "in_doubt");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    let mut order = order(true);
    order["answer"] = json!({"status": 200, "body": "x".repeat(1 << 20)});
    settle(&desk, id, &order).await.refused(413, "body-too-large");
    order["answer"] = json!({"status": 200, "body": "x".repeat(900 << 10)});
    assert_eq!(settle(&desk, id, &order).await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_not_settled() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await.to_string();
    let other = format!("{}{}", &id[..id.len() - 1], if id.ends_with('0') { '1' } else { '0' });
    for dry_run in [true, false] {
        let mut order = order(true);
        order["dry_run"] = json!(dry_run);
        settle(&desk, &other, &order).await.refused(404, "operation-not-found");
    }
}
