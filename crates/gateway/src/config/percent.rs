//! Shares as people write them: a whole number of hundredths, `10%`.

/// The largest share that a config can say; the schema bounds each one closer.
const PERCENT_MAX: u64 = 10_000;

/// A text is not a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPercent {
    /// It has no `%`.
    #[error("`{0}` has no `%`")]
    NoSign(String),
    /// It is not one whole number with a `%`.
    #[error("`{0}` is not a whole number with a `%`")]
    NotWhole(String),
    /// It is more than any share can be.
    #[error("`{0}` is more than {PERCENT_MAX}%")]
    TooLarge(String),
}

impl InvalidPercent {
    /// What to write instead.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::NoSign(number) => format!("write \"{number}%\" for {number} of a hundred"),
            Self::NotWhole(_) => "write something like \"10%\"".into(),
            Self::TooLarge(_) => "choose a smaller one".into(),
        }
    }
}

/// Reads a share such as `10%`, in hundredths.
///
/// # Errors
/// [`InvalidPercent`] says what is wrong, and [`InvalidPercent::next`] what to write.
pub fn parse_percent(text: &str) -> Result<u32, InvalidPercent> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, sign) = trimmed.split_at(digits);
    match (number, sign.trim_start()) {
        ("", _) => Err(InvalidPercent::NotWhole(text.into())),
        (number, "") => Err(InvalidPercent::NoSign(number.into())),
        (number, "%") => number
            .parse::<u64>()
            .ok()
            .filter(|percent| *percent <= PERCENT_MAX)
            .and_then(|percent| u32::try_from(percent).ok())
            .ok_or_else(|| InvalidPercent::TooLarge(text.into())),
        _ => Err(InvalidPercent::NotWhole(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_numbers_with_a_percent_sign() {
        for (text, percent) in [("0%", 0), ("10%", 10), (" 20 % ", 20), ("100%", 100), ("10000%", 10_000)] {
            assert_eq!(parse_percent(text), Ok(percent), "{text}");
        }
    }

    #[test]
    fn everything_else_says_what_to_write() {
        assert_eq!(parse_percent("10"), Err(InvalidPercent::NoSign("10".into())));
        assert_eq!(InvalidPercent::NoSign("10".into()).next(), "write \"10%\" for 10 of a hundred");
        for text in ["", "%", "0.1", "-1%", "1.5%", "10 percent", "1%%", "٣%"] {
            assert_eq!(parse_percent(text), Err(InvalidPercent::NotWhole(text.into())), "{text}");
        }
        for text in ["10001%", "99999999999999999999%"] {
            assert_eq!(parse_percent(text), Err(InvalidPercent::TooLarge(text.into())), "{text}");
        }
    }
}
