//! The ledger's own log: a file beside the ledger to which claims and ends of attempts are appended, one frame a
//! batch, before they reach the tables.
//!
//! A commit of SQLite's writes every page that it touched, and the index of digests is touched at random. A frame
//! is a few hundred bytes an operation, and because its place in the file is written before (with zeros or with
//! what is obsolete), syncing it moves no metadata. The tables follow when many operations can be written at once
//! (see [`fold`](super::fold)); what they have is obsolete here, and from a certain size on the log begins anew.
//!
//! A frame counts where it is whole, continues the numbering, and is of the same run of the process as those before
//! it: what is left behind it, of an earlier pass or of an earlier run, fails one of the three.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use steadfast_core::Fence;

/// The file grows by at least this, and by no more than [`GROWTH_BYTES_MAX`].
const GROWTH_BYTES_MIN: u64 = 256 << 10;

/// The most that is written in advance at once: a bound on how long a batch waits for it.
const GROWTH_BYTES_MAX: u64 = 4 << 20;

/// A frame's head: the run, the frame's number, and the length of its entries in bytes.
const HEAD_BYTES: usize = 8 + 8 + 4;

/// Behind the entries: the digest of everything before it.
const DIGEST_BYTES: usize = 16;

/// Above this a batch is written, and the next frame begun.
const FRAME_BYTES_FULL: usize = 1 << 20;

/// Names one run of the process, from opening the ledger to closing it; never 0.
pub(super) type Run = i64;

/// The log of this run of the process.
#[derive(Debug)]
pub(super) struct Log {
    file: Arc<File>,
    path: PathBuf,
    run: Run,
    /// At this size it begins anew, once the tables have all of it.
    bytes_max: u64,
    /// The number of the newest frame that was written, by this run or before.
    newest: u64,
    /// Where the next frame goes.
    offset: u64,
    /// How far the file is written, with frames or with zeros.
    written_to: u64,
    /// The frame that is being filled.
    frame: Vec<u8>,
}

/// A frame as it was found.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) run: Run,
    pub(super) number: u64,
    pub(super) entries: Vec<u8>,
}

/// The log's place beside the ledger at `path`.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-log");
    beside.into()
}

impl Log {
    /// Begins a log at `path` whose frames are numbered from `newest` on. Nothing may be written to it before the
    /// tables have what an earlier run left in it.
    pub(super) fn begin(path: PathBuf, newest: u64, bytes_max: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let written_to = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            path,
            run: new_run(),
            bytes_max,
            newest,
            offset: 0,
            written_to,
            frame: vec![0; HEAD_BYTES],
        })
    }

    /// The file, for whoever syncs it.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Where entries are added to the frame that is being filled.
    pub(super) fn entries(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    /// Whether enough is in the frame to write it.
    pub(super) fn is_full(&self) -> bool {
        self.frame.len() >= FRAME_BYTES_FULL
    }

    /// The run that writes it.
    pub(super) fn run(&self) -> Run {
        self.run
    }

    /// The number of the newest frame that was written.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Numbers the frames from here on: for a log of which the tables follow an earlier run's frames.
    pub(super) fn number_from(&mut self, newest: u64) {
        self.newest = newest;
    }

    /// Whether it is long enough to begin anew.
    pub(super) fn is_long(&self) -> bool {
        self.offset >= self.bytes_max
    }

    /// Hands the frame to the kernel; whether there was anything in it. On an error nothing of it counts, and the
    /// next takes its place.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        if self.frame.len() == HEAD_BYTES {
            return Ok(false);
        }
        let number = self.newest + 1;
        let written = self.grow().and_then(|()| {
            self.frame[..8].copy_from_slice(&self.run.to_le_bytes());
            self.frame[8..16].copy_from_slice(&number.to_le_bytes());
            let bytes = u32::try_from(self.frame.len() - HEAD_BYTES).map_err(io::Error::other)?;
            self.frame[16..HEAD_BYTES].copy_from_slice(&bytes.to_le_bytes());
            let digest = digest(&self.frame);
            self.frame.extend_from_slice(&digest);
            self.file.write_all_at(&self.frame, self.offset)
        });
        if written.is_ok() {
            self.newest = number;
            self.offset += self.frame.len() as u64;
        }
        self.discard();
        written.map(|()| true)
    }

    /// Empties the frame that is being filled.
    fn discard(&mut self) {
        self.frame.truncate(HEAD_BYTES);
        self.frame.shrink_to(2 * FRAME_BYTES_FULL);
    }

    /// The tables have all of it, on disk: begins anew at its start.
    pub(super) fn begin_anew(&mut self) {
        self.offset = 0;
    }

    /// The tables have all of it, on disk: overwrites it and begins anew at its start.
    pub(super) fn scour(&mut self) -> io::Result<()> {
        let zeros = vec![0; FRAME_BYTES_FULL];
        let mut at = 0;
        while at < self.written_to {
            let bytes =
                usize::try_from(self.written_to - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.file.write_all_at(&zeros[..bytes], at)?;
            at += bytes as u64;
        }
        self.file.sync_data()?;
        self.begin_anew();
        Ok(())
    }

    /// The tables have all of it, on disk, and nothing will be added: removes it.
    pub(super) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(self.path)
    }

    /// Writes zeros where the frame does not fit into what is written: a file that grows with each frame would
    /// have its size synced with each.
    fn grow(&mut self) -> io::Result<()> {
        let end = self.offset + (self.frame.len() + DIGEST_BYTES) as u64;
        if end > self.written_to {
            let growth = self.written_to.clamp(GROWTH_BYTES_MIN, GROWTH_BYTES_MAX);
            let zeros = vec![0; usize::try_from(end - self.written_to + growth).map_err(io::Error::other)?];
            self.file.write_all_at(&zeros, self.written_to)?;
            self.written_to += zeros.len() as u64;
        }
        Ok(())
    }
}

fn new_run() -> Run {
    let random = *Fence::random().as_bytes();
    Run::from_le_bytes(std::array::from_fn(|at| random[at])) | 1
}

/// The frames of the log at `path` in their order, each as it is wanted; none where there is no such file.
pub(super) fn frames(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Frame>>> {
    let mut file = match File::open(path) {
        Ok(file) => {
            let bytes = file.metadata()?.len();
            Some((BufReader::with_capacity(1 << 20, file), bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut before = None;
    Ok(std::iter::from_fn(move || {
        let (reader, bytes) = file.as_mut()?;
        let read = read_frame(reader, bytes, &mut before).transpose();
        if !matches!(read, Some(Ok(_))) {
            file = None;
        }
        read
    }))
}

/// Reads the next frame, if one that counts is there; `before` is the run and the number of the one before it,
/// `bytes` how many are left.
fn read_frame(
    reader: &mut impl Read,
    bytes: &mut u64,
    before: &mut Option<(Run, u64)>,
) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD_BYTES];
    if *bytes < HEAD_BYTES as u64 {
        return Ok(None);
    }
    reader.read_exact(&mut head)?;
    *bytes -= HEAD_BYTES as u64;
    let run = Run::from_le_bytes(std::array::from_fn(|at| head[at]));
    let number = u64::from_le_bytes(std::array::from_fn(|at| head[8 + at]));
    let length = u32::from_le_bytes(std::array::from_fn(|at| head[16 + at]));
    let continues = before.is_none_or(|(of, newest)| of == run && number == newest + 1);
    let rest = u64::from(length) + DIGEST_BYTES as u64;
    if !continues || length == 0 || rest > *bytes {
        return Ok(None);
    }
    let mut frame = head.to_vec();
    reader.take(rest).read_to_end(&mut frame)?;
    *bytes -= rest;
    let found = frame.split_off(frame.len().saturating_sub(DIGEST_BYTES));
    if found[..] != digest(&frame) {
        return Ok(None);
    }
    *before = Some((run, number));
    Ok(Some(Frame { run, number, entries: frame.split_off(HEAD_BYTES) }))
}

fn digest(frame: &[u8]) -> [u8; DIGEST_BYTES] {
    let digest = *blake3::hash(frame).as_bytes();
    std::array::from_fn(|at| digest[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<(u64, Vec<u8>)> {
        let frames = frames(path).expect("a file");
        frames.map(|frame| frame.map(|frame| (frame.number, frame.entries)).expect("readable")).collect()
    }

    fn write(log: &mut Log, entries: &[u8]) {
        log.entries().extend_from_slice(entries);
        assert!(log.write().expect("room"));
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x-log");
        assert_eq!(read(&path), []);
        let mut log = Log::begin(path.clone(), 7, u64::MAX).expect("a log");
        assert!(!log.write().expect("nothing to write"));
        write(&mut log, b"one");
        let large = vec![3; 700_000];
        write(&mut log, &large);
        assert_eq!(read(&path), [(8, b"one".to_vec()), (9, large)]);
    }

    #[test]
    fn what_an_earlier_pass_or_run_left_behind_does_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x-log");
        let mut log = Log::begin(path.clone(), 0, u64::MAX).expect("a log");
        for _ in 0..3 {
            write(&mut log, b"same length");
        }
        log.begin_anew();
        write(&mut log, b"same length");
        assert_eq!(read(&path), [(4, b"same length".to_vec())], "the second is of an earlier pass");
        // A run that goes on from the first of the three: the second is next in number, but not of this run.
        drop(log);
        let mut log = Log::begin(path.clone(), 0, u64::MAX).expect("a log");
        write(&mut log, b"same length");
        assert_eq!(read(&path), [(1, b"same length".to_vec())]);
    }

    #[test]
    fn what_was_scoured_is_gone_and_the_log_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x-log");
        let mut log = Log::begin(path.clone(), 0, u64::MAX).expect("a log");
        write(&mut log, &vec![7; 3 * FRAME_BYTES_FULL / 2]);
        write(&mut log, b"second");
        let bytes = std::fs::metadata(&path).expect("a file").len();
        log.scour().expect("room");
        assert_eq!(read(&path), []);
        let content = std::fs::read(&path).expect("readable");
        assert!(content.len() as u64 == bytes && content.iter().all(|byte| *byte == 0));
        write(&mut log, b"third");
        assert_eq!(read(&path), [(3, b"third".to_vec())]);
    }

    #[test]
    fn a_log_cut_or_changed_anywhere_ends_before_the_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x-log");
        let mut log = Log::begin(path.clone(), 0, u64::MAX).expect("a log");
        write(&mut log, b"first");
        write(&mut log, b"second");
        let whole = std::fs::read(&path).expect("readable");
        let first = HEAD_BYTES + 5 + DIGEST_BYTES;
        for at in 0..first + HEAD_BYTES + 6 + DIGEST_BYTES {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            std::fs::write(&path, &damaged).expect("writable");
            let found = read(&path).len();
            assert_eq!(found, usize::from(at >= first), "damaged at {at}");
            std::fs::write(&path, &whole[..at]).expect("writable");
            assert_eq!(read(&path).len(), usize::from(at >= first), "cut at {at}");
        }
    }

    #[test]
    fn a_frame_that_could_not_be_written_is_as_if_it_had_never_been() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x-log");
        let mut log = Log::begin(path.clone(), 0, u64::MAX).expect("a log");
        let writable = std::mem::replace(&mut log.file, Arc::new(File::open(&path).expect("readable")));
        log.entries().extend_from_slice(b"lost");
        assert!(log.write().is_err());
        log.file = writable;
        write(&mut log, b"kept");
        assert_eq!(read(&path), [(1, b"kept".to_vec())]);
    }
}
