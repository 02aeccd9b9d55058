//! How fast bytes are let go: slow bytes and bandwidth, as the size of the next slice and the pause after it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::armed::Effects;

/// A second's bytes are let go in this many slices.
const SLICES_PER_SECOND: u64 = 50;
/// Shorter pauses are saved up: the timer is no finer.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Spaces the writes of one direction.
#[derive(Debug)]
pub(crate) struct Pacer {
    next_at: Instant,
}

impl Pacer {
    pub(crate) fn new() -> Self {
        Pacer { next_at: Instant::now() }
    }

    /// Waits until the next slice may go.
    pub(crate) async fn ready(&self) {
        if self.next_at > Instant::now() + PAUSE_MIN {
            sleep_until(self.next_at).await;
        }
    }

    /// Takes note that `len` bytes went.
    pub(crate) fn sent(&mut self, effects: &Effects, len: usize) {
        self.next_at = self.next_at.max(Instant::now()) + pause_after(effects, len);
    }
}

/// How many of `len` bytes may go at once.
pub(crate) fn slice_len(effects: &Effects, len: usize) -> usize {
    let slow = effects.slow.map_or(u64::MAX, |slow| slow.chunk_bytes);
    let rate = effects
        .bandwidth
        .map_or(u64::MAX, |bandwidth| bandwidth.bytes_per_second.div_ceil(SLICES_PER_SECOND));
    usize::try_from(slow.min(rate)).unwrap_or(usize::MAX).min(len)
}

fn pause_after(effects: &Effects, len: usize) -> Duration {
    let slow = effects.slow.map_or(Duration::ZERO, |slow| Duration::from_millis(slow.every_ms));
    let rate = effects.bandwidth.map_or(Duration::ZERO, |bandwidth| {
        Duration::from_secs_f64(len as f64 / bandwidth.bytes_per_second as f64)
    });
    slow.max(rate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Bandwidth, Slow, When};

    #[test]
    fn the_stricter_of_two_rates_holds() {
        let slow = Some(Slow { chunk_bytes: 100, every_ms: 10, when: When::default() });
        let bandwidth = Some(Bandwidth { bytes_per_second: 1_000, when: When::default() });
        let effects = Effects { slow, bandwidth, ..Effects::default() };
        assert_eq!(slice_len(&effects, 1_000), 20);
        assert_eq!(slice_len(&effects, 5), 5);
        assert_eq!(pause_after(&effects, 20), Duration::from_millis(20));
        assert_eq!(pause_after(&effects, 5), Duration::from_millis(10));
    }

    #[test]
    fn without_a_rate_everything_goes_at_once() {
        assert_eq!(slice_len(&Effects::default(), 70_000), 70_000);
        assert_eq!(pause_after(&Effects::default(), 70_000), Duration::ZERO);
    }
}
