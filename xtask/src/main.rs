//! The one door for developers: everything that is done to this repository has a command here, so that what a
//! newcomer runs, what CI runs and what the documentation says cannot drift apart.
#![expect(clippy::print_stderr, reason = "a developer's tool speaks to the developer")]

mod bench;
mod ci;
mod needs;
mod suite;
mod workshop;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The one door for developers.")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every test, after installing what they need (Postgres, Python's venv, Node, curl)
    Test(suite::Test),
    /// Run what CI runs: formatting, clippy, every test, the demo for five seconds
    Ci,
    /// Regenerate the golden files that tests compare with (--help texts, schemas, lists)
    Golden,
    /// Measure side by side against named peers: proxy, keyed, latency, lookup, idle, edge, cache, limits, policies, isolation, overload
    Bench(bench::Bench),
    /// Keep a gateway under mixed traffic and watch its memory
    Soak(bench::Soak),
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        // Without a backtrace: what went wrong is on the developer's side of the door, not in here.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Test(test) => suite::test(&test),
        Task::Ci => ci::run(),
        Task::Golden => suite::golden(),
        Task::Bench(bench) => bench::bench(&bench),
        Task::Soak(soak) => bench::soak(&soak),
    }
}
