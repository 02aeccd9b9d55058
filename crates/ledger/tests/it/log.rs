//! The log beside the file: what it must be for a ledger to be opened.

use std::path::Path;

use steadfast_ledger::{
    Claims as _, OpenError, Operations as _,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::{TempDir, tempdir};

use crate::request::{answered, granted, replay};

fn open(folder: &TempDir) -> Result<SqliteLedger, OpenError> {
    SqliteLedger::open(&folder.path().join("ledger.db"), SqliteOptions::default())
}

/// The files of a ledger in use, as a process that was killed at this moment would leave them.
fn killed(folder: &TempDir) -> TempDir {
    let copy = tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-log"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    copy
}

async fn with_an_answer(key: &str) -> (TempDir, SqliteLedger) {
    let folder = tempdir().unwrap();
    let ledger = open(&folder).unwrap();
    let claim = granted(&ledger, key).await;
    ledger.finish(&claim, answered(key.to_owned())).await.unwrap();
    (folder, ledger)
}

fn log(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("ledger.db-log")
}

#[tokio::test]
async fn what_is_only_in_the_log_is_there_after_a_kill() {
    let (folder, ledger) = with_an_answer("k").await;
    let killed = killed(&folder);
    let rows = rusqlite::Connection::open(killed.path().join("ledger.db")).unwrap();
    let rows: i64 = rows.query_row("SELECT count(*) FROM operations", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0, "it is only in the log");
    assert_eq!(replay(&open(&killed).unwrap(), "k").await.unwrap(), "k");
    drop(ledger);
}

#[tokio::test]
async fn a_ledger_that_was_closed_is_one_file() {
    let (folder, ledger) = with_an_answer("k").await;
    drop(ledger);
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["ledger.db", "ledger.db-owner"]);
    let moved = tempdir().unwrap();
    std::fs::copy(folder.path().join("ledger.db"), moved.path().join("ledger.db")).unwrap();
    assert_eq!(replay(&open(&moved).unwrap(), "k").await.unwrap(), "k");
}

#[tokio::test]
async fn a_ledger_whose_log_is_gone_is_refused_until_somebody_decides() {
    let (folder, _ledger) = with_an_answer("k").await;
    let killed = killed(&folder);
    std::fs::remove_file(log(&killed)).unwrap();
    let error = open(&killed).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("it is gone") && said.contains("UPDATE counters"), "{said}");
    // What the error says goes on without the log.
    let statement = said.split('"').nth(1).expect("a statement");
    rusqlite::Connection::open(killed.path().join("ledger.db")).unwrap().execute_batch(statement).unwrap();
    granted(&open(&killed).unwrap(), "k").await;
}

#[tokio::test]
async fn another_ledgers_log_is_refused() {
    let (others, _other) = with_an_answer("other").await;
    // Last, and killed at once: its tables must not have caught up with its own log.
    let (folder, _ledger) = with_an_answer("k").await;
    let killed = killed(&folder);
    std::fs::copy(log(&others), log(&killed)).unwrap();
    let error = open(&killed).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("belongs beside it"), "{error}");
}

#[tokio::test]
async fn a_log_that_the_tables_have_caught_up_with_changes_nothing() {
    let (folder, ledger) = with_an_answer("k").await;
    // A read lets the tables catch up; the log stays as it is.
    assert_eq!(ledger.counts().await.unwrap().claimed, 0);
    let killed = killed(&folder);
    for _ in 0..2 {
        assert_eq!(replay(&open(&killed).unwrap(), "k").await.unwrap(), "k");
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_told_when_it_is_opened() {
    let folder = tempdir().unwrap();
    std::fs::create_dir(log(&folder)).unwrap();
    match open(&folder) {
        Err(OpenError::Unreachable { path, .. }) => assert_eq!(Path::new(&path), log(&folder)),
        other => panic!("{other:?}"),
    }
}
