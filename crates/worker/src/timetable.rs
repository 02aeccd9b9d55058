//! When a schedule ticks: at the times that a crontab expression names in a time zone, or once in each interval.

use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::{SignedDuration, civil::DateTime, tz::TimeZone};
use steadfast_core::Timestamp;

/// The shortest interval between two ticks.
pub const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// When a schedule ticks.
#[derive(Clone, Debug)]
pub struct Timetable(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// In every hour, or every so many: real hours count, as they pass.
    Hourly(Box<Crontab>),
    /// At certain hours of the day: what the clock on the wall shows counts.
    Daily(Box<Daily>),
    /// Whole multiples of this since 1970, so that all nodes count alike.
    Every(Duration),
}

/// Times on the clock on the wall.
#[derive(Clone, Debug)]
struct Daily {
    /// As if that clock never changed.
    times: Crontab,
    zone: TimeZone,
}

/// By how much a clock on the wall is ever put forward or back at once.
const CLOCK_CHANGE_MAX: SignedDuration = SignedDuration::from_hours(3);

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
    /// week; `*/15`, `1-5`, `mon`, `L` and `#` as elsewhere) in the time zone of this IANA name.
    ///
    /// At certain hours (`30 2 * * *`) it ticks once on each of its days, as `cron(8)` does: a time that a change of the
    /// clocks repeats ticks when it comes first, and one that it leaves out ticks as much later as the clocks were put
    /// forward. In every hour, or every so many (`*`, `*/2`), it ticks with the hours as they pass.
    ///
    /// # Errors
    /// [`InvalidTimetable`] says what is wrong.
    pub fn cron(expression: &str, time_zone: &str) -> Result<Self, InvalidTimetable> {
        let zone = TimeZone::get(time_zone);
        let zone = zone.map_err(|_| InvalidTimetable::TimeZone(time_zone.to_owned()))?;
        let fields: Vec<_> = expression.split_whitespace().collect();
        let [_, hour, ..] = fields[..] else { return Err(InvalidTimetable::fields(&fields)) };
        if fields.len() != 5 {
            return Err(InvalidTimetable::fields(&fields));
        }
        let in_zone = |zone: &str| {
            let mut options = ParseOptions::default();
            options.fallback_timezone_option = FallbackTimezoneOption::UTC;
            cronexpr::parse_crontab_with(&format!("{expression} {zone}"), options)
                .map_err(|error| InvalidTimetable::Cron(error.to_string()))
        };
        Ok(Self(if hour.starts_with('*') {
            Kind::Hourly(Box::new(in_zone(time_zone)?))
        } else {
            Kind::Daily(Box::new(Daily { times: in_zone("UTC")?, zone }))
        }))
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
            Kind::Hourly(_) | Kind::Daily(_) => INTERVAL_MAX,
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
            Kind::Hourly(crontab) => Some(Timestamp::from_millis(find_next(crontab, instant.as_millis())?)),
            Kind::Daily(daily) => daily.next_after(instant),
            Kind::Every(interval) => {
                let interval_ms = i64::try_from(interval.as_millis()).ok()?;
                let passed = instant.as_millis().div_euclid(interval_ms);
                Some(Timestamp::from_millis(passed.checked_add(1)?.checked_mul(interval_ms)?))
            }
        }
    }
}

impl InvalidTimetable {
    fn fields(found: &[&str]) -> Self {
        Self::Cron(format!(
            "a crontab expression has five fields (minute, hour, day of the month, month, day of the week), this has {}",
            found.len()
        ))
    }
}

impl Daily {
    fn next_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let instant = jiff::Timestamp::from_millisecond(instant.as_millis()).ok()?;
        // A change of the clocks may have put a time of before this one behind it.
        let mut shown = self.zone.to_datetime(instant).checked_sub(CLOCK_CHANGE_MAX).ok()?;
        let mut next: Option<(DateTime, jiff::Timestamp)> = None;
        while let Some(later) = self.shown_after(shown) {
            shown = later;
            if next.is_some_and(|(first, _)| shown.duration_since(first) > CLOCK_CHANGE_MAX) {
                break;
            }
            // The first of two; or as much later as the clock was put forward.
            let comes = self.zone.to_ambiguous_timestamp(shown).compatible().ok()?;
            if comes > instant && next.is_none_or(|(_, soonest)| comes < soonest) {
                next = Some((next.map_or(shown, |(first, _)| first), comes));
            }
        }
        next.map(|(_, comes)| Timestamp::from_millis(comes.as_millisecond()))
    }

    /// The next time that a clock would show which never changes.
    fn shown_after(&self, shown: DateTime) -> Option<DateTime> {
        let as_if = TimeZone::UTC.to_timestamp(shown).ok()?;
        let next = find_next(&self.times, as_if.as_millisecond())?;
        Some(TimeZone::UTC.to_datetime(jiff::Timestamp::from_millisecond(next).ok()?))
    }
}

fn find_next(crontab: &Crontab, after_ms: i64) -> Option<i64> {
    let next = crontab.find_next(MakeTimestamp::from_millisecond(after_ms).ok()?).ok()?;
    Some(next.timestamp().as_millisecond())
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
    fn at_certain_hours_each_day_ticks_once_whatever_the_clocks_do() {
        let daily = Timetable::cron("30 2 * * *", "Europe/Berlin").expect("a timetable");
        let spring = ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"];
        assert_eq!(ticks(&daily, "2026-03-28T00:00:00Z", 3), spring, "it is half past three on the 29th");
        let autumn = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
        assert_eq!(ticks(&daily, "2026-10-24T00:00:00Z", 3), autumn);
        let twice = Timetable::cron("45 2,3 * * *", "Europe/Berlin").expect("a timetable");
        let spring = ["2026-03-29T01:45:00Z", "2026-03-30T00:45:00Z"];
        assert_eq!(
            ticks(&twice, "2026-03-28T03:00:00Z", 2),
            spring,
            "both are a quarter to four on the 29th"
        );
        let close = Timetable::cron("0,45 2-3 * * *", "Europe/Berlin").expect("a timetable");
        let spring = ["2026-03-29T01:00:00Z", "2026-03-29T01:45:00Z", "2026-03-30T00:00:00Z"];
        assert_eq!(ticks(&close, "2026-03-28T03:00:00Z", 3), spring);
    }

    #[test]
    fn in_every_hour_it_ticks_with_the_hours_that_pass() {
        let hourly = Timetable::cron("15 * * * *", "Europe/Berlin").expect("a timetable");
        for from in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
            let ticks = ticks(&hourly, from, 4);
            let hours: Vec<_> = ticks.iter().map(|tick| &tick[11..16]).collect();
            assert_eq!(hours, ["00:15", "01:15", "02:15", "03:15"], "{ticks:?}");
        }
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
