//! How many requests an upstream is given at once, found out from how long it takes: Gradient2, after Netflix's
//! `concurrency-limits`.
//!
//! A service that is given more than it can do at once makes its requests wait, and so takes longer than it usually
//! does. The limit grows by a few while the answers of the last moments come about as fast as usual, and shrinks in
//! the proportion in which they come slower. Nothing is probed: no request is refused to find something out.
//!
//! One thing is different from the original, where *usual* is a plain average of everything: under a load that lasts,
//! what is slow becomes usual after some minutes, and the limit climbs for as long as the load lasts. Here the usual
//! time follows what is slower only while the limit is not what holds the load back, or cannot go lower; otherwise only what is faster.

use std::time::Duration;

/// How a limit is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientPolicy {
    /// The limit is never less; it starts there.
    pub min: u32,
    /// The limit is never more.
    pub max: u32,
}

impl Default for GradientPolicy {
    /// 20 to 200.
    fn default() -> Self {
        Self { min: 20, max: 200 }
    }
}

impl GradientPolicy {
    /// The bounds as they are kept: at least one, the least not above the most.
    fn bounds(self) -> (f64, f64) {
        let max = self.max.max(1);
        (f64::from(self.min.clamp(1, max)), f64::from(max))
    }
}

/// How much of the way to its new value the limit goes at once.
const SMOOTHING: f64 = 0.2;
/// Over how many windows the usual time is averaged.
const LONG_WINDOW: f64 = 600.0;
/// Of how many windows the usual time is a plain average at first.
const WARM_UP: u32 = 10;
/// How much longer than usual answers may take before the limit shrinks.
const TOLERANCE: f64 = 1.5;
/// By how much it may shrink at once, before smoothing.
const GRADIENT_MIN: f64 = 0.5;
/// How long samples are gathered into one window at the least, and how many of them there are in it at the least.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOW_SAMPLES_MIN: u32 = 10;
/// A window that has too few samples by then is given up: they say nothing of the same moment.
const WINDOW_MAX: Duration = Duration::from_secs(10);

/// What one request tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When its answer came, since whatever origin the caller keeps.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// How many were under way when it was sent, itself among them.
    pub in_flight: u32,
}

/// The limit and what it was learned from.
#[derive(Clone, Debug)]
pub struct Gradient {
    policy: GradientPolicy,
    limit: f64,
    /// The usual time, in seconds; zero before there is any.
    usual: f64,
    windows: u32,
    window: Window,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Duration,
    samples: u32,
    took_sum: f64,
    in_flight_max: u32,
}

impl Gradient {
    /// One that has learned nothing: its limit is the least.
    #[must_use]
    pub fn new(policy: GradientPolicy) -> Self {
        let (limit, _) = policy.bounds();
        Self { policy, limit, usual: 0.0, windows: 0, window: Window::default() }
    }

    /// How many may be under way at once.
    #[must_use]
    pub fn limit(&self) -> u32 {
        // At least one and at most a u32: see `learn`.
        self.limit as u32
    }

    /// Learns from one request; says the new limit where a window came to its end.
    pub fn sample(&mut self, sample: Sample) -> Option<u32> {
        let window = &mut self.window;
        let age = sample.at.saturating_sub(window.began);
        if window.samples == 0 || age > WINDOW_MAX {
            *window = Window { began: sample.at, ..Window::default() };
        }
        window.samples += 1;
        window.took_sum += sample.took.as_secs_f64();
        window.in_flight_max = window.in_flight_max.max(sample.in_flight);
        if window.samples < WINDOW_SAMPLES_MIN || sample.at.saturating_sub(window.began) < WINDOW {
            return None;
        }
        let ended = std::mem::take(window);
        self.learn(ended.took_sum / f64::from(ended.samples), ended.in_flight_max);
        Some(self.limit())
    }

    /// Learns from a window: `took` is the mean time of its requests in seconds.
    fn learn(&mut self, took: f64, in_flight_max: u32) {
        let took = took.max(1e-9);
        let (min, max) = self.policy.bounds();
        let is_used = f64::from(in_flight_max) >= self.limit / 2.0;
        let at_least = self.limit < min + 1.0;
        self.windows = self.windows.saturating_add(1);
        if self.windows == 1 {
            self.usual = took;
        } else if !is_used || at_least || took < self.usual {
            let over = if self.windows <= WARM_UP { f64::from(self.windows) } else { LONG_WINDOW };
            let share = 2.0 / (over + 1.0);
            self.usual += (took - self.usual) * share;
        }
        // After a bad time that the average took in, what is usual comes down again quickly.
        if self.usual > 2.0 * took {
            self.usual *= 0.95;
        }
        if !is_used {
            return;
        }
        let gradient = (TOLERANCE * self.usual / took).clamp(GRADIENT_MIN, 1.0);
        // What may always wait: a larger limit may go up by more.
        let room = self.limit.sqrt();
        let new = self.limit * gradient + room;
        self.limit = (self.limit + (new - self.limit) * SMOOTHING).clamp(min, max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An upstream that does `capacity` requests at once, each in `service`; more of them share it evenly.
    struct Upstream {
        capacity: u32,
        service: Duration,
    }

    impl Upstream {
        fn took(&self, in_flight: u32) -> Duration {
            self.service.mul_f64((f64::from(in_flight) / f64::from(self.capacity)).max(1.0))
        }
    }

    /// Lets callers that want `wanted` at once go on for `time`, as far as the limit lets them; says the highest and
    /// the lowest limit of the second half.
    fn run(
        gradient: &mut Gradient,
        upstream: &Upstream,
        wanted: u32,
        from: Duration,
        time: Duration,
    ) -> (u32, u32) {
        let mut now = from;
        let (mut lowest, mut highest) = (u32::MAX, 0);
        while now < from + time {
            let in_flight = wanted.min(gradient.limit());
            let took = upstream.took(in_flight);
            // What comes in between says the same.
            now += STEP;
            gradient.sample(Sample { at: now, took, in_flight });
            if now > from + time / 2 {
                lowest = lowest.min(gradient.limit());
                highest = highest.max(gradient.limit());
            }
        }
        (lowest, highest)
    }

    const STEP: Duration = Duration::from_millis(10);
    const MINUTE: Duration = Duration::from_secs(60);

    fn learned() -> Gradient {
        Gradient::new(GradientPolicy { min: 5, max: 1_000 })
    }

    #[test]
    fn settles_near_what_a_queueing_upstream_can_do_and_stays_there_for_an_hour() {
        for (capacity, service_ms) in [(10, 5), (50, 20), (100, 100), (300, 2)] {
            let upstream = Upstream { capacity, service: Duration::from_millis(service_ms) };
            let mut gradient = learned();
            let (lowest, highest) = run(&mut gradient, &upstream, 10_000, Duration::ZERO, 60 * MINUTE);
            assert!(lowest >= capacity, "{capacity}: it starves at {lowest}");
            let took = upstream.took(highest);
            let bound = upstream.service.mul_f64(2.2);
            assert!(took <= bound, "{capacity}: {highest} at once take {took:?}");
        }
    }

    #[test]
    fn a_load_that_does_not_need_the_limit_does_not_move_it() {
        let upstream = Upstream { capacity: 50, service: Duration::from_millis(20) };
        let mut gradient = learned();
        run(&mut gradient, &upstream, 10_000, Duration::ZERO, 5 * MINUTE);
        let found = gradient.limit();
        run(&mut gradient, &upstream, 2, 5 * MINUTE, 60 * MINUTE);
        // What was under way when the load went ends one window more.
        assert!(gradient.limit().abs_diff(found) <= 2, "{found} became {} in an hour", gradient.limit());
        // And what comes after it is served as well as before.
        let (lowest, _) = run(&mut gradient, &upstream, 10_000, 70 * MINUTE, MINUTE);
        assert!(lowest >= 50, "{lowest}");
    }

    #[test]
    fn an_upstream_that_becomes_slow_is_given_less_and_gets_it_back() {
        let well = Upstream { capacity: 100, service: Duration::from_millis(20) };
        let ill = Upstream { capacity: 20, service: Duration::from_millis(20) };
        let mut gradient = learned();
        let (before, _) = run(&mut gradient, &well, 10_000, Duration::ZERO, 5 * MINUTE);
        let (_, during) = run(&mut gradient, &ill, 10_000, 5 * MINUTE, MINUTE);
        assert!(during < before / 2, "{before} became {during}");
        let (after, _) = run(&mut gradient, &well, 10_000, 6 * MINUTE, 5 * MINUTE);
        assert!(after >= 100, "{after}");
    }

    #[test]
    fn an_upstream_that_hangs_is_given_the_least() {
        let mut gradient = learned();
        let upstream = Upstream { capacity: 50, service: Duration::from_millis(20) };
        run(&mut gradient, &upstream, 10_000, Duration::ZERO, 5 * MINUTE);
        for second in 0..1_000 {
            let in_flight = gradient.limit();
            let at = 5 * MINUTE + Duration::from_millis(second * 300);
            gradient.sample(Sample { at, took: Duration::from_secs(30), in_flight });
        }
        assert_eq!(gradient.limit(), 5);
    }

    #[test]
    fn the_limit_stays_within_its_bounds_whatever_is_measured() {
        for (min, max) in [(1, 1), (20, 200), (0, 0), (10, 5)] {
            let mut gradient = Gradient::new(GradientPolicy { min, max });
            for number in 0..20_000_u32 {
                let took = Duration::from_nanos(u64::from(number.wrapping_mul(2_654_435_761)));
                let at = Duration::from_millis(u64::from(number) * 20);
                gradient.sample(Sample { at, took, in_flight: number % 300 });
                let limit = gradient.limit();
                assert!((1..=max.max(1)).contains(&limit), "{min} to {max}: {limit}");
            }
        }
    }

    #[test]
    fn few_samples_move_nothing() {
        let mut gradient = learned();
        for second in 0..1_000 {
            let at = Duration::from_secs(second * 2);
            assert_eq!(gradient.sample(Sample { at, took: Duration::from_secs(1), in_flight: 5 }), None);
        }
    }
}
