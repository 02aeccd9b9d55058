//! Ends of attempts: on disk before they are acknowledged, and of the holder only.

use std::time::Duration;

use steadfast_core::{AttemptEnd, Fence, NotSentCause, StateName, UnknownCause};

use super::{
    Harness,
    fixture::{
        KEEP, TIMED_OUT, answer, answered, asking, completed, doubtful, finish, granted, record, replay,
        request, standing, sweep,
    },
};
use crate::{Claim, Finished, LedgerError, Occupied};

const NOT_SENT: AttemptEnd = AttemptEnd::NotSent(NotSentCause::ConnectFailed);

/// Long enough that only a lost wake can take longer; nothing is expected to happen by then.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that was acknowledged is replayed after the process died.
pub async fn replays_the_answer_after_a_restart<H: Harness>(mut harness: H) {
    let claim = granted(&harness.ledger(), request("k")).await;
    let finished = finish(&harness.ledger(), &claim, answered(201, "made")).await;
    assert_eq!(finished, Finished::Recorded(StateName::Completed));
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(replay(&ledger, request("k")).await, answer(201, "made"));
    assert_eq!(ledger.answer(claim.operation).await, Ok(Some(answer(201, "made"))));
}

/// A holder that does not know whether its end was written says it again.
pub async fn finishes_the_same_end_twice_without_harm<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    for (key, end, state) in [
        ("answered", answered(200, "a"), StateName::Completed),
        ("unknown", TIMED_OUT, StateName::InDoubt),
        ("not sent", NOT_SENT, StateName::Released),
        ("refused", AttemptEnd::Refused { status: 429 }, StateName::Released),
    ] {
        let claim = granted(&ledger, request(key)).await;
        for _ in 0..3 {
            assert_eq!(finish(&ledger, &claim, end.clone()).await, Finished::Recorded(state), "{key}");
        }
        let attempts = ledger.attempts(claim.operation).await.expect("a ledger that works");
        assert_eq!(attempts.len(), 1, "{key}");
        assert_eq!(record(&ledger, claim.operation).await.cases_open, 0, "{key}");
    }
}

/// What was provably not executed is released at once.
pub async fn releases_what_was_not_sent_or_refused<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    for (key, end) in [("not sent", NOT_SENT), ("refused", AttemptEnd::Refused { status: 429 })] {
        let claim = granted(&ledger, request(key)).await;
        assert_eq!(finish(&ledger, &claim, end).await, Finished::Recorded(StateName::Released));
        assert_eq!(ledger.answer(claim.operation).await, Ok(None));
        let again = granted(&ledger, request(key)).await;
        assert_eq!((again.attempt, again.after_doubt), (2, false));
    }
}

/// A fence that was never drawn for the operation changes nothing, whatever it says.
pub async fn changes_nothing_for_a_fence_that_never_was<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("k")).await;
    let stranger = Claim { fence: Fence::random(), ..claim.clone() };
    for end in [NOT_SENT, AttemptEnd::Refused { status: 429 }, TIMED_OUT, answered(200, "forged")] {
        let before = record(&ledger, claim.operation).await;
        assert_eq!(finish(&ledger, &stranger, end).await, Finished::Superseded(StateName::Claimed));
        assert_eq!(record(&ledger, claim.operation).await, before);
    }
    finish(&ledger, &claim, TIMED_OUT).await;
    let late = finish(&ledger, &stranger, answered(200, "forged")).await;
    assert_eq!(late, Finished::Superseded(StateName::InDoubt));
    assert_eq!(record(&ledger, claim.operation).await.cases_open, 0);
}

/// What is stored is never replaced. An answer that contradicts it is kept, and a person must look, once.
pub async fn keeps_a_contradicting_answer_and_opens_one_case<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("k")).await;
    finish(&ledger, &claim, answered(201, "first")).await;
    for _ in 0..2 {
        let finished = finish(&ledger, &claim, answered(201, "second")).await;
        assert_eq!(finished, Finished::Superseded(StateName::Completed));
    }
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(replay(&ledger, request("k")).await, answer(201, "first"));
    assert_eq!(record(&ledger, claim.operation).await.cases_open, 1);
    assert_eq!(ledger.counts().await.expect("a ledger that works").cases_open, 1);
    let attempts = ledger.attempts(claim.operation).await.expect("a ledger that works");
    assert!(attempts[0].evidence);
}

/// `Recorded(Completed)` for an answer means: this is the answer that replays show.
pub async fn never_calls_an_answer_recorded_that_is_not_the_stored_one<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    for (key, first) in [
        ("answered", answered(200, "stored")),
        ("unknown", TIMED_OUT),
        ("not sent", NOT_SENT),
        ("refused", AttemptEnd::Refused { status: 429 }),
    ] {
        let claim = granted(&ledger, request(key)).await;
        finish(&ledger, &claim, first).await;
        for body in ["late", "later", "late"] {
            let finished = finish(&ledger, &claim, answered(200, body)).await;
            let stored = ledger.answer(claim.operation).await.expect("a ledger that works");
            let is_stored = stored == Some(answer(200, body));
            assert_eq!(finished == Finished::Recorded(StateName::Completed), is_stored, "{key} {body}");
        }
    }
}

/// A release is as durable as an answer.
pub async fn keeps_what_is_released_over_a_restart<H: Harness>(mut harness: H) {
    let claim = granted(&harness.ledger(), request("k")).await;
    finish(&harness.ledger(), &claim, NOT_SENT).await;
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(record(&ledger, claim.operation).await.state, StateName::Released);
    granted(&ledger, asking("k", 9)).await;
}

/// Completion, doubt and release each wake whoever subscribed before.
pub async fn wakes_whoever_waits<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let inconclusive = AttemptEnd::Unknown { cause: UnknownCause::Inconclusive, status: Some(500) };
    for (key, end) in [("completed", answered(200, "a")), ("doubt", inconclusive), ("released", NOT_SENT)] {
        let claim = granted(&ledger, request(key)).await;
        let mut watch = ledger.watch(claim.digest).expect("room to wait");
        let (_, woken) =
            tokio::join!(finish(&ledger, &claim, end), tokio::time::timeout(PATIENCE, watch.changed()));
        assert!(woken.is_ok(), "{key}: nobody woke the waiter");
        let found = ledger.claim(request(key)).await.expect("a ledger that works");
        assert!(
            !matches!(&found, crate::ClaimOutcome::Occupied(standing)
                if matches!(standing.occupied, Occupied::Claimed { .. })),
            "{key}: woken before the change could be read"
        );
    }
}

/// A holder from an earlier life of the key finds its operation gone, and touches nothing of the new one.
pub async fn finds_no_operation_of_an_earlier_life<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let old = completed(&ledger, request("k")).await;
    harness.advance(KEEP * 2).await;
    sweep(&ledger, 10).await;
    let new = doubtful(&ledger, request("k")).await;
    assert_eq!(ledger.finish(&old, answered(200, "old")).await, Err(LedgerError::Missing));
    assert_eq!(record(&ledger, new.operation).await.state, StateName::InDoubt);
    assert!(matches!(standing(&ledger, request("k")).await.occupied, Occupied::InDoubt { .. }));
}
