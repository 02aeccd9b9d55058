//! Claims about a duplicate that comes while the first request is still running.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{
    Stand,
    backend::{Act, Gate},
    refusal::Again,
    wire::{Answer, Ask, Line},
};

/// Sends a request whose execution waits for the gate, and waits until it runs.
async fn running(stand: &Stand, ask: &Ask) -> (Line, Gate) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "the first").held_by(&gate));
    let before = stand.backend.count();
    let line = stand.send(ask).await;
    stand.backend.reached(before + 1).await;
    (line, gate)
}

/// The first request still gets its answer, and only it was executed.
async fn the_first_is_answered(stand: &Stand, mut first: Line, gate: &Gate) {
    gate.open();
    let answer = first.answer("POST").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str(), answer.is_replay()), (201, "the first", false));
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_duplicate_waits_for_the_first_and_gets_its_answer(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    let (first, gate) = running(&stand, &ask).await;
    let mut second = stand.send(&ask).await;
    // Its first claim and its claim after it subscribed.
    stand.ledger.claims_asked(3).await;
    the_first_is_answered(&stand, first, &gate).await;
    let answer = second.answer("POST").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str(), answer.is_replay()), (201, "the first", true));
}

pub(crate) async fn a_wait_that_ends_is_a_conflict(stand: Stand) {
    let ask = Ask::post("/brief").key("k");
    let (first, gate) = running(&stand, &ask).await;
    let began = Instant::now();
    let answer = stand.ask(&ask).await;
    assert!(began.elapsed() >= Duration::from_millis(100), "it waited");
    answer.refused(409, "operation-in-progress", Again::HelpsAfter);
    answer.operation_link();
    the_first_is_answered(&stand, first, &gate).await;
}

pub(crate) async fn a_wait_never_goes_past_the_deadline(stand: Stand) {
    let (first, gate) = running(&stand, &Ask::post("/orders").key("k")).await;
    let began = Instant::now();
    let answer = stand.ask(&Ask::post("/orders").key("k").header("Steadfast-Timeout", "150ms")).await;
    assert!(began.elapsed() < Duration::from_secs(4), "it waited for {:?}", began.elapsed());
    answer.refused(409, "operation-in-progress", Again::HelpsAfter);
    the_first_is_answered(&stand, first, &gate).await;
}

pub(crate) async fn a_route_may_answer_a_running_duplicate_with_409_at_once(stand: Stand) {
    let ask = Ask::post("/conflict").key("k");
    let (first, gate) = running(&stand, &ask).await;
    stand.ask(&ask).await.refused(409, "operation-in-progress", Again::HelpsAfter);
    the_first_is_answered(&stand, first, &gate).await;
    assert!(stand.ask(&ask).await.is_replay());
}

pub(crate) async fn a_route_may_answer_a_running_duplicate_with_429_at_once(stand: Stand) {
    let ask = Ask::post("/limited").key("k");
    let (first, gate) = running(&stand, &ask).await;
    stand.ask(&ask).await.refused(429, "operation-in-progress", Again::HelpsAfter);
    the_first_is_answered(&stand, first, &gate).await;
    assert!(stand.ask(&ask).await.is_replay());
}

pub(crate) async fn a_route_may_answer_a_running_duplicate_with_202_and_a_location(stand: Stand) {
    let ask = Ask::post("/accepted").key("k");
    let (first, gate) = running(&stand, &ask).await;
    let answer = stand.ask(&ask).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let operation = answer.header("steadfast-operation").expect("an operation");
    assert_eq!(answer.header("location"), Some(&*format!("/.steadfast/operations/{operation}")));
    assert!(answer.header("retry-after").is_some());
    the_first_is_answered(&stand, first, &gate).await;
    assert!(stand.ask(&ask).await.is_replay());
}

pub(crate) async fn fifty_duplicates_at_once_execute_once(stand: Stand) {
    const CALLERS: usize = 50;
    let ask = Ask::post("/orders").key("k");
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "once").held_by(&gate));
    let mut lines = Vec::new();
    for _ in 0..CALLERS {
        lines.push(Line::to(stand.address).await);
    }
    let mut callers: JoinSet<Answer> = JoinSet::new();
    for mut line in lines {
        let bytes = ask.bytes();
        callers.spawn(async move {
            line.send(&bytes).await;
            line.answer("POST").await.expect("an answer")
        });
    }
    // All of them were looked at before there is an answer.
    stand.ledger.claims_asked(CALLERS).await;
    gate.open();
    let answers = callers.join_all().await;
    assert!(answers.iter().all(|answer| (answer.status, answer.text().as_str()) == (201, "once")));
    assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_duplicate_of_what_falls_in_doubt_is_told_so(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(500, "broken").held_by(&gate));
    let ask = Ask::post("/orders").key("k");
    let mut first = stand.send(&ask).await;
    stand.backend.reached(1).await;
    let mut second = stand.send(&ask).await;
    stand.ledger.claims_asked(3).await;
    gate.open();
    assert_eq!(first.answer("POST").await.expect("an answer").status, 500);
    let answer = second.answer("POST").await.expect("an answer");
    answer.refused(409, "outcome-in-doubt", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_duplicate_of_what_is_refused_executes_afresh(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(429, "later").held_by(&gate));
    let ask = Ask::post("/orders").key("k");
    let mut first = stand.send(&ask).await;
    stand.backend.reached(1).await;
    let mut second = stand.send(&ask).await;
    stand.ledger.claims_asked(3).await;
    gate.open();
    assert_eq!(first.answer("POST").await.expect("an answer").status, 429);
    let answer = second.answer("POST").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str(), answer.is_replay()), (201, "done 2", false));
}
