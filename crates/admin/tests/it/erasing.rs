//! Erasing what is kept of somebody's operations.

use serde_json::{Value, json};

use crate::desk::{Desk, Reply};

async fn erase(desk: &Desk, order: &Value) -> Reply {
    desk.post("/api/erase", &order.to_string()).await
}

fn order(field: &str, value: &str, dry_run: bool) -> Value {
    json!({field: value, "reason": "ticket 4711", "by": "eve", "dry_run": dry_run})
}

#[tokio::test]
async fn a_principals_operations_are_counted_erased_and_those_in_doubt_named() {
    let desk = Desk::open().await;
    let done = desk.completed("k", b"a secret").await;
    desk.completed("l", b"another").await;
    let doubt = desk.in_doubt("m").await;
    for dry_run in [true, false] {
        let shown = desk.get(&format!("/api/operations/{done}?body")).await.json();
        assert_eq!((&shown["key"], &shown["answer"]["body"]), (&json!("k"), &json!("a secret")));
        let erased = erase(&desk, &order("principal", "ada", dry_run)).await.json();
        let expected = json!({"erased": 2, "left": [doubt.to_string()], "next": null, "dry_run": dry_run});
        assert_eq!(erased, expected);
    }
    let shown = desk.get(&format!("/api/operations/{done}?body")).await.json();
    assert_eq!((&shown["state"], &shown["answer"]), (&json!("tombstone"), &Value::Null));
    for (field, value) in [("key", "(erased)"), ("namespace", "(erased)"), ("path", "")] {
        assert_eq!(shown[field], value, "{field}");
    }
    assert_eq!((&shown["principal"], &shown["credential"]), (&Value::Null, &Value::Null));
    let again = erase(&desk, &order("principal", "ada", false)).await.json();
    assert_eq!(again["erased"], 0);
}

#[tokio::test]
async fn many_operations_are_erased_a_step_a_call() {
    let desk = Desk::open().await;
    for number in 0..501 {
        desk.completed(&number.to_string(), b"").await;
    }
    let mut order = order("namespace", "route orders", false);
    let first = erase(&desk, &order).await.json();
    assert_eq!(first["erased"], 500);
    order["from"] = first["next"].clone();
    let second = erase(&desk, &order).await.json();
    assert_eq!((&second["erased"], &second["next"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn an_order_that_does_not_say_whose_or_why_erases_nothing() {
    let desk = Desk::open().await;
    let done = desk.completed("k", b"kept").await;
    let mut both = order("principal", "ada", false);
    both["namespace"] = json!("route orders");
    let mut silent = order("principal", "ada", false);
    silent["reason"] = json!(" ");
    let mut lost = order("principal", "ada", false);
    lost["from"] = json!("there");
    let nobody = json!({"reason": "ticket 4711", "by": "eve"});
    for bad in [
        &both,
        &silent,
        &lost,
        &nobody,
        &order("principal", "", false),
        &order("namespace", "", false),
        &order("credential", "abc", false),
        &order("credential", &"x".repeat(32), false),
    ] {
        erase(&desk, bad).await.refused(400, "request-invalid");
    }
    let shown = desk.get(&format!("/api/operations/{done}?body")).await.json();
    assert_eq!(shown["answer"]["body"], "kept");
}
