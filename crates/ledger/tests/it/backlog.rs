//! What only this store promises about its backlog: commits that are shared, and work that nobody heard of.

use std::sync::Arc;

use steadfast_core::StateName;
use steadfast_ledger::{
    Backlog as _, Conclusion, LedgerError, Operations as _, Upkeep as _,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::{TempDir, tempdir};
use tokio::task::JoinSet;

use crate::request::{answered, left, left_with, wish};

fn open(folder: &TempDir, options: SqliteOptions) -> Arc<SqliteLedger> {
    Arc::new(SqliteLedger::open(&folder.path().join("ledger.db"), options).unwrap())
}

#[tokio::test]
async fn work_that_nobody_heard_of_is_given_back() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions::default());
    let id = left(ledger.as_ref(), "dropped").await;
    drop(ledger.take(wish(10)));
    ledger.check().await.unwrap();
    let jobs = ledger.take(wish(10)).await.unwrap().jobs;
    let [job] = &*jobs else { panic!("{jobs:?}") };
    // Had it counted as sent, it would be claimed, and in doubt later.
    assert_eq!((job.claim.operation, job.claim.attempt, job.claim.after_doubt), (id, 2, false));
    assert_eq!(job.stamina.tries, 1);
}

#[tokio::test]
async fn what_comes_at_once_shares_a_commit() {
    const AT_ONCE: u64 = 100;
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions::default());
    let mut leaving = JoinSet::new();
    for number in 0..AT_ONCE {
        let ledger = Arc::clone(&ledger);
        leaving.spawn(async move { left(ledger.as_ref(), &format!("k{number}")).await });
    }
    leaving.join_all().await;
    let accepted = ledger.grouping();
    assert!(accepted.batches < AT_ONCE / 10, "{accepted:?}");

    let jobs = ledger.take(wish(1_000)).await.unwrap().jobs;
    assert_eq!(jobs.len() as u64, AT_ONCE);
    let mut concluding = JoinSet::new();
    for job in jobs {
        let ledger = Arc::clone(&ledger);
        concluding.spawn(async move {
            let end = answered(job.request.body.clone());
            let conclusion = Conclusion { end, next: steadfast_core::Next::GiveUp, excerpt: None };
            ledger.conclude(&job.claim, conclusion).await.unwrap();
        });
    }
    concluding.join_all().await;
    let batches = ledger.grouping().batches - accepted.batches;
    assert!(batches < AT_ONCE / 10, "{batches}");
}

#[tokio::test]
async fn work_for_which_there_is_no_room_takes_no_other_with_it() {
    let folder = tempdir().unwrap();
    let ledger = open(&folder, SqliteOptions { pages_max: Some(300), ..SqliteOptions::default() });
    let (one, large, other) = tokio::join!(
        left_with(ledger.as_ref(), "one", "small".into()),
        left_with(ledger.as_ref(), "large", vec![b'x'; 4 << 20].into()),
        left_with(ledger.as_ref(), "other", "small".into()),
    );
    assert_eq!(large, Err(LedgerError::Full));
    let left = [one.unwrap(), other.unwrap()];
    for id in left {
        assert_eq!(ledger.operation(id).await.unwrap().unwrap().state, StateName::Queued);
    }
    let jobs = ledger.take(wish(10)).await.unwrap().jobs;
    assert_eq!(jobs.iter().map(|job| job.claim.operation).collect::<Vec<_>>(), left);
}
