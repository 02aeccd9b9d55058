//! Claims about keys: which are accepted, and what they name.

use super::{
    Stand,
    refusal::Again,
    wire::{Ask, Line},
};

pub(crate) async fn a_required_key_that_is_missing_is_refused(stand: Stand) {
    let answer = stand.ask(&Ask::post("/required")).await;
    answer.refused(400, "idempotency-key-missing", Again::Never);
    assert_eq!(stand.backend.count(), 0);
    assert_eq!(stand.ask(&Ask::post("/required").key("k")).await.status, 201);
}

pub(crate) async fn every_malformed_key_is_refused(stand: Stand) {
    let long = "k".repeat(256);
    for key in [
        "",
        "   ",
        "\"\"",
        "\"open",
        "\"",
        "\"a\" b",
        "\"a\", \"b\"",
        "\"a\\n\"",
        "a\tb",
        "schl\u{fc}ssel",
        &long,
    ] {
        let answer = stand.ask(&Ask::post("/orders").key(key)).await;
        let document = answer.refused(400, "idempotency-key-invalid", Again::Never);
        assert!(document["detail"].is_string(), "{key}: the reason");
    }
    assert_eq!(stand.backend.count(), 0);
    assert_eq!(stand.ask(&Ask::post("/orders").key(&long[1..])).await.status, 201);
}

pub(crate) async fn two_key_headers_are_refused(stand: Stand) {
    for second in ["other", "k"] {
        let answer = stand.ask(&Ask::post("/orders").key("k").key(second)).await;
        answer.refused(400, "idempotency-key-invalid", Again::Never);
    }
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn the_quoted_and_the_bare_form_name_one_operation(stand: Stand) {
    let first = stand.ask(&Ask::post("/orders").key("\"abc\"")).await;
    assert_eq!(first.status, 201);
    for same in ["abc", "\"abc\";v=1", "  \"abc\"  "] {
        let again = stand.ask(&Ask::post("/orders").key(same)).await;
        assert!(again.is_replay(), "{same}");
        assert_eq!(again.body, first.body, "{same}");
    }
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn without_a_key_an_optional_route_lets_every_request_through(stand: Stand) {
    for number in 1..=2 {
        let answer = stand.ask(&Ask::post("/orders").by("")).await;
        assert_eq!((answer.status, answer.text()), (201, format!("done {number}")));
        assert_eq!(answer.header("steadfast-operation"), None);
    }
    // What the backend fails with is then its own affair.
    stand.backend.will(super::backend::Act::answer(500, "broken"));
    let answer = stand.ask(&Ask::post("/orders")).await;
    assert_eq!((answer.status, answer.header("steadfast-outcome")), (500, None));
}

pub(crate) async fn other_methods_are_none_of_its_business(stand: Stand) {
    for number in 1..=2 {
        let ask = Ask::new("PUT", "/orders").key("k").body("x");
        assert_eq!(stand.ask(&ask).await.text(), format!("done {number}"));
    }
    assert_eq!(stand.last_seen().key(), Some("k"));
}

pub(crate) async fn a_key_used_for_another_request_is_refused(stand: Stand) {
    let first = Ask::post("/orders").key("k").header("Content-Type", "application/json");
    assert_eq!(stand.ask(&first).await.status, 201);
    let changed = |target| Ask::post(target).key("k").header("Content-Type", "application/json");
    for other in [
        changed("/orders").body("{\"seat\":2}"),
        changed("/orders").body(""),
        changed("/orders?express"),
        Ask::post("/orders").key("k").header("Content-Type", "text/plain"),
        Ask::post("/orders").key("k"),
        changed("/orders").method("PATCH"),
    ] {
        let answer = stand.ask(&other).await;
        answer.refused(422, "idempotency-key-reused", Again::Never);
        answer.operation_link();
    }
    assert_eq!(stand.backend.count(), 1);
    assert!(stand.ask(&first).await.is_replay());
}

pub(crate) async fn a_reused_key_is_told_so_while_the_first_request_runs(stand: Stand) {
    let gate = super::backend::Gate::closed();
    stand.backend.will(super::backend::Act::answer(201, "one").held_by(&gate));
    let mut first = stand.send(&Ask::post("/orders").key("k")).await;
    stand.backend.reached(1).await;
    let answer = stand.ask(&Ask::post("/orders").key("k").body("something else")).await;
    answer.refused(422, "idempotency-key-reused", Again::Never);
    gate.open();
    assert_eq!(first.answer("POST").await.expect("an answer").text(), "one");
}

pub(crate) async fn equal_requests_under_different_keys_are_two_operations(stand: Stand) {
    let one = stand.ask(&Ask::post("/orders").key("1")).await;
    let two = stand.ask(&Ask::post("/orders").key("2")).await;
    assert_eq!((one.text().as_str(), two.text().as_str()), ("done 1", "done 2"));
    assert_ne!(one.header("steadfast-operation"), two.header("steadfast-operation"));
}

pub(crate) async fn equal_keys_on_two_routes_are_two_operations(stand: Stand) {
    assert_eq!(stand.ask(&Ask::post("/orders").key("k")).await.text(), "done 1");
    assert_eq!(stand.ask(&Ask::post("/refunds").key("k")).await.text(), "done 2");
}

pub(crate) async fn a_keyed_request_by_nobody_is_refused(stand: Stand) {
    let answer = stand.ask(&Ask::post("/orders").key("k").by("")).await;
    answer.refused(401, "unauthenticated", Again::Never);
    assert!(answer.header("www-authenticate").is_some());
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn where_the_route_says_so_nobody_may_ask_and_is_replayed_to(stand: Stand) {
    let ask = Ask::post("/open").key("k").by("");
    let first = stand.ask(&ask).await;
    let again = stand.ask(&ask).await;
    assert!(again.is_replay());
    assert_eq!(first.body, again.body);
    let ada = stand.ask(&Ask::post("/open").key("k")).await;
    ada.refused(409, "replay-withheld", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn the_key_goes_on_to_the_backend_with_its_callers_credential(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    line.send(&Ask::post("/orders?a=b%20c").key("\"a;b\"").header("X-Own", "\u{e4}").bytes()).await;
    assert_eq!(line.answer("POST").await.expect("an answer").status, 201);
    let seen = stand.last_seen();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/orders?a=b%20c"));
    assert_eq!(seen.headers.all("idempotency-key"), ["\"a;b\""]);
    assert_eq!(seen.headers.get("authorization"), Some("Bearer ada"));
    assert_eq!(seen.headers.get("x-own"), Some("\u{e4}"));
    assert_eq!(seen.body, b"{\"seat\":1}");
}
