//! How many jobs a second the backlog on SQLite takes in and gives out on this machine's disk: work is accepted, then taken
//! in batches and concluded with an answer at once.
//!
//! `cargo run --release -p steadfast-ledger --example backlog -- [folder] [jobs] [a batch] [takers] [how many are taken]`. The
//! folder should be on the disk that is to be measured, not in memory.
//!
//! Where fewer are taken than are left, the rest stays: how fast work is given out should not depend on how much of it there
//! is.

use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use steadfast_core::{Answer, AttemptEnd, Fence, Fingerprint, Key, Namespace, Next, Owner, Principal};
use steadfast_ledger::{
    Backlog as _, Conclusion, Enqueue, Enqueued, Job, KeepFrom, KeptRequest, LedgerError, OperationName,
    Priority, Retention, Wish,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

/// How many callers leave work at once.
const CALLERS: u64 = 256;

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (jobs, batch, takers) = (number(20_000)?, number(128)?, number(2)?);
    let taken = number(jobs)?;
    let folder = folder.join(format!("backlog-{}", std::process::id()));
    fs::create_dir(&folder)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let ledger = Arc::new(SqliteLedger::open(&folder.join("ledger.db"), SqliteOptions::default())?);
    let began = Instant::now();
    runtime.block_on(accept(&ledger, jobs))?;
    println!("accepted: {:.0} jobs/s", jobs as f64 / began.elapsed().as_secs_f64());
    let (before, began) = (ledger.grouping(), Instant::now());
    let slowest = runtime.block_on(drain(&ledger, taken, u32::try_from(batch)?, takers))?;
    let (after, took) = (ledger.grouping(), began.elapsed().as_secs_f64());
    println!(
        "taken and concluded: {:.0} jobs/s, {:.1} commands a commit, the slowest question for {batch} took {slowest:.2?}",
        taken as f64 / took,
        (after.commands - before.commands) as f64 / (after.batches - before.batches) as f64,
    );
    ledger.close();
    println!("the file has {} MiB", fs::metadata(folder.join("ledger.db"))?.len() >> 20);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

async fn accept(ledger: &Arc<SqliteLedger>, jobs: u64) -> Result<(), LedgerError> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let ledger = Arc::clone(ledger);
        let share = jobs / CALLERS + u64::from(caller < jobs % CALLERS);
        callers.spawn(async move {
            for _ in 0..share {
                let enqueued = ledger.enqueue(work()).await?;
                assert!(matches!(enqueued, Enqueued::Accepted { .. }), "a random key was taken");
            }
            Ok(())
        });
    }
    callers.join_all().await.into_iter().collect()
}

/// Takes and concludes so many jobs; how long the slowest question for some took.
async fn drain(
    ledger: &Arc<SqliteLedger>,
    jobs: u64,
    limit: u32,
    takers: u64,
) -> Result<Duration, LedgerError> {
    let left = Arc::new(AtomicU64::new(jobs));
    let mut work = JoinSet::new();
    for _ in 0..takers {
        let (ledger, left) = (Arc::clone(ledger), Arc::clone(&left));
        work.spawn(async move {
            let (mut under_way, mut slowest) = (JoinSet::new(), Duration::ZERO);
            while left.load(Ordering::Relaxed) > 0 {
                let began = Instant::now();
                let wish = Wish { route: Arc::from("orders"), limit, repeatable_for: None };
                let taken = ledger.take(vec![wish]).await?;
                slowest = slowest.max(began.elapsed());
                let count = taken.jobs.len() as u64;
                left.store(left.load(Ordering::Relaxed).saturating_sub(count), Ordering::Relaxed);
                for job in taken.jobs {
                    under_way.spawn(conclude(Arc::clone(&ledger), job));
                }
                // A worker has two batches under way at most.
                while under_way.len() > limit as usize {
                    under_way.join_next().await;
                }
                if count == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            while under_way.join_next().await.is_some() {}
            Ok(slowest)
        });
    }
    let slowest: Vec<Duration> = work.join_all().await.into_iter().collect::<Result<_, LedgerError>>()?;
    Ok(slowest.into_iter().max().unwrap_or_default())
}

async fn conclude(ledger: Arc<SqliteLedger>, job: Job) {
    let headers = [("content-type", "text/plain")].into_iter().collect();
    let answer = Answer { status: 200, headers, body: Some(Bytes::from_static(b"ok")) };
    let conclusion = Conclusion { end: AttemptEnd::Answered(answer), next: Next::GiveUp, excerpt: None };
    ledger.conclude(&job.claim, conclusion).await.expect("a ledger that works");
}

fn work() -> Enqueue {
    let namespace = Namespace::new("principal ada").expect("a namespace");
    let fence = Fence::random();
    Enqueue {
        name: OperationName::new(namespace, Key::new(&fence.to_string()).expect("a key")),
        fingerprint: Fingerprint::from_bytes(*fence.as_bytes()),
        owner: Owner { principal: Some(Principal::new("ada")), credential: None },
        route: Arc::from("orders"),
        method: "POST".into(),
        path: "/orders".into(),
        repeatable_for: None,
        retention: Retention { keep: Duration::from_secs(86_400), from: KeepFrom::Finish, tombstone: None },
        request: KeptRequest {
            target: "/orders".into(),
            headers: [("content-type", "application/json")].into_iter().collect(),
            body: vec![b'x'; 200].into(),
        },
        delay: Duration::ZERO,
        priority: Priority(0),
        lane: None,
        tries_max: 10,
        age_max: Duration::from_secs(86_400),
    }
}
