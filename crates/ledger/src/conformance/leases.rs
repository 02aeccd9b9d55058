//! Leases: a claim is its holder's alone for as long as it renews it, and counts as sent after that.

use steadfast_core::StateName;

use super::{
    Harness,
    fixture::{TIMED_OUT, answered, doubtful, finish, granted, record, renewing, request, run_out, standing},
};
use crate::{Finished, Occupied};

/// What a dead process had claimed ends up in doubt, each attempt saying why.
pub async fn resolves_the_claims_of_a_dead_process<H: Harness>(mut harness: H) {
    let mut claims = Vec::new();
    for number in 0..30 {
        claims.push(granted(&harness.ledger(), request(&format!("k{number}"))).await);
    }
    harness.restart().await;
    run_out(&mut harness).await;
    let ledger = harness.ledger();
    for claim in claims {
        assert_eq!(record(&ledger, claim.operation).await.state, StateName::InDoubt);
        let attempts = ledger.attempts(claim.operation).await.expect("a ledger that works");
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].fence, claim.fence);
        assert_eq!(attempts[0].end.as_deref(), Some("unknown"));
        assert_eq!(attempts[0].cause.as_deref(), Some("holder_lost"));
        assert!(attempts[0].ended_at.is_some());
    }
}

/// A lease that has not run out is not touched; one that has makes its attempt count as sent, and wakes.
pub async fn reaps_only_leases_that_ran_out<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("k")).await;
    assert_eq!(ledger.reap(10).await, Ok(Vec::new()));
    harness.advance(ledger.lease() / 2).await;
    assert_eq!(ledger.reap(10).await, Ok(Vec::new()));
    run_out(&mut harness).await;
    let found = standing(&ledger, request("k")).await;
    assert!(matches!(found.occupied, Occupied::InDoubt { .. }));
    // The holder was only slow: what it says of sending no longer counts, its answer does.
    assert_eq!(
        finish(
            &ledger,
            &claim,
            steadfast_core::AttemptEnd::NotSent(steadfast_core::NotSentCause::SendByPassed)
        )
        .await,
        Finished::Superseded(StateName::InDoubt)
    );
    let late = finish(&ledger, &claim, answered(200, "late")).await;
    assert_eq!(late, Finished::Recorded(StateName::Completed));
}

/// Of two claims, the renewed one stays.
pub async fn keeps_a_renewed_lease<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let (kept, left) = (granted(&ledger, request("kept")).await, granted(&ledger, request("left")).await);
    let (lost, reaped) = renewing(&mut harness, &kept).await;
    assert_eq!((lost, reaped), (0, vec![left.operation]));
    assert_eq!(record(&ledger, kept.operation).await.state, StateName::Claimed);
    let finished = finish(&ledger, &kept, answered(200, "done")).await;
    assert_eq!(finished, Finished::Recorded(StateName::Completed));
}

/// A renewal names the claims that are no longer the holder's, and no others.
pub async fn reports_lost_claims_on_renewal<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let reaped = granted(&ledger, request("reaped")).await;
    run_out(&mut harness).await;
    let (held, ended) = (granted(&ledger, request("held")).await, doubtful(&ledger, request("ended")).await);
    let all = [&reaped, &held, &ended].map(|claim| (claim.fence, claim.operation)).to_vec();
    let mut lost = ledger.renew(all).await.expect("a ledger that works");
    let mut expected = vec![reaped.fence, ended.fence];
    lost.sort();
    expected.sort();
    assert_eq!(lost, expected);
    assert_eq!(ledger.renew(Vec::new()).await, Ok(Vec::new()));
}

/// A round of reaping ends no more claims than it was told to.
pub async fn reaps_in_bounded_rounds<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    for number in 0..5 {
        granted(&ledger, request(&format!("k{number}"))).await;
    }
    let mut rounds = Vec::new();
    for _ in 0..12 {
        harness.advance(ledger.lease() / 2).await;
        rounds.push(ledger.reap(2).await.expect("a ledger that works").len());
    }
    rounds.retain(|&reaped| reaped > 0);
    assert_eq!(rounds, [2, 2, 1]);
    assert_eq!(ledger.counts().await.expect("a ledger that works").in_doubt, 5);
}

/// A working ledger says that it works, and the check writes nothing that anybody sees.
pub async fn answers_a_check<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("k")).await;
    let before = record(&ledger, claim.operation).await;
    assert_eq!(ledger.check().await, Ok(()));
    assert_eq!(record(&ledger, claim.operation).await, before);
    finish(&ledger, &claim, TIMED_OUT).await;
}
