//! Retention: what is finished is kept for its time, and what is not is kept until it is.

use std::time::Duration;

use steadfast_core::{AttemptEnd, NotSentCause, StateName};

use super::{
    Harness,
    fixture::{
        KEEP, answer, answered, asking, completed, doubtful, finish, granted, keeping, record, renewing,
        replay, request, standing, sweep,
    },
};
use crate::{ClaimRequest, KeepFrom, Occupied, claim::WINDOW_READ_TIME};

const MINUTE: Duration = Duration::from_secs(60);

/// The claiming statement decides that a row has expired, and a new life gets a new id and binds nothing old.
pub async fn claims_an_expired_operation_afresh_before_any_sweep<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let old = completed(&ledger, request("k")).await;
    harness.advance(KEEP + MINUTE).await;
    let new = granted(&ledger, asking("k", 2)).await;
    assert_eq!((new.attempt, new.after_doubt), (1, false));
    assert_ne!(new.operation, old.operation);
    assert_eq!(ledger.operation(old.operation).await, Ok(None));
    assert_eq!(ledger.answer(new.operation).await, Ok(None));
    finish(&ledger, &new, answered(200, "new")).await;
    assert_eq!(replay(&ledger, asking("k", 2)).await, answer(200, "new"));
}

/// Until its time is up an operation is replayed, and no sweep takes it.
pub async fn keeps_what_has_not_expired<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    completed(&ledger, request("k")).await;
    harness.advance(KEEP - MINUTE).await;
    assert_eq!(sweep(&ledger, 10).await, (0, 0));
    replay(&ledger, request("k")).await;
}

/// A window's time counts from its claim, however long the attempt took.
pub async fn counts_a_window_from_its_claim<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let window = || keeping("k", KeepFrom::Claim, None);
    let claim = granted(&ledger, window()).await;
    harness.advance(KEEP / 2).await;
    finish(&ledger, &claim, answered(200, "one")).await;
    replay(&ledger, window()).await;
    harness.advance(KEEP / 2 + MINUTE).await;
    let next = granted(&ledger, window()).await;
    assert_ne!(next.operation, claim.operation);
}

/// A window that ended while its operation is unfinished still binds. Whoever waited for it can read its answer
/// once it finishes, and then it is over.
pub async fn binds_a_window_while_it_is_unfinished<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let window = || keeping("k", KeepFrom::Claim, None);
    let claim = granted(&ledger, window()).await;
    harness.advance(KEEP * 2).await;
    assert!(matches!(standing(&ledger, window()).await.occupied, Occupied::Claimed { .. }));
    assert_eq!(sweep(&ledger, 10).await, (0, 0));
    finish(&ledger, &claim, answered(200, "one")).await;
    replay(&ledger, window()).await;
    harness.advance(2 * WINDOW_READ_TIME).await;
    let next = granted(&ledger, window()).await;
    assert_ne!(next.operation, claim.operation);
}

/// A tombstone holds the key after its answer is gone, also before any sweep.
pub async fn holds_the_key_with_a_tombstone<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let buried = || keeping("k", KeepFrom::Finish, Some(KEEP));
    let claim = completed(&ledger, buried()).await;
    harness.advance(KEEP + MINUTE).await;
    assert_eq!(standing(&ledger, buried()).await.occupied, Occupied::Tombstone);
    assert_eq!(sweep(&ledger, 10).await, (0, 1));
    assert_eq!(standing(&ledger, buried()).await.occupied, Occupied::Tombstone);
    assert_eq!(ledger.answer(claim.operation).await, Ok(None));
    assert_eq!(record(&ledger, claim.operation).await.state, StateName::Tombstone);
    harness.restart().await;
    assert_eq!(standing(&harness.ledger(), buried()).await.occupied, Occupied::Tombstone);
}

/// A tombstone's time counts from the expiry, whenever it was swept, and then the key executes afresh.
pub async fn lets_the_key_go_after_the_tombstone<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    for (key, swept) in [("swept", true), ("never swept", false)] {
        let buried = || keeping(key, KeepFrom::Finish, Some(KEEP));
        completed(&ledger, buried()).await;
        harness.advance(KEEP + KEEP / 2).await;
        if swept {
            assert_eq!(sweep(&ledger, 10).await, (0, 1));
        }
        harness.advance(KEEP / 2 + MINUTE).await;
        assert_eq!(granted(&ledger, buried()).await.attempt, 1, "{key}");
    }
    completed(&ledger, keeping("removed", KeepFrom::Finish, Some(KEEP))).await;
    harness.advance(KEEP * 3).await;
    assert_eq!(sweep(&ledger, 10).await, (1, 0));
}

/// A round removes no more operations than it was told to, and nothing of them is left.
pub async fn sweeps_in_bounded_rounds<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let mut claims = Vec::new();
    for number in 0..5 {
        claims.push(completed(&ledger, request(&format!("k{number}"))).await);
    }
    harness.advance(KEEP + MINUTE).await;
    completed(&ledger, request("young")).await;
    assert_eq!([sweep(&ledger, 2).await, sweep(&ledger, 2).await], [(2, 0), (2, 0)]);
    assert_eq!([sweep(&ledger, 2).await, sweep(&ledger, 2).await], [(1, 0), (0, 0)]);
    for claim in claims {
        assert_eq!(ledger.operation(claim.operation).await, Ok(None));
        assert_eq!(ledger.answer(claim.operation).await, Ok(None));
        assert_eq!(ledger.attempts(claim.operation).await, Ok(Vec::new()));
    }
    replay(&ledger, request("young")).await;
}

/// What is in doubt, or under way, is never swept and never claimed as expired.
pub async fn never_expires_doubt<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let doubt = doubtful(&ledger, request("doubt")).await;
    let window = doubtful(&ledger, keeping("window", KeepFrom::Claim, None)).await;
    let live = granted(&ledger, request("live")).await;
    harness.advance(KEEP * 100).await;
    renewing(&mut harness, &live).await;
    assert_eq!(sweep(&ledger, 10).await, (0, 0));
    for (key, claim) in [("doubt", doubt), ("window", window)] {
        let request = ClaimRequest { repeatable_for: Some(MINUTE), ..request(key) };
        assert!(matches!(standing(&ledger, request).await.occupied, Occupied::InDoubt { .. }), "{key}");
        assert_eq!(record(&ledger, claim.operation).await.expires_at, None);
    }
}

/// What was released and never asked for again goes too.
pub async fn sweeps_released_operations<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, keeping("k", KeepFrom::Finish, Some(KEEP))).await;
    finish(&ledger, &claim, AttemptEnd::NotSent(NotSentCause::HeldBack)).await;
    harness.advance(KEEP + MINUTE).await;
    assert_eq!(sweep(&ledger, 10).await, (1, 0));
    assert_eq!(ledger.operation(claim.operation).await, Ok(None));
}

/// An id names one life of an operation, also when everything was swept and the process died in between.
pub async fn never_gives_an_id_twice<H: Harness>(mut harness: H) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(completed(&harness.ledger(), request("k")).await.operation);
        harness.advance(KEEP + MINUTE).await;
        assert_eq!(sweep(&harness.ledger(), 10).await, (1, 0));
        harness.restart().await;
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}
