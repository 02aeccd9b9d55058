//! The conditions of a measurement: without them a figure means nothing to a reader on another machine.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::workplace::Workplace;

/// Writes whose sync is timed at once.
const SYNCS: usize = 200;

/// The machine, as measured right before the benchmark.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Conditions {
    cpu: String,
    cores: usize,
    contestant_core: usize,
    load_core: usize,
    kernel: String,
    /// The median time of one 4 KiB append with fdatasync, on the disk of the ledger.
    fsync_p50_ms: f64,
}

impl Conditions {
    /// Looks at the machine.
    ///
    /// # Errors
    /// `/proc` or the disk cannot be read.
    pub(crate) fn measure(place: &Workplace) -> anyhow::Result<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            cpu: model.map_or("unknown", |(_, model)| model).to_owned(),
            cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            contestant_core: place.cores.contestant,
            load_core: place.cores.rest,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            fsync_p50_ms: fsync_p50_ms(place.folder())?,
        })
    }

    /// The conditions in one line.
    pub(crate) fn in_words(&self) -> String {
        format!(
            "{} cores of {}, Linux {}; contestant on core {}, load, upstream and stores on core {}; fsync p50 {:.3} ms",
            self.cores, self.cpu, self.kernel, self.contestant_core, self.load_core, self.fsync_p50_ms
        )
    }
}

/// The median time, in milliseconds, until 4 KiB appended to a file in `folder` are on the disk.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn fsync_p50_ms(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("fsync-probe");
    let mut file = File::create(&path)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    fs::remove_file(path)?;
    Ok(median(&took))
}

/// The median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// What so large a share of the values, 0 to 1, is at most; 0 of nothing.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let index = (values.len() as f64 * share) as usize;
    values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_ignores_one_bad_round() {
        assert!((median(&[3.0, 1000.0, 1.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 3.0]) - 2.0).abs() < f64::EPSILON);
    }
}
