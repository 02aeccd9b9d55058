//! Duties: one node at a time has each, and marks only move on.

use std::time::Duration;

use steadfast_core::{Fence, Timestamp};

use super::Harness;

const TIME: Duration = Duration::from_secs(10);

/// A duty is one node's until its time has run out or it lays it down.
pub async fn gives_a_duty_to_one_node_at_a_time<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let (one, two) = (Fence::random(), Fence::random());
    assert_eq!(ledger.take_on("tick".into(), one, TIME).await, Ok(true));
    assert_eq!(ledger.take_on("tick".into(), two, TIME).await, Ok(false));
    assert_eq!(ledger.take_on("tock".into(), two, TIME).await, Ok(true));
    harness.advance(TIME / 2).await;
    assert_eq!(ledger.take_on("tick".into(), one, TIME).await, Ok(true));
    harness.advance(TIME / 2 + Duration::from_millis(10)).await;
    assert_eq!(ledger.take_on("tick".into(), two, TIME).await, Ok(false));
    harness.advance(TIME / 2).await;
    assert_eq!(ledger.take_on("tick".into(), two, TIME).await, Ok(true));
    // Only who has it can lay it down.
    assert_eq!(ledger.lay_down("tick".into(), one).await, Ok(()));
    assert_eq!(ledger.take_on("tick".into(), one, TIME).await, Ok(false));
    assert_eq!(ledger.lay_down("tick".into(), two).await, Ok(()));
    assert_eq!(ledger.take_on("tick".into(), one, TIME).await, Ok(true));
}

/// A mark is kept over a restart, and never goes back.
pub async fn moves_marks_on_and_never_back<H: Harness>(mut harness: H) {
    let at = Timestamp::from_millis;
    let ledger = harness.ledger();
    assert_eq!(ledger.mark("nightly".into()).await, Ok(None));
    assert_eq!(ledger.set_mark("nightly".into(), at(5_000)).await, Ok(()));
    assert_eq!(ledger.set_mark("nightly".into(), at(4_000)).await, Ok(()));
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(ledger.mark("nightly".into()).await, Ok(Some(at(5_000))));
    assert_eq!(ledger.mark("hourly".into()).await, Ok(None));
    let before = ledger.now().await.expect("a ledger that works");
    harness.advance(TIME).await;
    let after = ledger.now().await.expect("a ledger that works");
    assert!(after.since(before) >= TIME, "{before:?} {after:?}");
}
