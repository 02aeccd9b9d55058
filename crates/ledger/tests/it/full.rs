//! A disk that is full: said clearly, with nothing acknowledged that is not there.

use std::sync::Arc;

use steadfast_ledger::{
    ClaimOutcome, Claims as _, LedgerError, Operations as _, Upkeep as _,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::request::{answered, granted, replay, request};

/// How many claims and their ends run at once, so that those for which there is room and those for which there is
/// none share batches.
const AT_ONCE: u32 = 50;
/// After so many waves the tables must be full.
const WAVES_MAX: u32 = 500;

#[tokio::test]
async fn full_tables_are_told_and_lose_nothing_acknowledged() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let small = SqliteOptions { pages_max: Some(100), ..SqliteOptions::default() };
    let ledger = Arc::new(SqliteLedger::open(&path, small).unwrap());
    let under_way = granted(ledger.as_ref(), "under way").await;

    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for wave in 0..WAVES_MAX {
        let mut tasks = JoinSet::new();
        for number in 0..AT_ONCE {
            let ledger = Arc::clone(&ledger);
            tasks.spawn(async move {
                let key = format!("k{wave}-{number}");
                match ledger.claim(request(&key)).await {
                    // What was granted has its place: the end of an attempt needs no room in the tables.
                    Ok(ClaimOutcome::Granted(claim)) => {
                        ledger.finish(&claim, answered(vec![b'x'; 3_000])).await.unwrap();
                        (key, true)
                    }
                    Err(LedgerError::Full) => (key, false),
                    other => panic!("{key}: {other:?}"),
                }
            });
        }
        for (key, granted) in tasks.join_all().await {
            if granted { acknowledged.push(key) } else { refused.push(key) }
        }
        if !refused.is_empty() {
            break;
        }
    }
    assert!(!acknowledged.is_empty() && !refused.is_empty(), "{} acknowledged", acknowledged.len());
    ledger.finish(&under_way, answered("ended")).await.unwrap();
    // What is there can still be replayed; who would read what the tables lack is told why they do.
    for key in [&acknowledged[0], &acknowledged[acknowledged.len() - 1]] {
        assert_eq!(replay(ledger.as_ref(), key).await.unwrap(), vec![b'x'; 3_000], "{key}");
    }
    assert_eq!(ledger.counts().await, Err(LedgerError::Full));
    assert_eq!(ledger.check().await, Err(LedgerError::Full));

    // Room again: what was acknowledged is there, and what was refused never was.
    ledger.close();
    let ledger = SqliteLedger::open(&path, SqliteOptions::default()).unwrap();
    ledger.check().await.unwrap();
    assert_eq!(replay(&ledger, "under way").await.unwrap(), "ended");
    for key in acknowledged {
        assert_eq!(replay(&ledger, &key).await.unwrap(), vec![b'x'; 3_000], "{key}");
    }
    for key in refused {
        granted(&ledger, &key).await;
    }
}
