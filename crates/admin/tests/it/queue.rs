//! What routes have to do is told, routes rest and go on, and single operations are called off by hand.

use serde_json::json;
use steadfast_ledger::Enqueue;

use crate::desk::{Desk, work};

fn order(more: &serde_json::Value) -> String {
    let mut order = json!({"reason": "the bank asked for it", "by": "ada"});
    order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    order.to_string()
}

#[tokio::test]
async fn a_queue_is_listed_paused_and_resumed() {
    let desk = Desk::open().await;
    assert_eq!(desk.get("/api/queue").await.json()[0]["due"], json!(0));
    desk.left(work("now")).await;
    desk.left(Enqueue { delay: std::time::Duration::from_secs(60), ..work("later") }).await;
    desk.left(Enqueue { route: "gone".into(), ..work("gone") }).await;
    let paused = desk.post("/api/queue/pause", &order(&json!({"route": "orders", "for": "2h"}))).await.json();
    assert!(paused["until"].is_string(), "{paused}");
    let listed = desk.get("/api/queue").await.json();
    let (gone, orders) = (&listed[0], &listed[1]);
    assert_eq!((&gone["route"], &gone["configured"]), (&json!("gone"), &json!(false)));
    assert_eq!((&orders["due"], &orders["later"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&orders["pause"]["by"], &orders["pause"]["reason"]),
        (&json!("ada"), &json!("the bank asked for it"))
    );
    let resumed = desk.post("/api/queue/resume", &order(&json!({"route": "orders"}))).await;
    assert_eq!(resumed.status, 200);
    assert_eq!(desk.get("/api/queue").await.json()[1]["pause"], json!(null));
    desk.post("/api/queue/resume", &order(&json!({"route": "orders"})))
        .await
        .refused(404, "route-not-paused");
    desk.post("/api/queue/pause", &order(&json!({"route": "ordres"}))).await.refused(404, "queue-not-found");
    let soon = json!({"route": "orders", "for": "soon"});
    desk.post("/api/queue/pause", &order(&soon)).await.refused(400, "request-invalid");
    desk.post("/api/queue/pause", "{\"route\": \"orders\"}").await.refused(400, "request-invalid");
}

#[tokio::test]
async fn what_waits_is_called_off_and_what_is_done_is_not() {
    let desk = Desk::open().await;
    let id = desk.left(work("now")).await;
    let cancel = order(&json!({"id": id.to_string()}));
    assert_eq!(desk.post("/api/queue/cancel", &cancel).await.json()["state"], json!("cancelled"));
    desk.post("/api/queue/cancel", &cancel).await.refused(409, "change-refused");
    let done = desk.completed("done", b"ok").await;
    let cancel = order(&json!({"id": done.to_string()}));
    desk.post("/api/queue/cancel", &cancel).await.refused(409, "change-refused");
    desk.post("/api/queue/cancel", &order(&json!({"id": "x"}))).await.refused(400, "request-invalid");
}
