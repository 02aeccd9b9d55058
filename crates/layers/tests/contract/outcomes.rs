//! Claims about how the backend's answer is read, and what the next request with the same key then gets.

use std::time::Duration;

use tokio::time::timeout;

use steadfast_ledger::LedgerError;

use super::{
    Stand,
    backend::{Act, Gate, Part},
    refusal::Again,
    routes::BODY_BYTES_MAX,
    wire::Ask,
};

pub(crate) async fn every_final_answer_is_completed_and_replayed(stand: Stand) {
    let statuses = [200, 201, 202, 301, 303, 400, 401, 403, 404, 409, 410, 422, 499];
    for status in statuses {
        stand.backend.will(Act::answer(status, format!("final {status}")));
        let ask = Ask::post("/orders").key(&status.to_string());
        let (first, again) = (stand.ask(&ask).await, stand.ask(&ask).await);
        assert_eq!((first.status, first.header("steadfast-outcome")), (status, None));
        assert_eq!(
            (again.status, again.text(), again.is_replay()),
            (status, format!("final {status}"), true)
        );
    }
    assert_eq!(stand.backend.count(), statuses.len());
}

pub(crate) async fn what_the_backend_refused_is_passed_on_and_executes_afresh(stand: Stand) {
    for status in [429, 425] {
        stand.backend.will(Act::answer(status, "not now").header("Retry-After", "7"));
        let ask = Ask::post("/orders").key(&status.to_string());
        let refused = stand.ask(&ask).await;
        assert_eq!((refused.status, refused.text().as_str()), (status, "not now"));
        assert_eq!(refused.header("retry-after"), Some("7"));
        assert_eq!(refused.header("steadfast-outcome"), Some("refused"));
        let afresh = stand.ask(&ask).await;
        assert_eq!((afresh.status, afresh.is_replay()), (201, false));
    }
    // What took no effect binds nothing.
    stand.backend.will(Act::answer(429, "not now"));
    let ask = Ask::post("/orders").key("changed");
    assert_eq!(stand.ask(&ask).await.status, 429);
    assert_eq!(stand.ask(&ask.by("bob").body("another")).await.status, 201);
}

pub(crate) async fn a_declared_status_is_refused_and_another_is_final(stand: Stand) {
    stand.backend.will(Act::answer(503, "busy"));
    let ask = Ask::post("/declared").key("1");
    let refused = stand.ask(&ask).await;
    assert_eq!((refused.status, refused.header("steadfast-outcome")), (503, Some("refused")));
    assert_eq!(stand.ask(&ask).await.status, 201);
    stand.backend.will(Act::answer(500, "for good"));
    let ask = Ask::post("/declared").key("2");
    assert_eq!(stand.ask(&ask).await.header("steadfast-outcome"), None);
    let again = stand.ask(&ask).await;
    assert_eq!((again.status, again.is_replay()), (500, true));
}

pub(crate) async fn an_unknown_outcome_is_passed_on_and_stays_in_doubt(stand: Stand) {
    let statuses = [500, 502, 503, 504, 507, 408];
    for status in statuses {
        stand.backend.will(Act::answer(status, "who knows").header("X-Own", "1"));
        let ask = Ask::post("/orders").key(&status.to_string());
        let first = stand.ask(&ask).await;
        assert_eq!(
            (first.status, first.text().as_str(), first.header("x-own")),
            (status, "who knows", Some("1"))
        );
        assert_eq!(first.header("steadfast-outcome"), Some("in-doubt"));
        let again = stand.ask(&ask).await;
        again.refused(409, "outcome-in-doubt", Again::Never);
        again.operation_link();
        assert_eq!(first.header("steadfast-operation"), again.header("steadfast-operation"));
    }
    assert_eq!(stand.backend.count(), statuses.len());
}

pub(crate) async fn an_answer_that_takes_too_long_is_in_doubt(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "late").held_by(&gate));
    let ask = Ask::post("/hasty").key("k");
    let first = stand.ask(&ask).await;
    first.refused(504, "outcome-in-doubt", Again::Never);
    first.operation_link();
    stand.ask(&ask).await.refused(409, "outcome-in-doubt", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_late_answer_is_taken_in(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "late").held_by(&gate));
    let ask = Ask::post("/hasty").key("k");
    stand.ask(&ask).await.refused(504, "outcome-in-doubt", Again::Never);
    gate.open();
    stand.ledger.outcomes_written(2).await;
    let replay = stand.ask(&ask).await;
    assert_eq!((replay.status, replay.text().as_str(), replay.is_replay()), (201, "late", true));
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn an_answer_whose_body_never_ends_is_completed_and_not_replayed(stand: Stand) {
    stand.backend.will(Act::answer(201, "half of it").then(Part::Wait(Gate::closed())));
    let ask = Ask::post("/hastier").key("k");
    stand.ask(&ask).await.refused(504, "outcome-in-doubt", Again::Never);
    // Its status had come: what it did is known.
    stand.ledger.outcomes_written(2).await;
    stand.ask(&ask).await.refused(409, "replay-unavailable", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_truncated_answer_is_completed_and_not_replayed(stand: Stand) {
    stand.backend.will(Act::answer(201, "half of it").then(Part::Cut));
    let ask = Ask::post("/orders").key("k");
    let first = stand.ask(&ask).await;
    first.refused(502, "replay-unavailable", Again::Never);
    first.operation_link();
    let again = stand.ask(&ask).await;
    again.refused(409, "replay-unavailable", Again::Never);
    again.operation_link();
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn an_oversized_answer_is_passed_on_whole_and_not_replayed(stand: Stand) {
    for (key, length) in [("fits", BODY_BYTES_MAX), ("too large", BODY_BYTES_MAX + 1)] {
        let body = "x".repeat(length);
        stand.backend.will(Act::answer(200, &body));
        let ask = Ask::post("/orders").key(key);
        let first = stand.ask(&ask).await;
        assert_eq!((first.status, first.whole, first.body.len()), (200, true, length));
        let again = stand.ask(&ask).await;
        if length > BODY_BYTES_MAX {
            again.refused(409, "replay-unavailable", Again::Never);
        } else {
            assert_eq!((again.is_replay(), again.body.len()), (true, length));
        }
    }
}

pub(crate) async fn an_oversized_answer_of_unknown_length_is_passed_on_whole_and_not_replayed(stand: Stand) {
    let pieces: Vec<Vec<u8>> = (0..5).map(|piece| vec![b'0' + piece; BODY_BYTES_MAX / 2]).collect();
    let mut act = Act::answer(200, &pieces[0]);
    for piece in &pieces[1..] {
        act = act.then(Part::Bytes(piece.clone()));
    }
    stand.backend.will(act);
    let ask = Ask::post("/orders").key("k");
    let first = stand.ask(&ask).await;
    assert_eq!((first.status, first.whole), (200, true));
    assert_eq!(first.body, pieces.concat());
    stand.ask(&ask).await.refused(409, "replay-unavailable", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn an_event_stream_is_passed_on_as_it_comes_and_not_replayed(stand: Stand) {
    let gate = Gate::closed();
    let act = Act::answer(200, "data: 1\n\n").header("Content-Type", "text/event-stream");
    stand.backend.will(act.then(Part::Wait(gate.clone())).then(Part::Bytes(b"data: 2\n\n".to_vec())));
    let ask = Ask::post("/orders").key("k");
    let mut line = stand.send(&ask).await;
    assert_eq!(line.head().await.expect("a head").status(), 200);
    assert_eq!(line.chunk().await.expect("the first event"), b"data: 1\n\n");
    stand.ask(&ask).await.refused(409, "replay-unavailable", Again::Never);
    gate.open();
    assert_eq!(line.chunk().await.expect("the second event"), b"data: 2\n\n");
    assert_eq!(line.chunk().await.expect("the end"), b"");
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_caller_that_hangs_up_leaves_the_attempt_to_go_on(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "nobody waits").held_by(&gate));
    let ask = Ask::post("/orders").key("k");
    let line = stand.send(&ask).await;
    stand.backend.reached(1).await;
    drop(line);
    gate.open();
    stand.ledger.outcomes_written(1).await;
    let replay = stand.ask(&ask).await;
    assert_eq!((replay.text().as_str(), replay.is_replay()), ("nobody waits", true));
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_caller_whose_deadline_passes_leaves_the_attempt_to_go_on(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "too late for it").held_by(&gate));
    let first = stand.ask(&Ask::post("/orders").key("k").header("Steadfast-Timeout", "100ms")).await;
    first.refused(504, "outcome-in-doubt", Again::HelpsAfter);
    first.operation_link();
    gate.open();
    stand.ledger.outcomes_written(1).await;
    let replay = stand.ask(&Ask::post("/orders").key("k")).await;
    assert_eq!((replay.text().as_str(), replay.is_replay()), ("too late for it", true));
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_deadline_that_passes_before_anything_is_sent_releases_the_key(stand: Stand) {
    let gate = Gate::closed();
    stand.ledger.hold_claims(&gate);
    let first = stand.ask(&Ask::post("/orders").key("k").header("Steadfast-Timeout", "50ms")).await;
    // What became of the claim is not known yet: the store has not answered.
    first.refused(504, "outcome-in-doubt", Again::HelpsAfter);
    gate.open();
    stand.ledger.outcomes_written(1).await;
    assert_eq!(stand.backend.count(), 0, "nothing is sent for a caller whose time is up");
    assert_eq!(stand.ask(&Ask::post("/orders").key("k").body("changed")).await.text(), "done 1");
}

pub(crate) async fn nothing_is_sent_before_the_claim_is_written(stand: Stand) {
    let gate = Gate::closed();
    stand.ledger.hold_claims(&gate);
    let mut line = stand.send(&Ask::post("/orders").key("k")).await;
    stand.ledger.claims_asked(1).await;
    assert!(timeout(Duration::from_millis(50), stand.backend.reached(1)).await.is_err());
    gate.open();
    assert_eq!(line.answer("POST").await.expect("an answer").status, 201);
}

pub(crate) async fn no_answer_is_shown_before_its_outcome_is_written(stand: Stand) {
    for act in [Act::answer(201, "x"), Act::answer(500, "x"), Act::answer(200, vec![0; BODY_BYTES_MAX + 1])] {
        let gate = Gate::closed();
        stand.ledger.hold_outcomes(&gate);
        let status = act.status;
        let number = stand.backend.count() + 1;
        stand.backend.will(act);
        let mut line = stand.send(&Ask::post("/orders").key(&number.to_string())).await;
        stand.ledger.outcomes_asked(number).await;
        assert!(timeout(Duration::from_millis(50), line.head()).await.is_err(), "{status}");
        gate.open();
        assert_eq!(line.answer("POST").await.expect("an answer").status, status);
    }
}

pub(crate) async fn an_outcome_that_cannot_be_written_is_written_later(stand: Stand) {
    stand.ledger.fail_outcomes(Some(LedgerError::Full));
    let ask = Ask::post("/orders").key("k");
    let mut patient = stand.send(&ask).await;
    stand.ledger.outcomes_asked(2).await;
    let other = Ask::post("/orders").key("other");
    let hasty = stand.ask(&other.clone().header("Steadfast-Timeout", "50ms")).await;
    hasty.refused(504, "outcome-in-doubt", Again::HelpsAfter);
    hasty.operation_link();
    stand.ledger.fail_outcomes(None);
    assert_eq!(patient.answer("POST").await.expect("an answer").status, 201);
    stand.ledger.outcomes_written(2).await;
    assert!(stand.ask(&ask).await.is_replay());
    assert!(stand.ask(&other).await.is_replay());
    assert_eq!(stand.backend.count(), 2);
}
