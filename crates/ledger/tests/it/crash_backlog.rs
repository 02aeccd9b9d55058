//! A process killed with SIGKILL while work is left, taken and done: nothing that was accepted is lost, nothing that was
//! done is taken again, and what was under way goes on.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::Arc,
};

use steadfast_core::{Fence, Next, OperationId, StateName};
use steadfast_ledger::{
    Backlog as _, Conclusion, Operations as _,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::{
    child::{self, SAYS, say},
    request::{answered, left, wish},
};

const ROUNDS: u64 = 8;
const CALLERS: u32 = 8;

fn open(folder: &Path) -> Arc<SqliteLedger> {
    let options = SqliteOptions { checkpoint_pages: 60, log_bytes_max: 64 << 10, ..SqliteOptions::default() };
    Arc::new(SqliteLedger::open(&folder.join("ledger.db"), options).unwrap())
}

/// Leaves work and does it until it is killed, saying each thing after it was acknowledged.
#[tokio::test]
async fn child_that_works() {
    let Some(folder) = child::folder() else { return };
    let ledger = open(&folder);
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let ledger = Arc::clone(&ledger);
        tasks.spawn(async move {
            loop {
                let id = left(ledger.as_ref(), &Fence::random().to_string()).await;
                say(&format!("left {id}"));
            }
        });
    }
    tasks.spawn(async move {
        loop {
            let taken = ledger.take(wish(20)).await.unwrap();
            for job in taken.jobs {
                let end = answered(job.request.body.clone());
                let conclusion = Conclusion { end, next: Next::GiveUp, excerpt: None };
                ledger.conclude(&job.claim, conclusion).await.unwrap();
                say(&format!("done {}", job.claim.operation));
            }
            tokio::task::yield_now().await;
        }
    });
    tasks.join_next().await;
}

/// Runs a child until it has said `lines` things, kills it, and takes in everything that it had said: whether it was done.
fn run_and_kill(folder: &Path, lines: u64, told: &mut HashMap<OperationId, bool>) {
    let mut child = child::child("crash_backlog::child_that_works", folder).spawn().unwrap();
    let mut killed = false;
    for (number, line) in (0..).zip(BufReader::new(child.stdout.take().unwrap()).split(b'\n')) {
        let line = String::from_utf8(line.unwrap()).unwrap();
        let Some(said) = line.split_once(SAYS).map(|(_, said)| said) else { continue };
        let Some((word, id)) = said.split_once(' ') else { continue };
        // The last line may be cut: then nothing was said.
        let Ok(id) = id.parse() else { continue };
        match word {
            "left" => drop(told.entry(id).or_insert(false)),
            "done" => drop(told.insert(id, true)),
            _ => continue,
        }
        if number >= lines && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
}

#[tokio::test]
async fn nothing_accepted_is_lost_and_nothing_done_is_taken_again_after_a_kill() {
    let mut random: u64 = u64::from_le_bytes(Fence::random().as_bytes()[..8].try_into().unwrap()) | 1;
    eprintln!("seed {random}");
    let (folder, mut told) = (tempdir().unwrap(), HashMap::new());
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        run_and_kill(folder.path(), 20 + random % 1_000, &mut told);
        let ledger = open(folder.path());
        assert_eq!(ledger.counts().await.unwrap().claimed, 0, "round {round}");
        for (id, done) in &told {
            let state = ledger.operation(*id).await.unwrap().map(|found| found.state);
            match (state, done) {
                (Some(StateName::Completed), _) => {}
                // Its upstream repeats safely, so what was under way waits for its next attempt.
                (Some(StateName::Queued | StateName::Waiting), false) => {}
                (state, done) => panic!("round {round}, {id}: {state:?}, and done was {done}"),
            }
        }
    }
    // What is left can still be taken, all of it.
    let ledger = open(folder.path());
    let waiting = told.values().filter(|done| !**done).count();
    eprintln!("{} operations over {ROUNDS} kills, {waiting} of them not known to be done", told.len());
    let mut taken = 0;
    loop {
        let jobs = ledger.take(wish(1_000)).await.unwrap().jobs;
        if jobs.is_empty() {
            break;
        }
        assert!(jobs.iter().all(|job| told.get(&job.claim.operation) != Some(&true)));
        taken += jobs.len();
    }
    assert!(told.len() > 100 && taken > 0);
}
