//! A test that runs in a process of its own, so that it can be killed, or be given a broken `fsync`: this
//! binary once more, asked for one test that otherwise does nothing.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Names the folder in which a child is to work; where it is not set, a child's test does nothing.
const FOLDER: &str = "STEADFAST_LEDGER_TEST_FOLDER";

/// Marks a line of a child's output that is meant for its parent.
pub(crate) const SAYS: &str = "child says ";

/// The child that runs the test with this full name in `folder`.
pub(crate) fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).stdout(Stdio::piped());
    command
}

/// The folder that this process was given, where it is a child.
pub(crate) fn folder() -> Option<std::path::PathBuf> {
    std::env::var_os(FOLDER).map(Into::into)
}

/// Tells the parent something, at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{SAYS}{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}
