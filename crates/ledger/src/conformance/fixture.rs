//! What the claims of the suite are told with: requests, answers and the passing of time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use steadfast_core::{
    Answer, AttemptEnd, Fence, Fingerprint, Key, Namespace, Next, OperationId, Owner, Principal, StateName,
    UnknownCause,
};

use super::Harness;
use crate::{
    Claim, ClaimOutcome, ClaimRequest, Conclusion, Durability, Enqueue, Enqueued, Finished, Job, KeepFrom,
    KeptRequest, Occupied, OperationName, OperationRecord, Priority, Retention, SharedLedger, Standing, Wish,
};

/// For how long the operations of the suite are kept, unless a claim says otherwise.
pub(super) const KEEP: Duration = Duration::from_secs(3_600);

/// More rounds than any store needs to notice that a lease ran out, its grace periods included.
const ROUNDS_MAX: u32 = 12;

pub(super) fn name(namespace: &str, key: &str) -> OperationName {
    OperationName::new(Namespace::new(namespace).expect("a namespace"), Key::new(key).expect("a key"))
}

pub(super) fn owner(principal: &str) -> Owner {
    Owner { principal: Some(Principal::new(principal)), credential: None }
}

/// A wish to execute the operation `key`, asking for what `asked` stands for.
pub(super) fn asking(key: &str, asked: u8) -> ClaimRequest {
    ClaimRequest {
        name: name("principal ada", key),
        fingerprint: Fingerprint::from_bytes([asked; 16]),
        owner: owner("ada"),
        fence: Fence::random(),
        route: Arc::from("orders"),
        method: "POST".into(),
        path: "/orders".into(),
        request_id: None,
        repeatable_for: None,
        retention: Retention { keep: KEEP, from: KeepFrom::Finish, tombstone: None },
        durability: Durability::Synced,
    }
}

pub(super) fn request(key: &str) -> ClaimRequest {
    asking(key, 1)
}

/// A wish like [`request`], on an upstream that repeats safely for this long.
pub(super) fn repeatable(key: &str, repeatable_for: Duration) -> ClaimRequest {
    ClaimRequest { repeatable_for: Some(repeatable_for), ..request(key) }
}

/// A wish like [`repeatable`], that the request of this id has.
pub(super) fn asked_by(request_id: &str, key: &str) -> ClaimRequest {
    ClaimRequest { request_id: Some(request_id.into()), ..repeatable(key, KEEP) }
}

pub(super) fn keeping(key: &str, from: KeepFrom, tombstone: Option<Duration>) -> ClaimRequest {
    ClaimRequest { retention: Retention { keep: KEEP, from, tombstone }, ..request(key) }
}

pub(super) fn answer(status: u16, body: &'static str) -> Answer {
    let headers = [("content-type", "text/plain")].into_iter().collect();
    Answer { status, headers, body: Some(Bytes::from(body)) }
}

pub(super) fn answered(status: u16, body: &'static str) -> AttemptEnd {
    AttemptEnd::Answered(answer(status, body))
}

pub(super) const TIMED_OUT: AttemptEnd = AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None };

/// Claims, and expects to be granted.
pub(super) async fn granted(ledger: &SharedLedger, request: ClaimRequest) -> Claim {
    let (fence, digest) = (request.fence, request.name.digest());
    match ledger.claim(request).await.expect("a ledger that works") {
        ClaimOutcome::Granted(claim) => {
            assert_eq!((claim.fence, claim.digest), (fence, digest));
            claim
        }
        ClaimOutcome::Occupied(standing) => panic!("a claim was not granted: {:?}", standing.occupied),
    }
}

/// Claims, and expects the name to be taken.
pub(super) async fn standing(ledger: &SharedLedger, request: ClaimRequest) -> Arc<Standing> {
    let name = request.name.clone();
    match ledger.claim(request).await.expect("a ledger that works") {
        ClaimOutcome::Granted(claim) => panic!("a claim was granted: {claim:?}"),
        ClaimOutcome::Occupied(standing) => {
            assert_eq!(standing.name, name);
            standing
        }
    }
}

/// Claims, and expects the answer of a completed operation.
pub(super) async fn replay(ledger: &SharedLedger, request: ClaimRequest) -> Answer {
    match &standing(ledger, request).await.occupied {
        Occupied::Completed { answer: Some(answer), .. } => answer.clone(),
        other => panic!("nothing to replay: {other:?}"),
    }
}

pub(super) async fn finish(ledger: &SharedLedger, claim: &Claim, end: AttemptEnd) -> Finished {
    ledger.finish(claim, end).await.expect("a ledger that works")
}

/// Claims, and leaves the operation in doubt.
pub(super) async fn doubtful(ledger: &SharedLedger, request: ClaimRequest) -> Claim {
    let claim = granted(ledger, request).await;
    finish(ledger, &claim, TIMED_OUT).await;
    claim
}

/// Claims, and completes the operation.
pub(super) async fn completed(ledger: &SharedLedger, request: ClaimRequest) -> Claim {
    let claim = granted(ledger, request).await;
    finish(ledger, &claim, answered(201, "done")).await;
    claim
}

pub(super) async fn record(ledger: &SharedLedger, id: OperationId) -> OperationRecord {
    ledger.operation(id).await.expect("a ledger that works").expect("the operation")
}

/// Lets every lease run out that nobody renews, and has them reaped.
pub(super) async fn run_out<H: Harness>(harness: &mut H) {
    let ledger = harness.ledger();
    for _ in 0..ROUNDS_MAX {
        ledger.reap(1_000).await.expect("a ledger that works");
        if ledger.counts().await.expect("a ledger that works").claimed == 0 {
            return;
        }
        harness.advance(ledger.lease() / 2).await;
    }
    panic!("claims are left whose leases ran out long ago");
}

/// Lets time pass in steps of half a lease, renewing `claim`, for long enough that every other lease is reaped.
/// Returns how many times it was reported lost, and what was reaped.
pub(super) async fn renewing<H: Harness>(harness: &mut H, claim: &Claim) -> (usize, Vec<OperationId>) {
    let ledger = harness.ledger();
    let (mut lost, mut reaped) = (0, Vec::new());
    for _ in 0..ROUNDS_MAX {
        harness.advance(ledger.lease() / 2).await;
        let renewal = vec![(claim.fence, claim.operation)];
        lost += ledger.renew(renewal).await.expect("a ledger that works").len();
        let round = ledger.reap(1_000).await.expect("a ledger that works");
        reaped.extend(round.iter().map(|reaped| reaped.operation));
    }
    (lost, reaped)
}

/// Sweeps once; twice where the first round was skipped because the clocks had to be looked at first.
pub(super) async fn sweep(ledger: &SharedLedger, limit: u32) -> (u32, u32) {
    for _ in 0..2 {
        let swept = ledger.sweep(limit).await.expect("a ledger that works");
        if (swept.removed, swept.entombed) != (0, 0) {
            return (swept.removed, swept.entombed);
        }
    }
    (0, 0)
}

/// How long work of the suite goes on, unless a claim says otherwise.
pub(super) const AGE: Duration = Duration::from_secs(24 * 3_600);

/// Work for later on the route `orders`, with three attempts.
pub(super) fn work(key: &str) -> Enqueue {
    let ClaimRequest { name, fingerprint, owner, route, method, path, repeatable_for, retention, .. } =
        request(key);
    Enqueue {
        name,
        fingerprint,
        owner,
        route,
        method,
        path,
        repeatable_for,
        retention,
        request: KeptRequest {
            target: "/orders?x=1".into(),
            headers: [("content-type", "text/plain"), ("x-twice", "1"), ("x-twice", "2")]
                .into_iter()
                .collect(),
            body: Bytes::from("buy"),
        },
        delay: Duration::ZERO,
        priority: Priority::default(),
        lane: None,
        tries_max: 3,
        age_max: AGE,
    }
}

/// The same on an upstream that repeats safely for this long.
pub(super) fn repeatable_work(key: &str, repeatable_for: Duration) -> Enqueue {
    Enqueue { repeatable_for: Some(repeatable_for), ..work(key) }
}

/// Leaves work, and expects it to be accepted.
pub(super) async fn accepted(ledger: &SharedLedger, work: Enqueue) -> OperationId {
    match ledger.enqueue(work).await.expect("a ledger that works") {
        Enqueued::Accepted { operation, .. } => operation,
        Enqueued::Occupied(standing) => panic!("work was not accepted: {:?}", standing.occupied),
    }
}

/// Leaves work, and expects its name to be taken.
pub(super) async fn refused(ledger: &SharedLedger, work: Enqueue) -> Arc<Standing> {
    match ledger.enqueue(work).await.expect("a ledger that works") {
        Enqueued::Accepted { operation, .. } => panic!("work was accepted: {operation}"),
        Enqueued::Occupied(standing) => standing,
    }
}

/// A wish for so much of the route `orders`, whose upstream repeats safely for as long as is stored.
pub(super) fn wish(limit: u32) -> Vec<Wish> {
    vec![Wish { route: "orders".into(), limit, repeatable_for: Some(AGE) }]
}

/// Takes what is due of the route `orders`.
pub(super) async fn take(ledger: &SharedLedger, limit: u32) -> Vec<Job> {
    ledger.take(wish(limit)).await.expect("a ledger that works").jobs
}

/// Takes the one thing that is due.
pub(super) async fn take_one(ledger: &SharedLedger) -> Job {
    let mut jobs = take(ledger, 10).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs.remove(0)
}

/// The keys of jobs, in their order.
pub(super) fn keys(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.name.key().as_str()).collect()
}

pub(super) const PAUSE: Duration = Duration::from_secs(60);

pub(super) const AGAIN: Next = Next::Again { after: PAUSE, counts: true };

pub(super) const BUSY: AttemptEnd = AttemptEnd::Refused { status: 503 };

/// Writes how a worker's attempt ended.
pub(super) async fn conclude(ledger: &SharedLedger, job: &Job, end: AttemptEnd, next: Next) -> Finished {
    let excerpt = (!matches!(end, AttemptEnd::Answered(_))).then(|| "why".into());
    let conclusion = Conclusion { end, next, excerpt };
    ledger.conclude(&job.claim, conclusion).await.expect("a ledger that works")
}

/// Leaves work and lets its one attempt be its last.
pub(super) async fn dead(ledger: &SharedLedger, work: Enqueue, end: AttemptEnd) -> OperationId {
    let id = accepted(ledger, work).await;
    let job = take_one(ledger).await;
    assert_eq!(job.claim.operation, id);
    let finished = conclude(ledger, &job, end, Next::GiveUp).await;
    assert_eq!(finished, Finished::Recorded(StateName::Dead));
    id
}

pub(super) async fn state(ledger: &SharedLedger, id: OperationId) -> StateName {
    record(ledger, id).await.state
}
