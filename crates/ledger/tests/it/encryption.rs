//! Encrypted answers: what is in the files, whose keys read it, and what becomes of what cannot be read.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use steadfast_core::{Answer, AttemptEnd, Next, NotSentCause, OperationId, StateName, Timestamp};
use steadfast_ledger::{
    Backlog as _, Claims as _, Clock, Conclusion, Encrypting, Finished, KeptRequest, Keys, Occupied,
    Operations as _, Settlement, Settlements as _, Verdict,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::{TempDir, tempdir};

use crate::request::{granted, left_with, request, wish};

const SECRET: &[u8] = b"a secret that nobody may read";

fn open(folder: &TempDir, keys: &str) -> Encrypting<SqliteLedger> {
    let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), SqliteOptions::default()).unwrap();
    Encrypting::new(ledger, if keys.is_empty() { Keys::default() } else { Keys::parse(keys).unwrap() })
}

fn secret_answer() -> Answer {
    let headers = [("x-secret", SECRET)].into_iter().collect();
    Answer { status: 201, headers, body: Some(Bytes::from_static(SECRET)) }
}

async fn answered(ledger: &Encrypting<SqliteLedger>, key: &str) -> OperationId {
    let claim = granted(ledger, key).await;
    ledger.finish(&claim, AttemptEnd::Answered(secret_answer())).await.unwrap();
    claim.operation
}

/// What a replay shows, and the same by the operation's id.
async fn replayed(ledger: &Encrypting<SqliteLedger>, key: &str) -> Answer {
    let outcome = ledger.claim(request(key)).await.unwrap();
    let steadfast_ledger::ClaimOutcome::Occupied(standing) = outcome else { panic!("{key} was free") };
    let Occupied::Completed { answer: Some(answer), .. } = &standing.occupied else { panic!("{standing:?}") };
    assert_eq!(ledger.answer(standing.operation).await.unwrap().as_ref(), Some(answer));
    answer.clone()
}

fn unavailable() -> Answer {
    Answer { body: None, headers: Default::default(), ..secret_answer() }
}

/// The files of the ledger that hold `text`.
fn files_with(folder: &Path, text: &[u8]) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let with = files
        .filter(|file| std::fs::read(file.path()).unwrap().windows(text.len()).any(|window| window == text));
    with.map(|file| file.file_name().into_string().unwrap()).collect()
}

fn new_key() -> String {
    Keys::new_line().unwrap()
}

/// Answers in the log, in the tables, as evidence and of a settlement.
async fn everything_that_holds_answers(folder: &TempDir, keys: &str) {
    let ledger = open(folder, keys);
    let timeout = AttemptEnd::Unknown { cause: steadfast_core::UnknownCause::Timeout, status: None };
    // Evidence: the answer of the first attempt, while the second is under way.
    let first = granted(&ledger, "evidence").await;
    ledger.finish(&first, timeout.clone()).await.unwrap();
    granted(&ledger, "evidence").await;
    let late = ledger.finish(&first, AttemptEnd::Answered(secret_answer())).await.unwrap();
    assert!(matches!(late, Finished::Superseded(_)));
    assert!(ledger.attempts(first.operation).await.unwrap()[0].evidence);
    let doubtful = granted(&ledger, "settled").await;
    ledger.finish(&doubtful, timeout).await.unwrap();
    let verdict = Verdict::Happened(Some(secret_answer()));
    let settlement = Settlement { verdict, by: "ada".into(), reason: "looked".into() };
    ledger.settle(doubtful.operation, settlement).await.unwrap();
    left_with(&ledger, "later", SECRET.into()).await.unwrap();
    // In the tables, and in the log alone.
    answered(&ledger, "folded").await;
    ledger.counts().await.unwrap();
    answered(&ledger, "logged").await;
    let found = files_with(folder.path(), SECRET);
    if keys.is_empty() {
        assert!(found.iter().any(|name| name == "ledger.db-log") && found.len() > 1, "{found:?}");
    } else {
        assert_eq!(found, [""; 0]);
    }
    drop(ledger);
    let found = files_with(folder.path(), SECRET);
    assert_eq!(found.is_empty(), !keys.is_empty(), "{found:?}");
}

#[tokio::test]
async fn nothing_of_an_answer_can_be_read_in_any_file() {
    let (plain, encrypted) = (tempdir().unwrap(), tempdir().unwrap());
    // Where nothing is encrypted this test finds it, so where it finds nothing, nothing is there.
    everything_that_holds_answers(&plain, "").await;
    let key = new_key();
    everything_that_holds_answers(&encrypted, &key).await;
    let ledger = open(&encrypted, &key);
    for name in ["settled", "folded", "logged", "evidence"] {
        assert_eq!(replayed(&ledger, name).await, secret_answer(), "{name}");
    }
}

#[tokio::test]
async fn keys_rotate_and_an_answer_whose_key_is_gone_is_unavailable() {
    let (folder, old, new) = (tempdir().unwrap(), new_key(), new_key());
    answered(&open(&folder, ""), "plain").await;
    answered(&open(&folder, &old), "old").await;
    let both = open(&folder, &format!("{new}\n{old}"));
    answered(&both, "new").await;
    for name in ["plain", "old", "new"] {
        assert_eq!(replayed(&both, name).await, secret_answer(), "{name}");
    }
    drop(both);
    let rotated = open(&folder, &new);
    assert_eq!(replayed(&rotated, "old").await, unavailable());
    assert_eq!(replayed(&rotated, "new").await, secret_answer());
    drop(rotated);
    // The key was put back: nothing was lost.
    assert_eq!(replayed(&open(&folder, &format!("{new}\n{old}")), "old").await, secret_answer());
}

#[tokio::test]
async fn without_any_key_an_encrypted_answer_is_no_answer_to_people_either() {
    let (folder, key) = (tempdir().unwrap(), new_key());
    let id = answered(&open(&folder, &key), "k").await;
    assert_eq!(open(&folder, "").answer(id).await.unwrap(), Some(unavailable()));
}

#[tokio::test]
async fn rows_that_were_swapped_are_not_read() {
    let (folder, key) = (tempdir().unwrap(), new_key());
    let ledger = open(&folder, &key);
    answered(&ledger, "one").await;
    answered(&ledger, "two").await;
    drop(ledger);
    let file = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    let swapped = file.execute(
        "UPDATE operations SET (answer_headers, answer_body) = \
         (SELECT answer_headers, answer_body FROM operations o WHERE o.key = 'two') WHERE key = 'one'",
        [],
    );
    assert_eq!(swapped.unwrap(), 1);
    file.close().unwrap();
    let ledger = open(&folder, &key);
    assert_eq!(replayed(&ledger, "one").await, unavailable());
    assert_eq!(replayed(&ledger, "two").await, secret_answer());
}

#[tokio::test]
async fn an_end_written_twice_is_one_answer_and_no_case() {
    let (folder, key) = (tempdir().unwrap(), new_key());
    let ledger = Arc::new(open(&folder, &key));
    let claim = granted(&*ledger, "k").await;
    for _ in 0..2 {
        let finished = ledger.finish(&claim, AttemptEnd::Answered(secret_answer())).await.unwrap();
        assert_eq!(finished, Finished::Recorded(StateName::Completed));
    }
    assert_eq!(ledger.operation(claim.operation).await.unwrap().unwrap().cases_open, 0);
}

#[tokio::test]
async fn work_whose_key_is_gone_is_not_handed_out_and_waits_for_it_until_its_time_is_over() {
    let (folder, old, new) = (tempdir().unwrap(), new_key(), new_key());
    let clock = Clock::manual(Timestamp::from_millis(0));
    let open = |keys: &str| {
        let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
        let ledger = SqliteLedger::open(&folder.path().join("ledger.db"), options).unwrap();
        Encrypting::new(ledger, Keys::parse(keys).unwrap())
    };
    let ledger = open(&old);
    let id = left_with(&ledger, "k", SECRET.into()).await.unwrap();
    drop(ledger);
    let ledger = open(&new);
    assert!(ledger.take(wish(10)).await.unwrap().jobs.is_empty());
    assert_eq!(ledger.operation(id).await.unwrap().unwrap().state, StateName::Waiting);
    assert_eq!(ledger.kept_work(id).await.unwrap().unwrap().request, KeptRequest::default());
    drop(ledger);

    clock.advance(Duration::from_secs(61));
    let ledger = open(&format!("{new}\n{old}"));
    let mut jobs = ledger.take(wish(10)).await.unwrap().jobs;
    let job = jobs.pop().expect("its key is back");
    assert_eq!((&*job.request.body, job.stamina.tries, job.claim.after_doubt), (SECRET, 1, false));
    let next = Next::Again { after: Duration::ZERO, counts: false };
    let end = AttemptEnd::NotSent(NotSentCause::HeldBack);
    ledger.conclude(&job.claim, Conclusion { end, next, excerpt: None }).await.unwrap();
    drop(ledger);

    clock.advance(Duration::from_secs(3_600));
    let ledger = open(&new);
    assert!(ledger.take(wish(10)).await.unwrap().jobs.is_empty());
    let found = ledger.operation(id).await.unwrap().unwrap();
    assert_eq!((found.state, found.doubtful), (StateName::Dead, false));
}
