//! Which core runs what. Children inherit the affinity of the thread that starts them, so a child is pinned by
//! pinning ourselves for the moment of its birth; nothing is needed between fork and exec.

use std::fs;
use std::io;
use std::process::{Child, Command};

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two cores of a benchmark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The contestant's own core.
    pub(crate) contestant: usize,
    /// The core of load, upstream and stores.
    pub(crate) rest: usize,
}

impl Cores {
    /// The first two cores this process may use. This process itself moves to the second.
    ///
    /// # Errors
    /// There is only one: contestant and load would measure each other.
    pub(crate) fn claim() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let (Some(contestant), Some(rest)) = (usable.next(), usable.next()) else {
            bail!("a benchmark needs two cores: one for the contestant, one for load and upstream");
        };
        pin(rest)?;
        Ok(Self { contestant, rest })
    }

    /// Moves this thread to the contestant's core: it is the contestant.
    ///
    /// # Errors
    /// It cannot be pinned.
    pub(crate) fn become_contestant(self) -> anyhow::Result<()> {
        Ok(pin(self.contestant)?)
    }

    /// Starts `command` on the contestant's core.
    ///
    /// # Errors
    /// It cannot be pinned or started.
    pub(crate) fn spawn_contestant(self, command: &mut Command) -> anyhow::Result<Child> {
        pin(self.contestant)?;
        let child = command.spawn();
        pin(self.rest)?;
        child.with_context(|| format!("cannot start {}", command.get_program().display()))
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// How long each core has worked and in all, in the kernel's ticks.
#[derive(Clone, Debug)]
pub(crate) struct CoreTicks(Vec<(u64, u64)>);

impl CoreTicks {
    /// Reads `/proc/stat`.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub(crate) fn now() -> anyhow::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
        cores.map(Self::read).collect::<anyhow::Result<_>>().map(Self)
    }

    fn read(line: &str) -> anyhow::Result<(u64, u64)> {
        let ticks = line.split_whitespace().skip(1).map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        // user nice system idle iowait irq softirq steal; guest time is part of user time.
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else {
            bail!("/proc/stat is not as expected: {line}");
        };
        let busy = user + nice + system + irq + softirq + steal;
        Ok((busy, busy + idle + iowait))
    }

    /// The share of the time since `earlier` that each core worked, 0 to 1.
    pub(crate) fn busy_since(&self, earlier: &Self) -> Vec<f64> {
        let share = |(now, then): (&(u64, u64), &(u64, u64))| {
            let all = now.1.saturating_sub(then.1).max(1);
            now.0.saturating_sub(then.0) as f64 / all as f64
        };
        self.0.iter().zip(&earlier.0).map(share).collect()
    }
}
