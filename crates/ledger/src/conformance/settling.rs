//! Settlements: written once, by name, and only where there is doubt.

use steadfast_core::{AttemptEnd, NotSentCause, OperationId, Refused, StateName};

use super::{
    Harness,
    fixture::{
        answer, answered, asking, completed, doubtful, finish, granted, record, replay, request, standing,
    },
};
use crate::{Finished, Occupied, SettleError, Settled, Settlement, SharedLedger, Verdict};

pub(super) async fn settle(
    ledger: &SharedLedger,
    id: OperationId,
    verdict: Verdict,
) -> Result<StateName, SettleError> {
    let settlement = Settlement { verdict, by: "ada".into(), reason: "looked it up".into() };
    ledger.settle(id, settlement).await.map(|Settled { state }| state)
}

/// What a person found out is what replays show, and it says who settled it.
pub async fn settles_doubt_with_an_answer<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = doubtful(&ledger, request("k")).await;
    let verdict = Verdict::Happened(Some(answer(201, "found")));
    assert_eq!(settle(&ledger, claim.operation, verdict).await, Ok(StateName::Completed));
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(replay(&ledger, request("k")).await, answer(201, "found"));
    let record = record(&ledger, claim.operation).await;
    assert!(!record.doubtful && record.expires_at.is_some());
    let settlement = record.settlement.expect("a settlement");
    assert_eq!((settlement.happened, &*settlement.by, &*settlement.reason), (true, "ada", "looked it up"));
}

/// It happened, but nobody knows what was answered: nothing executes, and nothing is replayed.
pub async fn settles_doubt_without_an_answer<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = doubtful(&ledger, request("k")).await;
    let mut watch = ledger.watch(claim.digest).expect("room to wait");
    let (settled, ()) =
        tokio::join!(settle(&ledger, claim.operation, Verdict::Happened(None)), watch.changed());
    assert_eq!(settled, Ok(StateName::Completed));
    let found = standing(&ledger, request("k")).await;
    assert!(matches!(found.occupied, Occupied::Completed { answer: None, .. }));
    assert_eq!(record(&ledger, claim.operation).await.answer_status, None);
}

/// Where only the fact was known, an answer that comes after all is stored.
pub async fn learns_the_answer_after_a_settlement_without_one<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = doubtful(&ledger, request("k")).await;
    settle(&ledger, claim.operation, Verdict::Happened(None)).await.expect("a settlement");
    let finished = finish(&ledger, &claim, answered(201, "after all")).await;
    assert_eq!(finished, Finished::Recorded(StateName::Completed));
    assert_eq!(replay(&ledger, request("k")).await, answer(201, "after all"));
}

/// It did not happen: the key is free, for whatever is asked next.
pub async fn settles_that_nothing_happened<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = doubtful(&ledger, request("k")).await;
    let settled = settle(&ledger, claim.operation, Verdict::DidNotHappen).await;
    assert_eq!(settled, Ok(StateName::Released));
    harness.restart().await;
    let ledger = harness.ledger();
    let settlement = record(&ledger, claim.operation).await.settlement.expect("a settlement");
    assert!(!settlement.happened);
    let next = granted(&ledger, asking("k", 2)).await;
    assert!(!next.after_doubt);
}

/// Only doubt is settled; a refusal changes nothing.
pub async fn refuses_to_settle_what_is_not_in_doubt<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let live = granted(&ledger, request("live")).await.operation;
    let done = completed(&ledger, request("done")).await.operation;
    let released = granted(&ledger, request("released")).await;
    finish(&ledger, &released, AttemptEnd::NotSent(NotSentCause::HeldBack)).await;
    for verdict in
        [Verdict::Happened(Some(answer(200, "no"))), Verdict::Happened(None), Verdict::DidNotHappen]
    {
        for (id, refusal) in [(live, Refused::InProgress), (done, Refused::Finished(StateName::Completed))] {
            let before = record(&ledger, id).await;
            let settled = settle(&ledger, id, verdict.clone()).await;
            assert_eq!(settled, Err(SettleError::Refused(refusal)));
            assert_eq!(record(&ledger, id).await, before);
        }
        let settled = settle(&ledger, released.operation, verdict.clone()).await;
        assert!(matches!(settled, Err(SettleError::Refused(Refused::NoSuchTransition { .. }))));
        let nobody = OperationId::new(live.bucket(), OperationId::SEQUENCE_MAX, &released.digest);
        assert_eq!(settle(&ledger, nobody, verdict).await, Err(SettleError::NotFound));
    }
}

/// A person said one thing and the upstream another: both are kept, and a person must look again.
pub async fn opens_a_case_when_an_answer_contradicts_a_settlement<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    for (key, verdict, state) in [
        ("happened", Verdict::Happened(Some(answer(201, "found"))), StateName::Completed),
        ("did not happen", Verdict::DidNotHappen, StateName::Released),
    ] {
        let claim = doubtful(&ledger, request(key)).await;
        settle(&ledger, claim.operation, verdict).await.expect("a settlement");
        let finished = finish(&ledger, &claim, answered(201, "another")).await;
        assert_eq!(finished, Finished::Superseded(state), "{key}");
        assert_eq!(record(&ledger, claim.operation).await.cases_open, 1, "{key}");
    }
    assert_eq!(replay(&ledger, request("happened")).await, answer(201, "found"));
}
