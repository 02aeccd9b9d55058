//! Claims: granted once, on disk, and to whoever asks for the same thing only.

use std::{sync::Arc, time::Duration};

use steadfast_core::{AttemptEnd, Fence, NotSentCause, StateName};
use tokio::task::JoinSet;

use super::{
    Harness,
    fixture::{
        answered, asking, completed, finish, granted, name, record, repeatable, replay, request, run_out,
        standing,
    },
};
use crate::{ClaimOutcome, ClaimRequest, Durability, Occupied};

/// The second claim of a name finds it taken.
pub async fn grants_a_claim_once<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("k")).await;
    assert_eq!((claim.attempt, claim.after_doubt), (1, false));
    let standing = standing(&ledger, request("k")).await;
    assert!(matches!(standing.occupied, Occupied::Claimed { .. }), "{:?}", standing.occupied);
    assert_eq!((standing.operation, &standing.owner), (claim.operation, &request("k").owner));
}

/// Of fifty at once, one is granted, and the others find it claimed.
pub async fn grants_one_of_fifty_concurrent_claims<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    for round in 0..4 {
        let mut claims = JoinSet::new();
        for _ in 0..50 {
            let (ledger, key) = (Arc::clone(&ledger), format!("k{round}"));
            claims.spawn(async move { ledger.claim(request(&key)).await });
        }
        let mut granted = 0;
        while let Some(outcome) = claims.join_next().await {
            match outcome.expect("a task that ends").expect("a ledger that works") {
                ClaimOutcome::Granted(_) => granted += 1,
                ClaimOutcome::Occupied(standing) => {
                    assert!(matches!(standing.occupied, Occupied::Claimed { .. }));
                }
            }
        }
        assert_eq!(granted, 1);
    }
}

/// A claim that was granted is there after its process died, and counts as sent.
pub async fn keeps_a_claim_over_a_restart<H: Harness>(mut harness: H) {
    let claim = granted(&harness.ledger(), request("k")).await;
    harness.restart().await;
    let ledger = harness.ledger();
    let found = standing(&ledger, request("k")).await;
    assert!(matches!(found.occupied, Occupied::Claimed { .. } | Occupied::InDoubt { .. }));
    assert_eq!(found.operation, claim.operation);
    run_out(&mut harness).await;
    let found = standing(&ledger, request("k")).await;
    assert!(matches!(found.occupied, Occupied::InDoubt { .. }), "{:?}", found.occupied);
}

/// A request that asks for something else learns so while the first is under way: it gets the first one's
/// fingerprint to compare.
pub async fn tells_a_different_fingerprint_before_in_progress<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("k")).await;
    let found = standing(&ledger, asking("k", 2)).await;
    assert_eq!(found.fingerprint, request("k").fingerprint);
    assert_ne!(found.fingerprint, asking("k", 2).fingerprint);
    finish(&ledger, &claim, answered(200, "first")).await;
    let found = standing(&ledger, asking("k", 2)).await;
    assert_eq!(found.fingerprint, request("k").fingerprint);
    assert!(matches!(found.occupied, Occupied::Completed { .. }));
}

/// What took no effect binds nothing: the next request with the key may ask for something else.
pub async fn claims_a_released_operation_afresh_with_a_new_fingerprint<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let first = granted(&ledger, request("k")).await;
    finish(&ledger, &first, AttemptEnd::NotSent(NotSentCause::ConnectFailed)).await;
    let second = granted(&ledger, asking("k", 2)).await;
    assert_eq!((second.attempt, second.after_doubt), (2, false));
    assert_eq!(record(&ledger, second.operation).await.fingerprint, asking("k", 2).fingerprint);
    let found = standing(&ledger, request("k")).await;
    assert_eq!(found.fingerprint, asking("k", 2).fingerprint);
}

/// The same key in two namespaces names two operations.
pub async fn separates_namespaces<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let bobs = || ClaimRequest { name: name("principal bob", "k"), ..request("k") };
    let ada = granted(&ledger, request("k")).await;
    let bob = granted(&ledger, bobs()).await;
    assert_ne!(ada.operation, bob.operation);
    finish(&ledger, &ada, answered(200, "ada's")).await;
    finish(&ledger, &bob, answered(200, "bob's")).await;
    assert_eq!(replay(&ledger, request("k")).await.body.as_deref(), Some(&b"ada's"[..]));
    assert_eq!(replay(&ledger, bobs()).await.body.as_deref(), Some(&b"bob's"[..]));
}

/// Two keys with the same request are two operations.
pub async fn separates_keys_that_ask_the_same<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let one = completed(&ledger, request("one")).await;
    let two = completed(&ledger, request("two")).await;
    assert_ne!(one.operation, two.operation);
}

/// A key of 255 characters in a long namespace and a path longer than is kept are taken.
pub async fn takes_the_longest_key<H: Harness>(mut harness: H) {
    let (namespace, key) = ("n".repeat(1_000), "k".repeat(255));
    let long = || ClaimRequest {
        name: name(&namespace, &key),
        path: format!("/{}", "ä".repeat(2_000)).into(),
        ..request("k")
    };
    let claim = completed(&harness.ledger(), long()).await;
    harness.restart().await;
    let ledger = harness.ledger();
    replay(&ledger, long()).await;
    let record = record(&ledger, claim.operation).await;
    assert_eq!(record.name, long().name);
    assert!(record.path.len() <= 1_024 && record.path.starts_with("/ä"), "{}", record.path.len());
}

/// A relaxed claim holds off others and is finished like any other.
pub async fn grants_relaxed_claims_like_synced_ones<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let relaxed = || ClaimRequest {
        durability: Durability::Relaxed,
        fence: Fence::random(),
        ..repeatable("k", Duration::from_secs(60))
    };
    let claim = granted(&ledger, relaxed()).await;
    standing(&ledger, relaxed()).await;
    finish(&ledger, &claim, answered(200, "done")).await;
    harness.restart().await;
    replay(&harness.ledger(), relaxed()).await;
    assert_eq!(record(&harness.ledger(), claim.operation).await.state, StateName::Completed);
}
