//! The example's process.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A running service with a folder of its own; it is killed with this.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    process: Child,
    folder: TempDir,
}

impl Service {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (process, address) = launch(folder.path());
        Self { address, process, folder }
    }

    /// Ends it as a loss of power would, and starts it again on what it left.
    pub(crate) fn crash_and_restart(&mut self) {
        self.kill();
        (self.process, self.address) = launch(self.folder.path());
    }

    /// How many orders took effect.
    pub(crate) fn orders(&self) -> usize {
        std::fs::read_to_string(self.folder.path().join("orders.txt")).expect("a file").lines().count()
    }

    fn kill(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(folder: &Path) -> (Child, SocketAddr) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_axum-service"))
        .arg("127.0.0.1:0")
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let stdout = process.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("listening on ").expect("where it listens");
    let address = address.parse().expect("an address");
    (process, address)
}
