//! Peak EWMA: what a call to an endpoint costs, as a moving average of latencies that believes bad news at once and
//! good news by and by.
//!
//! As in Finagle and Linkerd: a sample above the average becomes the average; one below it moves the average the less,
//! the shorter ago the last one was; without samples the average fades, so that what was slow once is tried again.

use std::time::Duration;

/// After that time a sample weighs `1/e` of what it did: half of it after 7 s.
const DECAY: Duration = Duration::from_secs(10);

/// What a call costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PeakEwma {
    /// In seconds, at `at`; nothing before the first sample.
    cost: Option<f64>,
    /// Since some origin.
    at: Duration,
}

impl PeakEwma {
    /// A call took so long.
    pub fn observe(&mut self, took: Duration, now: Duration) {
        let (took, left) = (took.as_secs_f64(), self.left(now));
        self.cost = Some(match self.cost {
            Some(cost) if took < cost * left => cost * left + took * (1.0 - left),
            _ => took,
        });
        self.at = self.at.max(now);
    }

    /// What a call costs now, in seconds; nothing while nobody knows.
    #[must_use]
    pub fn cost(&self, now: Duration) -> Option<f64> {
        self.cost.map(|cost| cost * self.left(now))
    }

    /// How much of the average is left.
    fn left(&self, now: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn bad_news_is_believed_at_once_and_good_news_by_and_by() {
        let mut cost = PeakEwma::default();
        assert_eq!(cost.cost(ms(0)), None);
        cost.observe(ms(10), ms(0));
        assert_eq!(cost.cost(ms(0)), Some(0.010));
        cost.observe(ms(500), ms(100));
        assert_eq!(cost.cost(ms(100)), Some(0.5));
        let mut before = 0.5;
        for step in 1..=40 {
            let now = ms(100 + step * 1_000);
            cost.observe(ms(10), now);
            let after = cost.cost(now).expect("known");
            assert!(after < before && after >= 0.010, "{after} after {before}");
            before = after;
        }
        assert!(before < 0.03, "{before}");
    }

    #[test]
    fn without_news_it_fades_by_half_in_seven_seconds() {
        let mut cost = PeakEwma::default();
        cost.observe(ms(1_000), ms(5));
        let later = cost.cost(ms(5 + 6_931)).expect("known");
        assert!((later - 0.5).abs() < 0.001, "{later}");
    }

    #[test]
    fn what_comes_late_turns_no_clock_back() {
        let mut cost = PeakEwma::default();
        cost.observe(ms(100), ms(1_000));
        cost.observe(ms(50), ms(900));
        assert_eq!(cost.cost(ms(1_000)), Some(0.1));
    }
}
