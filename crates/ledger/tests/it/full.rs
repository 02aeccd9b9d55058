//! A disk that is full: said clearly, with nothing acknowledged that is not there.

use steadfast_ledger::{
    ClaimOutcome, Claims as _, LedgerError, Upkeep as _,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::request::{answered, granted, replay, request};

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing_acknowledged() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let small = SqliteOptions { pages_max: Some(100), ..SqliteOptions::default() };
    let ledger = std::sync::Arc::new(SqliteLedger::open(&path, small).unwrap());
    let kept = granted(ledger.as_ref(), "kept").await;
    ledger.finish(&kept, answered("kept")).await.unwrap();

    // Many at once, so that those that fit and those that do not share batches.
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let ledger = std::sync::Arc::clone(&ledger);
        tasks.spawn(async move {
            let key = format!("k{number}");
            let claimed = ledger.claim(request(&key)).await;
            let ended = match &claimed {
                Ok(ClaimOutcome::Granted(claim)) => {
                    Some(ledger.finish(claim, answered(vec![b'x'; 3_000])).await)
                }
                _ => None,
            };
            (key, claimed, ended)
        });
    }
    let (mut acknowledged, mut unwritten, mut full) = (Vec::new(), Vec::new(), 0);
    while let Some(task) = tasks.join_next().await {
        match task.unwrap() {
            (key, Ok(ClaimOutcome::Granted(_)), Some(Ok(_))) => acknowledged.push(key),
            (key, Ok(ClaimOutcome::Granted(claim)), Some(Err(LedgerError::Full))) => {
                full += 1;
                unwritten.push((key, claim));
            }
            (_, Err(LedgerError::Full), None) => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(!acknowledged.is_empty() && full > 0, "{} acknowledged, {full} full", acknowledged.len());
    // What is there can still be read and replayed.
    assert_eq!(replay(ledger.as_ref(), "kept").await.unwrap(), "kept");

    // Room again: what was acknowledged is there, and what could not be written is in doubt, not lost.
    ledger.close();
    let ledger = SqliteLedger::open(&path, SqliteOptions::default()).unwrap();
    ledger.check().await.unwrap();
    for key in acknowledged {
        assert_eq!(replay(&ledger, &key).await.unwrap(), vec![b'x'; 3_000], "{key}");
    }
    for (key, claim) in unwritten {
        assert!(replay(&ledger, &key).await.is_err(), "{key}");
        ledger.finish(&claim, answered("late")).await.unwrap();
        assert_eq!(replay(&ledger, &key).await.unwrap(), "late");
    }
}
