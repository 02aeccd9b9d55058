//! How long to wait before the next try to connect: longer each time, bounded, and not in step with other nodes.

use std::time::Duration;

use steadfast_core::Fence;

/// The first wait, on average.
const FIRST: Duration = Duration::from_millis(25);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits between tries.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Begins again, after a success.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Waits for between half and the whole of the next time, which doubles.
    pub(super) async fn wait(&mut self) {
        let wait = jittered(self.next);
        self.next = (self.next * 2).min(LONGEST);
        tokio::time::sleep(wait).await;
    }
}

/// Between half and the whole of `duration`, at random.
pub(super) fn jittered(duration: Duration) -> Duration {
    let random = u32::from(Fence::random().as_bytes()[0]);
    duration / 2 + duration / 2 * random / 255
}
