//! How many jobs a second the backlog on Postgres takes in and gives out, and how much each writes to the server's log:
//! work is accepted, then taken in batches and concluded with an answer at once.
//!
//! `cargo run --release -p steadfast-ledger --no-default-features --features postgres
//! --example postgres_backlog -- postgres://… [jobs] [a batch] [takers] [how many are taken]`
//!
//! Where fewer are taken than are left, the rest stays: how fast work is given out should not depend on how much of it there
//! is.

#![cfg_attr(feature = "postgres", expect(clippy::print_stdout, reason = "it prints what it measured"))]

#[cfg(not(feature = "postgres"))]
fn main() {}

#[cfg(feature = "postgres")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure::run().await
}

#[cfg(feature = "postgres")]
mod measure {
    use std::{
        future::Future,
        sync::Arc,
        time::{Duration, Instant},
    };

    use bytes::Bytes;
    use steadfast_core::{Answer, AttemptEnd, Fence, Fingerprint, Key, Namespace, Next, Owner, Principal};
    use steadfast_ledger::{
        Backlog, Conclusion, Enqueue, Enqueued, Job, KeepFrom, KeptRequest, OperationName, Priority,
        Retention, Wish,
        postgres::{PostgresLedger, PostgresOptions},
    };
    use tokio::task::JoinSet;
    use tokio_postgres::NoTls;

    type Failure = Box<dyn std::error::Error>;

    /// How many callers leave work at once.
    const CALLERS: u64 = 256;

    /// Runs what the command line says, and prints what it measured.
    pub(crate) async fn run() -> Result<(), Failure> {
        let mut arguments = std::env::args().skip(1);
        let url = arguments.next().ok_or("the URL of a database is missing")?;
        let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
        let (jobs, batch, takers) = (number(20_000)?, number(128)?, number(2)?);
        let taken = number(jobs)?;
        let ledger = Arc::new(PostgresLedger::connect(&url, PostgresOptions::default()).await?);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        client.batch_execute("CHECKPOINT").await?;
        measured("accepted", jobs, &client, accept(&ledger, jobs)).await?;
        client.batch_execute("CHECKPOINT").await?;
        let limit = u32::try_from(batch)?;
        measured("taken and concluded", taken, &client, drain(&ledger, taken, limit, takers)).await
    }

    async fn measured(
        what: &str,
        jobs: u64,
        client: &tokio_postgres::Client,
        work: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let (begun, before) = (Instant::now(), written(client).await?);
        work.await;
        let (seconds, bytes) = (begun.elapsed().as_secs_f64(), written(client).await? - before);
        println!(
            "{what}: {:.0} jobs/s, {:.0} bytes of log a job",
            jobs as f64 / seconds,
            bytes / jobs as f64
        );
        Ok(())
    }

    /// How much the server has written to its log so far, in bytes.
    async fn written(client: &tokio_postgres::Client) -> Result<f64, Failure> {
        let row = client.query_one("SELECT (pg_current_wal_insert_lsn() - '0/0')::float8", &[]).await?;
        Ok(row.get(0))
    }

    async fn accept(ledger: &Arc<PostgresLedger>, jobs: u64) {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let ledger = Arc::clone(ledger);
            let share = jobs / CALLERS + u64::from(caller < jobs % CALLERS);
            callers.spawn(async move {
                for _ in 0..share {
                    let enqueued = ledger.enqueue(work()).await.expect("a ledger that works");
                    assert!(matches!(enqueued, Enqueued::Accepted { .. }), "a random key was taken");
                }
            });
        }
        callers.join_all().await;
    }

    /// Takes and concludes until nothing is left of what was accepted.
    async fn drain(ledger: &Arc<PostgresLedger>, jobs: u64, limit: u32, takers: u64) {
        let left = Arc::new(std::sync::atomic::AtomicU64::new(jobs));
        let mut work = JoinSet::new();
        for _ in 0..takers {
            let (ledger, left) = (Arc::clone(ledger), Arc::clone(&left));
            work.spawn(async move {
                let wish = Wish { route: Arc::from("orders"), limit, repeatable_for: None };
                let mut under_way = JoinSet::new();
                while left.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                    let taken = ledger.take(vec![wish.clone()]).await.expect("a ledger that works");
                    let count = taken.jobs.len() as u64;
                    let before = left.load(std::sync::atomic::Ordering::Relaxed);
                    left.store(before.saturating_sub(count), std::sync::atomic::Ordering::Relaxed);
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
            });
        }
        work.join_all().await;
    }

    async fn conclude(ledger: Arc<PostgresLedger>, job: Job) {
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
            retention: Retention {
                keep: Duration::from_secs(86_400),
                from: KeepFrom::Finish,
                tombstone: None,
            },
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
}
