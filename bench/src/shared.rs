//! What it costs to count limits in Redis: our client, whose concurrent questions go together, against clients that make
//! one round trip a request with one `EVALSHA`, as most gateways do. All of them keep 64 requests under way on one core;
//! Redis has the other.

use std::cell::Cell;
use std::future::Future;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script};
use steadfast_core::{LimitAlgorithm, Period, Quota};
use steadfast_layers::{LimitClock, LimitStore, LimitedKey, LocalLimits, Take, Taken};
use steadfast_ledger::Clock;
use steadfast_shared::{Location, SharedLimits};
use tokio::task::LocalSet;

use crate::machine::{Conditions, median};
use crate::report::{Bar, Ratio, Report};
use crate::stores::{self, Running};
use crate::workplace::{Place, Workplace};

/// Requests under way at once.
const CONNECTIONS: usize = 64;
/// Keys that are asked for, none of which comes near its limit.
const KEYS: u64 = 10_000;
/// What those who ask once a request run: a token bucket by its theoretical arrival time, on the server's clock, as short
/// as it can be.
const ONE_LIMIT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, tolerance = tonumber(ARGV[1]), tonumber(ARGV[2])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
if arrival - now > tolerance then return -1 end
arrival = arrival + interval
redis.call('SET', KEYS[1], arrival, 'PX', math.ceil((arrival - now) / 1000))
return math.floor((tolerance - (arrival - now)) / interval)
";

/// What this benchmark may be told.
#[derive(Args)]
pub(crate) struct Shared {
    #[command(flatten)]
    place: Place,
    /// Rounds of every contestant, interleaved
    #[arg(long, default_value_t = 9)]
    rounds: u32,
    /// Measured seconds of each contestant in each round
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// What came of a round.
#[derive(Clone, Copy)]
struct Outcome {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Shared {
    /// Runs it.
    ///
    /// # Errors
    /// Redis cannot be started, or somebody gets a wrong answer.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let place = self.place.enter()?;
        let conditions = Conditions::measure(&place)?;
        let redis = redis(&place)?;
        place.cores.become_contestant()?;
        let (mut ours, mut connections, mut multiplexed) = (Vec::new(), Vec::new(), Vec::new());
        let mut together = 0.0;
        for round in 1..=self.rounds.max(1) {
            let (outcome, requests_a_call) = self.on_a_runtime(ours_round(redis.port, self.time()))?;
            together = requests_a_call;
            ours.push(outcome);
            connections.push(self.on_a_runtime(naive_round(redis.port, self.time(), CONNECTIONS))?);
            multiplexed.push(self.on_a_runtime(naive_round(redis.port, self.time(), 1))?);
            for (name, outcomes) in [("ours", &ours), ("64 connections", &connections), ("one", &multiplexed)]
            {
                if let Some(outcome) = outcomes.last() {
                    eprintln!(
                        "round {round}  {name:<16} {:>9.0}/s  p50 {:>7.0} us  p99 {:>7.0} us",
                        outcome.per_second, outcome.p50_us, outcome.p99_us
                    );
                }
            }
        }
        let mut report = Report::new("shared", conditions, Vec::new());
        let over =
            |rounds: &[Outcome], of: fn(&Outcome) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
        let against = |theirs: &[Outcome]| {
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours.per_second / theirs.per_second);
            median(&ratios.collect::<Vec<_>>())
        };
        report.figures.extend([
            ("ours_per_second", over(&ours, |outcome| outcome.per_second)),
            ("ours_p50_us", over(&ours, |outcome| outcome.p50_us)),
            ("ours_p99_us", over(&ours, |outcome| outcome.p99_us)),
            ("ours_requests_a_call", together),
            ("eval_64_connections_per_second", over(&connections, |outcome| outcome.per_second)),
            ("eval_64_connections_p50_us", over(&connections, |outcome| outcome.p50_us)),
            ("eval_64_connections_p99_us", over(&connections, |outcome| outcome.p99_us)),
            ("eval_one_connection_per_second", over(&multiplexed, |outcome| outcome.per_second)),
            ("eval_one_connection_p50_us", over(&multiplexed, |outcome| outcome.p50_us)),
            ("eval_one_connection_p99_us", over(&multiplexed, |outcome| outcome.p99_us)),
        ]);
        report
            .ratios
            .insert("vs_eval_64_connections", Ratio::of(against(&connections), 1.0, Bar::AtLeast(2.0)));
        report.ratios.insert("vs_eval_one_connection", Ratio::of(against(&multiplexed), 1.0, Bar::Reported));
        report.notes.push(format!(
            "{}. {CONNECTIONS} requests under way, of one limit each, over {KEYS} keys, none refused. Whoever asks once \
             a request runs one EVALSHA of the shortest script for it: on a connection of its own for each request under \
             way, or on one whose commands are pipelined.",
            redis.described
        ));
        report.print(place.output)
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// As a worker of the gateway runs: one thread.
    #[expect(clippy::unused_self, reason = "reads as what a round does")]
    fn on_a_runtime<T>(&self, round: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, round)
    }
}

/// A Redis as limits want it: nothing is written to disk.
fn redis(place: &Workplace) -> anyhow::Result<Running> {
    let mut command = Command::new("redis-server");
    command.args(["--appendonly", "no"]);
    stores::plain_redis(place, "redis", command)
}

/// Keeps so many requests under way for so long.
async fn measured<F: Future<Output = anyhow::Result<()>> + 'static>(
    time: Duration,
    request: impl Fn(usize, u64) -> F + 'static,
) -> anyhow::Result<Outcome> {
    let (request, next) = (Rc::new(request), Rc::new(Cell::new(0_u64)));
    let begins = Instant::now() + time / 4;
    let ends = begins + time;
    let mut clients = Vec::new();
    for client in 0..CONNECTIONS {
        let (request, next) = (Rc::clone(&request), Rc::clone(&next));
        clients.push(tokio::task::spawn_local(async move {
            let mut took = Vec::new();
            loop {
                let began = Instant::now();
                if began >= ends {
                    return anyhow::Ok(took);
                }
                let number = next.replace(next.get() + 1);
                request(client, number).await?;
                if began >= begins {
                    took.push(began.elapsed());
                }
            }
        }));
    }
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await??);
    }
    took.sort_unstable();
    let at = |share: f64| {
        let index = (took.len() as f64 * share) as usize;
        took.get(index.min(took.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e6)
    };
    Ok(Outcome { per_second: took.len() as f64 / time.as_secs_f64(), p50_us: at(0.5), p99_us: at(0.99) })
}

/// A round of ours, and how many requests went in one call.
async fn ours_round(port: u16, time: Duration) -> anyhow::Result<(Outcome, f64)> {
    let location = Location::single(&format!("redis://127.0.0.1:{port}"), None)?;
    let local = Arc::new(LocalLimits::new(LimitClock::new(Clock::system()), 1_000));
    let store = Rc::new(SharedLimits::start(location, [].into(), local));
    let limit: Arc<str> = "per-customer".into();
    let asked = Rc::clone(&store);
    let outcome = measured(time, move |_, number| {
        let (store, limit) = (Rc::clone(&asked), Arc::clone(&limit));
        async move {
            let quota = Quota {
                algorithm: LimitAlgorithm::TokenBucket,
                count: 1_000_000,
                period: Period::Time(Duration::from_secs(1)),
                burst: 1_000_000,
            };
            let key = LimitedKey { subject: number % KEYS, rest: 0 };
            let mut taken = [Taken::Lost];
            let later = {
                let wait_max = Duration::ZERO;
                let take = Take { limit: &limit, key, cost: 1, quota, enforced: true, wait_max };
                store.take(&[take], &mut taken)
            };
            let taken = match later {
                Some(later) => later.await[0],
                None => taken[0],
            };
            match taken {
                Taken::Told(decision) if decision.is_allowed() => Ok(()),
                other => bail!("a request was told {other:?}"),
            }
        }
    })
    .await?;
    let counts = store.counts();
    anyhow::ensure!(counts.losses == 0, "the store was lost: {:?}", store.standing());
    Ok((outcome, counts.asked as f64 / counts.calls.max(1) as f64))
}

/// A round of whoever makes one round trip a request.
async fn naive_round(port: u16, time: Duration, connections: usize) -> anyhow::Result<Outcome> {
    let client = Client::open(format!("redis://127.0.0.1:{port}"))?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut opened: Vec<MultiplexedConnection> = Vec::new();
    for _ in 0..connections {
        opened.push(client.get_multiplexed_async_connection_with_config(&config).await?);
    }
    let script = Rc::new(Script::new(ONE_LIMIT));
    script.prepare_invoke().load_async(&mut opened[0]).await.context("the script does not load")?;
    measured(time, move |client, number| {
        let mut connection = opened[client % opened.len()].clone();
        let script = Rc::clone(&script);
        async move {
            let mut command = redis::cmd("EVALSHA");
            command.arg(script.get_hash()).arg(1).arg(format!("limit:{}", number % KEYS));
            command.arg(1).arg(1_000_000);
            let left: i64 = command.query_async(&mut connection).await?;
            anyhow::ensure!(left >= 0, "a request was refused");
            Ok(())
        }
    })
    .await
}
