//! The clocks: the wall's, for retention and for people, and one that also counts while the machine sleeps, for
//! everything a promise hangs on. The only place that reads either.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::time::{ClockId, Timespec, clock_gettime};
use steadfast_core::Timestamp;

/// An instant on the boot clock, which no one can set and which goes on while the machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The instant `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long it is from `earlier` to this instant; zero where this one is the earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where a ledger and its holders read the time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<Manual>>>);

/// A clock held still, that a test moves.
#[derive(Debug)]
struct Manual {
    wall: Timestamp,
    boot: Duration,
}

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at `wall` until [`Clock::advance`] moves it. For tests.
    #[must_use]
    pub fn manual(wall: Timestamp) -> Self {
        Self(Some(Arc::new(Mutex::new(Manual { wall, boot: Duration::from_secs(1_000) }))))
    }

    /// Moves a manual clock, wall and boot alike; a system clock goes its own way.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.0 {
            let mut manual = manual.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            manual.wall = manual.wall.after(by);
            manual.boot += by;
        }
    }

    /// Sets a manual clock's wall time, as an operator or a time service might; its boot time goes on untouched.
    pub fn set_wall(&self, wall: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.lock().unwrap_or_else(std::sync::PoisonError::into_inner).wall = wall;
        }
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            None => {
                let now = clock_gettime(ClockId::Realtime);
                Timestamp::from_millis(now.tv_sec.saturating_mul(1_000) + now.tv_nsec / 1_000_000)
            }
            Some(manual) => manual.lock().unwrap_or_else(std::sync::PoisonError::into_inner).wall,
        }
    }

    /// The boot clock.
    #[must_use]
    pub fn boot(&self) -> BootInstant {
        match &self.0 {
            None => BootInstant(from_timespec(clock_gettime(ClockId::Boottime))),
            Some(manual) => {
                BootInstant(manual.lock().unwrap_or_else(std::sync::PoisonError::into_inner).boot)
            }
        }
    }
}

/// The boot clock is never negative, and its nanoseconds stay below a second.
fn from_timespec(time: Timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_it_is_told_to() {
        let clock = Clock::manual(Timestamp::from_millis(5_000));
        let (wall, boot) = (clock.wall(), clock.boot());
        assert_eq!((clock.wall(), clock.boot()), (wall, boot));
        clock.clone().advance(Duration::from_secs(2));
        assert_eq!(clock.wall().since(wall), Duration::from_secs(2));
        assert_eq!(clock.boot().since(boot), Duration::from_secs(2));
        clock.set_wall(Timestamp::from_millis(0));
        assert_eq!(clock.boot().since(boot), Duration::from_secs(2));
    }
}
