//! Whether a worker gets its jobs more slowly when there are many: the same questions to a ledger that holds a few and to
//! one that holds a million. What is taken is concluded and left anew, so that none becomes shorter.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::Store;
use super::backlog::{self, SharedBacklog};
use super::database::Databases;
use crate::contestants::sqlite_ledger;
use crate::machine::median;
use crate::workplace::Workplace;

/// Jobs that are taken at once.
const BATCH: u32 = 64;
/// Jobs that are taken of each ledger in each round.
const JOBS_A_ROUND: u64 = 32 * BATCH as u64;

/// How deep the backlogs are, and how often they are asked.
#[derive(Clone, Copy)]
pub(super) struct Depths {
    pub(super) shallow: u64,
    pub(super) deep: u64,
    pub(super) rounds: u32,
}

/// What a job costs in each of the rounds, in microseconds.
pub(super) struct Costs {
    pub(super) shallow: Cost,
    pub(super) deep: Cost,
}

/// The medians of the rounds, in microseconds a job.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    /// To take it.
    pub(super) take_us: f64,
    /// To take and to conclude it.
    pub(super) whole_us: f64,
}

/// A backlog under test.
struct Filled {
    ledger: SharedBacklog,
    depth: u64,
    /// The number of the next job that is left.
    next: u64,
    took: Vec<(Duration, Duration)>,
}

/// Fills two ledgers and measures them in turn.
///
/// # Errors
/// A ledger refuses what it should do.
pub(super) fn measure(
    place: &Workplace,
    databases: &Databases,
    store: Store,
    depths: Depths,
) -> anyhow::Result<Costs> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shallow = fill(&runtime, place, databases, store, ("shallow", depths.shallow))?;
    let deep = fill(&runtime, place, databases, store, ("deep", depths.deep))?;
    let mut both = [shallow, deep];
    // The first round warms up.
    for round in 0..=depths.rounds.max(1) {
        for filled in &mut both {
            runtime.block_on(filled.round())?;
            let (take, whole) = filled.took.last().copied().unwrap_or_default();
            eprintln!(
                "round {round}  {store:?} {:>9} jobs deep  take {:>7.1} us  take and conclude {:>7.1} us a job",
                filled.depth,
                a_job(take),
                a_job(whole)
            );
        }
    }
    let [shallow, deep] = both.each_ref().map(Filled::cost);
    Ok(Costs { shallow, deep })
}

fn fill(
    runtime: &Runtime,
    place: &Workplace,
    databases: &Databases,
    store: Store,
    (name, depth): (&str, u64),
) -> anyhow::Result<Filled> {
    let address = match store {
        Store::Sqlite => sqlite_ledger(place, name),
        Store::Postgres => databases.create(name)?,
    };
    let began = Instant::now();
    let ledger = runtime.block_on(async {
        let ledger = backlog::open(&address).await?;
        backlog::enqueue(&ledger, 0, depth).await?;
        anyhow::Ok(ledger)
    })?;
    if store == Store::Postgres {
        databases.settle(name)?;
    }
    eprintln!("{store:?}: {depth} jobs left in {:.0} s", began.elapsed().as_secs_f64());
    Ok(Filled { ledger, depth, next: depth, took: Vec::new() })
}

impl Filled {
    async fn round(&mut self) -> anyhow::Result<()> {
        let (mut jobs, mut took, began) = (0, Duration::ZERO, Instant::now());
        while jobs < JOBS_A_ROUND {
            let asked = Instant::now();
            let taken = self.ledger.take(backlog::wish(BATCH)).await?.jobs;
            took += asked.elapsed();
            anyhow::ensure!(taken.len() == BATCH as usize, "{} jobs were handed out", taken.len());
            jobs += taken.len() as u64;
            backlog::conclude(&self.ledger, taken).await?;
        }
        self.took.push((took, began.elapsed()));
        backlog::enqueue(&self.ledger, self.next, jobs).await?;
        self.next += jobs;
        Ok(())
    }

    fn cost(&self) -> Cost {
        let over = |figure: fn(&(Duration, Duration)) -> Duration| {
            median(&self.took.iter().skip(1).map(|took| a_job(figure(took))).collect::<Vec<_>>())
        };
        Cost { take_us: over(|(take, _)| *take), whole_us: over(|(_, whole)| *whole) }
    }
}

fn a_job(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6 / JOBS_A_ROUND as f64
}
