//! Quotas as people write them: a whole number in a time, which is a unit or several of them: `100/min`, `5/10s`,
//! `1000000/month`.

use std::time::Duration;

use steadfast_core::Period;

/// The units with their length in seconds.
const UNITS: [(&str, u64); 5] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// The unit that is as long as the calendar says.
const MONTH: &str = "month";

/// The most that a quota can say, whatever its time: a terabyte.
const COUNT_MAX: u64 = 1_000_000_000_000;

/// The longest time, in seconds: a month.
const SECONDS_MAX: u64 = 31 * 86_400;

/// What to write instead of something else.
const EXAMPLES: &str = "write something like \"100/s\", \"1000/min\", \"5/10s\" or \"1000000/month\"";

/// A text is not a quota: what is wrong, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InvalidQuota {
    pub(super) what: String,
    pub(super) next: String,
}

/// Reads a quota.
pub(super) fn parse_quota(text: &str) -> Result<(u64, Period), InvalidQuota> {
    let invalid = |what: String, next: &str| Err(InvalidQuota { what, next: next.to_owned() });
    let not_one = || format!("`{text}` is not a whole number in a time");
    let Some((count, time)) = text.split_once('/') else {
        return match text.trim().parse::<u64>() {
            Ok(count) => invalid(
                format!("`{text}` does not say in which time"),
                &format!("write \"{count}/s\" for seconds or \"{count}/min\" for minutes"),
            ),
            Err(_) => invalid(not_one(), EXAMPLES),
        };
    };
    let count = count.trim();
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return invalid(not_one(), EXAMPLES);
    }
    let count = match count.parse::<u64>() {
        Ok(0) => {
            return invalid(
                format!("`{text}` lets nothing through"),
                "choose at least 1; to close a route, remove it",
            );
        }
        Ok(count) if count <= COUNT_MAX => count,
        _ => return invalid(format!("`{text}` is more than {COUNT_MAX}"), "choose a lower one"),
    };
    let time = time.trim();
    if time == MONTH {
        return Ok((count, Period::Month));
    }
    let digits = time.bytes().take_while(u8::is_ascii_digit).count();
    let (times, unit) = time.split_at(digits);
    let times = if times.is_empty() { Some(1) } else { times.parse::<u64>().ok().filter(|times| *times > 0) };
    let unit = unit.trim_start();
    let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return invalid(format!("`{unit}` is not a unit of time"), "use one of s, min, h, d, w and month");
    };
    match times.and_then(|times| times.checked_mul(*seconds)).filter(|seconds| *seconds <= SECONDS_MAX) {
        Some(seconds) => Ok((count, Period::Time(Duration::from_secs(seconds)))),
        None => {
            invalid(format!("`{text}` is not within a month"), "choose a time up to 31d, or write /month")
        }
    }
}

/// Writes a quota as it is read.
pub(super) fn write_quota(count: u64, period: Period) -> String {
    let Period::Time(length) = period else { return format!("{count}/{MONTH}") };
    let seconds = length.as_secs();
    let (unit, times) = UNITS
        .iter()
        .rev()
        .find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit))
        .map_or(("s", seconds), |(name, unit)| (*name, seconds / unit));
    if times == 1 { format!("{count}/{unit}") } else { format!("{count}/{times}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_whole_numbers_in_a_time() {
        for (text, count, seconds, written) in [
            ("100/s", 100, 1, "100/s"),
            (" 1000 / min ", 1_000, 60, "1000/min"),
            ("5/10s", 5, 10, "5/10s"),
            ("5/120s", 5, 120, "5/2min"),
            ("1000000000000/31d", 1_000_000_000_000, 2_678_400, "1000000000000/31d"),
            ("7/7d", 7, 604_800, "7/w"),
        ] {
            let period = Period::Time(Duration::from_secs(seconds));
            assert_eq!(parse_quota(text), Ok((count, period)), "{text}");
            assert_eq!(write_quota(count, period), written);
        }
        assert_eq!(parse_quota("9/month"), Ok((9, Period::Month)));
        assert_eq!(write_quota(9, Period::Month), "9/month");
    }

    #[test]
    fn everything_else_says_what_to_write() {
        for (text, what) in [
            ("100", "does not say in which time"),
            ("", "is not a whole number in a time"),
            ("1.5/s", "is not a whole number in a time"),
            ("-1/s", "is not a whole number in a time"),
            ("/s", "is not a whole number in a time"),
            ("0/s", "lets nothing through"),
            ("1000000000001/s", "is more than"),
            ("5/m", "is not a unit of time"),
            ("5/0s", "is not within a month"),
            ("5/32d", "is not within a month"),
            ("5/99999999999999999999s", "is not within a month"),
            ("5/2month", "is not a unit of time"),
        ] {
            let invalid = parse_quota(text).expect_err(text);
            assert!(invalid.what.contains(what), "{text}: {}", invalid.what);
        }
    }
}
