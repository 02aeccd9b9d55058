//! The example itself, run as anybody would run it, and held to what of the contract can be seen from outside.

#[allow(dead_code, reason = "it is the contract's, and this needs a part of it")]
#[path = "../../../../crates/layers/tests/contract/refusal.rs"]
mod refusal;
#[allow(dead_code, reason = "it is the contract's, and this needs a part of it")]
#[path = "../../../../crates/layers/tests/contract/wire.rs"]
mod wire;

mod service;

use tokio::task::JoinSet;

use self::{refusal::Again, service::Service, wire::Ask};

fn order(key: &str) -> Ask {
    Ask::post("/orders").key(key).body("two tickets")
}

#[tokio::test]
async fn an_order_and_its_retries_take_effect_once() {
    let service = Service::start();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let address = service.address;
        callers.spawn(async move { order("k").to(address).await });
    }
    let answers = callers.join_all().await;
    assert!(answers.iter().all(|answer| (answer.status, answer.text().as_str()) == (201, "order 1\n")));
    assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
    let listed = Ask::new("GET", "/orders").to(service.address).await;
    assert_eq!((listed.text().as_str(), listed.header("steadfast-operation")), ("two tickets\n", None));
}

#[tokio::test]
async fn what_the_contract_refuses_is_refused() {
    let service = Service::start();
    let ask = |ask: Ask| async move { ask.to(service.address).await };
    assert_eq!(ask(order("k")).await.status, 201);
    ask(order("k").body("three")).await.refused(422, "idempotency-key-reused", Again::Never);
    ask(order("k").by("bob")).await.refused(409, "replay-withheld", Again::Never);
    ask(order("k").by("")).await.refused(401, "unauthenticated", Again::Never);
    ask(Ask::post("/orders")).await.refused(400, "idempotency-key-missing", Again::Never);
    ask(order("\"open")).await.refused(400, "idempotency-key-invalid", Again::Never);
    let large = order("large").body(vec![b'x'; (10 << 20) + 1]);
    let mut line = wire::Line::to(service.address).await;
    line.send(&large.head(&format!("Content-Length: {}\r\n", (10 << 20) + 1))).await;
    line.answer("POST").await.expect("an answer").refused(413, "body-too-large", Again::Never);
    assert_eq!(service.orders(), 1);
}

#[tokio::test]
async fn an_answer_that_was_given_is_replayed_after_a_crash() {
    let mut service = Service::start();
    let first = order("k").to(service.address).await;
    service.crash_and_restart();
    let again = order("k").to(service.address).await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(first.header("content-type"), again.header("content-type"));
    assert!(again.is_replay());
    assert_eq!(service.orders(), 1);
}
