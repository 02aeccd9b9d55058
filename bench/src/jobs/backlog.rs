//! Jobs in our own ledger, as the gateway leaves them there, but without a caller for each.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use steadfast_core::{Answer, AttemptEnd, Fence, Fingerprint, HeaderFields, Key, Namespace, Next, Owner};
use steadfast_ledger::postgres::{PostgresLedger, PostgresOptions};
use steadfast_ledger::sqlite::{SqliteLedger, SqliteOptions};
use steadfast_ledger::{
    Backlog, Conclusion, Enqueue, Enqueued, Job, KeepFrom, KeptRequest, OperationName, Priority, Retention,
    Wish,
};
use tokio::task::JoinSet;

/// The route on which jobs are left, in ledger and config.
pub(super) const ROUTE: &str = "noop";
/// How many are left at once, so that many share a sync of the disk.
const AT_ONCE: u64 = 256;
/// For how long a finished job is kept, and for how long an unfinished one is tried.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A ledger, as far as jobs go.
pub(super) type SharedBacklog = Arc<dyn Backlog>;

/// Opens the ledger at this address, a new one where there is none.
///
/// # Errors
/// It cannot be opened.
pub(super) async fn open(address: &str) -> anyhow::Result<SharedBacklog> {
    match address.strip_prefix("sqlite:") {
        Some(path) => Ok(Arc::new(SqliteLedger::open(Path::new(path), SqliteOptions::default())?)),
        None => Ok(Arc::new(PostgresLedger::connect(address, PostgresOptions::default()).await?)),
    }
}

/// Leaves so many jobs from `first` on.
///
/// # Errors
/// The ledger refuses one.
pub(super) async fn enqueue(ledger: &SharedBacklog, first: u64, count: u64) -> anyhow::Result<()> {
    let (next, end) = (Arc::new(AtomicU64::new(first)), first + count);
    let mut callers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (ledger, next) = (Arc::clone(ledger), Arc::clone(&next));
        callers.spawn(async move {
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                if job >= end {
                    return anyhow::Ok(());
                }
                match ledger.enqueue(work(job)?).await.with_context(|| format!("job {job}"))? {
                    Enqueued::Accepted { .. } => {}
                    Enqueued::Occupied(standing) => bail!("job {job} is there already: {standing:?}"),
                }
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(())
}

/// What a worker asks for that has room for so many.
pub(super) fn wish(limit: u32) -> Vec<Wish> {
    vec![Wish { route: ROUTE.into(), limit, repeatable_for: None }]
}

/// Concludes these jobs at once, each with the answer of the endpoint.
///
/// # Errors
/// The ledger refuses one.
pub(super) async fn conclude(ledger: &SharedBacklog, jobs: Vec<Job>) -> anyhow::Result<()> {
    let mut conclusions = JoinSet::new();
    for job in jobs {
        let ledger = Arc::clone(ledger);
        conclusions.spawn(async move {
            let answer = Answer { status: 204, headers: HeaderFields::default(), body: None };
            let end = AttemptEnd::Answered(answer);
            let conclusion = Conclusion { end, next: Next::GiveUp, excerpt: None };
            ledger.conclude(&job.claim, conclusion).await
        });
    }
    while let Some(conclusion) = conclusions.join_next().await {
        conclusion??;
    }
    Ok(())
}

/// The job with this number, under a key as random as those of real callers: what a key looks like decides where a store's
/// index is written.
fn work(job: u64) -> anyhow::Result<Enqueue> {
    let target = format!("/noop/{job}");
    let random = Fence::random();
    Ok(Enqueue {
        name: OperationName::new(Namespace::global(), Key::new(&random.to_string())?),
        fingerprint: Fingerprint::from_bytes(*random.as_bytes()),
        owner: Owner::default(),
        route: ROUTE.into(),
        method: "POST".into(),
        path: target.clone().into(),
        repeatable_for: None,
        retention: Retention { keep: A_DAY, from: KeepFrom::Finish, tombstone: None },
        request: KeptRequest {
            target: target.into(),
            headers: [("content-type", "application/json")].into_iter().collect(),
            body: format!("{{\"job\":{job}}}").into(),
        },
        delay: Duration::ZERO,
        priority: Priority::default(),
        lane: None,
        tries_max: 10,
        age_max: A_DAY,
    })
}
