//! What CI runs, step by step, the quick refusals first: formatting, clippy, every test, the demo.

use std::process::Command;

use anyhow::bail;

use crate::suite::{self, Test};
use crate::workshop::{cargo, cargo_has, run as step};

/// Runs every step and stops at the first that fails.
///
/// # Errors
/// A step failed, or a component of the toolchain that it needs is missing.
pub(crate) fn run() -> anyhow::Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !cargo_has(subcommand) {
            bail!("`cargo {subcommand}` is missing: run `rustup component add {component}`");
        }
    }
    step(cargo().args(["fmt", "--all", "--check"]))?;
    step(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    suite::test(&Test::default())?;
    step(&mut demo())
}

/// The demo exits 1 if any effect happened twice or an acknowledged one is missing, so its exit code is the check.
fn demo() -> Command {
    let mut command = cargo();
    command.args(["run", "--release", "--", "demo", "--for", "5s", "-o", "json"]);
    command
}
