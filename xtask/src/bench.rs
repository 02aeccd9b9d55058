//! Building what a benchmark compares, as it is published, and running the benchmark.

use std::process::Command;

use anyhow::Context;
use clap::Args;

use crate::needs;
use crate::workshop::{cargo, run, target};

/// What `cargo xtask bench` may be told.
#[derive(Args)]
pub(crate) struct Bench {
    /// proxy, keyed, latency, lookup, idle, edge, cache, limits, policies, isolation, overload, shared or jobs; and whatever that benchmark takes (see `cargo xtask bench proxy --help`)
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    name_and_options: Vec<String>,
}

/// What `cargo xtask soak` may be told.
#[derive(Args)]
pub(crate) struct Soak {
    /// How long (10m by default), and whatever else the soak takes (see `cargo xtask soak -- --help`)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// Builds and runs one benchmark.
///
/// # Errors
/// A peer is missing, something does not compile, or the benchmark failed.
pub(crate) fn bench(bench: &Bench) -> anyhow::Result<()> {
    let name = bench.name_and_options.first().map_or("", String::as_str);
    match name {
        "proxy" => needs::ensure(needs::FOR_PROXY)?,
        "edge" => needs::ensure(needs::FOR_EDGE)?,
        "cache" => needs::ensure(needs::FOR_CACHE)?,
        // nginx is what both need.
        "limits" => needs::ensure(needs::FOR_CACHE)?,
        "keyed" => needs::ensure(needs::FOR_KEYED)?,
        "shared" => needs::ensure(needs::FOR_SHARED)?,
        "jobs" => needs::ensure(needs::FOR_JOBS)?,
        _ => {}
    }
    // Only these need libraries of others and all that they bring.
    build(matches!(name, "keyed" | "limits"))?;
    run(&mut binary(&bench.name_and_options))
}

/// Builds and runs the soak.
///
/// # Errors
/// Something does not compile, or memory, descriptors or answers were not as they should be.
pub(crate) fn soak(soak: &Soak) -> anyhow::Result<()> {
    build(false)?;
    let mut words = vec!["soak".to_owned()];
    words.extend(soak.options.iter().cloned());
    run(&mut binary(&words))
}

/// Gateway and benchmark are built apart: built together, the gateway would be compiled with whatever features the
/// benchmark enables in shared dependencies, and would not be the binary that is published.
fn build(with_peers: bool) -> anyhow::Result<()> {
    run(cargo().args(["build", "--profile", "dist", "--package", "steadfast"]))?;
    let mut command = cargo();
    command.args(["build", "--profile", "dist", "--package", "bench"]);
    if with_peers {
        command.args(["--features", "peers"]);
    }
    run(&mut command).context("cannot build the benchmarks")
}

fn binary(words: &[String]) -> Command {
    let mut command = Command::new(target().join("dist/bench"));
    command.args(words);
    command
}
