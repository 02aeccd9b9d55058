//! The backlog: what is accepted is on disk, is handed out to one worker at a time, and ends as the state machine says.

use std::{collections::HashSet, time::Duration};

use steadfast_core::{AttemptEnd, Next, NotSentCause, Refused, StateName};

use super::{
    Harness,
    fixture::{
        AGAIN, AGE, BUSY, KEEP, PAUSE, TIMED_OUT, accepted, answer, answered, asking, conclude, finish,
        granted, keys, record, refused, repeatable_work, replay, request, run_out, standing, state, take,
        take_one, wish, work,
    },
};
use crate::{
    Cancelled, ChangeError, Claim, ClaimRequest, Enqueue, Finished, Occupied, Priority, Verdict, Wish,
};

const HELD_BACK: AttemptEnd = AttemptEnd::NotSent(NotSentCause::HeldBack);

/// Work that was accepted is there after the process died, as it was left, and is handed out once.
pub async fn hands_out_accepted_work_once_after_a_restart<H: Harness>(mut harness: H) {
    let id = accepted(&harness.ledger(), work("k")).await;
    harness.restart().await;
    let ledger = harness.ledger();
    let found = record(&ledger, id).await;
    assert_eq!((found.state, found.attempts), (StateName::Queued, 0));
    let job = take_one(&ledger).await;
    let left = work("k");
    assert_eq!((job.claim.operation, job.claim.attempt, job.claim.after_doubt), (id, 1, false));
    assert_eq!((&job.name, &job.owner, &job.route), (&left.name, &left.owner, &left.route));
    assert_eq!((&*job.method, &job.request), ("POST", &left.request));
    assert_eq!((job.stamina.tries, job.stamina.tries_max), (1, 3));
    assert_eq!(state(&ledger, id).await, StateName::Claimed);
    assert!(take(&ledger, 10).await.is_empty());
}

/// The same name is accepted once, and whoever comes later is told how it stands, in every state.
pub async fn accepts_a_name_once_and_tells_how_it_stands<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, work("k")).await;
    let found = refused(&ledger, work("k")).await;
    assert_eq!((found.operation, &found.occupied), (id, &Occupied::Queued));
    let other = Enqueue { fingerprint: asking("k", 9).fingerprint, ..work("k") };
    assert_ne!(refused(&ledger, other.clone()).await.fingerprint, other.fingerprint);
    assert_eq!(standing(&ledger, request("k")).await.occupied, Occupied::Queued);
    let job = take_one(&ledger).await;
    assert!(matches!(refused(&ledger, work("k")).await.occupied, Occupied::Claimed { .. }));
    conclude(&ledger, &job, answered(201, "bought"), Next::GiveUp).await;
    match &refused(&ledger, work("k")).await.occupied {
        Occupied::Completed { answer: Some(found), .. } => assert_eq!(*found, answer(201, "bought")),
        other => panic!("{other:?}"),
    }
    assert_eq!(replay(&ledger, request("k")).await, answer(201, "bought"));
}

/// A released operation of a caller's own is accepted afresh, and so is one that has expired.
pub async fn accepts_what_is_released_or_expired_afresh<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("k")).await;
    finish(&ledger, &claim, BUSY).await;
    let other = Enqueue { fingerprint: asking("k", 9).fingerprint, ..work("k") };
    assert_eq!(accepted(&ledger, other).await, claim.operation);
    let job = take_one(&ledger).await;
    assert_eq!((job.claim.attempt, job.stamina.tries), (2, 1));
    conclude(&ledger, &job, answered(201, "bought"), AGAIN).await;
    harness.advance(KEEP + Duration::from_secs(1)).await;
    assert_ne!(accepted(&ledger, work("k")).await, claim.operation);
    assert_eq!(take_one(&ledger).await.claim.attempt, 1);
}

/// Workers that take at the same time get each operation once.
pub async fn hands_out_each_operation_to_one_of_many_workers<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    for number in 0..50 {
        accepted(&ledger, work(&format!("k{number}"))).await;
    }
    let mut takers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let ledger = ledger.clone();
        takers.spawn(async move { take(&ledger, 5).await });
    }
    let jobs: Vec<_> = takers.join_all().await.into_iter().flatten().collect();
    let mut taken: HashSet<_> = jobs.iter().map(|job| job.claim.operation).collect();
    assert_eq!(taken.len(), jobs.len());
    taken.extend(take(&ledger, 50).await.iter().map(|job| job.claim.operation));
    assert_eq!(taken.len(), 50);
}

/// What is due goes by priority and then by its time; what is not due waits; other routes are left alone.
pub async fn hands_out_what_is_due_by_priority_and_time<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let with = |key: &str, delay: u64, priority: i16| Enqueue {
        delay: Duration::from_secs(delay),
        priority: Priority(priority),
        ..work(key)
    };
    accepted(&ledger, with("second", 0, 0)).await;
    harness.advance(Duration::from_secs(1)).await;
    for later in [with("third", 0, 0), with("first", 0, 5), with("last", 0, -1), with("in a minute", 60, 9)] {
        accepted(&ledger, later).await;
    }
    accepted(&ledger, Enqueue { route: "refunds".into(), ..work("elsewhere") }).await;
    assert_eq!(keys(&take(&ledger, 3).await), ["first", "second", "third"]);
    let taken = ledger.take(wish(10)).await.expect("a ledger that works");
    assert_eq!(keys(&taken.jobs), ["last"]);
    let due_in = taken.next_due_in.expect("one that is due later");
    assert!(due_in > Duration::from_secs(50) && due_in <= Duration::from_secs(60), "{due_in:?}");
    harness.advance(Duration::from_secs(61)).await;
    assert_eq!(keys(&take(&ledger, 10).await), ["in a minute"]);
    let elsewhere = vec![Wish { route: "refunds".into(), limit: 1, repeatable_for: None }];
    assert_eq!(keys(&ledger.take(elsewhere).await.expect("a ledger that works").jobs), ["elsewhere"]);
}

/// Something that arrives or becomes ready is told.
pub async fn tells_that_something_arrived<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let mut arrivals = ledger.arrivals();
    arrivals.borrow_and_update();
    accepted(&ledger, work("k")).await;
    tokio::time::timeout(Duration::from_secs(10), arrivals.changed())
        .await
        .expect("in time")
        .expect("a ledger");
    let job = take_one(&ledger).await;
    arrivals.borrow_and_update();
    conclude(&ledger, &job, BUSY, AGAIN).await;
    tokio::time::timeout(Duration::from_secs(10), arrivals.changed())
        .await
        .expect("in time")
        .expect("a ledger");
}

/// After an attempt that brought nothing the next comes when its time has come, and those that count are counted.
pub async fn waits_for_the_time_of_the_next_attempt<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, work("k")).await;
    let first = take_one(&ledger).await;
    assert_eq!(conclude(&ledger, &first, BUSY, AGAIN).await, Finished::Recorded(StateName::Waiting));
    // Said twice, it is still what was recorded.
    assert_eq!(conclude(&ledger, &first, BUSY, AGAIN).await, Finished::Recorded(StateName::Waiting));
    assert!(take(&ledger, 10).await.is_empty());
    harness.advance(PAUSE + Duration::from_secs(1)).await;
    let second = take_one(&ledger).await;
    assert_eq!((second.claim.attempt, second.stamina.tries, second.claim.after_doubt), (2, 2, false));
    assert_eq!(second.first_sent, first.first_sent);
    let uncounted = Next::Again { after: PAUSE, counts: false };
    conclude(&ledger, &second, HELD_BACK, uncounted).await;
    harness.advance(PAUSE + Duration::from_secs(1)).await;
    let third = take_one(&ledger).await;
    assert_eq!((third.claim.attempt, third.stamina.tries), (3, 2));
    conclude(&ledger, &third, answered(201, "bought"), Next::GiveUp).await;
    assert_eq!(state(&ledger, id).await, StateName::Completed);
    let attempts = ledger.attempts(id).await.expect("a ledger that works");
    let ends: Vec<_> = attempts.iter().map(|attempt| attempt.end.as_deref()).collect();
    assert_eq!(ends, [Some("refused"), Some("not_sent"), Some("answered")]);
    let excerpts: Vec<_> = attempts.iter().map(|attempt| attempt.excerpt.as_deref()).collect();
    assert_eq!(excerpts, [Some("why"), Some("why"), None]);
    assert_eq!(ledger.answer(id).await, Ok(Some(answer(201, "bought"))));
}

/// What nobody knows is held where the upstream may not be asked again, and a settlement lets it run or ends it.
pub async fn holds_what_nobody_knows_until_it_is_settled<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, work("k")).await;
    let job = take_one(&ledger).await;
    let finished = conclude(&ledger, &job, TIMED_OUT, Next::Hold).await;
    assert_eq!(finished, Finished::Recorded(StateName::InDoubt));
    assert!(take(&ledger, 10).await.is_empty());
    assert!(matches!(refused(&ledger, work("k")).await.occupied, Occupied::InDoubt { .. }));
    super::settling::settle(&ledger, id, Verdict::DidNotHappen).await.expect("settled");
    let again = take_one(&ledger).await;
    assert_eq!((again.claim.operation, again.claim.after_doubt), (id, false));
    conclude(&ledger, &again, TIMED_OUT, Next::Hold).await;
    super::settling::settle(&ledger, id, Verdict::Happened(None)).await.expect("settled");
    assert_eq!(state(&ledger, id).await, StateName::Completed);
    assert!(take(&ledger, 10).await.is_empty());
}

/// Doubt goes through every later attempt that brings no answer, and out only with one.
pub async fn keeps_doubt_through_later_attempts<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, repeatable_work("k", AGE)).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, AGAIN).await;
    assert!(record(&ledger, id).await.doubtful);
    harness.advance(PAUSE + Duration::from_secs(1)).await;
    let second = take_one(&ledger).await;
    assert!(second.claim.after_doubt);
    assert_eq!(conclude(&ledger, &second, BUSY, AGAIN).await, Finished::Recorded(StateName::Waiting));
    harness.advance(PAUSE + Duration::from_secs(1)).await;
    let third = take_one(&ledger).await;
    assert!(third.claim.after_doubt);
    assert_eq!(conclude(&ledger, &third, BUSY, Next::GiveUp).await, Finished::Recorded(StateName::Dead));
    let found = record(&ledger, id).await;
    assert_eq!((found.state, found.doubtful), (StateName::Dead, true));
}

/// Where the time is over in which an upstream in doubt may be asked again, the operation is held instead of taken.
pub async fn holds_instead_of_taking_when_the_time_to_repeat_is_over<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, repeatable_work("k", PAUSE)).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, AGAIN).await;
    harness.advance(PAUSE * 2).await;
    assert!(take(&ledger, 10).await.is_empty());
    assert_eq!(state(&ledger, id).await, StateName::InDoubt);
    // The stricter of the stored and the current policy counts.
    let id = accepted(&ledger, repeatable_work("other", AGE)).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, AGAIN).await;
    harness.advance(PAUSE * 2).await;
    let strict = vec![Wish { route: "orders".into(), limit: 10, repeatable_for: None }];
    assert!(ledger.take(strict).await.expect("a ledger that works").jobs.is_empty());
    assert_eq!(state(&ledger, id).await, StateName::InDoubt);
}

/// An answer that comes late ends the doubt of what waits, and nothing more is made of it.
pub async fn completes_what_waits_in_doubt_with_a_late_answer<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, repeatable_work("k", AGE)).await;
    let job = take_one(&ledger).await;
    conclude(&ledger, &job, TIMED_OUT, AGAIN).await;
    let late = conclude(&ledger, &job, answered(201, "late"), AGAIN).await;
    assert_eq!(late, Finished::Recorded(StateName::Completed));
    assert_eq!(ledger.answer(id).await, Ok(Some(answer(201, "late"))));
    harness.advance(PAUSE * 2).await;
    assert!(take(&ledger, 10).await.is_empty());
}

/// Nobody but the holder says how its attempt ended.
pub async fn heeds_no_end_of_a_stale_attempt<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, work("k")).await;
    let first = take_one(&ledger).await;
    conclude(&ledger, &first, BUSY, AGAIN).await;
    harness.advance(PAUSE + Duration::from_secs(1)).await;
    let second = take_one(&ledger).await;
    let stale = conclude(&ledger, &first, TIMED_OUT, Next::Hold).await;
    assert_eq!(stale, Finished::Superseded(StateName::Claimed));
    let strange = Claim { fence: steadfast_core::Fence::random(), ..second.claim.clone() };
    let strange = crate::Job { claim: strange, ..second.clone() };
    let nobodys = conclude(&ledger, &strange, answered(200, "mine"), AGAIN).await;
    assert_eq!(nobodys, Finished::Superseded(StateName::Claimed));
    conclude(&ledger, &second, answered(201, "bought"), AGAIN).await;
    assert_eq!(ledger.answer(id).await, Ok(Some(answer(201, "bought"))));
}

/// What a dead worker had claimed runs again where its upstream repeats safely, and is held where not.
pub async fn runs_the_work_of_a_dead_worker_again_where_that_is_safe<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let safe = accepted(&ledger, repeatable_work("safe", AGE)).await;
    let unsafe_ = accepted(&ledger, work("unsafe")).await;
    assert_eq!(take(&ledger, 10).await.len(), 2);
    harness.restart().await;
    run_out(&mut harness).await;
    let ledger = harness.ledger();
    assert_eq!(state(&ledger, unsafe_).await, StateName::InDoubt);
    assert_eq!(state(&ledger, safe).await, StateName::Waiting);
    harness.advance(PAUSE).await;
    let job = take_one(&ledger).await;
    assert_eq!((job.claim.operation, job.claim.after_doubt, job.stamina.tries), (safe, true, 2));
    conclude(&ledger, &job, answered(201, "bought"), AGAIN).await;
    assert_eq!(state(&ledger, safe).await, StateName::Completed);
}

/// A worker that is lost again and again does not get the operation for ever.
pub async fn gives_up_on_what_kills_its_workers<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, repeatable_work("k", AGE)).await;
    for _ in 0..3 {
        take_one(&ledger).await;
        run_out(&mut harness).await;
        harness.advance(PAUSE * 2).await;
    }
    let found = record(&ledger, id).await;
    assert_eq!((found.state, found.doubtful), (StateName::Dead, true));
}

/// What waits can be called off; where an attempt is under way, that decides; doubt is not called off.
pub async fn calls_off_what_has_not_been_done<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let queued = accepted(&ledger, work("queued")).await;
    assert_eq!(ledger.cancel(queued).await, Ok(Cancelled::Now(StateName::Cancelled)));
    assert!(take(&ledger, 10).await.is_empty());
    assert_eq!(refused(&ledger, work("queued")).await.occupied, Occupied::Cancelled);
    let late = ledger.cancel(queued).await;
    assert!(matches!(late, Err(ChangeError::Refused(Refused::NoSuchTransition { .. }))), "{late:?}");

    let under_way = accepted(&ledger, work("under way")).await;
    let job = take_one(&ledger).await;
    assert_eq!(ledger.cancel(under_way).await, Ok(Cancelled::AfterThisAttempt));
    let kept = ledger.kept_work(under_way).await.expect("a ledger that works").expect("work");
    assert!(kept.cancel_asked);
    assert_eq!(conclude(&ledger, &job, BUSY, AGAIN).await, Finished::Recorded(StateName::Cancelled));

    let done = accepted(&ledger, work("done")).await;
    let job = take_one(&ledger).await;
    assert_eq!(ledger.cancel(done).await, Ok(Cancelled::AfterThisAttempt));
    conclude(&ledger, &job, answered(201, "bought"), AGAIN).await;
    assert_eq!(state(&ledger, done).await, StateName::Completed);

    let doubtful = accepted(&ledger, repeatable_work("doubtful", AGE)).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, AGAIN).await;
    assert_eq!(ledger.cancel(doubtful).await, Ok(Cancelled::Now(StateName::InDoubt)));
    harness.advance(PAUSE * 2).await;
    assert!(take(&ledger, 10).await.is_empty());
}

/// What is finished is swept with everything that was kept for it.
pub async fn sweeps_work_with_what_was_kept_for_it<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, work("k")).await;
    conclude(&ledger, &take_one(&ledger).await, answered(201, "bought"), AGAIN).await;
    assert!(ledger.kept_work(id).await.expect("a ledger that works").is_some());
    harness.advance(KEEP + Duration::from_secs(1)).await;
    assert_eq!(super::fixture::sweep(&ledger, 10).await, (1, 0));
    assert_eq!(ledger.kept_work(id).await, Ok(None));
    // What is still to be done never expires.
    let id = accepted(&ledger, work("k")).await;
    harness.advance(KEEP * 3).await;
    assert_eq!(super::fixture::sweep(&ledger, 10).await, (0, 0));
    assert_eq!(state(&ledger, id).await, StateName::Queued);
}

/// What is kept for an operation can be read, and how much there is to do.
pub async fn tells_what_is_kept_and_how_much_there_is_to_do<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let id = accepted(&ledger, Enqueue { priority: Priority(3), ..work("k") }).await;
    accepted(&ledger, Enqueue { delay: PAUSE, ..work("later") }).await;
    accepted(&ledger, Enqueue { route: "refunds".into(), ..work("elsewhere") }).await;
    let kept = ledger.kept_work(id).await.expect("a ledger that works").expect("work");
    assert_eq!((kept.request, kept.priority, kept.lane), (work("k").request, Priority(3), None));
    assert_eq!((kept.stamina.tries, kept.cancel_asked, kept.due_at.is_some()), (0, false, true));
    let backlog = ledger.backlog().await.expect("a ledger that works");
    let counted: Vec<_> = backlog.iter().map(|route| (&*route.route, route.due, route.later)).collect();
    assert_eq!(counted, [("orders", 1, 1), ("refunds", 1, 0)]);
    assert!(backlog.iter().all(|route| route.oldest_due_at.is_some()));
    take(&ledger, 10).await;
    let kept = ledger.kept_work(id).await.expect("a ledger that works").expect("work");
    assert_eq!((kept.stamina.tries, kept.due_at), (1, None));
    let claim = granted(&ledger, ClaimRequest { ..request("synchronous") }).await;
    assert_eq!(ledger.kept_work(claim.operation).await, Ok(None));
}
