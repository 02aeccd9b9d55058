//! Lists, single operations and counts.

use serde_json::json;
use steadfast_admin::api::{OperationDetail, PageView};

use crate::desk::Desk;

fn keys(page: &PageView) -> Vec<&str> {
    page.operations.iter().map(|operation| &*operation.key).collect()
}

#[tokio::test]
async fn an_empty_ledger_has_an_empty_list() {
    let desk = Desk::open().await;
    let reply = desk.get("/api/operations").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"operations": [], "next": null})));
}

#[tokio::test]
async fn lists_page_by_page_newest_first() {
    let desk = Desk::open().await;
    for number in 0..7 {
        desk.in_doubt(&format!("k{number}")).await;
    }
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let reply = desk.get(&format!("/api/operations?limit=3{before}")).await;
        let page: PageView = serde_json::from_str(&reply.body).unwrap();
        seen.extend(keys(&page).into_iter().map(str::to_owned));
        let Some(next) = page.next else { break };
        before = format!("&before={next}");
    }
    assert_eq!(seen, ["k6", "k5", "k4", "k3", "k2", "k1", "k0"]);
}

#[tokio::test]
async fn lists_by_state_route_and_key() {
    let desk = Desk::open().await;
    desk.in_doubt("doubt").await;
    desk.completed("done & dusted", b"yes").await;
    for (query, expected) in [
        ("state=in_doubt", vec!["doubt"]),
        ("state=completed", vec!["done & dusted"]),
        ("state=dead", vec![]),
        ("route=orders", vec!["done & dusted", "doubt"]),
        ("route=other", vec![]),
        ("key=done%20%26%20dusted", vec!["done & dusted"]),
        ("cases=true", vec![]),
        ("cases=false&state=in_doubt&route=orders&key=doubt", vec!["doubt"]),
    ] {
        let reply = desk.get(&format!("/api/operations?{query}")).await;
        let page: PageView = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(keys(&page), expected, "{query}");
    }
    let counts = json!({"claimed": 0, "in_doubt": 1, "dead": 0, "cases_open": 0});
    assert_eq!(desk.get("/api/counts").await.json(), counts);
}

#[tokio::test]
async fn a_list_that_cannot_be_meant_is_refused() {
    let desk = Desk::open().await;
    for (query, said) in [
        ("sate=in_doubt", "unknown field `sate`"),
        ("state=doubtful", "There is no state `doubtful`"),
        ("state=absent", "There is no state `absent`"),
        ("limit=0", "1 to 1000"),
        ("limit=1001", "1 to 1000"),
        ("limit=many", "limit"),
        ("before=last", "before"),
        ("cases=perhaps", "neither true nor false"),
    ] {
        let detail = desk.get(&format!("/api/operations?{query}")).await.refused(400, "request-invalid");
        assert!(detail.contains(said), "{query}: {detail}");
    }
}

#[tokio::test]
async fn an_operation_in_doubt_is_shown_with_its_attempt() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await;
    let detail: OperationDetail =
        serde_json::from_str(&desk.get(&format!("/api/operations/{id}")).await.body).unwrap();
    let operation = &detail.operation;
    assert_eq!((&*operation.state, operation.doubtful, operation.attempt_count), ("in_doubt", true, 1));
    assert_eq!((&*operation.method, &*operation.path, &*operation.route), ("POST", "/orders", "orders"));
    assert_eq!((operation.principal.as_deref(), &*operation.mode), (Some("ada"), "synchronous"));
    assert_eq!((operation.expires_at.as_ref(), detail.answer), (None, None));
    let attempt = &detail.attempts[0];
    assert_eq!(
        (attempt.number, attempt.end.as_deref(), attempt.cause.as_deref()),
        (1, Some("unknown"), Some("timeout"))
    );
    assert!(attempt.ended_at.as_ref().is_some_and(|at| at.ends_with('Z') && at.len() == 24));
}

#[tokio::test]
async fn an_answers_body_is_shown_only_where_it_is_asked_for() {
    let desk = Desk::open().await;
    let text = desk.completed("text", b"secret").await;
    let bytes = desk.completed("bytes", &[0xff, 0x00, 0xfe]).await;
    let shown = desk.get(&format!("/api/operations/{text}")).await;
    assert!(!shown.body.contains("secret"));
    let answer = json!({"status": 201, "headers": [["content-type", "text/plain"]], "body_bytes": 6});
    assert_eq!(shown.json()["answer"], answer);
    let shown = desk.get(&format!("/api/operations/{text}?body=true")).await.json();
    assert_eq!(shown["answer"]["body"], "secret");
    let shown = desk.get(&format!("/api/operations/{bytes}?body")).await.json();
    assert_eq!((&shown["answer"]["body_base64"], shown["answer"].get("body")), (&json!("/wD+"), None));
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_there() {
    let desk = Desk::open().await;
    let id = desk.in_doubt("k").await.to_string();
    let other = format!("{}{}", &id[..id.len() - 1], if id.ends_with('0') { '1' } else { '0' });
    desk.get(&format!("/api/operations/{other}")).await.refused(404, "operation-not-found");
    desk.get("/api/operations/17").await.refused(400, "request-invalid");
    desk.get(&format!("/api/operations/{id}?bodies=true")).await.refused(400, "request-invalid");
    desk.get("/api/operation").await.refused(404, "not-found");
    let reply = desk.get("/api/reload").await;
    reply.refused(405, "method-not-allowed");
    assert!(reply.head.contains("allow: POST\r\n"), "{}", reply.head);
}
