//! Rates as people write them: a whole number in a unit of time, `100/s`, `1000/min`, `5000/h`.

use std::time::Duration;

use steadfast_core::Rate;

/// The units with their length in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

/// The highest rate that a config can say, whatever its unit.
const COUNT_MAX: u64 = 1_000_000;

/// A text is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// It does not say in which time.
    #[error("`{0}` does not say in which time")]
    NoUnit(String),
    /// Its unit is none of ours.
    #[error("`{0}` is not a unit of a rate")]
    Unit(String),
    /// It is not one whole number, a slash and one unit.
    #[error("`{0}` is not a whole number in a unit of time")]
    NotWhole(String),
    /// It lets nothing through.
    #[error("`{0}` lets nothing through")]
    Nothing(String),
    /// It is more than can be kept.
    #[error("`{0}` is more than {COUNT_MAX} in its unit of time")]
    TooMany(String),
}

impl InvalidRate {
    /// What to write instead.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::NoUnit(number) => {
                format!("write \"{number}/s\" for seconds or \"{number}/min\" for minutes")
            }
            Self::Unit(_) => "use one of s, min, h and d".into(),
            Self::NotWhole(_) => "write something like \"100/s\", \"1000/min\" or \"5000/h\"".into(),
            Self::Nothing(_) => "choose at least 1; to close a route, remove it".into(),
            Self::TooMany(_) => "choose a lower one, or leave it out".into(),
        }
    }
}

/// Reads a rate such as `100/s`, `1000/min`, `5000/h` or `10000/d`.
///
/// # Errors
/// [`InvalidRate`] says what is wrong, and [`InvalidRate::next`] what to write.
pub fn parse_rate(text: &str) -> Result<Rate, InvalidRate> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = trimmed.split_at(digits);
    if number.is_empty() {
        return Err(InvalidRate::NotWhole(text.into()));
    }
    if rest.is_empty() {
        return Err(InvalidRate::NoUnit(number.into()));
    }
    let Some(unit) = rest.trim_start().strip_prefix('/') else {
        return Err(InvalidRate::NotWhole(text.into()));
    };
    let unit = unit.trim_start();
    let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(InvalidRate::Unit(unit.into()));
    };
    match number
        .parse::<u64>()
        .ok()
        .filter(|count| *count <= COUNT_MAX)
        .and_then(|count| u32::try_from(count).ok())
    {
        None => Err(InvalidRate::TooMany(text.into())),
        Some(0) => Err(InvalidRate::Nothing(text.into())),
        Some(count) => Ok(Rate { count, per: Duration::from_secs(*seconds) }),
    }
}

/// Writes a rate as it is read.
pub(super) fn write_rate(rate: Rate) -> String {
    let unit = UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == rate.per);
    format!("{}/{}", rate.count, unit.map_or("s", |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_numbers_in_a_unit_of_time() {
        for (text, count, seconds, written) in [
            ("100/s", 100, 1, "100/s"),
            (" 1000 / min ", 1_000, 60, "1000/min"),
            ("5000/h", 5_000, 3_600, "5000/h"),
            ("1/d", 1, 86_400, "1/d"),
        ] {
            let rate = Rate { count, per: Duration::from_secs(seconds) };
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
            assert_eq!(write_rate(rate), written);
        }
    }

    #[test]
    fn everything_else_says_what_to_write() {
        assert_eq!(parse_rate("100"), Err(InvalidRate::NoUnit("100".into())));
        assert_eq!(parse_rate("100/m"), Err(InvalidRate::Unit("m".into())));
        assert_eq!(parse_rate("0/s"), Err(InvalidRate::Nothing("0/s".into())));
        assert_eq!(parse_rate("1000001/s"), Err(InvalidRate::TooMany("1000001/s".into())));
        for text in ["", "/s", "1.5/s", "-1/s", "100 s", "100per s"] {
            assert_eq!(parse_rate(text), Err(InvalidRate::NotWhole(text.into())), "{text}");
        }
    }
}
