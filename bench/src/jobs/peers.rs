//! The job queues that are compared with: small programs that leave jobs and work them off, in `bench/peers`. What they
//! stand on comes from npm and PyPI in the versions that are pinned there, and stays in the kept folder.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use super::endpoint::Endpoint;
use crate::server::keep_output;
use crate::workplace::Workplace;

/// The files of the peers, compiled in so that the binary can be run from anywhere.
const NODE_FILES: [(&str, &str); 5] = [
    ("package.json", include_str!("../../peers/jobs/package.json")),
    ("deliver.js", include_str!("../../peers/jobs/deliver.js")),
    ("graphile-worker.js", include_str!("../../peers/jobs/graphile-worker.js")),
    ("pg-boss.js", include_str!("../../peers/jobs/pg-boss.js")),
    ("bullmq.js", include_str!("../../peers/jobs/bullmq.js")),
];
const PYTHON_FILES: [(&str, &str); 2] = [
    ("requirements.txt", include_str!("../../peers/rq/requirements.txt")),
    ("noop.py", include_str!("../../peers/rq/noop.py")),
];

/// A job queue of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    GraphileWorker,
    PgBoss,
    BullMq,
    Rq,
}

impl Peer {
    /// Those that are compared with.
    pub(super) const ALL: [Self; 4] = [Self::GraphileWorker, Self::PgBoss, Self::BullMq, Self::Rq];

    /// The name in the results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GraphileWorker => "graphile-worker",
            Self::PgBoss => "pg-boss",
            Self::BullMq => "bullmq",
            Self::Rq => "rq",
        }
    }

    /// Whether its jobs are in Redis; those of the others are in Postgres.
    pub(super) fn is_on_redis(self) -> bool {
        matches!(self, Self::BullMq | Self::Rq)
    }

    /// How many jobs it has under way at once: what it was found to be quickest with, of 16, 64, 128, 256 and
    /// 512 (RQ, which has one in each of so many processes: of 4, 8 and 16).
    fn at_once(self) -> usize {
        match self {
            Self::GraphileWorker | Self::PgBoss => 128,
            Self::BullMq => 256,
            Self::Rq => 16,
        }
    }

    /// Leaves so many jobs from `first` on.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn enqueue(self, peers: &Peers, store: &str, first: u64, count: u64) -> anyhow::Result<()> {
        let mut command = peers.program(self);
        command.args(["enqueue", store, &first.to_string(), &count.to_string()]);
        succeed(&mut command)
    }

    /// Starts its worker on the contestant's core. Where it says what is in `<its name>.err`.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn work(
        self,
        peers: &Peers,
        place: &Workplace,
        store: &str,
        endpoint: &Endpoint,
    ) -> anyhow::Result<Child> {
        let mut command = peers.program(self);
        command.args(["work", store, &endpoint.url(), &peers.at_once.unwrap_or(self.at_once()).to_string()]);
        keep_output(&mut command, place.folder(), self.name())?;
        place.cores.spawn_contestant(&mut command)
    }
}

/// Where the peers are installed.
pub(super) struct Peers {
    node: PathBuf,
    python: PathBuf,
    at_once: Option<usize>,
}

impl Peers {
    /// Installs what is not installed yet. Each has `at_once` jobs under way, where that is said.
    ///
    /// # Errors
    /// npm or pip cannot.
    pub(super) fn install(place: &Workplace, at_once: Option<usize>) -> anyhow::Result<Self> {
        let (node, python) = (place.kept().join("jobs"), place.kept().join("rq"));
        write_all(&node, &NODE_FILES)?;
        write_all(&python, &PYTHON_FILES)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
        succeed(npm.current_dir(&node))?;
        let venv = python.join("venv");
        if !venv.join("bin/pip").exists() {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        }
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement", "requirements.txt"]);
        succeed(pip.current_dir(&python))?;
        Ok(Self { node, python, at_once })
    }

    fn program(&self, peer: Peer) -> Command {
        if peer == Peer::Rq {
            let mut command = Command::new(self.python.join("venv/bin/python"));
            command.arg("noop.py").current_dir(&self.python);
            return command;
        }
        let mut command = Command::new("node");
        command.arg(format!("{}.js", peer.name())).env("NODE_ENV", "production").current_dir(&self.node);
        command
    }
}

fn write_all(folder: &PathBuf, files: &[(&str, &str)]) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in files {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
