//! Claims about operations in doubt on a backend that is declared to be repeatable.

use super::{
    Stand,
    backend::{Act, Gate, Seen},
    refusal::Again,
    routes::REPEATABLE,
    wire::Ask,
};

/// An operation whose first attempt brought nothing conclusive.
async fn doubtful(stand: &Stand) -> Ask {
    stand.backend.will(Act::answer(500, "who knows"));
    let ask = Ask::post("/repeatable").key("k");
    let first = stand.ask(&ask).await;
    assert_eq!((first.status, first.header("steadfast-outcome")), (500, Some("in-doubt")));
    ask
}

/// Every attempt carried the same key.
#[track_caller]
fn one_key(stand: &Stand) {
    let seen = stand.backend.seen();
    let keys: Vec<_> = seen.iter().map(Seen::key).collect();
    assert!(keys.iter().all(|key| key.is_some() && *key == keys[0]), "{keys:?}");
}

pub(crate) async fn what_is_in_doubt_runs_again_with_the_same_key_where_that_is_declared(stand: Stand) {
    let ask = doubtful(&stand).await;
    let again = stand.ask(&ask).await;
    assert_eq!((again.status, again.text().as_str(), again.is_replay()), (201, "done 2", false));
    one_key(&stand);
    assert!(stand.ask(&ask).await.is_replay());
}

pub(crate) async fn after_its_time_a_repeatable_operation_stays_in_doubt(stand: Stand) {
    let ask = doubtful(&stand).await;
    stand.advance(REPEATABLE / 2);
    stand.backend.will(Act::answer(500, "who knows"));
    assert_eq!(stand.ask(&ask).await.status, 500);
    // It counts from the first send, not from the last.
    stand.advance(REPEATABLE / 2);
    stand.ask(&ask).await.refused(409, "outcome-in-doubt", Again::Never);
    assert_eq!(stand.backend.count(), 2);
}

pub(crate) async fn a_409_after_doubt_settles_nothing(stand: Stand) {
    let ask = doubtful(&stand).await;
    stand.backend.will(Act::answer(409, "still at it"));
    let conflict = stand.ask(&ask).await;
    assert_eq!((conflict.status, conflict.text().as_str()), (409, "still at it"));
    assert_eq!(conflict.header("steadfast-outcome"), Some("in-doubt"));
    assert_eq!(stand.ask(&ask).await.text(), "done 3");
    one_key(&stand);
}

pub(crate) async fn a_refusal_after_doubt_does_not_release(stand: Stand) {
    let ask = doubtful(&stand).await;
    stand.backend.will(Act::answer(429, "not now"));
    let refused = stand.ask(&ask).await;
    assert_eq!((refused.status, refused.header("steadfast-outcome")), (429, Some("in-doubt")));
    stand.ask(&ask.clone().body("changed")).await.refused(422, "idempotency-key-reused", Again::Never);
    stand.advance(REPEATABLE);
    stand.ask(&ask).await.refused(409, "outcome-in-doubt", Again::Never);
    assert_eq!(stand.backend.count(), 2);
}

pub(crate) async fn doubt_keeps_the_request_bound(stand: Stand) {
    let ask = doubtful(&stand).await;
    stand.ask(&ask.body("changed")).await.refused(422, "idempotency-key-reused", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_stranger_cannot_run_what_is_in_doubt_again(stand: Stand) {
    let ask = doubtful(&stand).await;
    stand.ask(&ask.by("bob")).await.refused(409, "outcome-in-doubt", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_lost_answer_says_that_asking_again_will_help(stand: Stand) {
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "late").held_by(&gate));
    let ask = Ask::post("/hasty-repeatable").key("k");
    stand.ask(&ask).await.refused(504, "outcome-in-doubt", Again::HelpsAfter);
    assert_eq!(stand.ask(&ask).await.text(), "done 2");
    assert_eq!(stand.backend.count(), 2);
}
