//! Work that is left for later: how fast a backlog of jobs that do nothing is sent over HTTP beside other job queues, how
//! soon a job is sent that is left meanwhile, and whether a long backlog makes that slower. All send to the same endpoint,
//! which checks that every job comes, and comes once.

mod backlog;
mod database;
mod depth;
mod drain;
mod endpoint;
mod peers;
mod pickup;

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::contestants::sqlite_ledger;
use crate::machine::{Conditions, median};
use crate::report::{Bar, Ratio, Report};
use crate::stores::{self, AppendFsync};
use crate::workplace::{Place, Workplace};
use database::Databases;
use depth::Depths;
use drain::{Ground, Worker};
use endpoint::Endpoint;
use peers::{Peer, Peers};

pub(crate) use drain::Drained;

/// How many times as fast as job queues on Postgres.
const VS_POSTGRES_QUEUES: f64 = 2.0;
/// How soon 99 of 100 jobs are sent.
const PICKUP_MS_MAX: f64 = 30.0;
/// How much longer it may take to get a job of a long backlog.
const DEEP_VS_SHALLOW_MAX: f64 = 1.2;
/// How much the memory may grow in the second half of a backlog.
const MEMORY_GROWTH_MAX: f64 = 1.1;

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Jobs {
    #[command(flatten)]
    place: Place,
    /// Rounds of every contestant, interleaved
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Jobs in each backlog; RQ gets a hundredth
    #[arg(long, default_value_t = 200_000)]
    jobs: u64,
    /// Seconds in which jobs are left at half load
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Jobs in the long backlog that is only nibbled at
    #[arg(long, default_value_t = 1_000_000)]
    deep: u64,
    /// Jobs in the short one
    #[arg(long, default_value_t = 10_000)]
    shallow: u64,
    /// Jobs that each of the others has under way at once [default: what it is quickest with]
    #[arg(long)]
    peers_at_once: Option<usize>,
    /// Measure only these contestants
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contestant>,
    /// Measure only this
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// How fast a backlog is sent
    Drain,
    /// How soon a job is sent at half load
    Pickup,
    /// Whether a long backlog makes claiming slower
    Depth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Contestant {
    /// Ours on SQLite
    Sqlite,
    /// Ours on Postgres
    Postgres,
    /// graphile-worker on Postgres
    GraphileWorker,
    /// pg-boss on Postgres
    PgBoss,
    /// BullMQ on Redis
    Bullmq,
    /// RQ on Redis
    Rq,
}

/// Where our ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Sqlite,
    Postgres,
}

impl Jobs {
    /// Runs it.
    ///
    /// # Errors
    /// A contestant does not start, or loses or repeats a job.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let (postgres, url) = stores::postgres(&place)?;
        let databases = Databases::at(&url)?;
        let endpoint = Endpoint::listen()?;
        let mut report = Report::new("jobs", conditions, Vec::new());
        if self.measures(Part::Drain) {
            self.drain(&place, &endpoint, &databases, &mut report)?;
        }
        if self.measures(Part::Pickup) {
            self.pickup(&place, &endpoint, &databases, &mut report)?;
        }
        // Last, because this process becomes the contestant.
        if self.measures(Part::Depth) {
            self.depth(&place, &databases, &mut report)?;
        }
        report.notes.push(format!("{}; SQLite's ledger is on the same disk.", postgres.described));
        report.print(place.output)
    }

    fn measures(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    fn compares(&self, contestant: Contestant) -> bool {
        self.only.is_empty() || self.only.contains(&contestant)
    }

    fn stores(&self) -> impl Iterator<Item = Store> {
        let ours = [(Contestant::Sqlite, Store::Sqlite), (Contestant::Postgres, Store::Postgres)];
        ours.into_iter().filter(|(contestant, _)| self.compares(*contestant)).map(|(_, store)| store)
    }

    fn drain(
        &self,
        place: &Workplace,
        endpoint: &Endpoint,
        databases: &Databases,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let redis = stores::redis(place, "redis", AppendFsync::Always)?;
        let peers = Peers::install(place, self.peers_at_once)?;
        let ground = Ground { place, endpoint, peers: &peers, databases, redis: &redis };
        let theirs = Peer::ALL.into_iter().filter(|peer| self.compares(Contestant::of(*peer)));
        let workers: Vec<_> = self.stores().map(Worker::Ours).chain(theirs.map(Worker::Theirs)).collect();
        let mut rounds = vec![Vec::new(); workers.len()];
        let mut first = 0;
        for number in 1..=self.rounds.max(1) {
            for (worker, rounds) in workers.iter().zip(&mut rounds) {
                let round = worker
                    .drain(&ground, first, self.jobs)
                    .map_err(|error| error.context(format!("{} in round {number}", worker.name())))?;
                eprintln!("round {number}/{}  {:<20} {}", self.rounds, worker.name(), round.in_words());
                rounds.push(round);
                first += self.jobs;
            }
        }
        report.drains =
            workers.iter().zip(rounds).map(|(worker, rounds)| Drained::of(worker.name(), rounds)).collect();
        relate_all(report, &workers);
        report.notes.push(format!(
            "Backlogs of {} jobs (RQ: a hundredth) in a store of their own, left before a worker starts; the time counts from the first \
             that reaches the endpoint to the last, and each came once. graphile-worker with its local queue of 500 and \
             batched completion, pg-boss with two batches of 500, all three of Node.js over undici, RQ with sixteen \
             processes that do not fork. {}.",
            self.jobs, redis.described
        ));
        Ok(())
    }

    fn pickup(
        &self,
        place: &Workplace,
        endpoint: &Endpoint,
        databases: &Databases,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for (number, store) in self.stores().enumerate() {
            let (name, ledger) = match store {
                Store::Sqlite => ("pickup_sqlite", sqlite_ledger(place, "pickup")),
                Store::Postgres => ("pickup_postgres", databases.create("pickup")?),
            };
            // Numbers that no backlog has come to.
            let first = (1 + number as u64) << 40;
            let time = Duration::from_secs_f64(self.seconds);
            let pickup = pickup::measure(place, endpoint, (name, &ledger), (first, self.jobs), time)?;
            let [most, rate, p50, p99, accepted, busy] = store.pickup_figures();
            report.figures.extend([
                (most, pickup.most_per_second),
                (rate, pickup.per_second),
                (p50, pickup.since_asked_p50_ms),
                (p99, pickup.since_asked_p99_ms),
                (accepted, pickup.since_accepted_p99_ms),
                (busy, pickup.busy),
            ]);
            let ratio = match store {
                Store::Sqlite => "sqlite_pickup_p99_vs_30_ms",
                Store::Postgres => "postgres_pickup_p99_vs_30_ms",
            };
            let bar = Bar::AtMost(1.0);
            report.ratios.insert(ratio, Ratio::of(pickup.since_asked_p99_ms, PICKUP_MS_MAX, bar));
        }
        report.notes.push(
            "Pickup: jobs left over HTTP at half of what the gateway both takes in and sends, each at its time; from that time \
             (not only from its 202) until it reaches the endpoint."
                .to_owned(),
        );
        Ok(())
    }

    fn depth(&self, place: &Workplace, databases: &Databases, report: &mut Report) -> anyhow::Result<()> {
        place.cores.become_contestant()?;
        let depths = Depths { shallow: self.shallow, deep: self.deep, rounds: self.rounds };
        for store in self.stores() {
            let costs = depth::measure(place, databases, store, depths)?;
            let [take_shallow, take_deep, whole_shallow, whole_deep] = store.depth_figures();
            report.figures.extend([
                (take_shallow, costs.shallow.take_us),
                (take_deep, costs.deep.take_us),
                (whole_shallow, costs.shallow.whole_us),
                (whole_deep, costs.deep.whole_us),
            ]);
            let (take, whole) = match store {
                Store::Sqlite => ("sqlite_take_deep_vs_shallow", "sqlite_take_and_conclude_deep_vs_shallow"),
                Store::Postgres => {
                    ("postgres_take_deep_vs_shallow", "postgres_take_and_conclude_deep_vs_shallow")
                }
            };
            let bar = Bar::AtMost(DEEP_VS_SHALLOW_MAX);
            report.ratios.insert(take, Ratio::of(costs.deep.take_us, costs.shallow.take_us, bar));
            report.ratios.insert(whole, Ratio::of(costs.deep.whole_us, costs.shallow.whole_us, bar));
        }
        report.notes.push(format!(
            "Depth: the ledger itself, 64 jobs taken at once and concluded at once, of {} and of {} that are due; what was taken is left anew.",
            self.shallow, self.deep
        ));
        Ok(())
    }
}

impl Contestant {
    fn of(peer: Peer) -> Self {
        match peer {
            Peer::GraphileWorker => Self::GraphileWorker,
            Peer::PgBoss => Self::PgBoss,
            Peer::BullMq => Self::Bullmq,
            Peer::Rq => Self::Rq,
        }
    }
}

impl Store {
    fn pickup_figures(self) -> [&'static str; 6] {
        match self {
            Self::Sqlite => [
                "sqlite_accepted_and_sent_per_second",
                "sqlite_half_load_per_second",
                "sqlite_pickup_p50_ms",
                "sqlite_pickup_p99_ms",
                "sqlite_pickup_since_202_p99_ms",
                "sqlite_half_load_busy",
            ],
            Self::Postgres => [
                "postgres_accepted_and_sent_per_second",
                "postgres_half_load_per_second",
                "postgres_pickup_p50_ms",
                "postgres_pickup_p99_ms",
                "postgres_pickup_since_202_p99_ms",
                "postgres_half_load_busy",
            ],
        }
    }

    fn depth_figures(self) -> [&'static str; 4] {
        match self {
            Self::Sqlite => [
                "sqlite_take_shallow_us_a_job",
                "sqlite_take_deep_us_a_job",
                "sqlite_take_and_conclude_shallow_us_a_job",
                "sqlite_take_and_conclude_deep_us_a_job",
            ],
            Self::Postgres => [
                "postgres_take_shallow_us_a_job",
                "postgres_take_deep_us_a_job",
                "postgres_take_and_conclude_shallow_us_a_job",
                "postgres_take_and_conclude_deep_us_a_job",
            ],
        }
    }
}

/// Relates those that took part.
fn relate_all(report: &mut Report, workers: &[Worker]) {
    use Worker::{Ours, Theirs};
    let (sqlite, postgres) = (Ours(Store::Sqlite), Ours(Store::Postgres));
    let pairs = [
        ("postgres_vs_graphile_worker", postgres, Theirs(Peer::GraphileWorker), VS_POSTGRES_QUEUES),
        ("postgres_vs_pg_boss", postgres, Theirs(Peer::PgBoss), VS_POSTGRES_QUEUES),
        ("postgres_vs_bullmq", postgres, Theirs(Peer::BullMq), 1.0),
        ("postgres_vs_rq", postgres, Theirs(Peer::Rq), 1.0),
        ("sqlite_vs_bullmq", sqlite, Theirs(Peer::BullMq), 1.0),
        ("sqlite_vs_rq", sqlite, Theirs(Peer::Rq), 1.0),
        ("sqlite_vs_postgres", sqlite, postgres, 1.0),
    ];
    let drains = std::mem::take(&mut report.drains);
    let of = |worker: Worker| workers.iter().position(|one| *one == worker).map(|index| &drains[index]);
    for (name, one, other, least) in pairs {
        if let (Some(one), Some(other)) = (of(one), of(other)) {
            let pairs = one.rounds.iter().zip(&other.rounds);
            let ratios = pairs.map(|(one, other)| one.per_second / other.per_second.max(f64::MIN_POSITIVE));
            let value = median(&ratios.collect::<Vec<_>>());
            report.ratios.insert(name, Ratio::of(value, 1.0, Bar::AtLeast(least)));
        }
    }
    for (name, ours) in [("sqlite_memory_end_vs_middle", sqlite), ("postgres_memory_end_vs_middle", postgres)]
    {
        if let Some(ours) = of(ours) {
            let growth = ours.rounds.iter().filter_map(|round| round.memory);
            let growth: Vec<_> = growth.map(|memory| memory.end_mb / memory.middle_mb).collect();
            report.ratios.insert(name, Ratio::of(median(&growth), 1.0, Bar::AtMost(MEMORY_GROWTH_MAX)));
        }
    }
    report.drains = drains;
}
