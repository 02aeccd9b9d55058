//! Dead letters are found, shown, sent round again, edited and removed by people; what is in doubt is kept from harm.

use std::time::Duration;

use serde_json::{Value, json};
use steadfast_core::{AttemptEnd, OperationId, StateName, UnknownCause};
use steadfast_ledger::{Backlog, Enqueue, Operations, Redrives};

use crate::desk::{Desk, work};

const BUSY: AttemptEnd = AttemptEnd::Refused { status: 503 };
const TIMED_OUT: AttemptEnd = AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None };

fn order(more: &Value) -> String {
    let mut order = json!({"reason": "the bank is back", "by": "ada"});
    order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    order.to_string()
}

async fn doubtful(desk: &Desk, key: &str) -> OperationId {
    let repeatable_for = Some(Duration::from_secs(3_600));
    desk.dead(Enqueue { repeatable_for, ..work(key) }, TIMED_OUT).await
}

async fn state(desk: &Desk, id: OperationId) -> StateName {
    desk.ledger.operation(id).await.unwrap().unwrap().state
}

#[tokio::test]
async fn dead_letters_are_grouped_listed_and_shown_without_secrets() {
    let desk = Desk::open().await;
    let busy = desk.dead(work("busy"), BUSY).await;
    let lost = doubtful(&desk, "lost").await;
    let groups = desk.get("/api/dead-letters").await.json();
    assert_eq!(groups.as_array().map(Vec::len), Some(2));
    let of_busy = desk.get("/api/dead-letters?status=503").await.json();
    assert_eq!((&of_busy[0]["route"], &of_busy[0]["count"]), (&json!("orders"), &json!(1)));
    assert_eq!((&of_busy[0]["end"], &of_busy[0]["in_doubt"]), (&json!("refused"), &json!(0)));

    let listed = desk.get("/api/dead-letters/list?route=orders&limit=1").await.json();
    assert_eq!(listed["letters"][0]["id"], json!(busy.to_string()));
    let next = listed["next"].as_str().unwrap();
    let rest = desk.get(&format!("/api/dead-letters/list?route=orders&after={next}")).await.json();
    assert_eq!(rest["letters"][0]["id"], json!(lost.to_string()));
    assert_eq!((&rest["letters"][0]["cause"], &rest["next"]), (&json!("timeout"), &json!(null)));
    let young = desk.get("/api/dead-letters/list?older_than=1h").await.json();
    assert_eq!(young["letters"], json!([]));

    let shown = desk.get(&format!("/api/dead-letters/{busy}")).await.json();
    let request = &shown["request"];
    assert_eq!(request["target"], json!("/orders?x=1"));
    assert_eq!(request["headers"][0], json!(["authorization", "***"]));
    assert_eq!(request["body"], json!("{\"item\":1}"));
    assert_eq!(shown["attempts"][0]["excerpt"], json!("closed for today"));
    assert_eq!((&shown["attempts"][0]["status"], &shown["redrive_refused"]), (&json!(503), &json!(null)));
    let shown = desk.get(&format!("/api/dead-letters/{lost}")).await.json();
    assert!(shown["redrive_refused"].as_str().unwrap().contains("settle it"), "{shown}");
    desk.get("/api/dead-letters/list?end=answered").await.refused(400, "request-invalid");
    desk.get("/api/dead-letters/list?older_than=soon").await.refused(400, "request-invalid");
    desk.get("/api/dead-letters?colour=red").await.refused(400, "request-invalid");
}

#[tokio::test]
async fn a_letter_goes_round_again_unless_that_could_do_harm() {
    let desk = Desk::open().await;
    let busy = desk.dead(work("busy"), BUSY).await;
    let lost = doubtful(&desk, "lost").await;
    let homeless = desk.dead(work("homeless"), BUSY).await;
    desk.post(&format!("/api/dead-letters/{busy}/redrive"), "{}").await.refused(400, "request-invalid");
    let redriven = desk.post(&format!("/api/dead-letters/{busy}/redrive"), &order(&json!({}))).await.json();
    assert_eq!(redriven["state"], json!("queued"));
    assert_eq!(*desk.gateway.redriven.lock().unwrap(), ["orders"]);
    let again = desk.post(&format!("/api/dead-letters/{busy}/redrive"), &order(&json!({}))).await;
    again.refused(409, "change-refused");
    let harm = desk.post(&format!("/api/dead-letters/{lost}/redrive"), &order(&json!({}))).await;
    harm.refused(409, "change-refused");
    assert_eq!(state(&desk, lost).await, StateName::Dead);
    let purged = desk.post(&format!("/api/dead-letters/{homeless}/purge"), &order(&json!({}))).await.json();
    assert_eq!(purged["state"], json!("tombstone"));
    desk.post(&format!("/api/dead-letters/{lost}/purge"), &order(&json!({})))
        .await
        .refused(409, "change-refused");
    desk.post(&format!("/api/dead-letters/{busy}/purge"), &order(&json!({}))).await.refused(409, "not-dead");
}

#[tokio::test]
async fn an_edited_letter_is_another_operation_and_made_once() {
    let desk = Desk::open().await;
    let busy = desk.dead(work("busy"), BUSY).await;
    let path = format!("/api/dead-letters/{busy}/edit");
    let change = json!({"body": "{\"item\":2}", "headers": [["content-type", "application/json; v=2"]]});
    let edited = desk.post(&path, &order(&change)).await.json();
    assert_eq!((&edited["state"], &edited["original_state"]), (&json!("queued"), &json!("dead")));
    assert_ne!(edited["id"], json!(busy.to_string()));
    let id: OperationId = edited["id"].as_str().unwrap().parse().unwrap();
    let record = desk.ledger.operation(id).await.unwrap().unwrap();
    let original = desk.ledger.operation(busy).await.unwrap().unwrap();
    assert_eq!(record.name.namespace(), original.name.namespace());
    assert_ne!(record.name.key(), original.name.key());
    assert_eq!(record.owner, original.owner);
    let kept = desk.ledger.kept_work(id).await.unwrap().unwrap().request;
    assert_eq!(&kept.body[..], b"{\"item\":2}");
    let headers: Vec<_> = kept
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(&value)))
        .collect();
    assert_eq!(headers, ["authorization: Bearer secret", "content-type: application/json; v=2"]);

    // The answer was lost: who asks again has made one.
    let again = desk.post(&path, &order(&change)).await.json();
    assert_eq!(again["id"], edited["id"]);
    let purge = order(&json!({"remove_headers": ["Authorization"], "purge": true}));
    let other = desk.post(&path, &purge).await.json();
    assert_ne!(other["id"], edited["id"]);
    assert_eq!(other["original_state"], json!("tombstone"));
}

#[tokio::test]
async fn nothing_in_doubt_is_edited_and_nothing_that_could_not_be_sent() {
    let desk = Desk::open().await;
    let lost = doubtful(&desk, "lost").await;
    let busy = desk.dead(work("busy"), BUSY).await;
    let change = order(&json!({"body": "{}"}));
    desk.post(&format!("/api/dead-letters/{lost}/edit"), &change).await.refused(409, "letter-in-doubt");
    let path = format!("/api/dead-letters/{busy}/edit");
    for bad in [
        json!({}),
        json!({"body": "{\"item\":1}"}),
        json!({"body": "a", "body_base64": "YQ=="}),
        json!({"body_base64": "!"}),
        json!({"headers": [["content-length", "1"]]}),
        json!({"headers": [["idempotency-key", "mine"]]}),
        json!({"headers": [["x y", "1"]]}),
        json!({"headers": [["x", "a\nb"]]}),
        json!({"colour": "red"}),
    ] {
        desk.post(&path, &order(&bad)).await.refused(400, "request-invalid");
    }
    desk.post(&path, &order(&json!({"body": "x".repeat(101)}))).await.refused(413, "body-too-large");
    let id = desk.completed("done", b"ok").await;
    desk.post(&format!("/api/dead-letters/{id}/edit"), &change).await.refused(409, "not-dead");
    desk.get(&format!("/api/dead-letters/{id}")).await.refused(409, "no-request-kept");
}

#[tokio::test]
async fn a_run_is_counted_first_begun_stopped_and_resumed() {
    let desk = Desk::open().await;
    desk.dead(work("one"), BUSY).await;
    desk.dead(work("two"), BUSY).await;
    doubtful(&desk, "lost").await;
    desk.post("/api/dead-letters/redrive", &order(&json!({}))).await.refused(400, "request-invalid");
    desk.post("/api/dead-letters/redrive", &order(&json!({"of": {}}))).await.refused(400, "request-invalid");
    let filter = json!({"route": "orders", "status": 503});
    let counted = desk
        .post("/api/dead-letters/redrive", &json!({"of": filter, "dry_run": true}).to_string())
        .await
        .json();
    assert_eq!((&counted["matched"], &counted["run"]), (&json!(2), &json!(null)));
    assert_eq!(counted["groups"][0]["count"], json!(2));
    assert_eq!(desk.get("/api/redrives").await.json(), json!([]));

    let begun = json!({"of": filter, "rate": "100/min", "canary": 1});
    let begun = desk.post("/api/dead-letters/redrive", &order(&begun)).await.json();
    let run = &begun["run"];
    assert_eq!(
        (&run["state"], &run["rate"], &run["matched"]),
        (&json!("running"), &json!("100/min"), &json!(2))
    );
    assert_eq!((&run["by"], &run["reason"]), (&json!("ada"), &json!("the bank is back")));
    let id = run["id"].as_u64().unwrap();
    let stopped = desk.post(&format!("/api/redrives/{id}/stop"), &order(&json!({}))).await.json();
    assert_eq!(stopped["state"], json!("stopped"));
    assert!(stopped["why"].as_str().unwrap().contains("ada"), "{stopped}");
    desk.post(&format!("/api/redrives/{id}/stop"), &order(&json!({}))).await.refused(409, "run-stands");
    let resumed = desk.post(&format!("/api/redrives/{id}/resume"), &order(&json!({}))).await.json();
    assert_eq!(resumed["state"], json!("running"));
    assert_eq!(desk.get("/api/redrives").await.json()[0]["id"], json!(id));
    desk.post("/api/redrives/99/stop", &order(&json!({}))).await.refused(404, "run-not-found");
    desk.post("/api/redrives/one/stop", &order(&json!({}))).await.refused(400, "request-invalid");
    let fast = json!({"of": filter, "rate": "fast"});
    desk.post("/api/dead-letters/redrive", &order(&fast)).await.refused(400, "request-invalid");
    let many = json!({"of": filter, "canary": 101});
    desk.post("/api/dead-letters/redrive", &order(&many)).await.refused(400, "request-invalid");
}

#[tokio::test]
async fn letters_that_pass_a_filter_are_removed_and_doubt_stays() {
    let desk = Desk::open().await;
    let busy = desk.dead(work("busy"), BUSY).await;
    let lost = doubtful(&desk, "lost").await;
    desk.post("/api/dead-letters/purge", &order(&json!({}))).await.refused(400, "request-invalid");
    let of = json!({"route": "orders"});
    let counted =
        desk.post("/api/dead-letters/purge", &json!({"of": of, "dry_run": true}).to_string()).await.json();
    assert_eq!((&counted["purged"], &counted["in_doubt"]), (&json!(1), &json!(1)));
    assert_eq!(state(&desk, busy).await, StateName::Dead);
    let purged = desk.post("/api/dead-letters/purge", &order(&json!({"of": of}))).await.json();
    assert_eq!((&purged["purged"], &purged["in_doubt"]), (&json!(1), &json!(1)));
    assert_eq!((state(&desk, busy).await, state(&desk, lost).await), (StateName::Tombstone, StateName::Dead));
    assert_eq!(desk.ledger.runs().await.unwrap(), []);
}
