//! How fast a backlog is worked off: it is left while nobody works, then a worker starts, and the time counts from the
//! first job that reaches the endpoint to the last. Everybody begins each round on a store that holds nothing else.

use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::Store;
use super::backlog;
use super::database::Databases;
use super::endpoint::Endpoint;
use super::peers::{Peer, Peers};
use crate::contestants::{self, sqlite_ledger};
use crate::cores::CoreTicks;
use crate::idle::Footprint;
use crate::machine::median;
use crate::rounds::percents;
use crate::server::Server;
use crate::stores;
use crate::workplace::Workplace;

/// How long a worker may send nothing while there is something to send.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// RQ is given one job in so many: the others do in seconds what takes it minutes.
const RQ_SHARE: u64 = 100;

/// Who works a backlog off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    /// The gateway, with its ledger there.
    Ours(Store),
    /// Another queue's.
    Theirs(Peer),
}

/// What all rounds share.
pub(super) struct Ground<'a> {
    pub(super) place: &'a Workplace,
    pub(super) endpoint: &'a Endpoint,
    pub(super) peers: &'a Peers,
    pub(super) databases: &'a Databases,
    pub(super) redis: &'a stores::Running,
}

/// What came of a round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    jobs: u64,
    /// Jobs that reached the endpoint a second.
    pub(super) per_second: f64,
    /// The share of that time that each core worked.
    busy: Vec<f64>,
    /// What Postgres wrote to its log for each job: while it was left,
    log_bytes_left: Option<f64>,
    /// and while it was taken, sent and concluded.
    log_bytes_drained: Option<f64>,
    /// The worker's memory, where it is ours.
    pub(super) memory: Option<Memory>,
}

/// The resident memory of a worker, in megabytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// When the first job had come,
    begin_mb: f64,
    /// half of them,
    pub(super) middle_mb: f64,
    /// and all.
    pub(super) end_mb: f64,
}

/// All rounds of one worker.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Drained {
    /// The contestant.
    name: &'static str,
    /// The medians of its rounds.
    medians: Round,
    /// Every round.
    pub(super) rounds: Vec<Round>,
}

impl Worker {
    /// The name in the results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours(Store::Sqlite) => "steadfast_sqlite",
            Self::Ours(Store::Postgres) => "steadfast_postgres",
            Self::Theirs(peer) => peer.name(),
        }
    }

    fn is_on_postgres(self) -> bool {
        match self {
            Self::Ours(store) => store == Store::Postgres,
            Self::Theirs(peer) => !peer.is_on_redis(),
        }
    }

    /// Leaves jobs from `first` on in a new store, and lets the worker work them off.
    ///
    /// # Errors
    /// It does not, or sends one twice.
    pub(super) fn drain(self, ground: &Ground<'_>, first: u64, jobs: u64) -> anyhow::Result<Round> {
        let jobs = if self == Self::Theirs(Peer::Rq) { (jobs / RQ_SHARE).max(1) } else { jobs };
        let name = format!("{}-{first}", self.name());
        let store = self.new_store(ground, &name)?;
        let begin = self.log_bytes(ground)?;
        self.enqueue(ground, &store, first, jobs)?;
        let left = self.log_bytes(ground)?;
        if self.is_on_postgres() {
            ground.databases.settle(&name)?;
        }
        let settled = self.log_bytes(ground)?;
        ground.endpoint.expect(first, jobs);
        let mut worker = self.start(ground, &name, &store)?;
        let (busy, memory) = self.watch(ground, &mut worker, jobs)?;
        // It concludes what it has sent, and ends.
        drop(worker);
        let drained = self.log_bytes(ground)?;
        self.remove_store(ground, &name)?;
        let deliveries = ground.endpoint.deliveries();
        deliveries.must_be_exact()?;
        let a_job = |from: Option<f64>, to: Option<f64>| Some((to? - from?) / jobs as f64);
        Ok(Round {
            jobs,
            per_second: deliveries.per_second(),
            busy,
            log_bytes_left: a_job(begin, left),
            log_bytes_drained: a_job(settled, drained),
            memory,
        })
    }

    /// Waits until all jobs came, and looks at cores and memory meanwhile.
    fn watch(
        self,
        ground: &Ground<'_>,
        worker: &mut Server,
        jobs: u64,
    ) -> anyhow::Result<(Vec<f64>, Option<Memory>)> {
        let (mut memory, mut ticks) = (Memory::default(), None);
        let pid = worker.pid();
        ground.endpoint.wait_for_all(IDLE_MAX, |came| {
            worker.must_still_run()?;
            if came > 0 && ticks.is_none() {
                ticks = Some(CoreTicks::now()?);
                memory.begin_mb = Footprint::of(pid)?.resident_mb;
            }
            if came as u64 >= jobs / 2 && memory.middle_mb == 0.0 {
                memory.middle_mb = Footprint::of(pid)?.resident_mb;
            }
            Ok(())
        })?;
        memory.end_mb = Footprint::of(pid)?.resident_mb;
        let busy = CoreTicks::now()?.busy_since(&ticks.context("no job came")?);
        Ok((busy, matches!(self, Self::Ours(_)).then_some(memory)))
    }

    fn log_bytes(self, ground: &Ground<'_>) -> anyhow::Result<Option<f64>> {
        self.is_on_postgres().then(|| ground.databases.log_bytes()).transpose()
    }

    fn new_store(self, ground: &Ground<'_>, name: &str) -> anyhow::Result<String> {
        match self {
            Self::Ours(Store::Sqlite) => Ok(sqlite_ledger(ground.place, name)),
            Self::Theirs(peer) if peer.is_on_redis() => {
                let url = format!("redis://127.0.0.1:{}", ground.redis.port);
                let mut connection = redis::Client::open(url.as_str())?.get_connection()?;
                redis::cmd("FLUSHALL").query::<()>(&mut connection)?;
                Ok(url)
            }
            Self::Ours(Store::Postgres) | Self::Theirs(_) => ground.databases.create(name),
        }
    }

    fn remove_store(self, ground: &Ground<'_>, name: &str) -> anyhow::Result<()> {
        if self.is_on_postgres() {
            ground.databases.drop(name)?;
        }
        Ok(())
    }

    fn enqueue(self, ground: &Ground<'_>, store: &str, first: u64, jobs: u64) -> anyhow::Result<()> {
        let failed = || format!("{} cannot leave jobs", self.name());
        match self {
            Self::Theirs(peer) => peer.enqueue(ground.peers, store, first, jobs).with_context(failed),
            Self::Ours(_) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let ledger = backlog::open(store).await?;
                    backlog::enqueue(&ledger, first, jobs).await.with_context(failed)
                })
            }
        }
    }

    fn start(self, ground: &Ground<'_>, name: &str, store: &str) -> anyhow::Result<Server> {
        match self {
            Self::Ours(_) => Ok(ours(ground.place, name, ground.endpoint, store)?.server),
            Self::Theirs(peer) => {
                let child: Child = peer.work(ground.peers, ground.place, store, ground.endpoint)?;
                Ok(Server::in_folder(peer.name(), child, ground.place.folder()))
            }
        }
    }
}

/// The gateway with its ledger at `ledger` and one route, whose requests are left for later and sent to the endpoint.
///
/// # Errors
/// It does not start.
pub(super) fn ours(
    place: &Workplace,
    name: &str,
    endpoint: &Endpoint,
    ledger: &str,
) -> anyhow::Result<contestants::Running> {
    let route = format!(
        "name = \"{}\"
idempotency = {{ anonymous = true }}
async = {{ mode = \"always\", concurrency = 64 }}",
        backlog::ROUTE
    );
    contestants::steadfast_on(place, name, ledger, &contestants::one_route(endpoint.port, "", &route))
}

impl Drained {
    /// These rounds, with their medians.
    pub(super) fn of(name: &'static str, rounds: Vec<Round>) -> Self {
        let over = |figure: &dyn Fn(&Round) -> Option<f64>| {
            let figures: Vec<_> = rounds.iter().filter_map(figure).collect();
            (!figures.is_empty()).then(|| median(&figures))
        };
        let memory = |figure: fn(&Memory) -> f64| over(&|round| round.memory.as_ref().map(figure));
        let cores = rounds.first().map_or(0, |round| round.busy.len());
        let medians = Round {
            jobs: rounds.first().map_or(0, |round| round.jobs),
            per_second: over(&|round| Some(round.per_second)).unwrap_or_default(),
            busy: (0..cores).filter_map(|core| over(&|round| round.busy.get(core).copied())).collect(),
            log_bytes_left: over(&|round| round.log_bytes_left),
            log_bytes_drained: over(&|round| round.log_bytes_drained),
            memory: memory(|memory| memory.end_mb).map(|end_mb| Memory {
                begin_mb: memory(|memory| memory.begin_mb).unwrap_or_default(),
                middle_mb: memory(|memory| memory.middle_mb).unwrap_or_default(),
                end_mb,
            }),
        };
        Self { name, medians, rounds }
    }

    /// The medians in one line.
    pub(crate) fn in_words(&self) -> String {
        format!("{:<28} {}", self.name, self.medians.in_words())
    }
}

impl Round {
    /// The round in one line.
    pub(super) fn in_words(&self) -> String {
        let mut words = format!("{:>10.0} jobs/s  busy {}", self.per_second, percents(&self.busy));
        if let (Some(left), Some(drained)) = (self.log_bytes_left, self.log_bytes_drained) {
            words += &format!("  log bytes a job: left {left:.0}, drained {drained:.0}");
        }
        if let Some(Memory { begin_mb, middle_mb, end_mb }) = self.memory {
            words += &format!("  memory {begin_mb:.0}, {middle_mb:.0}, {end_mb:.0} MB");
        }
        words
    }
}
