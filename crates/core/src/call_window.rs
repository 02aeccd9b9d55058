//! What became of the calls of the last while, in a ring of buckets: to add one and to forget the old ones takes a few
//! additions, however many there were.

use std::time::Duration;

/// Into how many parts the window is divided: what is forgotten at once is a tenth of it.
const BUCKETS: usize = 10;

/// What became of the calls of the last while.
#[derive(Clone, Debug)]
pub(crate) struct CallWindow {
    /// How long one bucket lasts.
    width_ms: u64,
    /// Which bucket is being filled, counted since the origin.
    tick: u64,
    buckets: [Bucket; BUCKETS],
    /// The sums over them.
    pub(crate) calls: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    calls: u32,
    failed: u32,
    slow: u32,
}

impl CallWindow {
    pub(crate) fn new(length: Duration) -> Self {
        let width_ms = (u64::try_from(length.as_millis()).unwrap_or(u64::MAX) / BUCKETS as u64).max(1);
        Self { width_ms, tick: 0, buckets: [Bucket::default(); BUCKETS], calls: 0, failed: 0, slow: 0 }
    }

    pub(crate) fn add(&mut self, now: Duration, failed: bool, slow: bool) {
        self.forget(now);
        let bucket = &mut self.buckets[(self.tick % BUCKETS as u64) as usize];
        let (failed, slow) = (u32::from(failed), u32::from(slow));
        bucket.calls += 1;
        bucket.failed += failed;
        bucket.slow += slow;
        self.calls += 1;
        self.failed += failed;
        self.slow += slow;
    }

    /// Forgets what is too long ago. Calls that end at once may come in another order than that of their times.
    fn forget(&mut self, now: Duration) {
        let tick = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) / self.width_ms;
        if tick <= self.tick {
            return;
        }
        let passed = (tick - self.tick).min(BUCKETS as u64);
        for step in 0..passed {
            let bucket = &mut self.buckets[((tick - step) % BUCKETS as u64) as usize];
            let Bucket { calls, failed, slow } = std::mem::take(bucket);
            self.calls -= calls;
            self.failed -= failed;
            self.slow -= slow;
        }
        self.tick = tick;
    }

    pub(crate) fn totals(mut self, now: Duration) -> (u32, u32, u32) {
        self.forget(now);
        (self.calls, self.failed, self.slow)
    }
}
