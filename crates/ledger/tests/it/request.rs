//! What the tests ask a ledger for.

use bytes::Bytes;
use std::time::Duration;
use steadfast_core::{
    Answer, AttemptEnd, Fence, Fingerprint, HeaderFields, Key, Namespace, OperationId, Owner,
};
use steadfast_ledger::{
    Backlog, Claim, ClaimOutcome, ClaimRequest, Claims, Durability, Enqueue, Enqueued, KeepFrom, KeptRequest,
    LedgerError, Occupied, OperationName, Priority, Retention, Wish,
};

/// A wish to execute `key`.
pub(crate) fn request(key: &str) -> ClaimRequest {
    ClaimRequest {
        name: OperationName::new(Namespace::of_route("orders"), Key::new(key).unwrap()),
        fingerprint: Fingerprint::from_bytes([1; 16]),
        owner: Owner::default(),
        fence: Fence::random(),
        route: "orders".into(),
        method: "POST".into(),
        path: "/orders".into(),
        request_id: None,
        repeatable_for: Some(Duration::from_secs(3_600)),
        retention: Retention { keep: Duration::from_secs(3_600), from: KeepFrom::Finish, tombstone: None },
        durability: Durability::Synced,
    }
}

pub(crate) fn answered(body: impl Into<Bytes>) -> AttemptEnd {
    AttemptEnd::Answered(Answer { status: 201, headers: HeaderFields::default(), body: Some(body.into()) })
}

/// Claims, and expects to be granted.
pub(crate) async fn granted(ledger: &impl Claims, key: &str) -> Claim {
    match ledger.claim(request(key)).await.unwrap() {
        ClaimOutcome::Granted(claim) => claim,
        ClaimOutcome::Occupied(standing) => panic!("{key} is taken: {:?}", standing.occupied),
    }
}

/// The body that a replay shows, or how the operation stands otherwise.
pub(crate) async fn replay(ledger: &impl Claims, key: &str) -> Result<Bytes, Occupied> {
    // Asks without a policy of repeating, so that doubt is told and not claimed.
    let asked = ClaimRequest { repeatable_for: None, ..request(key) };
    match ledger.claim(asked).await {
        Ok(ClaimOutcome::Granted(claim)) => panic!("{key} was free: {claim:?}"),
        Ok(ClaimOutcome::Occupied(standing)) => match standing.occupied.clone() {
            Occupied::Completed { answer: Some(answer), .. } => Ok(answer.body.unwrap()),
            other => Err(other),
        },
        Err(error) => panic!("{key}: {}", LedgerError::to_string(&error)),
    }
}

/// Leaves work for later, and expects it to be accepted.
pub(crate) async fn left(ledger: &impl Backlog, key: &str) -> OperationId {
    let ClaimRequest { name, fingerprint, owner, route, method, path, repeatable_for, retention, .. } =
        request(key);
    let work = Enqueue {
        name,
        fingerprint,
        owner,
        route,
        method,
        path,
        repeatable_for,
        retention,
        request: KeptRequest {
            target: "/orders".into(),
            headers: HeaderFields::default(),
            body: key.to_owned().into(),
        },
        delay: Duration::ZERO,
        priority: Priority::default(),
        lane: None,
        tries_max: 1_000,
        age_max: Duration::from_secs(3_600),
    };
    match ledger.enqueue(work).await.unwrap() {
        Enqueued::Accepted { operation, .. } => operation,
        Enqueued::Occupied(standing) => panic!("{key} is taken: {:?}", standing.occupied),
    }
}

/// A wish for so many of what was left.
pub(crate) fn wish(limit: u32) -> Vec<Wish> {
    vec![Wish { route: "orders".into(), limit, repeatable_for: Some(Duration::from_secs(3_600)) }]
}
