//! Dead letters: grouped by what made them dead, sent round again, removed.

use std::time::Duration;

use steadfast_core::{AttemptEnd, Next, NotSentCause, Refused, StateName};

use super::{
    Harness,
    fixture::{
        AGE, BUSY, PAUSE, TIMED_OUT, accepted, answered, conclude, dead, record, refused, repeatable_work,
        state, take, take_one, work,
    },
};
use crate::{ChangeError, Enqueue, Occupied, Redrive};

const ORDER: Redrive = Redrive { tries_max: 5, age_max: AGE, repeatable_for: None };

/// Dead letters are counted by route and by how their last attempts ended.
pub async fn groups_dead_letters_by_route_and_end<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    assert_eq!(ledger.dead_letters().await, Ok(Vec::new()));
    dead(&ledger, work("a"), BUSY).await;
    harness.advance(PAUSE).await;
    dead(&ledger, work("b"), BUSY).await;
    dead(&ledger, work("c"), AttemptEnd::NotSent(NotSentCause::ConnectFailed)).await;
    dead(&ledger, repeatable_work("d", AGE), TIMED_OUT).await;
    let groups = ledger.dead_letters().await.expect("a ledger that works");
    let told: Vec<_> = groups
        .iter()
        .map(|group| (&*group.end, group.cause.as_deref(), group.status, group.count, group.doubtful))
        .collect();
    let expected = [
        ("refused", None, Some(503), 2, 0),
        ("not_sent", Some("connect_failed"), None, 1, 0),
        ("unknown", Some("timeout"), None, 1, 1),
    ];
    assert_eq!(told, expected);
    assert!(groups.iter().all(|group| &*group.route == "orders"));
    assert!(groups[0].newest_at.since(groups[0].oldest_at) >= PAUSE);
    assert_eq!(ledger.counts().await.expect("a ledger that works").dead, 4);
    assert_eq!(refused(&ledger, work("a")).await.occupied, Occupied::Dead);
}

/// A dead letter goes round again under the same key, with new attempts and new time.
pub async fn sends_a_dead_letter_round_again<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = dead(&ledger, work("k"), BUSY).await;
    assert!(take(&ledger, 10).await.is_empty());
    harness.advance(AGE * 2).await;
    assert_eq!(ledger.redrive(id, ORDER).await, Ok(StateName::Queued));
    let again = ledger.redrive(id, ORDER).await;
    assert!(matches!(again, Err(ChangeError::Refused(Refused::NoSuchTransition { .. }))), "{again:?}");
    let job = take_one(&ledger).await;
    assert_eq!((job.claim.operation, job.claim.attempt), (id, 2));
    assert_eq!((job.stamina.tries, job.stamina.tries_max), (1, 5));
    assert!(job.stamina.give_up_at > job.claimed_at);
    assert_eq!(job.request, work("k").request);
    conclude(&ledger, &job, answered(201, "done"), Next::GiveUp).await;
    assert_eq!(state(&ledger, id).await, StateName::Completed);
    assert_eq!(ledger.dead_letters().await, Ok(Vec::new()));
}

/// One that is dead in doubt goes round again only while its upstream may be asked again.
pub async fn sends_doubt_round_again_only_where_that_is_safe<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let safe = dead(&ledger, repeatable_work("safe", AGE), TIMED_OUT).await;
    let unsafe_ = dead(&ledger, repeatable_work("unsafe", PAUSE), TIMED_OUT).await;
    harness.advance(PAUSE * 2).await;
    let current = Redrive { repeatable_for: Some(AGE), ..ORDER };
    assert_eq!(ledger.redrive(unsafe_, current).await, Err(Refused::InDoubt.into()));
    assert_eq!(ledger.redrive(safe, ORDER).await, Err(Refused::InDoubt.into()));
    assert_eq!(ledger.redrive(safe, current).await, Ok(StateName::Queued));
    let job = take_one(&ledger).await;
    assert_eq!((job.claim.operation, job.claim.after_doubt), (safe, true));
}

/// What is removed leaves a tombstone; what is in doubt is not removed.
pub async fn removes_dead_letters_and_never_doubt<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = dead(&ledger, work("k"), BUSY).await;
    let doubtful = dead(&ledger, repeatable_work("doubtful", AGE), TIMED_OUT).await;
    assert_eq!(ledger.purge(id).await, Ok(StateName::Tombstone));
    assert_eq!(refused(&ledger, work("k")).await.occupied, Occupied::Tombstone);
    assert_eq!(ledger.kept_work(id).await, Ok(None));
    assert_eq!(ledger.attempts(id).await.map(|all| all.len()), Ok(0));
    assert_eq!(ledger.purge(doubtful).await, Err(Refused::InDoubt.into()));
    let queued = accepted(&ledger, Enqueue { delay: PAUSE, ..work("queued") }).await;
    let purged = ledger.purge(queued).await;
    assert!(matches!(purged, Err(ChangeError::Refused(_))), "{purged:?}");
    harness.advance(super::fixture::KEEP + Duration::from_secs(1)).await;
    assert_eq!(super::fixture::sweep(&ledger, 10).await, (1, 0));
    assert_eq!(record(&ledger, doubtful).await.state, StateName::Dead);
}
