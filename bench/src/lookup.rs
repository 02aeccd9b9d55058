//! Whether a ledger slows down as it fills: the same questions to one with ten thousand operations and to one with ten
//! million. The operations are copies of one that went through the ledger itself, written past it, because ten million
//! synced executions would take hours; each has its own key, under the digest that the ledger looks for.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rusqlite::{Connection, params};
use steadfast_core::{
    Answer, AttemptEnd, Fence, Fingerprint, FingerprintBuilder, Key, Namespace, OperationDigest, Owner,
};
use steadfast_ledger::sqlite::{SqliteLedger, SqliteOptions};
use steadfast_ledger::{
    ClaimOutcome, ClaimRequest, Claims, Durability, KeepFrom, Occupied, OperationName, Retention,
};

use crate::machine::{Conditions, median};
use crate::report::{Bar, Ratio, Report};
use crate::workplace::{Place, Workplace};

/// Rows written in one transaction.
const ROWS_AT_ONCE: u64 = 100_000;
/// The size of every answer's body.
const BODY_BYTES: usize = 256;
/// New operations claimed in each round, to see what a growing index costs a writer.
const CLAIMS_A_ROUND: u64 = 200;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Lookup {
    #[command(flatten)]
    place: Place,
    /// Operations in the large ledger
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Operations in the small ledger
    #[arg(long, default_value_t = 10_000)]
    small: u64,
    /// Rounds, small and large in turn
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Operations looked up in each ledger in each round
    #[arg(long, default_value_t = 20_000)]
    lookups: u64,
}

/// A ledger under test, with how long its answers took in each round, in microseconds.
struct Filled {
    ledger: SqliteLedger,
    rows: u64,
    lookups: Vec<Percentiles>,
    claims: Vec<Percentiles>,
}

#[derive(Clone, Copy)]
struct Percentiles {
    p50_us: f64,
    p99_us: f64,
}

impl Lookup {
    /// Runs it.
    ///
    /// # Errors
    /// A ledger cannot be filled, or does not know what it was filled with.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(self.compare(&place, conditions))
    }

    async fn compare(&self, place: &Workplace, conditions: Conditions) -> anyhow::Result<()> {
        let template = place.folder().join("template.db");
        execute_one(&template).await?;
        let mut filled = Vec::new();
        let mut megabytes = 0.0;
        for (name, rows) in [("small", self.small), ("large", self.rows)] {
            let path = place.folder().join(format!("{name}.db"));
            fs::copy(&template, &path)?;
            fill(&path, rows)?;
            megabytes = fs::metadata(&path)?.len() as f64 / 1e6;
            let ledger = SqliteLedger::open(&path, SqliteOptions::default())?;
            filled.push(Filled { ledger, rows, lookups: Vec::new(), claims: Vec::new() });
        }
        for round in 0..self.rounds.max(1) {
            for ledger in &mut filled {
                ledger.measure(round, self.lookups).await?;
            }
        }
        let [small, large] = &filled[..] else { bail!("there are two ledgers") };
        report(conditions, small, large, megabytes).print(place.output)
    }
}

impl Filled {
    async fn measure(&mut self, round: u64, lookups: u64) -> anyhow::Result<()> {
        let mut numbers = Random(round);
        // What the last round of the other ledger drove out of the caches is not this one's fault.
        for _ in 0..lookups / 10 {
            self.look_up(numbers.below(self.rows)).await?;
        }
        let mut took = Vec::new();
        for _ in 0..lookups {
            took.push(self.look_up(numbers.below(self.rows)).await?);
        }
        self.lookups.push(Percentiles::of(&mut took));
        took.clear();
        for number in 0..CLAIMS_A_ROUND {
            took.push(self.claim_new(&format!("new-{round}-{number}")).await?);
        }
        self.claims.push(Percentiles::of(&mut took));
        let (lookup, claim) = (self.lookups[self.lookups.len() - 1], self.claims[self.claims.len() - 1]);
        eprintln!(
            "round {}  {:>9} operations  lookup p50 {:>7.1} us  p99 {:>7.1} us  new claim p50 {:>7.1} us",
            round + 1,
            self.rows,
            lookup.p50_us,
            lookup.p99_us,
            claim.p50_us
        );
        Ok(())
    }

    async fn look_up(&self, number: u64) -> anyhow::Result<Duration> {
        let request = request(&key_of(number))?;
        let began = Instant::now();
        let outcome = self.ledger.claim(request).await?;
        let took = began.elapsed();
        match outcome {
            ClaimOutcome::Occupied(standing) => match &standing.occupied {
                Occupied::Completed { answer: Some(answer), .. } if answer.status == 201 => Ok(took),
                other => bail!("operation {number} stands otherwise: {other:?}"),
            },
            ClaimOutcome::Granted(_) => bail!("operation {number} is not in the ledger"),
        }
    }

    async fn claim_new(&self, key: &str) -> anyhow::Result<Duration> {
        let request = request(key)?;
        let began = Instant::now();
        let outcome = self.ledger.claim(request).await?;
        let took = began.elapsed();
        let ClaimOutcome::Granted(claim) = outcome else { bail!("{key} is taken") };
        self.ledger.finish(&claim, answered()).await?;
        Ok(took)
    }
}

fn over(rounds: &[Percentiles], figure: fn(&Percentiles) -> f64) -> f64 {
    median(&rounds.iter().map(figure).collect::<Vec<_>>())
}

impl Percentiles {
    fn of(took: &mut [Duration]) -> Self {
        took.sort_unstable();
        let at = |share: f64| {
            let index = (took.len() as f64 * share) as usize;
            took.get(index.min(took.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e6)
        };
        Self { p50_us: at(0.5), p99_us: at(0.99) }
    }
}

fn report(conditions: Conditions, small: &Filled, large: &Filled, megabytes: f64) -> Report {
    let mut report = Report::new("lookup", conditions, Vec::new());
    let p50 = |filled: &Filled| over(&filled.lookups, |percentiles| percentiles.p50_us);
    let p99 = |filled: &Filled| over(&filled.lookups, |percentiles| percentiles.p99_us);
    let claim = |filled: &Filled| over(&filled.claims, |percentiles| percentiles.p50_us);
    report.figures.extend([
        ("small_operations", small.rows as f64),
        ("large_operations", large.rows as f64),
        ("large_file_mb", megabytes),
        ("small_lookup_p50_us", p50(small)),
        ("large_lookup_p50_us", p50(large)),
        ("small_lookup_p99_us", p99(small)),
        ("large_lookup_p99_us", p99(large)),
        ("small_claim_p50_us", claim(small)),
        ("large_claim_p50_us", claim(large)),
    ]);
    report.ratios.insert("large_vs_small", Ratio::of(p50(large), p50(small), Bar::AtMost(1.5)));
    report.ratios.insert("claim_large_vs_small", Ratio::of(claim(large), claim(small), Bar::Reported));
    report.notes.push(
        "One lookup at a time through the ledger's own claim, each of a random completed operation with its answer; \
         no memory of answers in front. The large ledger was bulk-loaded, so its indexes are packed more tightly than \
         those of one that grew."
            .to_owned(),
    );
    report
}

/// Makes a ledger with one completed operation, through the ledger itself.
async fn execute_one(path: &Path) -> anyhow::Result<()> {
    let ledger = SqliteLedger::open(path, SqliteOptions::default())?;
    let ClaimOutcome::Granted(claim) = ledger.claim(request("template")?).await? else {
        bail!("a new ledger knows the operation already");
    };
    ledger.finish(&claim, answered()).await?;
    ledger.close();
    Ok(())
}

/// Copies the one operation of the ledger at `path` `rows` times, each under a key of its own.
fn fill(path: &Path, rows: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut ledger = Connection::open(path)?;
    // Nothing here must survive a crash; what the ledger itself sets when it opens the file is set then.
    ledger.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;",
    )?;
    let template: i64 = ledger.query_row("SELECT seq FROM operations", [], |row| row.get(0))?;
    let indexes = take_indexes(&ledger)?;
    // What is not named here is copied, so that a column that is added later is copied too.
    let operations = copying(
        &ledger,
        "operations",
        &[("seq", "?1"), ("digest", "?3"), ("key", "?4"), ("digest_head", "?5")],
    )?;
    let attempts = copying(&ledger, "attempts", &[("seq", "?1")])?;
    let namespace = Namespace::global();
    let mut number = 0;
    while number < rows {
        let transaction = ledger.transaction()?;
        {
            let mut operation = transaction.prepare_cached(&operations)?;
            let mut attempt = transaction.prepare_cached(&attempts)?;
            for _ in 0..ROWS_AT_ONCE.min(rows - number) {
                let (seq, key) = (template + 1 + number as i64, key_of(number));
                let digest = OperationDigest::of(&namespace, &Key::new(&key)?);
                let head = i64::from_be_bytes(std::array::from_fn(|at| digest.as_bytes()[at]));
                operation.execute(params![seq, template, digest.as_bytes(), key, head])?;
                attempt.execute(params![seq, template])?;
                number += 1;
            }
        }
        transaction.commit()?;
        if number % (10 * ROWS_AT_ONCE) == 0 {
            eprintln!("{number} of {rows} operations written");
        }
    }
    for index in indexes {
        ledger.execute_batch(&index)?;
    }
    ledger.execute("UPDATE counters SET value = (SELECT max(seq) FROM operations) WHERE name = 'seq'", [])?;
    ledger.close().map_err(|(_, error)| error)?;
    File::open(path)?.sync_all().context("cannot sync the ledger")?;
    eprintln!("{rows} operations written in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Drops the indexes of the operations and returns the statements that make them again: sorting ten million digests
/// once is far quicker than inserting each at its random place.
fn take_indexes(ledger: &Connection) -> anyhow::Result<Vec<String>> {
    let mut statement = ledger.prepare(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'operations' AND sql IS NOT NULL",
    )?;
    let indexes = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    for (name, _) in &indexes {
        ledger.execute_batch(&format!("DROP INDEX \"{name}\""))?;
    }
    Ok(indexes.into_iter().map(|(_, statement)| statement).collect())
}

/// The statement that copies the template's row of `table` (its `seq` is parameter 2) with some columns replaced.
fn copying(ledger: &Connection, table: &str, replaced: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut statement = ledger.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let columns = statement.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    anyhow::ensure!(!columns.is_empty(), "the ledger has no table {table}");
    let values = columns.iter().map(|column| {
        let value = replaced.iter().find(|(name, _)| name == column);
        value.map_or_else(|| format!("\"{column}\""), |(_, value)| (*value).to_owned())
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let columns = columns.iter().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ");
    Ok(format!("INSERT INTO {table} ({columns}) SELECT {values} FROM {table} WHERE seq = ?2"))
}

fn key_of(number: u64) -> String {
    format!("order-{number}")
}

fn request(key: &str) -> anyhow::Result<ClaimRequest> {
    Ok(ClaimRequest {
        name: OperationName::new(Namespace::global(), Key::new(key)?),
        fingerprint: fingerprint(),
        owner: Owner::default(),
        fence: Fence::random(),
        route: Arc::from("orders"),
        method: "POST".into(),
        path: "/orders".into(),
        request_id: None,
        repeatable_for: None,
        retention: Retention {
            keep: Duration::from_secs(24 * 60 * 60),
            from: KeepFrom::Finish,
            tombstone: None,
        },
        durability: Durability::Synced,
    })
}

fn fingerprint() -> Fingerprint {
    FingerprintBuilder::new("POST", "/orders", None, Some(b"application/json")).finish()
}

fn answered() -> AttemptEnd {
    AttemptEnd::Answered(Answer {
        status: 201,
        headers: [("content-type", "application/json")].into_iter().collect(),
        body: Some(vec![b'x'; BODY_BYTES].into()),
    })
}

/// Numbers that look random, the same for every ledger: a linear congruential generator (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}
