//! When a schedule ticks: at the times that a crontab expression names in a time zone, or once in each interval.

use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use steadfast_core::Timestamp;

/// The shortest interval between two ticks.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// When a schedule ticks.
#[derive(Clone, Debug)]
pub struct Timetable(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Cron(Box<Crontab>),
    /// Whole multiples of this since 1970, so that all nodes count alike.
    Every(Duration),
}

/// A timetable that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimetable {
    /// The crontab expression is none.
    #[error("{0}")]
    Cron(String),
    /// There is no such time zone.
    #[error("there is no time zone `{0}`: name one of the IANA database, such as `Europe/Berlin` or `UTC`")]
    TimeZone(String),
    /// The interval is too short, or so long that it is a mistake.
    #[error("the interval must be between 1 s and 366 days")]
    Interval,
}

/// The longest interval between two ticks.
const INTERVAL_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

impl Timetable {
    /// The times that a crontab expression of five fields names (minute, hour, day of the month, month, day of the
    /// week; `*/15`, `1-5`, `mon`, `L` and `#` as elsewhere) in the time zone of this IANA name. A time that a change of
    /// the clocks leaves out does not tick on that day, and one that it repeats ticks once.
    ///
    /// # Errors
    /// [`InvalidTimetable`] says what is wrong.
    pub fn cron(expression: &str, time_zone: &str) -> Result<Self, InvalidTimetable> {
        if jiff::tz::TimeZone::get(time_zone).is_err() {
            return Err(InvalidTimetable::TimeZone(time_zone.to_owned()));
        }
        if expression.split_whitespace().count() != 5 {
            let found = expression.split_whitespace().count();
            return Err(InvalidTimetable::Cron(format!(
                "a crontab expression has five fields (minute, hour, day of the month, month, day of the week), this has {found}"
            )));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let crontab = cronexpr::parse_crontab_with(&format!("{expression} {time_zone}"), options)
            .map_err(|error| InvalidTimetable::Cron(error.to_string()))?;
        Ok(Self(Kind::Cron(Box::new(crontab))))
    }

    /// Once in each interval of this length, counted from 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`InvalidTimetable::Interval`] where it is shorter than a second or longer than a year.
    pub fn every(interval: Duration) -> Result<Self, InvalidTimetable> {
        if interval < INTERVAL_MIN || interval > INTERVAL_MAX {
            return Err(InvalidTimetable::Interval);
        }
        Ok(Self(Kind::Every(interval)))
    }

    /// An instant after which at least so many ticks come before `now`, if there were so many: whoever looks for the
    /// newest ones need not count a year of seconds.
    pub(crate) fn shortly_before(&self, now: Timestamp, ticks: usize) -> Timestamp {
        let far = match &self.0 {
            // Finding one takes microseconds, and there is one a minute at most.
            Kind::Cron(_) => INTERVAL_MAX,
            Kind::Every(interval) => interval.saturating_mul(u32::try_from(ticks + 1).unwrap_or(u32::MAX)),
        };
        Timestamp::from_millis(
            now.as_millis().saturating_sub_unsigned(u64::try_from(far.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// The first tick after an instant; `None` where none ever comes.
    #[must_use]
    pub fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Cron(crontab) => {
                let from = MakeTimestamp::from_millisecond(instant.as_millis()).ok()?;
                let next = crontab.find_next(from).ok()?;
                Some(Timestamp::from_millis(next.timestamp().as_millisecond()))
            }
            Kind::Every(interval) => {
                let interval_ms = i64::try_from(interval.as_millis()).ok()?;
                let passed = instant.as_millis().div_euclid(interval_ms);
                Some(Timestamp::from_millis(passed.checked_add(1)?.checked_mul(interval_ms)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().expect("an instant");
        Timestamp::from_millis(instant.as_millisecond())
    }

    fn ticks(timetable: &Timetable, from: &str, count: usize) -> Vec<String> {
        let mut instant = at(from);
        std::iter::from_fn(|| {
            instant = timetable.next_after(instant)?;
            Some(jiff::Timestamp::from_millisecond(instant.as_millis()).expect("an instant").to_string())
        })
        .take(count)
        .collect()
    }

    #[test]
    fn a_crontab_names_times_of_its_own_zone() {
        let nightly = Timetable::cron("30 3 * * mon-fri", "Europe/Berlin").expect("a timetable");
        assert_eq!(
            ticks(&nightly, "2026-11-27T03:00:00Z", 2),
            ["2026-11-30T02:30:00Z", "2026-12-01T02:30:00Z"]
        );
        assert_eq!(ticks(&nightly, "2026-07-01T01:29:59Z", 1), ["2026-07-01T01:30:00Z"]);
    }

    #[test]
    fn a_time_that_is_left_out_does_not_tick_and_one_that_is_repeated_ticks_once() {
        let at_half_past_two = Timetable::cron("30 2 * * *", "Europe/Berlin").expect("a timetable");
        let spring = ticks(&at_half_past_two, "2026-03-28T12:00:00Z", 1);
        assert_eq!(spring, ["2026-03-30T00:30:00Z"], "there is no half past two on the 29th");
        let autumn = ticks(&at_half_past_two, "2026-10-24T12:00:00Z", 3);
        let on_that_day = autumn.iter().filter(|tick| tick.starts_with("2026-10-25")).count();
        assert_eq!(on_that_day, 1, "{autumn:?}");
    }

    #[test]
    fn an_interval_ticks_alike_on_every_node() {
        let quarter = Timetable::every(Duration::from_secs(900)).expect("a timetable");
        for from in ["2026-11-30T10:00:00Z", "2026-11-30T10:07:31Z", "2026-11-30T10:14:59.999Z"] {
            assert_eq!(ticks(&quarter, from, 2), ["2026-11-30T10:15:00Z", "2026-11-30T10:30:00Z"]);
        }
    }

    #[test]
    fn what_is_no_timetable_says_why() {
        assert!(matches!(Timetable::cron("61 * * * *", "UTC"), Err(InvalidTimetable::Cron(_))));
        assert!(matches!(Timetable::cron("* * * *", "UTC"), Err(InvalidTimetable::Cron(_))));
        assert!(matches!(Timetable::cron("* * * * * *", "UTC"), Err(InvalidTimetable::Cron(_))));
        let nowhere = InvalidTimetable::TimeZone("Mars/Olympus".into());
        assert_eq!(Timetable::cron("* * * * *", "Mars/Olympus").err(), Some(nowhere));
        assert_eq!(Timetable::every(Duration::from_millis(999)).err(), Some(InvalidTimetable::Interval));
    }
}
