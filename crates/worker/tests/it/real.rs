//! A real ledger, and work for it.

use std::{sync::Arc, time::Duration};

use steadfast_core::{
    Answer, AttemptEnd, Fingerprint, HeaderFields, Key, Namespace, OperationId, Owner, StateName,
};
use steadfast_ledger::{
    Clock, Enqueue, Enqueued, KeepFrom, KeptRequest, OperationName, Priority, Retention, SharedLedger,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::TempDir;

/// An empty ledger on the machine's clocks.
pub(crate) fn open() -> (TempDir, SharedLedger) {
    open_at(Clock::system())
}

/// An empty ledger on this clock.
pub(crate) fn open_at(clock: Clock) -> (TempDir, SharedLedger) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = SqliteOptions { clock, ..SqliteOptions::default() };
    let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), options).expect("a ledger");
    (folder, Arc::new(ledger))
}

/// Work for the route `orders` with three attempts.
pub(crate) fn work(key: &str) -> Enqueue {
    Enqueue {
        name: OperationName::new(Namespace::global(), Key::new(key).expect("a key")),
        fingerprint: Fingerprint::from_bytes([1; 16]),
        owner: Owner::default(),
        route: "orders".into(),
        method: "POST".into(),
        path: "/orders".into(),
        repeatable_for: None,
        retention: Retention { keep: Duration::from_secs(3_600), from: KeepFrom::Finish, tombstone: None },
        request: KeptRequest { target: "/orders".into(), ..KeptRequest::default() },
        delay: Duration::ZERO,
        priority: Priority::default(),
        lane: None,
        tries_max: 3,
        age_max: Duration::from_secs(3_600),
    }
}

pub(crate) async fn left(ledger: &SharedLedger, work: Enqueue) -> OperationId {
    match ledger.enqueue(work).await.expect("a ledger that works") {
        Enqueued::Accepted { operation, .. } => operation,
        Enqueued::Occupied(standing) => panic!("it is taken: {:?}", standing.occupied),
    }
}

pub(crate) async fn state_of(ledger: &SharedLedger, id: OperationId) -> StateName {
    ledger.operation(id).await.expect("a ledger that works").expect("the operation").state
}

pub(crate) fn answered(body: &'static str) -> AttemptEnd {
    AttemptEnd::Answered(Answer { status: 201, headers: HeaderFields::default(), body: Some(body.into()) })
}
