//! When the next call to an upstream may go: at the rate that was agreed on, and as its own answers ask for. Those may
//! stop all calls for a time, or ask for what is left of a quota to be spread. After a stop the calls come back one by
//! one, faster and faster, so that not all that waited fall upon it at once.
//!
//! Instants are times since whatever origin the caller keeps.

use std::time::Duration;

use crate::{Allowance, Gcra};

/// The longest time that an upstream's word stops all calls to it.
pub const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A quota of which no more is left than this is spread over the time until there is more.
const SPREAD_REMAINING_MAX: u64 = 10;

/// The gap behind the first call after a stop; each one after it is by a tenth shorter, until it is not worth
/// waiting for. All of them together take a second.
const GAP_AFTER_PAUSE: Duration = Duration::from_millis(100);
const GAP_SHRINKS_TO: f64 = 0.9;
const GAP_MIN: Duration = Duration::from_millis(1);

/// When calls may go.
#[derive(Clone, Debug)]
pub struct Pace {
    gcra: Option<Gcra>,
    /// The theoretical arrival time of the rate.
    arrival: Duration,
    /// No call goes earlier, whatever the rate says.
    not_before: Duration,
    gaps: Gaps,
}

/// What is between two calls beside the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gaps {
    None,
    /// They come back after a stop.
    Shrinking(Duration),
    /// What is left of a quota is spread.
    Even {
        gap: Duration,
        until: Duration,
    },
}

impl Pace {
    /// A pace that keeps a rate, or none.
    #[must_use]
    pub fn new(gcra: Option<Gcra>) -> Self {
        Self { gcra, arrival: Duration::ZERO, not_before: Duration::ZERO, gaps: Gaps::None }
    }

    /// How long the next call has to wait.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        let by_rate = self.gcra.map_or(Duration::ZERO, |gcra| gcra.wait(self.arrival, now));
        by_rate.max(self.not_before.saturating_sub(now))
    }

    /// How long a call has to wait that comes behind `ahead` others, as far as it can be told.
    #[must_use]
    pub fn wait_behind(&self, ahead: u32, now: Duration) -> Duration {
        let by_rate = self.gcra.map_or(Duration::ZERO, |gcra| {
            let start = self.arrival.max(self.not_before).max(now);
            let arrival = start.saturating_add(gcra.interval().saturating_mul(ahead));
            gcra.wait(arrival, now)
        });
        let by_gaps = match self.gaps {
            Gaps::None => Duration::ZERO,
            // A geometric series.
            Gaps::Shrinking(gap) => gap.mul_f64(
                (1.0 - GAP_SHRINKS_TO.powi(i32::try_from(ahead).unwrap_or(i32::MAX)))
                    / (1.0 - GAP_SHRINKS_TO),
            ),
            Gaps::Even { gap, until } => gap.saturating_mul(ahead).min(until.saturating_sub(now)),
        };
        by_rate.max(self.not_before.saturating_sub(now).saturating_add(by_gaps))
    }

    /// A call goes.
    pub fn go(&mut self, now: Duration) {
        if let Some(gcra) = self.gcra {
            self.arrival = gcra.after(self.arrival, now);
        }
        self.gaps = match self.gaps {
            Gaps::None => return,
            Gaps::Shrinking(gap) => {
                self.not_before = self.not_before.max(now.saturating_add(gap));
                let shorter = gap.mul_f64(GAP_SHRINKS_TO);
                if shorter < GAP_MIN { Gaps::None } else { Gaps::Shrinking(shorter) }
            }
            Gaps::Even { until, .. } if now >= until => Gaps::None,
            Gaps::Even { gap, until } => {
                self.not_before = self.not_before.max(now.saturating_add(gap).min(until));
                self.gaps
            }
        };
    }

    /// Stops all calls for `time`, [`PAUSE_MAX`] at most; says by how much longer they are stopped than they were.
    pub fn pause(&mut self, time: Duration, now: Duration) -> Duration {
        let until = now.saturating_add(time.min(PAUSE_MAX));
        let longer = until.saturating_sub(self.not_before.max(now));
        if longer > Duration::ZERO {
            self.not_before = until;
            self.gaps = Gaps::Shrinking(GAP_AFTER_PAUSE);
        }
        longer
    }

    /// Takes in what is left of a quota; says by how much longer calls are stopped than they were.
    pub fn heed(&mut self, left: Allowance, now: Duration) -> Duration {
        let reset = left.reset.min(PAUSE_MAX);
        if left.remaining == 0 {
            return self.pause(reset, now);
        }
        let is_stopped = self.not_before > now && matches!(self.gaps, Gaps::Shrinking(_));
        if left.remaining > SPREAD_REMAINING_MAX {
            // There is plenty again.
            if matches!(self.gaps, Gaps::Even { .. }) {
                self.gaps = Gaps::None;
                self.not_before = now;
            }
        } else if !is_stopped && !reset.is_zero() {
            let gap = reset / u32::try_from(left.remaining).unwrap_or(u32::MAX);
            self.gaps = Gaps::Even { gap, until: now.saturating_add(reset) };
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(rate: u32, burst: u32) -> Pace {
        Pace::new(Some(Gcra::new(Rate { count: rate, per: Duration::from_secs(1) }, burst)))
    }

    /// The instants, in milliseconds, at which `calls` go that all wait since `now`; each was told its wait before.
    fn instants(pace: &mut Pace, now: Duration, calls: u32) -> Vec<u64> {
        let told: Vec<_> = (0..calls).map(|ahead| pace.wait_behind(ahead, now)).collect();
        let mut at = now;
        let go = told.iter().map(|told| {
            at += pace.wait(at);
            pace.go(at);
            let error = (at - now).abs_diff(*told);
            // The last gaps are too short to be kept: all of them together are these.
            assert!(error < MS(12), "told {told:?}, went after {:?}", at - now);
            (at - now).as_millis() as u64
        });
        go.collect()
    }

    #[test]
    fn the_rate_spaces_calls_behind_the_burst() {
        assert_eq!(instants(&mut at(10, 1), MS(50), 4), [0, 100, 200, 300]);
        assert_eq!(instants(&mut at(10, 3), MS(50), 5), [0, 0, 0, 100, 200]);
        assert_eq!(instants(&mut Pace::new(None), MS(50), 3), [0, 0, 0]);
    }

    #[test]
    fn a_pause_stops_all_and_they_come_back_one_by_one() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.pause(MS(2_000), MS(100)), MS(2_000));
        assert_eq!(pace.wait(MS(100)), MS(2_000));
        assert_eq!(instants(&mut pace, MS(1_100), 4), [1_000, 1_100, 1_190, 1_271]);
        // After a second or so nothing is between them any more.
        let all = instants(&mut pace, MS(3_000), 200);
        assert!(all[199] < 1_000 && all[198] == all[199], "{all:?}");
        assert_eq!(instants(&mut pace, MS(9_000), 3), [0, 0, 0]);
    }

    #[test]
    fn a_pause_is_never_shortened_and_never_longer_than_five_minutes() {
        let mut pace = Pace::new(None);
        pace.pause(MS(2_000), MS(0));
        assert_eq!(pace.pause(MS(500), MS(100)), Duration::ZERO);
        assert_eq!(pace.wait(MS(100)), MS(1_900));
        assert_eq!(pace.pause(MS(3_000), MS(100)), MS(1_100));
        assert_eq!(pace.pause(Duration::MAX, MS(100)), PAUSE_MAX - MS(3_000));
    }

    #[test]
    fn what_comes_back_keeps_the_rate() {
        let mut pace = at(10, 1);
        pace.pause(MS(1_000), MS(0));
        assert_eq!(instants(&mut pace, MS(0), 3), [1_000, 1_100, 1_200]);
    }

    #[test]
    fn what_is_left_of_a_quota_is_spread_or_waited_for() {
        let left = |remaining, ms| Allowance { remaining, reset: MS(ms) };
        let mut pace = Pace::new(None);
        pace.heed(left(4, 2_000), MS(0));
        assert_eq!(instants(&mut pace, MS(0), 4), [0, 500, 1_000, 1_500]);
        // Beyond the reset the quota is another one.
        assert_eq!(pace.wait(MS(2_000)), Duration::ZERO);
        pace.go(MS(2_000));
        assert_eq!(pace.wait(MS(2_000)), Duration::ZERO);
        // Nothing left.
        assert_eq!(pace.heed(left(0, 3_000), MS(2_000)), MS(3_000));
        // An answer that was on its way says that something was left.
        pace.heed(left(1, 3_000), MS(2_010));
        assert_eq!(pace.wait(MS(2_010)), MS(2_990));
        // Plenty changes nothing.
        let mut pace = Pace::new(None);
        pace.heed(left(11, 60_000), MS(0));
        assert_eq!(instants(&mut pace, MS(0), 3), [0, 0, 0]);
    }

    #[test]
    fn plenty_ends_the_spreading() {
        let mut pace = Pace::new(None);
        pace.heed(Allowance { remaining: 1, reset: MS(10_000) }, MS(0));
        pace.go(MS(0));
        assert_eq!(pace.wait(MS(1)), MS(9_999));
        pace.heed(Allowance { remaining: 1_000, reset: MS(10_000) }, MS(2));
        assert_eq!(pace.wait(MS(2)), Duration::ZERO);
    }
}
