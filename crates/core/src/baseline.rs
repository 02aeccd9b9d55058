//! How much somebody usually asks for, and whether what they ask for now is far beyond that.
//!
//! Two moving averages of the same rate: a short one, which says what it is now, and a long one, which says what is usual.
//! Both fade with time and grow with each request, so that they need no ticks and no windows. What is usual is only known
//! after a while: until then nothing is abnormal, and the long average is put right for being young.
//!
//! Instants are times since whatever origin the caller keeps.

use std::time::Duration;

/// The short average forgets two thirds in a minute.
const SHORT_S: f64 = 60.0;

/// The long one in a day, so that neither an hour nor a night becomes what is usual.
const LONG_S: f64 = 86_400.0;

/// Two in the time of the short average, in requests a second. Less than that is never abnormal: a single request, after
/// however long a silence, would be.
pub const BASELINE_AT_LEAST_MIN: f64 = 2.0 / SHORT_S;

/// What is abnormal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BaselinePolicy {
    /// How many times what is usual; more than one.
    pub factor: f64,
    /// Below so many requests a second nothing is.
    pub at_least: f64,
    /// For how long somebody has to be known before anything is.
    pub learn: Duration,
}

/// What is known of how much somebody asks for. It takes up 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// Requests a second, as of `at`.
    short: f64,
    /// Likewise, and too little while it is young.
    long: f64,
    began: Duration,
    at: Duration,
    is_abnormal: bool,
}

/// How a request compares with what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compared {
    /// It is.
    Usual,
    /// It is far beyond that.
    Abnormal {
        /// Whether that begins with it.
        begins: bool,
        /// How many requests a second there are now.
        rate: f64,
        /// How many are usual.
        usual: f64,
        /// In how long the same request is not abnormal any more, where none comes before.
        after: Duration,
    },
}

impl Baseline {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { short: 0.0, long: 0.0, began: now, at: now, is_abnormal: false }
    }

    /// Compares a request that comes at `now` with what is usual, and counts it. Where abnormal ones are `refused`, those
    /// are not counted: whoever is refused gets as much as is not abnormal yet. Until they calm down, what is usual stays
    /// as it is, so that they do not make usual what they are let through.
    pub fn compare(&mut self, policy: &BaselinePolicy, refused: bool, now: Duration) -> Compared {
        let is_held = refused && self.is_abnormal;
        self.fade(is_held, now);
        let (short, long) = (self.short + 1.0 / SHORT_S, self.long + 1.0 / LONG_S);
        let age = self.at.saturating_sub(self.began);
        if age < policy.learn || age.is_zero() {
            (self.short, self.long) = (short, long);
            return Compared::Usual;
        }
        let usual = self.long / (1.0 - (-age.as_secs_f64() / LONG_S).exp());
        let most = (usual * policy.factor).max(policy.at_least).max(BASELINE_AT_LEAST_MIN);
        if short <= most {
            self.short = short;
            if !is_held {
                self.long = long;
            }
            // Not as soon as it is a little less: else it would begin again and again.
            self.is_abnormal &= short > most / 2.0;
            return Compared::Usual;
        }
        if !refused {
            (self.short, self.long) = (short, long);
        }
        let begins = !self.is_abnormal;
        self.is_abnormal = true;
        let room = (most - 1.0 / SHORT_S).max(most / 2.0);
        let after = Duration::from_secs_f64((SHORT_S * (self.short / room).ln()).clamp(0.0, LONG_S));
        Compared::Abnormal { begins, rate: short, usual, after }
    }

    /// When the last request came.
    #[must_use]
    pub fn last(&self) -> Duration {
        self.at
    }

    fn fade(&mut self, is_held: bool, now: Duration) {
        // A clock that went back lets nothing fade until it has caught up.
        let elapsed = now.saturating_sub(self.at);
        self.short *= (-elapsed.as_secs_f64() / SHORT_S).exp();
        if is_held {
            // Neither less nor older.
            self.began += elapsed;
        } else {
            self.long *= (-elapsed.as_secs_f64() / LONG_S).exp();
        }
        self.at += elapsed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BaselinePolicy =
        BaselinePolicy { factor: 10.0, at_least: 1.0, learn: Duration::from_secs(3_600) };

    /// Somebody who asks evenly, and what they were told.
    struct Caller {
        baseline: Baseline,
        now: Duration,
        refused: bool,
    }

    #[derive(Debug, Default, PartialEq)]
    struct Told {
        usual: u32,
        abnormal: u32,
        begun: u32,
    }

    impl Caller {
        fn new(refused: bool) -> Self {
            let now = Duration::from_secs(1_000);
            Self { baseline: Baseline::new(now), now, refused }
        }

        fn asks(&mut self, a_minute: u32, minutes: u32) -> Told {
            let mut told = Told::default();
            for _ in 0..a_minute * minutes {
                self.now += Duration::from_secs(60) / a_minute;
                match self.baseline.compare(&POLICY, self.refused, self.now) {
                    Compared::Usual => told.usual += 1,
                    Compared::Abnormal { begins, .. } => {
                        told.abnormal += 1;
                        told.begun += u32::from(begins);
                    }
                }
            }
            told
        }
    }

    #[test]
    fn only_what_is_far_beyond_what_somebody_usually_asks_for_is_abnormal() {
        for (usual, then, expected) in [
            (10, 10, false),
            (10, 50, false),
            (10, 90, false),
            (10, 130, true),
            // Ten times as much, and yet little.
            (1, 55, false),
            (1, 80, true),
            // Many are nothing strange to whoever always asks for many.
            (600, 5_000, false),
            (600, 8_000, true),
        ] {
            let mut caller = Caller::new(false);
            assert_eq!(caller.asks(usual, 300).abnormal, 0, "{usual}");
            let told = caller.asks(then, 15);
            assert_eq!(told.abnormal > 0, expected, "{usual} a minute, then {then}: {told:?}");
            assert!(told.begun <= 1, "{told:?}");
        }
    }

    #[test]
    fn a_request_now_and_then_is_never_abnormal_however_little_is_usual() {
        let policy = BaselinePolicy { at_least: 0.0, factor: 2.0, ..POLICY };
        for refused in [false, true] {
            let mut now = Duration::from_secs(1_000);
            let mut baseline = Baseline::new(now);
            for _ in 0..50 {
                now += Duration::from_secs(3_000);
                assert_eq!(baseline.compare(&policy, refused, now), Compared::Usual);
            }
        }
    }

    #[test]
    fn nothing_is_abnormal_before_somebody_is_known() {
        let mut caller = Caller::new(false);
        assert_eq!(caller.asks(10_000, 59).abnormal, 0);
        let mut sudden = Caller::new(false);
        assert_eq!(sudden.asks(1, 30).abnormal, 0);
        assert_eq!(sudden.asks(1_000, 29).abnormal, 0);
    }

    #[test]
    fn who_is_refused_gets_about_as_much_as_is_not_abnormal_yet() {
        let mut caller = Caller::new(true);
        caller.asks(10, 600);
        let told = caller.asks(1_000, 60);
        let a_minute = told.usual / 60;
        assert!((95..=110).contains(&a_minute), "{a_minute}");
        assert_eq!(told.begun, 1);
        // What was refused has not become usual.
        assert!(caller.asks(1_000, 60).abnormal > 50_000);
    }

    #[test]
    fn it_ends_when_they_calm_down_and_may_begin_again() {
        let mut caller = Caller::new(false);
        caller.asks(10, 600);
        assert_eq!(caller.asks(300, 10).begun, 1);
        assert_eq!(caller.asks(10, 30).begun, 0);
        assert_eq!(caller.asks(300, 10).begun, 1);
    }

    #[test]
    fn what_goes_on_becomes_usual_where_it_is_not_refused() {
        let mut caller = Caller::new(false);
        caller.asks(10, 600);
        assert!(caller.asks(300, 60).abnormal > 0);
        let day = caller.asks(300, 24 * 60);
        assert!(day.abnormal < 60 * 300, "{day:?}");
    }

    #[test]
    fn whoever_waits_as_long_as_is_said_is_not_abnormal() {
        let mut caller = Caller::new(true);
        caller.asks(10, 600);
        caller.asks(1_000, 10);
        loop {
            caller.now += Duration::from_millis(1);
            let Compared::Abnormal { after, .. } = caller.baseline.compare(&POLICY, true, caller.now) else {
                continue;
            };
            assert!(after > Duration::ZERO && after < Duration::from_secs(60), "{after:?}");
            caller.now += after + Duration::from_millis(1);
            assert_eq!(caller.baseline.compare(&POLICY, true, caller.now), Compared::Usual);
            break;
        }
    }

    #[test]
    fn a_clock_that_goes_back_breaks_nothing() {
        let mut caller = Caller::new(false);
        caller.asks(10, 600);
        let back = caller.now - Duration::from_secs(3_600);
        assert_eq!(caller.baseline.compare(&POLICY, false, back), Compared::Usual);
        assert_eq!(caller.baseline.last(), caller.now);
    }

    #[test]
    fn it_takes_up_little() {
        assert!(size_of::<Baseline>() <= 56, "{}", size_of::<Baseline>());
    }
}
