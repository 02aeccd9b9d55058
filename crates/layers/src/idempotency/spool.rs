//! Where the bodies of keyed requests wait for their turn: in memory up to a bound, and beyond it in files.
//!
//! A file has no name from the moment it is there (`O_TMPFILE`; where a file system lacks that, it is unlinked as
//! soon as it is made), so whatever ends the process, SIGKILL included, gives its space back. Reading and writing
//! happen on the runtime's threads for blocking work, a chunk at a time: even a write to the page cache can wait
//! for the disk, and a worker serves all its other requests on the one thread that would wait. Each spooled request
//! has at most one such chunk under way, so their number is bounded by the requests'.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::fingerprint::BodyHasher;

/// How many bytes are written or read at a time: enough that handing them to another thread costs little beside
/// moving them, and little enough that what is held for each spooled request does.
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// What bodies may take up. All routes of a gateway share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    /// The folder of the files; best on a disk, for `/tmp` is often memory.
    pub folder: PathBuf,
    /// The most bytes on disk at once.
    pub bytes_max: u64,
    /// The most requests whose bodies are on disk at once. Zero spools nothing: what is too large for memory is
    /// refused.
    pub requests_max: u64,
    /// The most bytes in memory at once, beyond which also smaller bodies go to disk. A body that comes in one piece
    /// is not counted: it stays in the buffer that its connection read it into, and connections are bounded.
    pub memory_max: u64,
}

impl Default for SpoolLimits {
    /// The system's folder for temporary files, 1 GB and 256 requests on disk, 64 MB in memory.
    fn default() -> Self {
        Self { folder: std::env::temp_dir(), bytes_max: 1 << 30, requests_max: 256, memory_max: 64 << 20 }
    }
}

/// Where bodies wait, and what they take up.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    bytes: Bound,
    requests: Bound,
    memory: Bound,
}

impl Spool {
    /// An empty one.
    #[must_use]
    pub fn new(limits: SpoolLimits) -> Arc<Self> {
        Arc::new(Self {
            folder: limits.folder,
            bytes: Bound::new(limits.bytes_max),
            requests: Bound::new(limits.requests_max),
            memory: Bound::new(limits.memory_max),
        })
    }

    /// Whether a file can be made in the folder and written, unless nothing is ever spooled.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check(&self) -> io::Result<()> {
        if self.is_off() {
            return Ok(());
        }
        tempfile::tempfile_in(&self.folder)?.write_all(b"steadfast")
    }

    /// How many bytes are on disk, or announced and on their way.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.taken()
    }

    /// How many requests have their bodies on disk.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.taken()
    }

    /// How many bytes are in memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory.taken()
    }

    /// Whether nothing is spooled at all.
    pub(super) fn is_off(&self) -> bool {
        self.requests.max == 0
    }

    /// The most bytes that ever fit.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes.max
    }

    /// A share of the memory, nothing as yet.
    pub(super) fn memory(self: &Arc<Self>) -> Share {
        Share::of(self, |spool| &spool.memory)
    }

    /// Takes a place on disk for a body of at least so many bytes.
    pub(super) fn begin(
        self: &Arc<Self>,
        announced: u64,
        hasher: BodyHasher,
    ) -> Result<Spooling, SpoolRefused> {
        let mut request = Share::of(self, |spool| &spool.requests);
        let mut bytes = Share::of(self, |spool| &spool.bytes);
        if request.grow_to(1) && bytes.grow_to(announced) {
            Ok(Spooling { place: Place { file: None, bytes, request }, hasher, length: 0 })
        } else {
            Err(SpoolRefused::Full)
        }
    }
}

/// A body cannot be spooled.
#[derive(Debug)]
pub(super) enum SpoolRefused {
    /// The bound of bytes or requests is reached.
    Full,
    /// The file cannot be made or written.
    Disk(io::Error),
}

/// A number that is taken from and given back to.
#[derive(Debug)]
struct Bound {
    taken: AtomicU64,
    max: u64,
}

impl Bound {
    const fn new(max: u64) -> Self {
        Self { taken: AtomicU64::new(0), max }
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    fn take(&self, more: u64) -> bool {
        let within = |taken: u64| taken.checked_add(more).filter(|taken| *taken <= self.max);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn give_back(&self, taken: u64) {
        self.taken.fetch_sub(taken, Ordering::Relaxed);
    }
}

/// What one body takes of a bound; given back when it is dropped.
pub(super) struct Share {
    spool: Arc<Spool>,
    of: fn(&Spool) -> &Bound,
    taken: u64,
}

impl Share {
    fn of(spool: &Arc<Spool>, of: fn(&Spool) -> &Bound) -> Self {
        Self { spool: Arc::clone(spool), of, taken: 0 }
    }

    /// Makes it at least so large, where the bound allows it.
    pub(super) fn grow_to(&mut self, wanted: u64) -> bool {
        let more = wanted.saturating_sub(self.taken);
        let fits = more == 0 || (self.of)(&self.spool).take(more);
        if fits {
            self.taken += more;
        }
        fits
    }

    /// All of it, as another.
    fn move_out(&mut self) -> Self {
        Self { spool: Arc::clone(&self.spool), of: self.of, taken: std::mem::take(&mut self.taken) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        (self.of)(&self.spool).give_back(self.taken);
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Share({})", self.taken)
    }
}

/// A place on disk, with a file in it once there is something to write.
#[derive(Debug)]
struct Place {
    file: Option<File>,
    bytes: Share,
    request: Share,
}

/// To close the last handle of a large file is to free it, which takes its time: not a worker's. Its space is given
/// back after that.
impl Drop for Place {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let shares = (self.bytes.move_out(), self.request.move_out());
            runtime.spawn_blocking(move || {
                drop(file);
                drop(shares);
            });
        }
    }
}

/// A body on its way to disk, hashed as it goes.
///
/// It moves with every chunk to the thread that writes it and back. A caller that hangs up drops what waits for it;
/// the chunk under way ends, and then its place is given back.
#[derive(Debug)]
pub(super) struct Spooling {
    place: Place,
    hasher: BodyHasher,
    length: u64,
}

impl Spooling {
    /// Writes the next bytes, and takes them into the fingerprint.
    pub(super) async fn write(mut self, chunks: Vec<Bytes>) -> Result<Self, SpoolRefused> {
        self.length += chunks.iter().map(Bytes::len).sum::<usize>() as u64;
        if !self.place.bytes.grow_to(self.length) {
            return Err(SpoolRefused::Full);
        }
        // The bytes come back to be freed where they were allocated. Allocators keep a heap for each thread, and
        // what others free in it comes back late; under load there are many threads.
        let writing = tokio::task::spawn_blocking(move || {
            let written = self.write_now(&chunks);
            (self, chunks, written)
        });
        match writing.await {
            Ok((spooling, _chunks, written)) => written.map(|()| spooling).map_err(SpoolRefused::Disk),
            // The process is ending.
            Err(error) => Err(SpoolRefused::Disk(io::Error::other(error))),
        }
    }

    fn write_now(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        let Place { file, bytes, .. } = &mut self.place;
        let file = match file {
            Some(file) => file,
            empty @ None => empty.insert(tempfile::tempfile_in(&bytes.spool.folder)?),
        };
        for chunk in chunks {
            self.hasher.body(chunk);
            file.write_all(chunk)?;
        }
        Ok(())
    }

    /// The whole body, and the hasher that has taken it in.
    pub(super) fn finish(self) -> (Spooled, BodyHasher) {
        (Spooled { place: self.place, length: self.length }, self.hasher)
    }
}

/// A whole body on disk.
#[derive(Debug)]
pub(crate) struct Spooled {
    place: Place,
    length: u64,
}

impl Spooled {
    /// Its bytes.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// Fills a chunk with the bytes from here on. It blocks.
    pub(crate) fn read(&self, chunk: &mut [u8], at: u64) -> io::Result<()> {
        match &self.place.file {
            Some(file) => file.read_exact_at(chunk, at),
            None => Ok(()),
        }
    }
}
