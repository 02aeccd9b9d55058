//! Instants as people write them: RFC 3339, `2027-01-01T00:00:00Z`, in whole seconds.

use steadfast_core::Timestamp;

/// A text is not an instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInstant {
    /// It has no time of day, or does not say where in the world it is that time.
    #[error("`{0}` does not say which instant it is")]
    NoOffset(String),
    /// It is not a date and a time.
    #[error("`{0}` is not an instant")]
    NotAnInstant(String),
    /// It has a fraction of a second, or lies before 1970.
    #[error("`{0}` is not a whole second since 1970")]
    NotWhole(String),
}

impl InvalidInstant {
    /// What to write instead.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::NoOffset(_) => {
                "write date, time and offset: 2027-01-01T00:00:00Z, or +02:00 in place of the Z".into()
            }
            Self::NotAnInstant(_) | Self::NotWhole(_) => "write something like 2027-01-01T00:00:00Z".into(),
        }
    }
}

/// Reads an instant such as `2027-01-01T00:00:00Z` or `2027-01-01T02:00:00+02:00`.
///
/// # Errors
/// [`InvalidInstant`] says what is wrong, and [`InvalidInstant::next`] what to write.
pub fn parse_instant(text: &str) -> Result<Timestamp, InvalidInstant> {
    let trimmed = text.trim();
    let shown = || trimmed.chars().take(40).collect::<String>().escape_debug().to_string();
    // Names of time zones mean something else when their rules change.
    let parsed = if trimmed.contains('[') { None } else { trimmed.parse::<jiff::Timestamp>().ok() };
    let Some(instant) = parsed else {
        let has_date = trimmed.parse::<jiff::civil::Date>().is_ok();
        let has_time = trimmed.parse::<jiff::civil::DateTime>().is_ok();
        return Err(match has_date || has_time {
            true => InvalidInstant::NoOffset(shown()),
            false => InvalidInstant::NotAnInstant(shown()),
        });
    };
    if instant.subsec_nanosecond() != 0 || instant.as_second() < 0 {
        return Err(InvalidInstant::NotWhole(shown()));
    }
    Ok(Timestamp::from_millis(instant.as_second() * 1_000))
}

/// As [`parse_instant`] reads it.
pub(crate) fn write_instant(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_whatever_its_offset_and_written_in_utc() {
        for (text, written) in [
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2027-01-01T02:00:00+02:00", "2027-01-01T00:00:00Z"),
            ("2027-01-01 00:00:00z", "2027-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("9999-12-29T23:59:59Z", "9999-12-29T23:59:59Z"),
        ] {
            let at = parse_instant(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(write_instant(at), written);
            assert_eq!(parse_instant(written), Ok(at));
        }
    }

    #[test]
    fn what_is_not_one_instant_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("2027-01-01", "does not say which instant"),
            ("2027-01-01T00:00:00", "does not say which instant"),
            ("", "is not an instant"),
            ("tomorrow", "is not an instant"),
            ("2027-13-01T00:00:00Z", "is not an instant"),
            ("2027-01-01T00:00:00Z[Europe/Berlin]", "is not an instant"),
            ("2027-01-01T00:00:00.5Z", "is not a whole second"),
            ("1969-12-31T23:59:59Z", "is not a whole second"),
        ] {
            let error = parse_instant(text).expect_err(text);
            assert!(error.to_string().contains(expected), "{text}: {error}");
            assert!(error.next().contains("2027-01-01T00:00:00Z"));
        }
    }
}
