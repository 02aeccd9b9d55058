//! How fast the SQLite ledger is on this machine's disk: first executions (a claim and a finish with an answer
//! of 300 bytes), each on a new key, by how many callers there are at once.
//!
//! `cargo run --release -p steadfast-ledger --example throughput [folder] [seconds for each row] [operations to
//! begin with]`. The folder should be on the disk that is to be measured, not in memory.

use std::{
    error::Error,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use steadfast_core::{Answer, AttemptEnd, Fence, Fingerprint, Key, Namespace, Owner};
use steadfast_ledger::{
    ClaimOutcome, ClaimRequest, Claims as _, Durability, KeepFrom, OperationName, Retention,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let seconds = Duration::from_secs(args.next().map_or(Ok(5), |seconds| seconds.parse())?);
    let begin_with: u64 = args.next().map_or(Ok(0), |operations| operations.parse())?;
    let folder = folder.join(format!("throughput-{}", std::process::id()));
    fs::create_dir(&folder)?;
    println!("an fsync of 4 KiB takes {:?} here (median)", fsync_time(&folder)?);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let ledger = Arc::new(SqliteLedger::open(&folder.join("ledger.db"), SqliteOptions::default())?);
    if begin_with > 0 {
        runtime.block_on(load(&ledger, 256, Durability::Synced, Until::Operations(begin_with)))?;
    }
    println!("callers  durability  operations/s  commands/s  commands a commit  p50        p99        max");
    for (callers, durability) in [
        (1, Durability::Synced),
        (1, Durability::Relaxed),
        (16, Durability::Synced),
        (32, Durability::Synced),
        (64, Durability::Synced),
        (64, Durability::Relaxed),
        (256, Durability::Synced),
    ] {
        let (before, began) = (ledger.grouping(), Instant::now());
        let times = runtime.block_on(load(&ledger, callers, durability, Until::Passed(seconds)))?;
        let (after, took) = (ledger.grouping(), began.elapsed().as_secs_f64());
        let (commands, batches) = (after.commands - before.commands, after.batches - before.batches);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "{callers:7}  {:10}  {:12.0}  {:10.0}  {:17.1}  {:9.2?}  {:9.2?}  {:9.2?}",
            format!("{durability:?}"),
            times.len() as f64 / took,
            commands as f64 / took,
            commands as f64 / batches as f64,
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
    ledger.close();
    println!("the file has {} MiB", fs::metadata(folder.join("ledger.db"))?.len() >> 20);
    fs::remove_dir_all(&folder)?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Until {
    Passed(Duration),
    Operations(u64),
}

/// Executes with this many callers at once; how long each execution took, in order.
async fn load(
    ledger: &Arc<SqliteLedger>,
    callers: u64,
    durability: Durability,
    until: Until,
) -> Result<Vec<Duration>, Failure> {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for _ in 0..callers {
        let ledger = Arc::clone(ledger);
        tasks.spawn(async move {
            let mut times = Vec::new();
            while match until {
                Until::Passed(time) => began.elapsed() < time,
                Until::Operations(count) => (times.len() as u64) < count / callers,
            } {
                let began = Instant::now();
                execute(&ledger, durability).await?;
                times.push(began.elapsed());
            }
            Ok::<_, Failure>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(task) = tasks.join_next().await {
        times.extend(task??);
    }
    times.sort();
    Ok(times)
}

async fn execute(ledger: &SqliteLedger, durability: Durability) -> Result<(), Failure> {
    let fence = Fence::random();
    let request = ClaimRequest {
        name: OperationName::new(Namespace::of_route("/orders"), Key::new(&fence.to_string())?),
        fingerprint: Fingerprint::from_bytes(*fence.as_bytes()),
        owner: Owner::default(),
        fence,
        route: "/orders".into(),
        method: "POST".into(),
        path: "/orders".into(),
        request_id: None,
        repeatable_for: Some(Duration::from_secs(3_600)),
        retention: Retention { keep: Duration::from_secs(86_400), from: KeepFrom::Finish, tombstone: None },
        durability,
    };
    let ClaimOutcome::Granted(claim) = ledger.claim(request).await? else {
        return Err("a random key was taken".into());
    };
    let _held = ledger.live().hold(claim.operation, claim.fence);
    let headers = [("content-type", "application/json")].into_iter().collect();
    let answer = Answer { status: 201, headers, body: Some(Bytes::from_static(&[b'x'; 300])) };
    ledger.finish(&claim, AttemptEnd::Answered(answer)).await?;
    Ok(())
}

/// The median time of appending 4 KiB and syncing them.
fn fsync_time(folder: &Path) -> Result<Duration, Failure> {
    let mut file = File::create(folder.join("fsync"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[0; 4_096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}
