//! What only this store promises about its claims: admission, grants that nobody heard, former owners.

use std::time::Duration;

use steadfast_core::{StateName, Timestamp};
use steadfast_ledger::{
    Claims as _, Clock, LedgerError, Occupied, Operations as _, Upkeep as _,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::{TempDir, tempdir};

use crate::request::{answered, granted, replay, request};

fn open(folder: &TempDir, options: SqliteOptions) -> SqliteLedger {
    SqliteLedger::open(&folder.path().join("ledger.db"), options).unwrap()
}

#[tokio::test]
async fn a_grant_that_nobody_heard_is_given_back() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions::default());
    drop(ledger.claim(request("dropped")));
    ledger.check().await.unwrap();
    // Had it counted as sent, it would be in progress, and in doubt later.
    let claim = granted(&ledger, "dropped").await;
    assert_eq!((claim.attempt, claim.after_doubt), (2, false));
}

#[tokio::test]
async fn claims_above_the_bound_are_refused_and_ends_never_are() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions { open_max: 2, ..SqliteOptions::default() });
    let (one, two) = (granted(&ledger, "one").await, granted(&ledger, "two").await);
    let held = ledger.live().hold(one.operation, one.fence);
    let _held = ledger.live().hold(two.operation, two.fence);
    let refused = ledger.claim(request("three")).await;
    assert_eq!(refused, Err(LedgerError::Overloaded { open_max: 2 }));
    ledger.finish(&one, answered("1")).await.unwrap();
    drop(held);
    granted(&ledger, "three").await;
}

#[tokio::test]
async fn former_claims_are_in_doubt_as_soon_as_the_file_is_open() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions::default());
    for number in 0..1_200 {
        granted(&ledger, &format!("k{number}")).await;
    }
    ledger.close();
    let ledger = open(&folder, SqliteOptions::default());
    let counts = ledger.counts().await.unwrap();
    assert_eq!((counts.claimed, counts.in_doubt), (0, 1_200));
    assert!(matches!(replay(&ledger, "k0").await, Err(Occupied::InDoubt { .. })));
}

#[tokio::test]
async fn a_request_may_be_sent_for_one_lease() {
    let folder = tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_millis(0));
    let ledger = open(&folder, SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() });
    let claim = granted(&ledger, "k").await;
    assert_eq!(claim.send_by, clock.boot().after(ledger.lease()));
    clock.advance(Duration::from_secs(1));
    assert_eq!(claim.send_by.since(clock.boot()), ledger.lease() - Duration::from_secs(1));
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_sweeps_nothing_for_a_round() {
    let folder = tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_millis(0));
    let ledger = open(&folder, SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() });
    let claim = granted(&ledger, "k").await;
    ledger.finish(&claim, answered("kept")).await.unwrap();
    clock.set_wall(Timestamp::from_millis(86_400_000));
    assert_eq!(ledger.sweep(10).await.unwrap().removed, 0);
    clock.set_wall(Timestamp::from_millis(1_000));
    assert_eq!(ledger.sweep(10).await.unwrap().removed, 0);
    assert_eq!(replay(&ledger, "k").await.unwrap(), "kept");
}

#[tokio::test]
async fn another_program_may_read_while_claims_are_made() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions { checkpoint_pages: 10, ..SqliteOptions::default() });
    granted(&ledger, "before").await;
    // A read through the ledger lets the tables catch up with its log; by themselves they do so within a second.
    ledger.counts().await.unwrap();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let other = rusqlite::Connection::open_with_flags(ledger.path(), flags).unwrap();
    let snapshot = other.unchecked_transaction().unwrap();
    let count = |conn: &rusqlite::Connection| -> i64 {
        conn.query_row("SELECT count(*) FROM operations", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(&snapshot), 1);
    for number in 0..50 {
        granted(&ledger, &format!("k{number}")).await;
        ledger.counts().await.unwrap();
    }
    assert_eq!(count(&snapshot), 1);
    drop(snapshot);
    assert_eq!(count(&other), 51);
}

#[tokio::test]
async fn a_closed_ledger_says_so() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions::default());
    let claim = granted(&ledger, "k").await;
    ledger.close();
    assert_eq!(ledger.claim(request("other")).await, Err(LedgerError::Closed));
    assert_eq!(ledger.finish(&claim, answered("late")).await, Err(LedgerError::Closed));
    assert_eq!(ledger.counts().await, Err(LedgerError::Closed));
    let again = open(&folder, SqliteOptions::default());
    assert_eq!(again.operation(claim.operation).await.unwrap().unwrap().state, StateName::InDoubt);
}
