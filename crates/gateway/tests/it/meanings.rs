//! Claims about what an upstream's answers are said to mean in its config.

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Gate, Part},
        refusal::Again,
        wire::Ask,
    },
    stand::from_file,
    upstream::Upstream,
};

const RULES: &str = r#"
    [upstreams.bank]
    url = "http://UPSTREAM"
    retry = { base = "1ms", cap = "1ms" }
    timeout = { first_byte = "2s" }
    answers = [
        { when = 'headers["x-reason"] == "busy"', means = "refused" },
        { when = 'status == 500 && body.error == "no such account"', means = "completed" },
        { when = 'status == 200 && method == "POST" && body.state == "pending"', means = "unknown" },
    ]

    [[routes]]
    path = "/*"
    upstream = "bank"
    idempotency = {}
"#;

async fn stand() -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(RULES, &upstream), upstream)
}

#[tokio::test]
async fn a_business_failure_is_final_and_a_transient_one_is_tried_again() {
    let (stand, _upstream) = stand().await;
    let failed = r#"{"error":"no such account"}"#;
    stand.backend.will(Act::answer(500, failed));
    let answer = stand.ask(&Ask::new("GET", "/any")).await;
    assert_eq!((answer.status, answer.text().as_str(), stand.backend.count()), (500, failed, 1));
    // Kept and replayed like any other answer.
    stand.backend.will(Act::answer(500, failed));
    let ask = Ask::post("/orders").key("k");
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.status, answer.header("steadfast-outcome")), (500, None));
    let replay = stand.ask(&ask).await;
    assert_eq!((replay.is_replay(), replay.text().as_str()), (true, failed));
    stand.backend.will(Act::answer(500, r#"{"error":"out of memory"}"#));
    assert_eq!(stand.ask(&Ask::new("GET", "/any")).await.status, 201);
}

#[tokio::test]
async fn an_answer_that_says_that_nothing_was_done_is_tried_again_whatever_its_method() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(Act::answer(503, "x").header("X-Reason", "busy"));
    assert_eq!(stand.ask(&Ask::post("/orders").key("k")).await.status, 201);
    assert_eq!(stand.backend.count(), 2);
}

#[tokio::test]
async fn an_answer_that_is_no_outcome_leaves_doubt() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(Act::answer(200, r#"{"state":"pending"}"#));
    let ask = Ask::post("/orders").key("k");
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.status, answer.header("steadfast-outcome")), (200, Some("in-doubt")));
    assert_eq!(answer.text(), r#"{"state":"pending"}"#);
    stand.ask(&ask).await.refused(409, "outcome-in-doubt", Again::Never);
}

#[tokio::test]
async fn what_was_read_of_a_body_is_passed_on_with_the_rest() {
    let (stand, _upstream) = stand().await;
    let large = "x".repeat(200_000);
    stand.backend.will(Act::answer(200, &large));
    assert_eq!(stand.ask(&Ask::post("/unkeyed")).await.text(), large);
    let act = Act::answer(200, r#"{"state":"#).then(Part::Bytes(br#""done"}"#.to_vec()));
    stand.backend.will(act);
    assert_eq!(stand.ask(&Ask::post("/unkeyed")).await.text(), r#"{"state":"done"}"#);
}

#[tokio::test]
async fn a_stream_is_not_waited_for_to_find_out_what_it_means() {
    let (stand, _upstream) = stand().await;
    let gate = Gate::closed();
    let act = Act::answer(200, "data: 1\n\n").header("Content-Type", "text/event-stream");
    stand.backend.will(act.then(Part::Wait(gate.clone())));
    let mut caller = stand.send(&Ask::post("/events")).await;
    assert_eq!(caller.head().await.expect("a head").status(), 200);
    assert_eq!(caller.chunk().await.expect("an event"), b"data: 1\n\n");
    gate.open();
}
