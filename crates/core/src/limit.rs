//! Limits on how much one caller may ask for: what a limit says, how one key's count stands, and what a request that
//! comes now is told. Several limits are asked one after the other, and only where all of them allow a request is
//! each charged: asking and charging are two steps.
//!
//! Instants are times since 1970, on a clock that whoever counts keeps: windows lie on its days and hours.

mod bucket;
mod digest;
mod fixed_window;
mod period;
mod places;
mod sliding_window;

use std::time::Duration;

use bucket::Bucket;
pub use digest::LimitDigest;
use fixed_window::FixedWindow;
pub use period::Period;
use places::Places;
use sliding_window::SlidingWindow;

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitAlgorithm {
    /// So many at an even pace, of which some may come at once after a pause. In any stretch of time there are no more
    /// than the burst and what the rate allows in it.
    TokenBucket,
    /// So many at an even pace, and what comes sooner waits for its turn, as long as its deadline lets it.
    LeakyBucket,
    /// So many in each period of the clock. Round the edge between two periods there may be twice as many.
    FixedWindow,
    /// No more than so many in any stretch of time as long as the period, wherever it begins.
    SlidingWindow,
    /// So many at once.
    Concurrency,
}

/// How much a limit allows one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How it counts.
    pub algorithm: LimitAlgorithm,
    /// How much in a period, or how much at once where it limits concurrency; at least one.
    pub count: u64,
    /// In which time. Not looked at where it limits concurrency.
    pub period: Period,
    /// How much may come at once: of a token bucket after a pause, of a leaky one with what waits. At least one. Not
    /// looked at elsewhere.
    pub burst: u64,
}

impl Quota {
    /// The most that a request may cost, or could ever be let through.
    #[must_use]
    pub fn cost_max(&self) -> u64 {
        match self.algorithm {
            LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket => self.burst,
            LimitAlgorithm::FixedWindow | LimitAlgorithm::SlidingWindow | LimitAlgorithm::Concurrency => {
                self.count
            }
        }
    }

    /// The same with so many times as much.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        let times = |much: u64| ((much as f64 * factor) as u64).max(1);
        Self { count: times(self.count), burst: times(self.burst), ..self }
    }
}

/// What a limit says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitDecision {
    /// It may go.
    Allowed {
        /// How much is left after it.
        remaining: u64,
        /// In how long nothing of it will count any more.
        reset: Duration,
        /// How long it has to wait for its turn; zero but for a leaky bucket.
        wait: Duration,
    },
    /// It may not.
    Refused {
        /// How much is left: less than it costs.
        remaining: u64,
        /// In how long the same request could go; `None` where it costs more than there ever is.
        after: Option<Duration>,
    },
}

impl LimitDecision {
    /// Whether the request may go.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// How one key's count stands. It fits any quota: one that was changed goes on with what was counted, as long as it
/// counts in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitState(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bucket(Bucket),
    Fixed(FixedWindow),
    Sliding(SlidingWindow),
    Places(Places),
}

impl LimitState {
    /// Nothing was counted yet.
    #[must_use]
    pub fn new(algorithm: LimitAlgorithm) -> Self {
        Self(match algorithm {
            LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket => Kind::Bucket(Bucket::default()),
            LimitAlgorithm::FixedWindow => Kind::Fixed(FixedWindow::default()),
            LimitAlgorithm::SlidingWindow => Kind::Sliding(SlidingWindow::default()),
            LimitAlgorithm::Concurrency => Kind::Places(Places::default()),
        })
    }

    /// What a request of this `cost` is told at `now`; it is not charged. A cost of nothing asks whether anything is left:
    /// what it costs will be known later. A leaky bucket lets none wait longer than `wait_max`.
    #[must_use]
    pub fn ask(&mut self, quota: &Quota, cost: u64, wait_max: Duration, now: Duration) -> LimitDecision {
        // What was counted in another way means nothing.
        if !self.suits(quota.algorithm) {
            *self = Self::new(quota.algorithm);
        }
        match &mut self.0 {
            Kind::Bucket(bucket) => bucket.ask(quota, cost, wait_max, now),
            Kind::Fixed(window) => window.ask(quota, cost, now),
            Kind::Sliding(window) => window.ask(quota, cost, now),
            Kind::Places(places) => places.ask(quota, cost),
        }
    }

    /// Charges `cost`, whether or not so much is left: what is known after the answer only may overdraw.
    pub fn charge(&mut self, quota: &Quota, cost: u64, now: Duration) {
        // Whatever was asked in another way than it counts by now means nothing to it.
        if !self.suits(quota.algorithm) {
            return;
        }
        match &mut self.0 {
            Kind::Bucket(bucket) => bucket.charge(quota, cost, now),
            Kind::Fixed(window) => window.charge(quota, cost, now),
            Kind::Sliding(window) => window.charge(quota, cost, now),
            Kind::Places(places) => places.charge(cost),
        }
    }

    /// Gives back `cost` that was charged, or a place.
    pub fn give_back(&mut self, quota: &Quota, cost: u64, now: Duration) {
        // Whatever was asked in another way than it counts by now means nothing to it.
        if !self.suits(quota.algorithm) {
            return;
        }
        match &mut self.0 {
            Kind::Bucket(bucket) => bucket.give_back(quota, cost, now),
            Kind::Fixed(window) => window.give_back(quota, cost, now),
            Kind::Sliding(window) => window.give_back(quota, cost, now),
            Kind::Places(places) => places.give_back(cost),
        }
    }

    /// From when on the state says no more than a new one; `None`: not before something is given back.
    #[must_use]
    pub fn idle_at(&self, quota: &Quota) -> Option<Duration> {
        match &self.0 {
            Kind::Bucket(bucket) => Some(bucket.idle_at(quota)),
            Kind::Fixed(window) => Some(window.idle_at(quota)),
            Kind::Sliding(window) => Some(window.idle_at(quota)),
            Kind::Places(places) => places.is_idle().then_some(Duration::ZERO),
        }
    }

    /// Whether it counts in this way.
    fn suits(&self, algorithm: LimitAlgorithm) -> bool {
        match algorithm {
            LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket => matches!(self.0, Kind::Bucket(_)),
            LimitAlgorithm::FixedWindow => matches!(self.0, Kind::Fixed(_)),
            LimitAlgorithm::SlidingWindow => matches!(self.0, Kind::Sliding(_)),
            LimitAlgorithm::Concurrency => matches!(self.0, Kind::Places(_)),
        }
    }
}

/// A time in nanoseconds; the far end, some 580 years on, where it is longer.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// `dividend / divisor` nanoseconds, rounded up: nobody is told to come too early.
fn nanos_up(dividend: u128, divisor: u64) -> Duration {
    let divisor = divisor.max(1);
    // Mostly it is small, and a division in 128 bits is not.
    Duration::from_nanos(match u64::try_from(dividend) {
        Ok(dividend) => dividend.div_ceil(divisor),
        Err(_) => u64::try_from(dividend.div_ceil(u128::from(divisor))).unwrap_or(u64::MAX),
    })
}
