//! A process killed with SIGKILL under load, over and over, on one file: whatever it acknowledged is there.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::Path,
    sync::Arc,
};

use steadfast_core::{AttemptEnd, Fence, UnknownCause};
use steadfast_ledger::{
    Claims as _, Occupied, Operations as _,
    sqlite::{SqliteLedger, SqliteOptions},
};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::{
    child::{self, SAYS, say},
    request::{answered, granted, replay},
};

const ROUNDS: u32 = 12;
const CALLERS: u32 = 24;

/// Logs are written back and begun anew often, so that many a kill meets that.
fn open(folder: &Path) -> Arc<SqliteLedger> {
    let options = SqliteOptions { checkpoint_pages: 60, log_bytes_max: 64 << 10, ..SqliteOptions::default() };
    Arc::new(SqliteLedger::open(&folder.join("ledger.db"), options).unwrap())
}

/// What the child said it had been told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Claimed,
    Answered(String),
    InDoubt,
}

/// Claims and finishes until it is killed, saying each thing after it was acknowledged.
#[tokio::test]
async fn child_under_load() {
    let Some(folder) = child::folder() else { return };
    let ledger = open(&folder);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let ledger = Arc::clone(&ledger);
        callers.spawn(async move {
            loop {
                let key = Fence::random().to_string();
                let claim = granted(ledger.as_ref(), &key).await;
                say(&format!("claimed {key}"));
                let body =
                    format!("{}-{}", claim.fence, "x".repeat(usize::from(claim.fence.as_bytes()[0]) * 8));
                if claim.fence.as_bytes()[1] % 8 == 0 {
                    let end = AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None };
                    ledger.finish(&claim, end).await.unwrap();
                    say(&format!("doubted {key}"));
                } else {
                    ledger.finish(&claim, answered(body.clone())).await.unwrap();
                    say(&format!("answered {key} {body}"));
                }
            }
        });
    }
    callers.join_next().await;
}

/// Runs a child until it has said `lines` things, kills it, and takes in everything that it had said.
fn run_and_kill(folder: &Path, lines: u64, told: &mut HashMap<String, Told>) {
    let mut child = child::child("crash::child_under_load", folder).spawn().unwrap();
    let mut killed = false;
    for (number, line) in (0..).zip(BufReader::new(child.stdout.take().unwrap()).split(b'\n')) {
        let line = String::from_utf8(line.unwrap()).unwrap();
        // The last line may be cut: then nothing was said.
        let Some(said) = line.split_once(SAYS).map(|(_, said)| said) else { continue };
        let words: Vec<_> = said.split(' ').collect();
        match words[..] {
            ["claimed", key] if key.len() == 32 => told.entry(key.to_owned()).or_insert(Told::Claimed),
            ["doubted", key] if key.len() == 32 => {
                told.entry(key.to_owned()).insert_entry(Told::InDoubt).into_mut()
            }
            ["answered", key, body] if key.len() == 32 => {
                told.entry(key.to_owned()).insert_entry(Told::Answered(body.to_owned())).into_mut()
            }
            _ => continue,
        };
        if number >= lines && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(killed, "the child ended by itself");
}

#[tokio::test]
async fn nothing_acknowledged_is_missing_after_a_kill() {
    let seed: u64 = u64::from_le_bytes(Fence::random().as_bytes()[..8].try_into().unwrap());
    eprintln!("seed {seed}");
    let (folder, mut told, mut random) = (tempdir().unwrap(), HashMap::new(), seed | 1);
    for round in 0..ROUNDS {
        // Xorshift: when to kill is all that has to be random.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        run_and_kill(folder.path(), 20 + random % 1_500, &mut told);
        // Its owner is gone, so the file is free at once, and nothing is left under way.
        let ledger = open(folder.path());
        let counts = ledger.counts().await.unwrap();
        assert_eq!(counts.claimed, 0, "round {round}");
        for (key, told) in &told {
            match (replay(ledger.as_ref(), key).await, told) {
                (Ok(body), Told::Answered(said)) => {
                    assert!(body.starts_with(said.as_bytes()))
                }
                (Err(Occupied::InDoubt { .. }), Told::InDoubt | Told::Claimed) => {}
                // Its end was on its way when the process died.
                (Ok(_), Told::Claimed) => {}
                (found, told) => panic!("round {round}, {key}: {found:?}, but {told:?} was acknowledged"),
            }
        }
        // Beyond those that were acknowledged, at most one claim of each caller was written in each round.
        let doubted = told.values().filter(|told| !matches!(told, Told::Answered(_))).count() as u64;
        let unsaid_max = u64::from(CALLERS) * u64::from(round + 1);
        assert!(counts.in_doubt <= doubted + unsaid_max, "{} in doubt, {doubted} said", counts.in_doubt);
    }
    eprintln!("{} operations over {ROUNDS} kills", told.len());
    assert!(told.len() > 100);
}
