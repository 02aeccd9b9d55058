//! Limits on callers, seen, reset and raised.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::json;

use crate::desk::Desk;

#[tokio::test]
async fn limits_are_listed_with_what_they_did() {
    let desk = Desk::open().await;
    let listed = desk.get("/api/limits").await.json();
    assert_eq!(listed["limits"][0]["name"], "per-customer");
    assert_eq!(
        (&listed["limits"][0]["mode"], &listed["limits"][0]["would_refuse"]),
        (&json!("shadow"), &json!(3))
    );
    let counts = desk.get("/api/limits/counts?subject=acme").await.json();
    assert_eq!(counts[0]["remaining"], 12);
    desk.get("/api/limits/counts?subject=acme&limit=other").await.refused(404, "limit-not-found");
    for query in ["", "?subject=", "?subject=acme&kind=x", "?subject=%0a"] {
        desk.get(&format!("/api/limits/counts{query}")).await.refused(400, "request-invalid");
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn whoever_resets_or_raises_a_limit_is_written_down_as_a_security_event() {
    let log = Log::default();
    let writer = log.clone();
    // The test's runtime has one thread, so this subscriber hears the server too.
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _listening = tracing::subscriber::set_default(subscriber);
    let desk = Desk::open().await;
    let order = |order: serde_json::Value| order.to_string();
    let raise = json!({"subject": "acme", "factor": 3, "for": "2h", "reason": "migration", "by": "ada"});
    let raised = desk.post("/api/limits/raise", &order(raise)).await.json();
    assert_eq!(raised, json!({"subject": "acme", "changed": 1}));
    let reset = json!({"subject": "acme", "reason": "migration", "by": "ada"});
    assert_eq!(desk.post("/api/limits/reset", &order(reset)).await.status, 200);
    let unknown = json!({"subject": "acme", "limit": "other", "reason": "migration", "by": "ada"});
    desk.post("/api/limits/reset", &order(unknown)).await.refused(404, "limit-not-found");
    assert_eq!(*desk.gateway.limits_changed.lock().unwrap(), ["raise acme x3 for 7200 s", "reset acme"]);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let audit: Vec<_> = text.lines().filter(|line| line.contains(" audit: ")).collect();
    assert_eq!(audit.len(), 3, "{text}");
    for said in ["kind=\"security\"", "subject=\"acme\"", "by=\"ada\"", "reason=\"migration\""] {
        assert!(audit.iter().all(|line| line.contains(said)), "{said}: {text}");
    }
    assert!(audit[0].contains("factor=3") && audit[0].contains("seconds=7200"), "{text}");
    assert!(audit[2].contains("result=\"refused: "), "{text}");
}

#[tokio::test]
async fn an_order_that_is_not_complete_changes_nothing() {
    let desk = Desk::open().await;
    let whole = json!({"subject": "acme", "factor": 3, "for": "2h", "reason": "why", "by": "ada"});
    for (member, value) in [
        ("subject", json!("")),
        ("factor", json!(0)),
        ("factor", json!(1_001)),
        ("factor", json!(-1)),
        ("for", json!("8d")),
        ("for", json!("2")),
        ("reason", json!(" ")),
        ("by", json!("")),
        ("limits", json!("all")),
    ] {
        let mut order = whole.clone();
        order[member] = value;
        desk.post("/api/limits/raise", &order.to_string()).await.refused(400, "request-invalid");
    }
    for member in ["subject", "reason", "by"] {
        let mut order = json!({"subject": "acme", "reason": "why", "by": "ada"});
        order.as_object_mut().unwrap().remove(member);
        desk.post("/api/limits/reset", &order.to_string()).await.refused(400, "request-invalid");
    }
    assert!(desk.gateway.limits_changed.lock().unwrap().is_empty());
}
