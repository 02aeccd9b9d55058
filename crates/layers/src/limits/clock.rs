//! The time that limits in memory go by: the wall's when the process began, and from there on the boot clock. So
//! windows lie on the wall's hours, and nobody who sets the wall's clock empties a bucket or fills one.

use std::time::Duration;

use steadfast_ledger::{BootInstant, Clock};

/// A clock that never goes back.
#[derive(Clone, Debug)]
pub struct LimitClock {
    clock: Clock,
    began: BootInstant,
    began_at: Duration,
}

impl LimitClock {
    /// One that is right now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let (began, wall) = (clock.boot(), clock.wall());
        let began_at = Duration::from_millis(u64::try_from(wall.as_millis()).unwrap_or(0));
        Self { clock, began, began_at }
    }

    /// The time since 1970.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began_at + self.clock.boot().since(self.began)
    }
}
