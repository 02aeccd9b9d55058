//! Erasure from an SQLite ledger's files: nothing is left that could be read with another program.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use steadfast_core::{Answer, AttemptEnd, Key, Namespace, Owner, Principal};
use steadfast_ledger::{
    ClaimOutcome, ClaimRequest, Claims, Clock, Erase, Erasure, LedgerError, Occupied, OperationName,
    Remembering, Whose,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::tempdir;

use crate::request::request;

/// Is in everything that the operations of the test say of their owner.
const MARK: &str = "ada-lovelace";

fn open(folder: &Path) -> SqliteLedger {
    SqliteLedger::open(&folder.join("ledger.db"), SqliteOptions::default()).unwrap()
}

fn marked(number: usize) -> ClaimRequest {
    let namespace = Namespace::of_principal(&Principal::new(MARK));
    ClaimRequest {
        name: OperationName::new(namespace, Key::new(&format!("{MARK}-{number}")).unwrap()),
        owner: Owner { principal: Some(Principal::new(MARK)), credential: None },
        path: format!("/customers/{MARK}/{number}").into(),
        ..request("any")
    }
}

fn request_for(number: usize) -> ClaimRequest {
    request(&format!("somebody-else-{number}"))
}

async fn complete(ledger: &impl Claims, request: ClaimRequest, body: String) {
    let ClaimOutcome::Granted(claim) = ledger.claim(request).await.unwrap() else { panic!("taken") };
    let headers = [("x-customer", MARK)].into_iter().collect();
    let answer = Answer { status: 201, headers, body: Some(Bytes::from(body)) };
    ledger.finish(&claim, AttemptEnd::Answered(answer)).await.unwrap();
}

async fn erase_all(ledger: &impl Erasure) -> u32 {
    let (mut erased, mut from) = (0, None);
    loop {
        let whose = Whose::Principal(Principal::new(MARK));
        let step = ledger.erase(Erase { whose, from, limit: 100, dry_run: false }).await.unwrap();
        erased += step.erased;
        from = step.next;
        if from.is_none() {
            return erased;
        }
    }
}

/// The files in which the mark stands, and how often.
fn found_in(folder: &Path) -> Vec<(String, usize)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let counted = files.map(|file| {
        let content = std::fs::read(file.path()).unwrap();
        let count = content.windows(MARK.len()).filter(|window| *window == MARK.as_bytes()).count();
        (file.file_name().into_string().unwrap(), count)
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test]
async fn nothing_of_what_was_erased_can_be_read_in_any_file() {
    let folder = tempdir().unwrap();
    let ledger = open(folder.path());
    for number in 0..300 {
        // From bodies that fit into their row to some that take pages of their own; with others' between them.
        complete(&ledger, marked(number), MARK.repeat(1 + number * number % 2_000)).await;
        let ClaimOutcome::Granted(claim) = ledger.claim(request_for(number)).await.unwrap() else { panic!() };
        let body = Bytes::from("x".repeat(number * 37 % 5_000));
        let answer = Answer { status: 200, headers: Default::default(), body: Some(body) };
        ledger.finish(&claim, AttemptEnd::Answered(answer)).await.unwrap();
    }
    assert!(found_in(folder.path()).iter().any(|(name, _)| name == "ledger.db-log"));
    assert_eq!(erase_all(&ledger).await, 300);
    // Before that it may still stand in logs: so this test can find it.
    assert!(!found_in(folder.path()).is_empty());
    ledger.scour().await.unwrap();
    assert_eq!(found_in(folder.path()), []);
    // Whoever is killed now and opens it again has lost nothing.
    let copy = tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-log"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let opened = open(copy.path());
    for number in 0..300 {
        let taken = opened.claim(marked(number)).await.unwrap();
        assert!(
            matches!(taken, ClaimOutcome::Occupied(standing) if standing.occupied == Occupied::Tombstone)
        );
        let others = opened.claim(request_for(number)).await.unwrap();
        let ClaimOutcome::Occupied(standing) = others else { panic!("{number} is lost") };
        assert!(matches!(standing.occupied, Occupied::Completed { answer: Some(_), .. }));
    }
    // And what is written after it is written to the log as before.
    complete(&ledger, request("after"), "kept".into()).await;
    let killed = tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-log"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    let replayed = crate::request::replay(&open(killed.path()), "after").await.unwrap();
    assert_eq!(replayed, "kept");
}

#[tokio::test]
async fn somebody_who_reads_the_file_keeps_it_from_being_scoured_and_that_is_said() {
    let folder = tempdir().unwrap();
    let ledger = open(folder.path());
    complete(&ledger, marked(1), MARK.into()).await;
    steadfast_ledger::Operations::counts(&ledger).await.unwrap();
    let reader = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let rows: i64 = reader.query_row("SELECT count(*) FROM operations", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    erase_all(&ledger).await;
    assert!(matches!(ledger.scour().await, Err(LedgerError::Unreachable(_))));
    reader.execute_batch("COMMIT").unwrap();
    ledger.scour().await.unwrap();
    assert_eq!(found_in(folder.path()), []);
}

#[tokio::test]
async fn what_is_remembered_is_erased_too() {
    let folder = tempdir().unwrap();
    let ledger = Arc::new(Remembering::new(open(folder.path()), Clock::system(), 1 << 20));
    complete(&*ledger, marked(1), MARK.into()).await;
    let standing = |outcome| match outcome {
        ClaimOutcome::Occupied(standing) => standing,
        ClaimOutcome::Granted(claim) => panic!("{claim:?}"),
    };
    for _ in 0..2 {
        let found = standing(ledger.claim(marked(1)).await.unwrap());
        assert!(matches!(found.occupied, Occupied::Completed { answer: Some(_), .. }));
    }
    assert_eq!(erase_all(&*ledger).await, 1);
    assert_eq!(standing(ledger.claim(marked(1)).await.unwrap()).occupied, Occupied::Tombstone);
}
