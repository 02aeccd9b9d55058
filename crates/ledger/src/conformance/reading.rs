//! Reading: what people and metrics see.

use std::time::Duration;

use steadfast_core::{AttemptEnd, Mode, OperationId, StateName};

use super::{
    Harness,
    fixture::{
        answered, asked_by, completed, doubtful, finish, granted, record, repeatable, request, run_out,
        standing,
    },
};
use crate::{ClaimRequest, Counts, Filter, SharedLedger};

const HOUR: Duration = Duration::from_secs(3_600);

/// More pages than any search through a small ledger takes.
const PAGES_MAX: u32 = 100;

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

/// The operations that this request worked for, and who made each attempt of the first of them.
async fn made_by(ledger: &SharedLedger, request_id: &str) -> (Vec<OperationId>, Vec<Option<Box<str>>>) {
    let (mut made, mut before) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = ledger.of_request(request_id.into(), before).await.expect("a ledger that works");
        made.extend(page.operations.iter().map(|record| record.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(before, None, "a search without end");
    let Some(first) = made.first() else { return (made, Vec::new()) };
    let attempts = ledger.attempts(*first).await.expect("a ledger that works");
    (made, attempts.into_iter().map(|attempt| attempt.request_id).collect())
}

/// Whichever attempt a request made, under way or long ended, it leads to the operation; a longer id than is kept, or one
/// that only asked, leads nowhere.
pub async fn finds_what_a_request_made<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let id = |id: &str| Some(Box::from(id));
    let first = doubtful(&ledger, asked_by("req-1", "k")).await;
    let live = granted(&ledger, asked_by("req-2", "k")).await;
    let of_both = (vec![first.operation], vec![id("req-1"), id("req-2")]);
    assert_eq!(made_by(&ledger, "req-1").await, of_both);
    assert_eq!(made_by(&ledger, "req-2").await, of_both);
    finish(&ledger, &live, answered(201, "done")).await;
    standing(&ledger, asked_by("req-3", "k")).await;
    completed(&ledger, request("nobody's")).await;
    let long = "x".repeat(129);
    completed(&ledger, asked_by(&long, "long")).await;
    let released = granted(&ledger, asked_by("req-4", "other")).await;
    finish(&ledger, &released, AttemptEnd::Refused { status: 429 }).await;
    let again = completed(&ledger, asked_by("req-2", "other")).await;
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(made_by(&ledger, "req-1").await, of_both);
    let (made, by) = made_by(&ledger, "req-2").await;
    assert_eq!((made, by), (vec![again.operation, first.operation], vec![id("req-4"), id("req-2")]));
    for nobodys in ["req-3", "req", "", &long] {
        assert_eq!(made_by(&ledger, nobodys).await, (vec![], vec![]), "{nobodys}");
    }
}

/// The attempt that a dead process had under way is still that of the request that made it.
pub async fn knows_who_made_the_attempt_of_a_dead_process<H: Harness>(mut harness: H) {
    let claim = granted(&harness.ledger(), asked_by("req-1", "k")).await;
    harness.restart().await;
    run_out(&mut harness).await;
    let ledger = harness.ledger();
    assert_eq!(made_by(&ledger, "req-1").await, (vec![claim.operation], vec![Some("req-1".into())]));
    assert_eq!(record(&ledger, claim.operation).await.state, StateName::InDoubt);
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
    run_out(&mut harness).await;
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
