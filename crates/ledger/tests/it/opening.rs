//! Files that are not opened, each with its reason.

use std::{
    fs,
    path::{Path, PathBuf},
};

use steadfast_core::{BanOrder, BanSource, BanTime};
use steadfast_ledger::{
    Backlog as _, Bans as _, ClaimOutcome, ClaimRequest, Claims as _, Clock, OpenError, Operations as _,
    Revision,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::{TempDir, tempdir};

use crate::request::{answered, granted, left, replay, request, wish};

fn open(path: &Path) -> Result<SqliteLedger, OpenError> {
    SqliteLedger::open(path, SqliteOptions::default())
}

/// A ledger with a few hundred completed operations, closed.
async fn filled() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = open(&path).unwrap();
    for number in 0..300 {
        let claim = granted(&ledger, &format!("k{number}")).await;
        ledger.finish(&claim, answered(vec![b'x'; 500])).await.unwrap();
    }
    drop(ledger);
    (folder, path)
}

#[track_caller]
fn is_corrupt(path: &Path, says: &str) {
    match open(path) {
        Err(OpenError::Corrupt { reason, .. }) => assert!(reason.contains(says), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_owner_is_refused_until_the_first_is_gone() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let first = open(&path).unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for second in [&path, &link, &folder.path().join(".").join("ledger.db")] {
        match open(second) {
            Err(error @ OpenError::InUse { .. }) => {
                assert!(error.to_string().contains("belongs to one process"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    // The refusals did no harm to the owner.
    granted(&first, "k").await;
    drop(first);
    assert!(open(&link).is_ok());
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    drop(open(&path).unwrap());
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(conn);
    let before = fs::read(&path).unwrap();
    assert_eq!(open(&path).err(), Some(OpenError::NewerSchema { found: 99, known: 5 }));
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// Takes away again what the fifth version added.
const BEFORE_THE_BACKLOG: &str = "DROP TABLE background; DROP TABLE ready; DROP TABLE lanes; DROP TABLE duties; \
                                  DROP TABLE marks; DROP TABLE redrive_runs; DROP TABLE pauses; \
                                  ALTER TABLE attempts DROP COLUMN excerpt;";

/// Takes away again what the fourth version added.
const BEFORE_REQUESTS: &str =
    "ALTER TABLE operations DROP COLUMN request_id; ALTER TABLE attempts DROP COLUMN request_id;";

#[tokio::test]
async fn a_ledger_of_the_schema_before_takes_bans_once_it_was_opened() {
    let (_folder, path) = filled().await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("DROP TABLE bans; DELETE FROM counters WHERE name = 'bans'").unwrap();
    conn.execute_batch(BEFORE_THE_BACKLOG).unwrap();
    conn.execute_batch(BEFORE_REQUESTS).unwrap();
    conn.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(conn);
    let ledger = open(&path).unwrap();
    let order = BanOrder {
        subject: "203.0.113.7".parse().unwrap(),
        source: BanSource::ByHand,
        at: Clock::system().wall(),
        lasts: BanTime::ForEver,
        reason: "".into(),
        by: "".into(),
        challenge: None,
        repeats: 0,
    };
    assert!(ledger.ban(order).await.unwrap().is_some());
    assert_eq!(ledger.bans(Revision(0)).await.unwrap().bans.len(), 1);
    drop(ledger);

    // One row that nobody could read keeps no other one from being known.
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch(
        "INSERT INTO bans SELECT 'principal:acme ', source, began_at, until, lifted_at, reason, made_by, challenge, \
         repeats, revision FROM bans",
    )
    .unwrap();
    drop(conn);
    assert_eq!(open(&path).unwrap().bans(Revision(0)).await.unwrap().bans.len(), 1);
}

#[tokio::test]
async fn a_ledger_from_before_attempts_named_their_requests_is_brought_up_to_date() {
    let (_folder, path) = filled().await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch(BEFORE_THE_BACKLOG).unwrap();
    conn.execute_batch(BEFORE_REQUESTS).unwrap();
    conn.execute_batch("PRAGMA user_version = 3").unwrap();
    drop(conn);
    let ledger = open(&path).unwrap();
    assert_eq!(replay(&ledger, "k7").await, Ok(vec![b'x'; 500].into()));
    let asked = ClaimRequest { request_id: Some("req-1".into()), ..request("new") };
    let ClaimOutcome::Granted(claim) = ledger.claim(asked).await.unwrap() else { panic!("it is free") };
    ledger.finish(&claim, answered("made")).await.unwrap();
    let found = ledger.of_request("req-1".into(), None).await.unwrap();
    assert_eq!(found.operations.iter().map(|record| record.id).collect::<Vec<_>>(), [claim.operation]);
}

#[tokio::test]
async fn a_ledger_from_before_the_backlog_takes_work_once_it_was_opened() {
    let (_folder, path) = filled().await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch(BEFORE_THE_BACKLOG).unwrap();
    conn.execute_batch("PRAGMA user_version = 4").unwrap();
    drop(conn);
    let ledger = open(&path).unwrap();
    assert_eq!(replay(&ledger, "k7").await, Ok(vec![b'x'; 500].into()));
    let id = left(&ledger, "later").await;
    let taken = ledger.take(wish(1)).await.unwrap();
    assert_eq!(taken.jobs.iter().map(|job| job.claim.operation).collect::<Vec<_>>(), [id]);
}

#[test]
fn what_is_not_a_ledger_is_refused_and_left_alone() {
    let folder = tempdir().unwrap();
    let noise = folder.path().join("noise");
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(&noise, &bytes).unwrap();
    is_corrupt(&noise, "not a database");
    assert_eq!(fs::read(&noise).unwrap(), bytes);

    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE books (title)").unwrap();
    let before = fs::read(&other).unwrap();
    is_corrupt(&other, "not a ledger");
    assert_eq!(fs::read(&other).unwrap(), before);
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let (_folder, path) = filled().await;
    let bytes = fs::metadata(&path).unwrap().len();
    for part in [1, 2, 3] {
        fs::File::options().write(true).open(&path).unwrap().set_len(bytes * (4 - part) / 4).unwrap();
        is_corrupt(&path, "malformed");
    }
}

#[tokio::test]
async fn a_file_with_a_page_of_noise_is_refused() {
    let (_folder, path) = filled().await;
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4_096 * 4_096;
    bytes[middle..middle + 4_096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    is_corrupt(&path, "");
}

#[tokio::test]
async fn an_empty_file_becomes_a_ledger() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    fs::write(&path, b"").unwrap();
    let ledger = open(&path).unwrap();
    let claim = granted(&ledger, "k").await;
    ledger.finish(&claim, answered("kept")).await.unwrap();
    drop(ledger);
    assert_eq!(replay(&open(&path).unwrap(), "k").await.unwrap(), "kept");
}

#[test]
fn what_is_no_file_in_a_folder_is_unreachable() {
    let folder = tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing/ledger.db"), PathBuf::from("/")] {
        assert!(matches!(open(&path), Err(OpenError::Unreachable { .. })), "{path:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_read_only() {
    // Not even root can make a file there.
    match open(Path::new("/sys/steadfast.db")) {
        Err(OpenError::ReadOnly { path, .. }) => assert_eq!(path, "/sys/steadfast.db"),
        other => panic!("{other:?}"),
    }
}
