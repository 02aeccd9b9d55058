//! Lanes: operations that belong together are handed out one at a time, in the order in which they were accepted.

use std::time::Duration;

use steadfast_core::{Next, StateName};

use super::{
    Harness,
    fixture::{
        AGAIN, AGE, BUSY, PAUSE, TIMED_OUT, accepted, answered, conclude, keys, name, owner, run_out, state,
        take, take_one, work,
    },
};
use crate::{Cancelled, Enqueue, Lane, LaneTrouble, Redrive, Verdict};

fn in_lane(key: &str, lane: u8, trouble: LaneTrouble) -> Enqueue {
    Enqueue { lane: Some(Lane { digest: [lane; 16], trouble }), ..work(key) }
}

fn blocking(key: &str) -> Enqueue {
    in_lane(key, 1, LaneTrouble::Blocks)
}

fn passing(key: &str) -> Enqueue {
    in_lane(key, 1, LaneTrouble::Passes)
}

/// Only the head of a lane is handed out, whatever happens to it, until it is done.
pub async fn hands_out_the_head_of_a_lane_alone<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    for key in ["a", "b", "c"] {
        accepted(&ledger, blocking(key)).await;
    }
    accepted(&ledger, in_lane("other lane", 2, LaneTrouble::Blocks)).await;
    let elsewhere = Enqueue { name: name("principal bob", "bobs"), owner: owner("bob"), ..blocking("bobs") };
    accepted(&ledger, elsewhere).await;
    accepted(&ledger, work("no lane")).await;
    let jobs = take(&ledger, 10).await;
    assert_eq!(keys(&jobs), ["a", "other lane", "bobs", "no lane"]);
    conclude(&ledger, &jobs[0], BUSY, AGAIN).await;
    assert!(take(&ledger, 10).await.is_empty(), "the head waits, and so do those behind it");
    harness.advance(PAUSE + Duration::from_secs(1)).await;
    let again = take_one(&ledger).await;
    assert_eq!(again.name.key().as_str(), "a");
    conclude(&ledger, &again, answered(201, "done"), AGAIN).await;
    for key in ["b", "c"] {
        let next = take_one(&ledger).await;
        assert_eq!(next.name.key().as_str(), key);
        conclude(&ledger, &next, answered(201, "done"), AGAIN).await;
    }
    assert!(take(&ledger, 10).await.is_empty());
}

/// A head that is in doubt or dead blocks its lane until it is settled, redriven and done, or removed.
pub async fn blocks_behind_trouble_until_it_is_settled<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let ids = [accepted(&ledger, blocking("a")).await, accepted(&ledger, blocking("b")).await];
    accepted(&ledger, blocking("c")).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, Next::Hold).await;
    assert!(take(&ledger, 10).await.is_empty());
    super::settling::settle(&ledger, ids[0], Verdict::Happened(None)).await.expect("settled");
    let second = take_one(&ledger).await;
    assert_eq!(second.claim.operation, ids[1]);
    conclude(&ledger, &second, BUSY, Next::GiveUp).await;
    assert!(take(&ledger, 10).await.is_empty());
    let order = Redrive { tries_max: 1, age_max: AGE, repeatable_for: None };
    assert_eq!(ledger.redrive(ids[1], order).await, Ok(StateName::Queued));
    let again = take_one(&ledger).await;
    assert_eq!(again.claim.operation, ids[1]);
    conclude(&ledger, &again, BUSY, Next::GiveUp).await;
    harness.restart().await;
    let ledger = harness.ledger();
    assert!(take(&ledger, 10).await.is_empty());
    assert_eq!(ledger.purge(ids[1]).await, Ok(StateName::Tombstone));
    assert_eq!(take_one(&ledger).await.name.key().as_str(), "c");
}

/// Where a lane passes trouble by, the next goes on.
pub async fn passes_trouble_by_where_that_is_said<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let ids = [accepted(&ledger, passing("a")).await, accepted(&ledger, passing("b")).await];
    accepted(&ledger, passing("c")).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, Next::Hold).await;
    let second = take_one(&ledger).await;
    assert_eq!(second.claim.operation, ids[1]);
    conclude(&ledger, &second, BUSY, Next::GiveUp).await;
    let third = take_one(&ledger).await;
    assert_eq!(third.name.key().as_str(), "c");
    // One that comes back is the head again.
    super::settling::settle(&ledger, ids[0], Verdict::DidNotHappen).await.expect("settled");
    harness.advance(Duration::from_secs(1)).await;
    let back = take_one(&ledger).await;
    assert_eq!(back.claim.operation, ids[0]);
    conclude(&ledger, &back, answered(201, "done"), AGAIN).await;
    conclude(&ledger, &third, answered(201, "done"), AGAIN).await;
    accepted(&ledger, passing("d")).await;
    assert_eq!(take_one(&ledger).await.name.key().as_str(), "d");
}

/// One that is called off lets the next go on, and one that is not the head leaves without a trace.
pub async fn goes_on_past_what_is_called_off<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let ids = [
        accepted(&ledger, blocking("a")).await,
        accepted(&ledger, blocking("b")).await,
        accepted(&ledger, blocking("c")).await,
    ];
    assert_eq!(ledger.cancel(ids[1]).await, Ok(Cancelled::Now(StateName::Cancelled)));
    assert_eq!(ledger.cancel(ids[0]).await, Ok(Cancelled::Now(StateName::Cancelled)));
    assert_eq!(take_one(&ledger).await.claim.operation, ids[2]);
}

/// A lane goes on, in order, after the worker of its head has died.
pub async fn keeps_its_order_when_a_worker_dies<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let first = Enqueue { repeatable_for: Some(AGE), ..blocking("a") };
    let id = accepted(&ledger, first).await;
    accepted(&ledger, blocking("b")).await;
    take_one(&ledger).await;
    harness.restart().await;
    run_out(&mut harness).await;
    let ledger = harness.ledger();
    assert_eq!(state(&ledger, id).await, StateName::Waiting);
    harness.advance(PAUSE).await;
    let again = take_one(&ledger).await;
    assert_eq!(again.claim.operation, id);
    conclude(&ledger, &again, answered(201, "done"), AGAIN).await;
    assert_eq!(take_one(&ledger).await.name.key().as_str(), "b");
}
