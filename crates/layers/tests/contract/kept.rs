//! Claims about what is written down of a request and its answer, where the route says that it is not everything.

use steadfast_core::OperationId;
use steadfast_ledger::Operations;

use super::{
    Stand,
    backend::{Act, Gate},
    refusal::Again,
    wire::{Answer, Ask},
};

const SECRET: &str = "4111-1111";

fn with_a_secret() -> Act {
    let body = format!(r#"{{"id": 7, "card": {{"number": "{SECRET}", "brand": "x"}}}}"#);
    Act::answer(201, body).header("Content-Type", "application/json").header("ETag", "\"a\"")
}

/// The operation that an answer names.
fn operation(answer: &Answer) -> OperationId {
    answer.header("steadfast-operation").and_then(|id| id.parse().ok()).expect("an operation")
}

fn is_redacted_replay(answer: &Answer) {
    assert!(answer.is_replay());
    assert_eq!(answer.text(), r#"{"id": 7, "card": {"number": "[redacted]", "brand": "x"}}"#);
    assert_eq!(answer.header("steadfast-redacted"), Some("body"));
    assert_eq!((answer.header("content-type"), answer.header("etag")), (Some("application/json"), None));
}

pub(crate) async fn a_redacted_value_reaches_its_first_caller_and_never_the_ledger(stand: Stand) {
    stand.backend.will(with_a_secret());
    let ask = Ask::post("/redacted").key("k");
    let first = stand.ask(&ask).await;
    assert!(first.text().contains(SECRET));
    assert_eq!((first.header("steadfast-redacted"), first.header("etag")), (None, Some("\"a\"")));
    is_redacted_replay(&stand.ask(&ask).await);
    let stored = stand.ledger.answer(operation(&first)).await.expect("a ledger that works");
    assert!(
        !String::from_utf8_lossy(&stored.and_then(|stored| stored.body).expect("a body")).contains(SECRET)
    );
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_late_answer_is_redacted_too(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(with_a_secret().held_by(&gate));
    let ask = Ask::post("/hasty-redacted").key("k");
    stand.ask(&ask).await.refused(504, "outcome-in-doubt", Again::Never);
    gate.open();
    stand.ledger.outcomes_written(2).await;
    is_redacted_replay(&stand.ask(&ask).await);
}

pub(crate) async fn a_duplicate_that_waits_gets_the_redacted_answer(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(with_a_secret().held_by(&gate));
    let ask = Ask::post("/redacted").key("k");
    let mut first = stand.send(&ask).await;
    stand.backend.reached(1).await;
    let mut second = stand.send(&ask).await;
    stand.ledger.claims_asked(3).await;
    gate.open();
    assert!(first.answer("POST").await.expect("an answer").text().contains(SECRET));
    is_redacted_replay(&second.answer("POST").await.expect("an answer"));
}

pub(crate) async fn what_cannot_be_redacted_is_not_kept(stand: Stand) {
    stand.backend.will(Act::answer(201, SECRET).header("X-Own", SECRET));
    let ask = Ask::post("/redacted").key("k");
    let first = stand.ask(&ask).await;
    assert_eq!((first.status, first.text().as_str()), (201, SECRET));
    stand.ask(&ask).await.refused(409, "replay-unavailable", Again::Never);
    let stored =
        stand.ledger.answer(operation(&first)).await.expect("a ledger that works").expect("an answer");
    assert_eq!((stored.status, stored.headers.as_packed(), stored.body), (201, &[][..], None));
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn an_answer_with_nothing_to_redact_is_replayed_as_it_was(stand: Stand) {
    for (key, act) in [("none", Act::answer(200, r#"{ "id": 1.0 }"#)), ("empty", Act::answer(204, ""))] {
        stand.backend.will(act.header("ETag", "\"a\""));
        let ask = Ask::post("/redacted").key(key);
        let (first, again) = (stand.ask(&ask).await, stand.ask(&ask).await);
        assert!(again.is_replay());
        assert_eq!((first.status, &first.body), (again.status, &again.body));
        assert_eq!((again.header("etag"), again.header("steadfast-redacted")), (Some("\"a\""), None));
    }
}

pub(crate) async fn an_answer_that_is_not_to_be_kept_is_passed_on_and_not_replayed(stand: Stand) {
    stand.backend.will(Act::answer(201, SECRET).header("Location", "/orders/1"));
    let ask = Ask::post("/unkept").key("k");
    let first = stand.ask(&ask).await;
    assert_eq!((first.text().as_str(), first.header("location")), (SECRET, Some("/orders/1")));
    stand.ask(&ask).await.refused(409, "replay-unavailable", Again::Never);
    let stored =
        stand.ledger.answer(operation(&first)).await.expect("a ledger that works").expect("an answer");
    assert_eq!((stored.status, stored.headers.as_packed(), stored.body), (201, &[][..], None));
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn only_the_headers_that_the_route_keeps_are_replayed(stand: Stand) {
    let ask = Ask::post("/few-headers").key("k");
    stand.backend.will(Act::answer(201, "x").header("Location", "/orders/1").header("X-Customer", SECRET));
    let first = stand.ask(&ask).await;
    assert_eq!(first.header("x-customer"), Some(SECRET));
    let again = stand.ask(&ask).await;
    assert_eq!((again.text().as_str(), again.is_replay()), ("x", true));
    assert_eq!((again.header("location"), again.header("x-customer")), (Some("/orders/1"), None));
    assert_eq!(again.header("steadfast-redacted"), Some("headers"));
    let stored =
        stand.ledger.answer(operation(&first)).await.expect("a ledger that works").expect("an answer");
    assert!(stored.headers.iter().all(|(name, _)| name != "x-customer"));
}

pub(crate) async fn a_path_is_kept_unless_the_route_says_otherwise(stand: Stand) {
    for (path, kept) in [("/orders", "/orders"), ("/unkept", "")] {
        let first = stand.ask(&Ask::post(path).key("k")).await;
        let record = stand.ledger.operation(operation(&first)).await.expect("a ledger that works");
        let record = record.expect("the operation");
        assert_eq!((&*record.route, &*record.path), (path, kept));
    }
}
