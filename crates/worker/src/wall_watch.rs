//! Notices when the wall clock is set. Retention counts on it, so a clock set forward by mistake would expire
//! what was promised to be kept.

use steadfast_core::Timestamp;
use steadfast_ledger::BootInstant;

/// By how much the wall clock may part from the boot clock between two looks. Time services slew it by less
/// than this in an hour.
const DRIFT_MS_MAX: i64 = 5_000;

/// Where both clocks stood at the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallWatch {
    wall: Timestamp,
    boot: BootInstant,
}

impl WallWatch {
    /// Begins to watch.
    #[must_use]
    pub fn starting(wall: Timestamp, boot: BootInstant) -> Self {
        Self { wall, boot }
    }

    /// Looks again: by how many milliseconds the wall clock was set since the last look, where it was (a
    /// negative number is back in time).
    pub fn look(&mut self, wall: Timestamp, boot: BootInstant) -> Option<i64> {
        let passed = i64::try_from(boot.since(self.boot).as_millis()).unwrap_or(i64::MAX);
        let shown = wall.as_millis().saturating_sub(self.wall.as_millis());
        *self = Self { wall, boot };
        let jump = shown.saturating_sub(passed);
        (jump.saturating_abs() > DRIFT_MS_MAX).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use steadfast_ledger::Clock;

    use super::*;

    fn watched() -> (Clock, WallWatch) {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let watch = WallWatch::starting(clock.wall(), clock.boot());
        (clock, watch)
    }

    #[test]
    fn time_that_passes_is_no_jump_however_long() {
        let (clock, mut watch) = watched();
        clock.advance(Duration::from_secs(86_400));
        assert_eq!(watch.look(clock.wall(), clock.boot()), None);
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_once_in_either_direction() {
        let (clock, mut watch) = watched();
        for jump in [3_600_000, -3_600_000, 5_001, -5_001] {
            clock.advance(Duration::from_secs(60));
            clock.set_wall(Timestamp::from_millis(clock.wall().as_millis() + jump));
            assert_eq!(watch.look(clock.wall(), clock.boot()), Some(jump));
            assert_eq!(watch.look(clock.wall(), clock.boot()), None);
        }
    }

    #[test]
    fn a_few_seconds_are_drift() {
        let (clock, mut watch) = watched();
        clock.set_wall(Timestamp::from_millis(clock.wall().as_millis() - 5_000));
        assert_eq!(watch.look(clock.wall(), clock.boot()), None);
    }
}
