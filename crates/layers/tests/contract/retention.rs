//! Claims about how long keys and answers are kept.

use std::time::Duration;

use super::{
    Stand,
    backend::Act,
    refusal::Again,
    routes::{KEEP, TOMBSTONE},
    wire::Ask,
};

const MOMENT: Duration = Duration::from_secs(2);

pub(crate) async fn a_key_executes_afresh_after_its_retention(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    let first = stand.ask(&ask).await;
    stand.advance(KEEP);
    let afresh = stand.ask(&ask).await;
    assert_eq!((afresh.text().as_str(), afresh.is_replay()), ("done 2", false));
    assert_ne!(first.header("steadfast-operation"), afresh.header("steadfast-operation"));
    assert_eq!(stand.ask(&ask).await.text(), "done 2");
}

pub(crate) async fn a_key_is_replayed_until_its_retention_ends(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    assert_eq!(stand.ask(&ask).await.text(), "done 1");
    stand.advance(KEEP - MOMENT);
    assert!(stand.ask(&ask).await.is_replay());
    // What is remembered does not outlive what is stored.
    stand.advance(MOMENT);
    assert_eq!(stand.ask(&ask).await.text(), "done 2");
}

pub(crate) async fn a_tombstone_keeps_the_key_taken(stand: Stand) {
    let ask = Ask::post("/entombed").key("k");
    assert_eq!(stand.ask(&ask).await.status, 201);
    stand.advance(KEEP);
    for _ in 0..2 {
        stand.ask(&ask).await.refused(410, "key-expired", Again::Never);
    }
    stand.ask(&ask.body("changed")).await.refused(422, "idempotency-key-reused", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_tombstone_ends(stand: Stand) {
    let ask = Ask::post("/entombed").key("k");
    assert_eq!(stand.ask(&ask).await.status, 201);
    stand.advance(KEEP + TOMBSTONE);
    assert_eq!(stand.ask(&ask).await.text(), "done 2");
}

pub(crate) async fn what_is_in_doubt_never_expires(stand: Stand) {
    stand.backend.will(Act::answer(500, "broken"));
    let ask = Ask::post("/orders").key("k");
    assert_eq!(stand.ask(&ask).await.status, 500);
    stand.advance(KEEP * 100);
    stand.ask(&ask).await.refused(409, "outcome-in-doubt", Again::Never);
    assert_eq!(stand.backend.count(), 1);
}

pub(crate) async fn a_key_that_expired_may_be_used_for_something_else(stand: Stand) {
    let ask = Ask::post("/orders").key("k");
    assert_eq!(stand.ask(&ask).await.status, 201);
    stand.advance(KEEP);
    assert_eq!(stand.ask(&ask.by("bob").body("something else")).await.text(), "done 2");
}
