//! A rate that is kept by arithmetic alone: the generic cell rate algorithm (ITU-T I.371), which is a token bucket
//! whose whole state is one instant, the theoretical arrival time. An event conforms if it does not come earlier than
//! that instant less the tolerance that the burst gives; each one that is let through moves the instant on by the
//! interval.

use std::time::Duration;

/// So many events in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many events; at least one.
    pub count: u32,
    /// In which time; longer than zero.
    pub per: Duration,
}

impl Rate {
    /// The time between two events at an even pace, a nanosecond at the least.
    #[must_use]
    pub fn interval(self) -> Duration {
        (self.per / self.count.max(1)).max(Duration::from_nanos(1))
    }
}

/// A rate with a burst. Instants are times since whatever origin the caller keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    interval: Duration,
    tolerance: Duration,
}

impl Gcra {
    /// Events at `rate`, of which `burst` may come at once after a pause; one where it says none.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let interval = rate.interval();
        Self { interval, tolerance: interval.saturating_mul(burst.max(1) - 1) }
    }

    /// The time between two events at an even pace.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.interval
    }

    /// How long an event would have to wait at `now`; zero if it conforms. `arrival` is the theoretical arrival time.
    #[must_use]
    pub fn wait(self, arrival: Duration, now: Duration) -> Duration {
        arrival.saturating_sub(self.tolerance).saturating_sub(now)
    }

    /// The theoretical arrival time after an event at `now`.
    #[must_use]
    pub fn after(self, arrival: Duration, now: Duration) -> Duration {
        arrival.max(now).saturating_add(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn per_second(count: u32) -> Rate {
        Rate { count, per: Duration::from_secs(1) }
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_interval() {
        let gcra = Gcra::new(per_second(10), 3);
        let mut arrival = Duration::ZERO;
        let now = MS(5_000);
        for (event, wait) in [0, 0, 0, 100, 200, 300].into_iter().enumerate() {
            let waited = gcra.wait(arrival, now);
            assert_eq!(waited, MS(wait), "event {event}");
            arrival = gcra.after(arrival, now + waited);
        }
    }

    #[test]
    fn the_table_of_waits() {
        // Rate a second, burst, arrival, now, wait; times in milliseconds.
        for (rate, burst, arrival, now, wait) in [
            (1, 1, 0, 0, 0),
            (1, 1, 1_000, 0, 1_000),
            (1, 1, 1_000, 999, 1),
            (1, 1, 1_000, 1_000, 0),
            (1, 2, 1_000, 0, 0),
            (1, 2, 2_000, 0, 1_000),
            (100, 1, 10, 5, 5),
            (1_000, 0, 1, 0, 1),
        ] {
            let gcra = Gcra::new(per_second(rate), burst);
            assert_eq!(gcra.wait(MS(arrival), MS(now)), MS(wait), "{rate}/s, {burst}: {arrival} at {now}");
        }
    }

    #[test]
    fn a_pause_fills_the_bucket_no_further_than_the_burst() {
        let gcra = Gcra::new(per_second(10), 2);
        let mut arrival = gcra.after(Duration::ZERO, Duration::ZERO);
        let later = MS(3_600_000);
        for wait in [0, 0, 100] {
            assert_eq!(gcra.wait(arrival, later), MS(wait));
            arrival = gcra.after(arrival, later + MS(wait));
        }
    }

    proptest! {
        /// In any stretch of time there are at most the burst and what the rate allows.
        #[test]
        fn no_stretch_of_time_sees_more_than_the_rate_and_the_burst(
            count in 1..2_000u32,
            burst in 1..50u32,
            gaps in proptest::collection::vec(0..5_000u64, 1..200),
        ) {
            let gcra = Gcra::new(per_second(count), burst);
            let (mut arrival, mut now) = (Duration::ZERO, Duration::ZERO);
            let mut times = Vec::new();
            for gap in gaps {
                now += Duration::from_micros(gap);
                now += gcra.wait(arrival, now);
                arrival = gcra.after(arrival, now);
                times.push(now);
            }
            for (first, begin) in times.iter().enumerate() {
                for (last, end) in times.iter().enumerate().skip(first) {
                    let allowed = (*end - *begin).as_nanos() / gcra.interval().as_nanos() + u128::from(burst);
                    prop_assert!((last - first + 1) as u128 <= allowed);
                }
            }
        }
    }
}
