//! Durations as people write them: a whole number and a unit, `250ms`, `10s`, `5m`, `24h`, `7d`.

use std::time::Duration;

/// The units, longest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest duration that a config can say: about ten years.
const DAYS_MAX: u64 = 3_660;

/// A text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// It has no unit.
    #[error("`{0}` has no unit of time")]
    NoUnit(String),
    /// Its unit is none of ours.
    #[error("`{0}` is not a unit of time")]
    Unit(String),
    /// It is not one whole number and one unit.
    #[error("`{0}` is not one whole number with one unit of time")]
    NotWhole(String),
    /// It is longer than ten years.
    #[error("`{0}` is longer than {DAYS_MAX}d")]
    TooLong(String),
}

impl InvalidDuration {
    /// What to write instead.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::NoUnit(number) => {
                format!("write \"{number}s\" for seconds or \"{number}ms\" for milliseconds")
            }
            Self::Unit(_) => "use one of ms, s, m, h and d".into(),
            Self::NotWhole(_) => "write something like \"250ms\", \"10s\", \"5m\", \"24h\" or \"7d\"".into(),
            Self::TooLong(_) => "choose a shorter one".into(),
        }
    }
}

/// Reads a duration such as `250ms`, `10s`, `5m`, `24h` or `7d`.
///
/// # Errors
/// [`InvalidDuration`] says what is wrong, and [`InvalidDuration::next`] what to write.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || unit.contains(|letter: char| !letter.is_alphabetic()) {
        return Err(InvalidDuration::NotWhole(text.into()));
    }
    if unit.is_empty() {
        return Err(InvalidDuration::NoUnit(trimmed.into()));
    }
    let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(InvalidDuration::Unit(unit.into()));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*unit_ms))
        .filter(|ms| *ms <= DAYS_MAX * 86_400_000)
        .map(Duration::from_millis)
        .ok_or_else(|| InvalidDuration::TooLong(text.into()))
}

/// Writes a duration in its largest whole unit, in milliseconds at the finest.
pub(super) fn write_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".into();
    }
    // A day is only used from two days on: "24h" is what people write.
    let (name, unit_ms) = UNITS
        .into_iter()
        .find(|(name, unit_ms)| ms % unit_ms == 0 && (*name != "d" || ms / unit_ms > 1))
        .unwrap_or(("ms", 1));
    format!("{}{name}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        for (text, ms) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5 m", 300_000),
            ("24h", 86_400_000),
            (" 7d ", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn everything_else_says_what_to_write() {
        assert_eq!(parse_duration("10"), Err(InvalidDuration::NoUnit("10".into())));
        assert_eq!(parse_duration("10sec"), Err(InvalidDuration::Unit("sec".into())));
        for text in ["", "s", "1.5s", "-1s", "1h30m", "+1s", "１s"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration::NotWhole(text.into())), "{text}");
        }
        for text in ["99999999999999999999s", "18446744073709551615d", "3661d"] {
            assert_eq!(parse_duration(text), Err(InvalidDuration::TooLong(text.into())), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for ms in [0, 1, 999, 1_000, 90_000, 3_600_000, 86_400_000, 172_800_000, 86_400_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&write_duration(duration)), Ok(duration));
        }
        assert_eq!(write_duration(Duration::from_secs(86_400)), "24h");
        assert_eq!(write_duration(Duration::from_secs(7 * 86_400)), "7d");
    }
}
