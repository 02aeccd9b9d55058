//! Claims about the request id.

use super::{Stand, refusal::Again, wire::Ask};

pub(crate) async fn a_valid_id_is_accepted_forwarded_and_returned(stand: Stand) {
    for ask in [Ask::post("/orders"), Ask::post("/orders").key("k"), Ask::new("GET", "/orders")] {
        let answer = stand.ask(&ask.header("X-Request-Id", "req-1.2_3:4")).await;
        assert_eq!(answer.headers.all("x-request-id"), ["req-1.2_3:4"]);
        assert_eq!(stand.last_seen().headers.all("x-request-id"), ["req-1.2_3:4"]);
    }
}

pub(crate) async fn an_invalid_id_is_replaced(stand: Stand) {
    let long = "x".repeat(129);
    for invalid in ["", "a b", "a\"b", "a,b", "\u{e4}", &long] {
        let answer = stand.ask(&Ask::post("/orders").header("X-Request-Id", invalid)).await;
        let id = answer.header("x-request-id").expect("an id");
        assert_eq!(id.len(), 32, "{invalid}: {id}");
        assert_eq!(stand.last_seen().headers.all("x-request-id"), [id]);
    }
    let twice = Ask::post("/orders").header("X-Request-Id", "one").header("X-Request-Id", "two");
    assert_eq!(stand.ask(&twice).await.header("x-request-id").expect("an id").len(), 32);
    assert_eq!(stand.last_seen().headers.all("x-request-id").len(), 1);
}

pub(crate) async fn a_request_without_an_id_gets_one(stand: Stand) {
    let (one, two) = (stand.ask(&Ask::post("/orders")).await, stand.ask(&Ask::post("/orders")).await);
    assert!(one.header("x-request-id").is_some());
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}

pub(crate) async fn a_refusal_names_the_request(stand: Stand) {
    let answer = stand.ask(&Ask::post("/required").header("X-Request-Id", "mine")).await;
    let document = answer.refused(400, "idempotency-key-missing", Again::Never);
    assert_eq!(document["instance"], "mine");
}
