//! Side-by-side benchmarks. Every claim of speed is a ratio between contestants that ran in the same minutes on the
//! same machine: the contestant held to one core, load, upstream and stores to the other, in interleaved rounds, with
//! access logs alike and durability on a real disk.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool: results and progress")]

mod cache;
mod contestants;
mod cores;
mod edge;
mod h2load;
mod idle;
mod isolation;
mod jobs;
mod keyed;
mod latency;
mod limits;
mod load;
mod lookup;
mod machine;
mod overload;
mod policies;
mod proxy;
mod report;
mod rounds;
mod server;
mod shared;
mod soak;
mod stores;
mod upstream;
mod wire;
mod workplace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Side-by-side benchmarks against named peers.")]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Plain proxying of small answers: nginx, HAProxy and us
    Proxy(proxy::Proxy),
    /// Keyed first executions and replays: our plain proxying, SQLite, Postgres and two libraries on Redis
    Keyed(keyed::Keyed),
    /// What the gateway adds to one request at a time, against the disk's fsync
    Latency(latency::Latency),
    /// Looking up an operation in a small and in a large ledger
    Lookup(lookup::Lookup),
    /// The gateway's memory with a thousand idle connections
    Idle(idle::Idle),
    /// Plain proxying over HTTP/2 and TLS against nginx, and ten thousand idle connections
    Edge(edge::Edge),
    /// Hits of the cache against nginx's
    Cache(cache::Cache),
    /// What a limit on callers costs: ours, nginx's limit_req and tower_governor, each against itself without
    Limits(limits::Limits),
    /// What all policies towards a healthy upstream cost, against plain proxying by the same gateway
    Policies(policies::Policies),
    /// What those of one upstream notice while another hangs and has twice its usual load
    Isolation(isolation::Isolation),
    /// Three times as much as an upstream can do: goodput, latency of what is accepted, and how fast the rest is refused
    Overload(overload::Overload),
    /// Work left for later: sending a backlog beside four job queues, how soon a job is sent, and long backlogs
    Jobs(jobs::Jobs),
    /// Limits counted in Redis against one EVAL round trip a request
    Shared(shared::Shared),
    /// Mixed traffic for a while: memory and descriptors stay flat, every answer is right
    Soak(soak::Soak),
    /// The load generator (started by the benchmarks, pinned)
    #[command(hide = true)]
    Load {
        /// What to send, as JSON
        load: String,
    },
    /// The upstream (started by the benchmarks, pinned)
    #[command(hide = true)]
    Upstream(upstream::Manner),
}

fn main() -> ExitCode {
    match perform(Arguments::parse().benchmark) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(benchmark: Benchmark) -> anyhow::Result<()> {
    match benchmark {
        Benchmark::Proxy(proxy) => proxy.run(),
        Benchmark::Keyed(keyed) => keyed.run(),
        Benchmark::Latency(latency) => latency.run(),
        Benchmark::Lookup(lookup) => lookup.run(),
        Benchmark::Idle(idle) => idle.run(),
        Benchmark::Edge(edge) => edge.run(),
        Benchmark::Cache(cache) => cache.run(),
        Benchmark::Limits(limits) => limits.run(),
        Benchmark::Policies(policies) => policies.run(),
        Benchmark::Isolation(isolation) => isolation.run(),
        Benchmark::Overload(overload) => overload.run(),
        Benchmark::Jobs(jobs) => jobs.run(),
        Benchmark::Shared(shared) => shared.run(),
        Benchmark::Soak(soak) => soak.run(),
        Benchmark::Load { load } => load::run_child(&load),
        Benchmark::Upstream(manner) => upstream::run_child(manner),
    }
}
