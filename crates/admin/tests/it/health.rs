//! Health, metrics, reload and config.

use std::sync::atomic::Ordering;

use serde_json::json;
use steadfast_admin::ReloadReport;

use crate::desk::Desk;

#[tokio::test]
async fn is_ready_until_it_drains_and_alive_until_the_end() {
    let desk = Desk::open().await;
    assert_eq!(desk.get("/readyz").await.json(), json!({"status": "ready"}));
    desk.gateway.draining.store(true, Ordering::Relaxed);
    let reply = desk.get("/readyz?verbose").await;
    assert_eq!(reply.status, 503);
    let health = reply.json();
    assert_eq!(health["status"], "not_ready");
    assert_eq!(
        (&health["checks"][0]["name"], &health["checks"][0]["ok"]),
        (&json!("gateway"), &json!(false))
    );
    assert_eq!((&health["checks"][1]["name"], &health["checks"][1]["ok"]), (&json!("ledger"), &json!(true)));
    assert_eq!(desk.get("/livez").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn is_not_ready_without_its_ledger() {
    let desk = Desk::open().await;
    desk.ledger.close();
    let reply = desk.get("/readyz?verbose=1").await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["checks"][1]["detail"], "the ledger is closed");
    assert_eq!(desk.get("/livez").await.status, 200);
    desk.get("/api/counts").await.refused(503, "ledger-unavailable");
}

#[tokio::test]
async fn an_unknown_question_about_health_is_refused() {
    let desk = Desk::open().await;
    desk.get("/readyz?verbos").await.refused(400, "request-invalid");
    desk.get("/readyz?verbose=maybe").await.refused(400, "request-invalid");
}

#[tokio::test]
async fn metrics_come_under_the_type_of_their_format() {
    let desk = Desk::open().await;
    let reply = desk.get("/metrics").await;
    assert_eq!((reply.status, &*reply.body), (200, "# TYPE up gauge\nup 1\n# EOF\n"));
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(reply.head.contains(kind), "{}", reply.head);
}

#[tokio::test]
async fn a_reload_says_what_it_did_or_why_it_did_nothing() {
    let desk = Desk::open().await;
    let notes = vec!["route /pay is new".to_owned()];
    *desk.gateway.reload.lock().unwrap() = Ok(ReloadReport { notes });
    assert_eq!(desk.post("/api/reload", "").await.json(), json!({"notes": ["route /pay is new"]}));
    *desk.gateway.reload.lock().unwrap() = Err("line 3: unknown key `rout`".to_owned());
    let detail = desk.post("/api/reload", "{}").await.refused(422, "reload-refused");
    assert!(detail.contains("line 3: unknown key `rout`"));
    desk.post("/api/reload", "{\"force\": true}").await.refused(400, "request-invalid");
}

#[tokio::test]
async fn the_config_in_force_is_shown_with_where_it_comes_from() {
    let desk = Desk::open().await;
    let config = desk.get("/api/config").await.json();
    assert_eq!(
        config,
        json!({
            "toml": "listen = \"127.0.0.1:8080\"\n",
            "file": "/etc/steadfast/steadfast.toml",
            "overridden": [{"path": "listen", "by": "--listen"}],
        })
    );
}
