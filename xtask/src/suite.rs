//! Running every test of the workspace and counting them, with cargo-nextest where it is installed and with nothing
//! but cargo elsewhere.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, bail};
use clap::Args;

use crate::needs;
use crate::workshop::{announce, cargo, cargo_has, run};

/// What `cargo xtask test` may be told.
#[derive(Args, Default)]
pub(crate) struct Test {
    /// Run the long storms too (sets STEADFAST_LONG=1)
    #[arg(long)]
    long: bool,
    /// Run only tests whose name contains one of these
    filter: Vec<String>,
}

/// Runs the tests.
///
/// # Errors
/// Something they need is missing, they do not compile, or one of them failed.
pub(crate) fn test(test: &Test) -> anyhow::Result<()> {
    needs::ensure(needs::FOR_TESTS)?;
    let tally = run_suite(test)?;
    eprintln!("{}", tally.in_words());
    Ok(())
}

/// Regenerates the golden files: the tests that compare with one are named for it, and write it when told to.
///
/// # Errors
/// They do not compile, or one of them failed.
pub(crate) fn golden() -> anyhow::Result<()> {
    build_all()?;
    run(cargo().args(["test", "--workspace", "--quiet", "golden"]).env("UPDATE_GOLDEN", "1"))?;
    run(Command::new("git").args(["status", "--short"]).current_dir(crate::workshop::root()))
}

fn run_suite(test: &Test) -> anyhow::Result<Tally> {
    build_all()?;
    let mut tally = Tally::default();
    if cargo_has("nextest") {
        let mut command = cargo();
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]).args(&test.filter);
        tally += counted(&mut command, test, Speaks::OnStderr)?;
        // nextest leaves out the examples in the documentation.
        if test.filter.is_empty() {
            let mut command = cargo();
            command.args(["test", "--workspace", "--doc", "--no-fail-fast"]);
            tally += counted(&mut command, test, Speaks::OnStdout)?;
        }
    } else {
        let mut command = cargo();
        command.args(["test", "--workspace", "--no-fail-fast", "--"]).args(&test.filter);
        tally += counted(&mut command, test, Speaks::OnStdout)?;
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    Ok(tally)
}

/// Builds binaries and tests in one go. The tests of the whole system drive binaries of other crates, which building
/// the tests alone would leave stale; and building them apart would compile the dependencies twice, once with and
/// once without what only tests enable.
fn build_all() -> anyhow::Result<()> {
    run(cargo().args(["build", "--workspace", "--all-targets"]))
}

/// How many tests did what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    /// Reads the line in which a test runner sums up, if `line` is one.
    fn read(line: &str) -> Option<Self> {
        // libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; …`
        // nextest: `Summary [ 0.1s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`
        let sums = line.strip_prefix("test result:").or_else(|| {
            line.trim_start().strip_prefix("Summary")?;
            line.split_once("run:").map(|(_, sums)| sums)
        })?;
        let mut tally = Self::default();
        let words: Vec<_> = sums.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => tally.passed += count,
                "failed" | "timed" => tally.failed += count,
                "ignored" | "skipped" => tally.skipped += count,
                _ => {}
            }
        }
        Some(tally)
    }

    fn in_words(&self) -> String {
        let ran = self.passed + self.failed;
        format!("{ran} tests: {} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Where a test runner prints its results.
#[derive(Clone, Copy)]
enum Speaks {
    OnStdout,
    OnStderr,
}

/// Runs a test runner, passes on what it prints, and counts.
fn counted(command: &mut Command, test: &Test, speaks: Speaks) -> anyhow::Result<Tally> {
    if test.long {
        command.env("STEADFAST_LONG", "1");
    }
    if io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let words = announce(command);
    match speaks {
        Speaks::OnStdout => command.stdout(Stdio::piped()),
        Speaks::OnStderr => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("cannot start `{words}`"))?;
    let output: Box<dyn Read> = match speaks {
        Speaks::OnStdout => Box::new(child.stdout.take().context("no standard output")?),
        Speaks::OnStderr => Box::new(child.stderr.take().context("no standard error")?),
    };
    let tally = pass_on(output)?;
    finish(&words, child.wait()?, &tally)?;
    Ok(tally)
}

fn finish(words: &str, status: ExitStatus, tally: &Tally) -> anyhow::Result<()> {
    if !status.success() {
        bail!("`{words}` failed ({status})\n{}", tally.in_words());
    }
    Ok(())
}

fn pass_on(output: impl Read) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        io::stderr().write_all(&line)?;
        if let Some(read) = Tally::read(without_colour(&String::from_utf8_lossy(&line)).trim_end()) {
            tally += read;
        }
        line.clear();
    }
    Ok(tally)
}

/// The text without its ANSI colour sequences (`ESC [ … m`).
fn without_colour(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or(piece, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::{Tally, without_colour};

    #[test]
    fn reads_the_sums_of_both_runners() {
        let libtest =
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s";
        assert_eq!(Tally::read(libtest), Some(Tally { passed: 3, failed: 0, skipped: 1 }));
        let nextest =
            "     Summary [   0.053s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 2 skipped";
        assert_eq!(Tally::read(nextest), Some(Tally { passed: 10, failed: 2, skipped: 2 }));
        assert_eq!(Tally::read("test keys::reads_a_key ... ok"), None);
    }

    #[test]
    fn colours_do_not_hide_the_sums() {
        let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [ 0.1s] \u{1b}[1m1\u{1b}[0m test run: \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        let plain = without_colour(coloured);
        assert_eq!(Tally::read(&plain), Some(Tally { passed: 1, failed: 0, skipped: 0 }));
    }
}
