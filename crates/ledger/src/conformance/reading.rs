//! Reading: what people and metrics see.

use std::time::Duration;

use steadfast_core::{AttemptEnd, Mode, OperationId, StateName};

use super::{
    Harness,
    fixture::{answered, completed, doubtful, finish, granted, record, repeatable, request},
};
use crate::{ClaimRequest, Counts, Filter, SharedLedger};

const HOUR: Duration = Duration::from_secs(3_600);

/// The ids of every page, and how many pages there were.
async fn all(ledger: &SharedLedger, filter: Filter) -> (Vec<OperationId>, usize) {
    let (mut ids, mut pages, mut before) = (Vec::new(), 0, None);
    loop {
        let page = ledger.list(Filter { before, ..filter.clone() }).await.expect("a ledger that works");
        ids.extend(page.operations.iter().map(|record| record.id));
        pages += 1;
        match page.next {
            Some(next) => before = Some(next),
            None => return (ids, pages),
        }
    }
}

/// Everything that was said of an operation is read back.
pub async fn reads_an_operation_by_its_id<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, repeatable("k", HOUR)).await;
    let live = record(&ledger, claim.operation).await;
    assert_eq!((live.state, live.expires_at, live.answer_status), (StateName::Claimed, None, None));
    harness.advance(Duration::from_secs(5)).await;
    finish(&ledger, &claim, answered(201, "made")).await;
    let asked = request("k");
    let done = record(&ledger, claim.operation).await;
    assert_eq!((done.id, &done.name, done.state), (claim.operation, &asked.name, StateName::Completed));
    assert_eq!((done.doubtful, done.mode, done.fingerprint), (false, Mode::Synchronous, asked.fingerprint));
    assert_eq!(
        (&done.owner, &*done.route, &*done.method, &*done.path),
        (&asked.owner, "orders", "POST", "/orders")
    );
    assert_eq!((done.attempts, done.answer_status, done.cases_open), (1, Some(201), 0));
    assert_eq!((done.created_at, done.settlement), (claim.claimed_at, None));
    assert!(done.changed_at.since(done.created_at) >= Duration::from_secs(5));
    assert!(done.expires_at.is_some_and(|expires_at| expires_at > done.changed_at));
}

/// Each attempt with its end and its cause, oldest first, the one under way last.
pub async fn tells_the_attempts_in_order<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let one = doubtful(&ledger, repeatable("k", HOUR)).await;
    let two = granted(&ledger, repeatable("k", HOUR)).await;
    finish(&ledger, &two, AttemptEnd::Refused { status: 429 }).await;
    let three = granted(&ledger, repeatable("k", HOUR)).await;
    let attempts = ledger.attempts(one.operation).await.expect("a ledger that works");
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (attempt.fence, attempt.number, attempt.end.as_deref(), attempt.cause.as_deref(), attempt.status)
        })
        .collect();
    assert_eq!(
        told,
        [
            (one.fence, 1, Some("unknown"), Some("timeout"), None),
            (two.fence, 2, Some("refused"), None, Some(429)),
            (three.fence, 3, None, None, None),
        ]
    );
    assert!(attempts[1].ended_at.is_some() && attempts[2].ended_at.is_none());
    finish(&ledger, &three, answered(200, "done")).await;
    let attempts = ledger.attempts(one.operation).await.expect("a ledger that works");
    assert_eq!((attempts[2].end.as_deref(), attempts[2].status), (Some("answered"), Some(200)));
}

/// Pages hold what they were asked for, newest first, without a gap and without an overlap.
pub async fn lists_newest_first_in_pages<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let mut newest_first = Vec::new();
    for number in 0..7 {
        newest_first.insert(0, granted(&ledger, request(&format!("k{number}"))).await.operation);
    }
    for (limit, expected_pages) in [(0, 1), (3, 3), (100, 1), (1, 7)] {
        let (ids, pages) = all(&ledger, Filter { limit, ..Filter::default() }).await;
        assert_eq!(ids, newest_first, "{limit}");
        assert!(pages == expected_pages || pages == expected_pages + 1, "{pages} pages of {limit}");
    }
}

/// Each filter alone, and together.
pub async fn filters_lists<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let done = completed(&ledger, request("done")).await.operation;
    let other =
        completed(&ledger, ClaimRequest { route: "refunds".into(), ..request("other") }).await.operation;
    let doubt = doubtful(&ledger, request("doubt")).await.operation;
    let live = granted(&ledger, request("live")).await.operation;
    let contested = completed(&ledger, request("contested")).await;
    finish(&ledger, &contested, answered(500, "no")).await;
    let contested = contested.operation;
    let state = |state| Filter { state: Some(state), ..Filter::default() };
    let route = |route: &str| Filter { route: Some(route.into()), ..Filter::default() };
    for (filter, expected) in [
        (state(StateName::Completed), vec![contested, other, done]),
        (state(StateName::InDoubt), vec![doubt]),
        (state(StateName::Claimed), vec![live]),
        (state(StateName::Dead), vec![]),
        (route("refunds"), vec![other]),
        (route("orders"), vec![contested, live, doubt, done]),
        (route("none"), vec![]),
        (Filter { key: Some("doubt".into()), ..Filter::default() }, vec![doubt]),
        (Filter { key: Some("nobody's".into()), ..Filter::default() }, vec![]),
        (Filter { with_cases: true, ..Filter::default() }, vec![contested]),
        (Filter { with_cases: true, ..state(StateName::InDoubt) }, vec![]),
        (Filter { route: Some("orders".into()), ..state(StateName::Completed) }, vec![contested, done]),
    ] {
        for limit in [0, 1] {
            let (ids, _) = all(&ledger, Filter { limit, ..filter.clone() }).await;
            assert_eq!(ids, expected, "{filter:?}");
        }
    }
}

/// What is finished is not counted; what needs a person is.
pub async fn counts_what_needs_attention<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    assert_eq!(ledger.counts().await, Ok(Counts::default()));
    completed(&ledger, request("done")).await;
    granted(&ledger, request("live")).await;
    doubtful(&ledger, request("one")).await;
    doubtful(&ledger, request("two")).await;
    let contested = completed(&ledger, request("contested")).await;
    finish(&ledger, &contested, answered(500, "no")).await;
    assert_eq!(ledger.counts().await, Ok(Counts { claimed: 1, in_doubt: 2, dead: 0, cases_open: 1 }));
    harness.restart().await;
    super::fixture::run_out(&mut harness).await;
    let counts = harness.ledger().counts().await;
    assert_eq!(counts, Ok(Counts { claimed: 0, in_doubt: 3, dead: 0, cases_open: 1 }));
}

/// An id of the right shape that names nothing, or something else in the same row, finds nothing.
pub async fn finds_nothing_by_an_unknown_id<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let (one, two) = (completed(&ledger, request("one")).await, completed(&ledger, request("two")).await);
    let (bucket, sequence) = (one.operation.bucket(), one.operation.sequence());
    for id in [
        OperationId::new(bucket, sequence, &two.digest),
        OperationId::new(bucket, OperationId::SEQUENCE_MAX, &one.digest),
    ] {
        assert_eq!(ledger.operation(id).await, Ok(None));
        assert_eq!(ledger.answer(id).await, Ok(None));
        assert_eq!(ledger.attempts(id).await, Ok(Vec::new()));
    }
}
