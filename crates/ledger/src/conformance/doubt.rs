//! Doubt: never guessed away, left only by an answer, a settlement or a rerun that is allowed.

use std::time::Duration;

use steadfast_core::{AttemptEnd, NotSentCause, StateName, UnknownCause};

use super::{
    Harness,
    fixture::{
        TIMED_OUT, answer, answered, asking, doubtful, finish, granted, owner, record, repeatable, replay,
        request, standing,
    },
};
use crate::{ClaimRequest, Finished, Occupied};

const HOUR: Duration = Duration::from_secs(3_600);
const NOT_SENT: AttemptEnd = AttemptEnd::NotSent(NotSentCause::ConnectFailed);

/// An unknown outcome on an upstream that is not repeatable is held.
pub async fn holds_an_unknown_outcome_in_doubt<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    for cause in UnknownCause::ALL {
        let claim = granted(&ledger, request(cause.name())).await;
        let finished = finish(&ledger, &claim, AttemptEnd::Unknown { cause: *cause, status: None }).await;
        assert_eq!(finished, Finished::Recorded(StateName::InDoubt));
        let found = standing(&ledger, request(cause.name())).await;
        assert!(matches!(found.occupied, Occupied::InDoubt { .. }));
        let record = record(&ledger, claim.operation).await;
        assert_eq!((record.state, record.doubtful), (StateName::InDoubt, true));
    }
}

/// Doubt is as durable as an answer.
pub async fn keeps_doubt_over_a_restart<H: Harness>(mut harness: H) {
    let claim = doubtful(&harness.ledger(), request("k")).await;
    let rerun = doubtful(&harness.ledger(), repeatable("rerun", HOUR)).await;
    finish(&harness.ledger(), &granted(&harness.ledger(), repeatable("rerun", HOUR)).await, NOT_SENT).await;
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(record(&ledger, claim.operation).await.state, StateName::InDoubt);
    assert_eq!(record(&ledger, rerun.operation).await.state, StateName::InDoubt);
    let again = granted(&ledger, repeatable("rerun", HOUR)).await;
    assert_eq!((again.attempt, again.after_doubt), (3, true));
}

/// The fingerprint stays bound in doubt, also where a rerun would be allowed.
pub async fn tells_a_different_fingerprint_of_an_operation_in_doubt<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    doubtful(&ledger, repeatable("k", HOUR)).await;
    let other = ClaimRequest { repeatable_for: Some(HOUR), ..asking("k", 2) };
    let found = standing(&ledger, other).await;
    assert_eq!(found.fingerprint, request("k").fingerprint);
    assert!(matches!(found.occupied, Occupied::InDoubt { .. }));
}

/// A rerun is allowed for as long as both the stored and the current policy say, counted from the first send
/// and not from the latest.
pub async fn runs_again_only_within_the_stricter_time_since_the_first_send<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    for (key, stored, current, allowed) in [
        ("both long", Some(4 * HOUR), Some(4 * HOUR), true),
        ("stored short", Some(HOUR), Some(4 * HOUR), false),
        ("current short", Some(4 * HOUR), Some(HOUR), false),
        ("stored none", None, Some(4 * HOUR), false),
        ("current none", Some(4 * HOUR), None, false),
    ] {
        doubtful(&ledger, ClaimRequest { repeatable_for: stored, ..request(key) }).await;
        harness.advance(2 * HOUR).await;
        let again = ClaimRequest { repeatable_for: current, ..request(key) };
        if !allowed {
            let found = standing(&ledger, again).await;
            assert!(matches!(found.occupied, Occupied::InDoubt { .. }), "{key}");
            continue;
        }
        let second = granted(&ledger, again.clone()).await;
        assert_eq!((second.attempt, second.after_doubt), (2, true));
        finish(&ledger, &second, TIMED_OUT).await;
        harness.advance(HOUR).await;
        finish(&ledger, &granted(&ledger, repeatable(key, 4 * HOUR)).await, TIMED_OUT).await;
        // Two hours after the latest send, but five after the first.
        harness.advance(2 * HOUR).await;
        let found = standing(&ledger, repeatable(key, 4 * HOUR)).await;
        assert!(matches!(found.occupied, Occupied::InDoubt { .. }), "{key}");
    }
}

/// Somebody else's key is not rerun for whoever happens to share its namespace.
pub async fn runs_again_only_for_a_caller_it_discloses_to<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    doubtful(&ledger, repeatable("k", HOUR)).await;
    let bobs = ClaimRequest { owner: owner("bob"), ..repeatable("k", HOUR) };
    let found = standing(&ledger, bobs).await;
    assert!(matches!(found.occupied, Occupied::InDoubt { .. }));
    assert_eq!(found.owner, owner("ada"));
    granted(&ledger, repeatable("k", HOUR)).await;
}

/// Doubt is sticky: a rerun that was not sent, or refused, says nothing of the attempt before it.
pub async fn keeps_doubt_through_a_rerun_that_was_not_sent<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    doubtful(&ledger, repeatable("k", HOUR)).await;
    for end in [NOT_SENT, AttemptEnd::Refused { status: 429 }, TIMED_OUT] {
        let rerun = granted(&ledger, repeatable("k", HOUR)).await;
        assert!(rerun.after_doubt);
        assert!(record(&ledger, rerun.operation).await.doubtful);
        assert_eq!(finish(&ledger, &rerun, end).await, Finished::Recorded(StateName::InDoubt));
    }
    let found = standing(&ledger, request("k")).await;
    assert!(matches!(found.occupied, Occupied::InDoubt { .. }));
}

/// A timeout ends the wait, not the reading: the answer that came after all completes the operation.
pub async fn completes_doubt_with_a_late_answer<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = doubtful(&ledger, request("k")).await;
    let finished = finish(&ledger, &claim, answered(201, "late")).await;
    assert_eq!(finished, Finished::Recorded(StateName::Completed));
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(replay(&ledger, request("k")).await, answer(201, "late"));
    let record = record(&ledger, claim.operation).await;
    assert_eq!((record.doubtful, record.cases_open, record.answer_status), (false, 0, Some(201)));
}

/// The first attempt's answer comes while the second is under way: it is kept, and becomes the operation's when
/// the second brings nothing.
pub async fn keeps_a_late_answer_while_a_rerun_is_under_way_and_adopts_it<H: Harness>(mut harness: H) {
    for (key, end) in [("not sent", NOT_SENT), ("unknown", TIMED_OUT)] {
        let ledger = harness.ledger();
        let first = doubtful(&ledger, repeatable(key, HOUR)).await;
        let second = granted(&ledger, repeatable(key, HOUR)).await;
        let late = finish(&ledger, &first, answered(201, "first")).await;
        assert_eq!(late, Finished::Superseded(StateName::Claimed));
        assert!(matches!(standing(&ledger, request(key)).await.occupied, Occupied::Claimed { .. }));
        assert_eq!(ledger.answer(first.operation).await, Ok(None));
        assert_eq!(finish(&ledger, &second, end).await, Finished::Recorded(StateName::Completed));
        harness.restart().await;
        let ledger = harness.ledger();
        assert_eq!(replay(&ledger, request(key)).await, answer(201, "first"));
        let attempts = ledger.attempts(first.operation).await.expect("a ledger that works");
        assert!(attempts[0].evidence && !attempts[1].evidence);
        assert_eq!(record(&ledger, first.operation).await.cases_open, 0);
    }
}

/// Two attempts with two different answers: the live one's is stored, and a person must look.
pub async fn prefers_the_answer_of_the_rerun_and_opens_a_case<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let first = doubtful(&ledger, repeatable("k", HOUR)).await;
    let second = granted(&ledger, repeatable("k", HOUR)).await;
    finish(&ledger, &first, answered(201, "first")).await;
    let finished = finish(&ledger, &second, answered(201, "second")).await;
    assert_eq!(finished, Finished::Recorded(StateName::Completed));
    assert_eq!(replay(&ledger, request("k")).await, answer(201, "second"));
    assert_eq!(record(&ledger, first.operation).await.cases_open, 1);
}

/// Two attempts with the same answer agree: that is what repeatable means.
pub async fn takes_the_same_answer_twice_as_one<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let first = doubtful(&ledger, repeatable("k", HOUR)).await;
    let second = granted(&ledger, repeatable("k", HOUR)).await;
    finish(&ledger, &first, answered(201, "same")).await;
    let finished = finish(&ledger, &second, answered(201, "same")).await;
    assert_eq!(finished, Finished::Recorded(StateName::Completed));
    let again = finish(&ledger, &first, answered(201, "same")).await;
    assert_eq!(again, Finished::Recorded(StateName::Completed));
    assert_eq!(record(&ledger, first.operation).await.cases_open, 0);
}
