//! How many operations a second the ledger on Postgres takes: claim and finish, 64 callers at once.
//!
//! `cargo run --release -p steadfast-ledger --no-default-features --features postgres
//! --example postgres_throughput -- postgres://… [seconds] [callers] [connections]`

#![cfg_attr(feature = "postgres", expect(clippy::print_stdout, reason = "it prints what it measured"))]

#[cfg(not(feature = "postgres"))]
fn main() {}

#[cfg(feature = "postgres")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    measure::run().await
}

#[cfg(feature = "postgres")]
mod measure {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use steadfast_core::{Answer, AttemptEnd, Fence, Fingerprint, Key, Namespace, Owner, Principal};
    use steadfast_ledger::{
        ClaimOutcome, ClaimRequest, Claims, Durability, KeepFrom, OperationName, Retention,
        postgres::{PostgresLedger, PostgresOptions},
    };
    use tokio::task::JoinSet;

    /// Runs for as long as the command line says, and prints what it measured.
    pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
        let mut arguments = std::env::args().skip(1);
        let url = arguments.next().ok_or("the URL of a database is missing")?;
        let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
        let (seconds, callers, connections) = (number(5)?, number(64)?, number(4)?);
        let options =
            PostgresOptions { connections: usize::try_from(connections)?, ..PostgresOptions::default() };
        let ledger = Arc::new(PostgresLedger::connect(&url, options).await?);
        let (begun, end) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
        let mut work = JoinSet::new();
        for _ in 0..callers {
            work.spawn(call(Arc::clone(&ledger), end));
        }
        let mut latencies: Vec<Duration> = work.join_all().await.into_iter().flatten().collect();
        let rate = latencies.len() as f64 / begun.elapsed().as_secs_f64();
        latencies.sort();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
        println!("{rate:.0} operations/s, {callers} callers, {connections} connections");
        println!("claim and finish: median {:?}, 99th percentile {:?}", at(50), at(99));
        Ok(())
    }

    /// Claims and finishes new operations until `end`; how long each took.
    async fn call(ledger: Arc<PostgresLedger>, end: Instant) -> Vec<Duration> {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let (begun, fence) = (Instant::now(), Fence::random());
            let outcome = ledger.claim(request(fence)).await.expect("a ledger that works");
            let ClaimOutcome::Granted(claim) = outcome else { panic!("a random key was taken") };
            let body = Some(vec![b'x'; 300].into());
            let answer = Answer { status: 201, headers: steadfast_core::HeaderFields::default(), body };
            ledger.finish(&claim, AttemptEnd::Answered(answer)).await.expect("a ledger that works");
            latencies.push(begun.elapsed());
        }
        latencies
    }

    fn request(fence: Fence) -> ClaimRequest {
        let namespace = Namespace::new("principal ada").expect("a namespace");
        ClaimRequest {
            name: OperationName::new(namespace, Key::new(&Fence::random().to_string()).expect("a key")),
            fingerprint: Fingerprint::from_bytes(*fence.as_bytes()),
            owner: Owner { principal: Some(Principal::new("ada")), credential: None },
            fence,
            route: Arc::from("orders"),
            method: "POST".into(),
            path: "/orders".into(),
            request_id: None,
            repeatable_for: None,
            retention: Retention {
                keep: Duration::from_secs(86_400),
                from: KeepFrom::Finish,
                tombstone: None,
            },
            durability: Durability::Synced,
        }
    }
}
