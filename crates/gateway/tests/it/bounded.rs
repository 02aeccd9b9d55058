//! Claims about what an upstream is given at once and how often it is called, over real sockets.

use std::time::{Duration, Instant};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Gate, Part},
        wire::{Ask, Line},
    },
    stand::from_file,
    upstream::Upstream,
};

const ROUTES: &str = "
[[routes]]
path = \"/orders\"
upstream = \"bank\"
idempotency = { anonymous = true }
[[routes]]
path = \"/*\"
upstream = \"bank\"
";

/// A gateway whose upstream has `more` said of it.
async fn bounded(more: &str) -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    let text = format!("[upstreams.bank]\nurl = \"http://UPSTREAM\"\n{more}\n{ROUTES}");
    (from_file(&text, &upstream), upstream)
}

/// Sends a request that the upstream holds until the gate is opened.
async fn hold(stand: &Stand, gate: &Gate) -> Line {
    let before = stand.backend.count();
    stand.backend.will(Act::answer(200, "held").held_by(gate));
    let line = stand.send(&Ask::new("GET", "/held")).await;
    stand.backend.reached(before + 1).await;
    line
}

#[tokio::test]
async fn an_upstream_at_its_limit_refuses_more_at_once_and_says_when_to_come_again() {
    let (stand, _upstream) = bounded("concurrency = { max = 1, queue = 0 }").await;
    let gate = Gate::closed();
    let mut held = hold(&stand, &gate).await;
    let refused = stand.ask(&Ask::new("GET", "/more")).await;
    assert_eq!((refused.status, refused.headers.get("retry-after")), (503, Some("1")), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.body).contains("temporary-reduced-capacity"), "{refused:?}");
    gate.open();
    assert_eq!(held.answer("GET").await.expect("an answer").status, 200);
    assert_eq!(stand.ask(&Ask::new("GET", "/more")).await.status, 201);
}

#[tokio::test]
async fn a_key_whose_request_found_no_place_is_free_again() {
    let (stand, _upstream) = bounded("concurrency = { max = 1, queue = 0 }").await;
    let gate = Gate::closed();
    let _held = hold(&stand, &gate).await;
    let order = Ask::post("/orders").key("order-1");
    let refused = stand.ask(&order).await;
    assert_eq!((refused.status, refused.headers.get("x-should-retry")), (503, Some("true")), "{refused:?}");
    gate.open();
    // The place comes free when the gateway has read the held answer.
    let answer = loop {
        let answer = stand.ask(&order).await;
        if answer.status != 503 {
            break answer;
        }
    };
    assert_eq!((answer.status, answer.headers.get("idempotent-replayed")), (201, None), "{answer:?}");
}

#[tokio::test]
async fn a_streamed_answer_keeps_its_place_to_its_end_and_a_caller_that_leaves_frees_it() {
    let (stand, _upstream) = bounded("concurrency = { max = 1, queue = 0 }").await;
    let gate = Gate::closed();
    let act =
        Act::answer(200, "the first").then(Part::Wait(gate.clone())).then(Part::Bytes(b"the last".to_vec()));
    stand.backend.will(act);
    let line = stand.send(&Ask::new("GET", "/stream")).await;
    stand.backend.reached(1).await;
    assert_eq!(stand.ask(&Ask::new("GET", "/more")).await.status, 503);
    drop(line);
    // The gateway learns of it a moment later.
    while stand.ask(&Ask::new("GET", "/more")).await.status == 503 {}
    assert_eq!(stand.backend.count(), 2);
}

#[tokio::test]
async fn who_waits_for_a_place_has_an_answer_by_its_deadline() {
    let (stand, _upstream) = bounded("concurrency = { max = 1 }\ntimeout = { queue = \"10s\" }").await;
    let gate = Gate::closed();
    let _held = hold(&stand, &gate).await;
    let began = Instant::now();
    let refused = stand.ask(&Ask::new("GET", "/more").header("Steadfast-Timeout", "200ms")).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(began.elapsed() < Duration::from_millis(1_000), "{:?}", began.elapsed());
}

#[tokio::test]
async fn shadow_mode_refuses_nobody() {
    let (stand, _upstream) = bounded("concurrency = { max = 1, queue = 0, mode = \"shadow\" }").await;
    let gate = Gate::closed();
    let _held = [hold(&stand, &gate).await, hold(&stand, &gate).await];
    assert_eq!(stand.ask(&Ask::new("GET", "/more")).await.status, 201);
}

#[tokio::test]
async fn an_upstream_that_asks_to_be_left_alone_is_not_called_by_anybody() {
    let (stand, _upstream) = bounded("courtesy = {}").await;
    stand.backend.will(Act::answer(429, "").header("retry-after", "60"));
    let passed_on = stand.ask(&Ask::new("GET", "/any")).await;
    assert_eq!((passed_on.status, passed_on.headers.get("retry-after")), (429, Some("60")));
    let refused = stand.ask(&Ask::new("GET", "/other")).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let after: u64 = refused.headers.get("retry-after").expect("it says when").parse().expect("seconds");
    assert!((59..=66).contains(&after), "{after}");
    assert_eq!(stand.backend.count(), 1);
}
