//! A version of an API on its way out: since when it is deprecated, when it is switched off for a while so that whoever
//! still calls it notices, and when it is gone. What holds at an instant is decided here; the instant comes in as a fact.

use std::time::Duration;

use crate::Timestamp;

/// How many windows that follow each other without a gap are taken for one.
const WINDOWS_JOINED_MAX: usize = 64;

/// When a version is switched off for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brownout {
    /// Once, from an instant until just before another.
    Once {
        /// The first instant of it.
        from: Timestamp,
        /// The first instant after it.
        until: Timestamp,
    },
    /// Again and again.
    Repeated {
        /// When the first one begins.
        from: Timestamp,
        /// None is there from then on.
        until: Option<Timestamp>,
        /// From the beginning of one to that of the next.
        every: Duration,
        /// How long each takes; less than `every`.
        lasts: Duration,
    },
}

impl Brownout {
    /// The end of the window that `now` is in, if it is in one.
    #[must_use]
    pub fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        match *self {
            Self::Once { from, until } => (from <= now && now < until).then_some(until),
            Self::Repeated { from, until, every, lasts } => {
                if now < from || until.is_some_and(|until| now >= until) || every.is_zero() {
                    return None;
                }
                let since_first = now.since(from);
                // Milliseconds of a time that a timestamp holds.
                let into = Duration::from_millis((since_first.as_millis() % every.as_millis().max(1)) as u64);
                let end = now.after(lasts.checked_sub(into).filter(|left| !left.is_zero())?);
                Some(until.map_or(end, |until| end.min(until)))
            }
        }
    }
}

/// What is said of a version's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Since when it is deprecated, or from when on it will be.
    pub deprecated: Option<Timestamp>,
    /// When it is expected to stop being served.
    pub sunset: Option<Timestamp>,
    /// Whether nothing of it is served after that.
    pub gone: bool,
    /// When it is switched off for a while before that.
    pub brownouts: Vec<Brownout>,
}

/// How a version stands at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is served.
    Yes,
    /// It is switched off for a while.
    NotUntil(Timestamp),
    /// It is switched off, and gone before it would be served again.
    NoMore,
}

impl Lifecycle {
    /// Whether the version is served at `now`. Brownouts that overlap or follow each other at once count as one.
    #[must_use]
    pub fn served(&self, now: Timestamp) -> Served {
        let gone_from = self.sunset.filter(|_| self.gone);
        if gone_from.is_some_and(|from| now >= from) {
            return Served::NoMore;
        }
        let latest_end = |at| self.brownouts.iter().filter_map(|brownout| brownout.ends(at)).max();
        let Some(mut end) = latest_end(now) else { return Served::Yes };
        for _ in 0..WINDOWS_JOINED_MAX {
            match latest_end(end) {
                Some(later) => end = later,
                None => break,
            }
        }
        if gone_from.is_some_and(|from| end >= from) { Served::NoMore } else { Served::NotUntil(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn once(from: i64, until: i64) -> Brownout {
        Brownout::Once { from: at(from), until: at(until) }
    }

    fn repeated(from: i64, until: Option<i64>, every: u64, lasts: u64) -> Brownout {
        let (every, lasts) = (Duration::from_secs(every), Duration::from_secs(lasts));
        Brownout::Repeated { from: at(from), until: until.map(at), every, lasts }
    }

    #[test]
    fn a_window_has_its_first_instant_and_not_its_last() {
        let window = once(100, 200);
        for (now, ends) in [(99, None), (100, Some(200)), (199, Some(200)), (200, None)] {
            assert_eq!(window.ends(at(now)), ends.map(at), "{now}");
        }
    }

    #[test]
    fn a_repeated_window_comes_again_and_is_cut_off_where_it_ends_for_good() {
        let window = repeated(100, Some(1_105), 100, 10);
        for (now, ends) in [
            (0, None),
            (100, Some(110)),
            (109, Some(110)),
            (110, None),
            (199, None),
            (200, Some(210)),
            (1_000, Some(1_010)),
            (1_100, Some(1_105)),
            (1_105, None),
            (1_200, None),
        ] {
            assert_eq!(window.ends(at(now)), ends.map(at), "{now}");
        }
        assert_eq!(repeated(0, None, 100, 10).ends(at(100_000_000_005)), Some(at(100_000_000_010)));
        assert_eq!(repeated(0, None, 0, 0).ends(at(5)), None);
        let extremes = repeated(i64::MIN / 1_000, None, 7, 3);
        let _ = extremes.ends(Timestamp::from_millis(i64::MAX));
    }

    #[test]
    fn windows_that_overlap_or_touch_are_one() {
        let brownouts = vec![once(100, 200), once(150, 300), once(300, 400), once(500, 600)];
        let lifecycle = Lifecycle { brownouts, ..Lifecycle::default() };
        assert_eq!(lifecycle.served(at(99)), Served::Yes);
        assert_eq!(lifecycle.served(at(100)), Served::NotUntil(at(400)));
        assert_eq!(lifecycle.served(at(399)), Served::NotUntil(at(400)));
        assert_eq!(lifecycle.served(at(400)), Served::Yes);
    }

    #[test]
    fn windows_that_cover_everything_between_them_are_an_answer_too() {
        let brownouts = vec![repeated(0, None, 10, 6), repeated(5, None, 10, 6)];
        let lifecycle = Lifecycle { brownouts, ..Lifecycle::default() };
        assert!(matches!(lifecycle.served(at(3)), Served::NotUntil(end) if end > at(100)));
    }

    #[test]
    fn after_its_sunset_it_is_gone_only_where_that_is_said() {
        let mut lifecycle = Lifecycle {
            deprecated: Some(at(100)),
            sunset: Some(at(1_000)),
            gone: false,
            brownouts: vec![once(900, 1_100)],
        };
        assert_eq!(lifecycle.served(at(899)), Served::Yes);
        assert_eq!(lifecycle.served(at(950)), Served::NotUntil(at(1_100)));
        assert_eq!(lifecycle.served(at(1_200)), Served::Yes);
        lifecycle.gone = true;
        assert_eq!(lifecycle.served(at(950)), Served::NoMore, "it does not come back from this brownout");
        assert_eq!(lifecycle.served(at(999)), Served::NoMore);
        assert_eq!(lifecycle.served(at(1_200)), Served::NoMore);
        assert_eq!(lifecycle.served(at(899)), Served::Yes);
    }
}
