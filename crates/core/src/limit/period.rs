//! The time in which a limit allows so much: a length, or a month of the calendar.

use std::time::Duration;

const DAY: u64 = 86_400;

/// A stretch of time, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// Of one length; longer than zero. Windows of it lie on multiples of it since 1970.
    Time(Duration),
    /// A month, UTC. Where a length is needed, it is 30 days.
    Month,
}

impl Period {
    /// How long it is.
    #[must_use]
    pub fn length(self) -> Duration {
        match self {
            Self::Time(length) => length.max(Duration::from_nanos(1)),
            Self::Month => Duration::from_secs(30 * DAY),
        }
    }

    /// When the one began in which `now` lies, and when it ends.
    #[must_use]
    pub fn around(self, now: Duration) -> (Duration, Duration) {
        match self {
            Self::Time(_) => {
                let (length, now) = (super::nanos(self.length()), super::nanos(now));
                let began = now - now % length;
                (Duration::from_nanos(began), Duration::from_nanos(began.saturating_add(length)))
            }
            Self::Month => {
                let day = now.as_secs() / DAY;
                let (year, month) = month_of(day);
                let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                let begins = |year, month| Duration::from_secs(first_day_of(year, month) * DAY);
                (begins(year, month), begins(next_year, next_month))
            }
        }
    }
}

/// The year and month, of which the first is 1, in which a day since 1970 lies (Howard Hinnant,
/// <https://howardhinnant.github.io/date_algorithms.html>).
fn month_of(day: u64) -> (u64, u64) {
    // Years begin in March here, so that the day that comes and goes is the last one.
    let day = day + 719_468;
    let era = day / 146_097;
    let day_of_era = day % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month)
}

/// The first day of a month, since 1970.
fn first_day_of(year: u64, month: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * from_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        for (now, began, ends) in [
            (0, 0, 31 * DAY),
            // 2024-02-29T23:59:59Z: from the 1st of February to the 1st of March.
            (1_709_251_199, 1_706_745_600, 1_709_251_200),
            (1_709_251_200, 1_709_251_200, 1_711_929_600),
            // The last second of 2026.
            (1_798_761_599, 1_796_083_200, 1_798_761_600),
        ] {
            let (found_began, found_ends) = Period::Month.around(Duration::from_secs(now));
            assert_eq!((found_began.as_secs(), found_ends.as_secs()), (began, ends), "{now}");
        }
    }

    #[test]
    fn one_month_follows_another_without_a_gap() {
        let mut at = Duration::ZERO;
        for _ in 0..4_800 {
            let (began, ends) = Period::Month.around(at);
            assert_eq!(began, at);
            let days = (ends - began).as_secs() / DAY;
            assert!((28..=31).contains(&days) && (ends - began).as_secs().is_multiple_of(DAY));
            assert_eq!(Period::Month.around(ends - Duration::from_nanos(1)), (began, ends));
            at = ends;
        }
        // 400 years later.
        assert_eq!(at.as_secs() / DAY, 146_097);
    }

    #[test]
    fn windows_lie_on_multiples_of_their_length() {
        let hour = Period::Time(Duration::from_secs(3_600));
        let (began, ends) = hour.around(Duration::from_secs(7_300));
        assert_eq!((began.as_secs(), ends.as_secs()), (7_200, 10_800));
        assert_eq!(hour.around(ends).0, ends);
    }
}
