//! Where a benchmark works: a folder on a real disk that is gone afterwards, two cores, and the gateway's binary.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::cores::Cores;

/// What every benchmark may be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// How results are printed
    #[arg(short, long, default_value = "table")]
    output: OutputFormat,
    /// Where ledgers, logs and databases go while it runs: a real disk [default: bench-work in the target folder]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The gateway's binary [default: steadfast beside this one]
    #[arg(long)]
    steadfast: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Table,
    /// One JSON document
    Json,
}

/// A place to work that was looked at and found fit.
pub(crate) struct Workplace {
    /// How results are printed.
    pub(crate) output: OutputFormat,
    /// The two cores.
    pub(crate) cores: Cores,
    /// The gateway's binary; whether it is there shows when it is started.
    pub(crate) steadfast: PathBuf,
    folder: TempDir,
    kept: PathBuf,
}

impl Place {
    /// Looks at the place and takes possession of it.
    ///
    /// # Errors
    /// The folder is on tmpfs, where durability costs nothing and figures would lie; or there is only one core.
    pub(crate) fn enter(&self) -> anyhow::Result<Workplace> {
        let binaries = std::env::current_exe()?;
        let binaries = binaries.parent().context("this binary is in no folder")?;
        let kept = match &self.dir {
            Some(dir) => dir.clone(),
            None => binaries.parent().context("no target folder")?.join("bench-work"),
        };
        std::fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
        let kept = kept.canonicalize()?;
        must_be_a_disk(&kept)?;
        allow_many_descriptors()?;
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&kept)?;
        let steadfast = self.steadfast.clone().unwrap_or_else(|| binaries.join("steadfast"));
        Ok(Workplace { output: self.output, cores: Cores::claim()?, steadfast, folder, kept })
    }
}

impl Workplace {
    /// The folder that is gone afterwards.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that stays, for what is dear to fetch again.
    pub(crate) fn kept(&self) -> &Path {
        &self.kept
    }
}

fn must_be_a_disk(folder: &Path) -> anyhow::Result<()> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(folder)?.f_type as u64;
    if kind == TMPFS || kind == RAMFS {
        bail!("{} is in memory, where fsync costs nothing: name a real disk with --dir", folder.display());
    }
    Ok(())
}

/// A thousand connections and their servers need more than the usual 1,024; children inherit this.
fn allow_many_descriptors() -> anyhow::Result<()> {
    const WANTED: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(WANTED, |most| most.min(WANTED));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })?;
    }
    Ok(())
}
