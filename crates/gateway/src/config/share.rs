//! Shares as people write them: a whole number of hundredths, `20%`.

/// A text is not a share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShare {
    /// It does not say of what it is a number.
    #[error("`{0}` has no `%`")]
    NoSign(String),
    /// It is no whole number of hundredths from 0 to 100.
    #[error("`{0}` is not a whole share from 0% to 100%")]
    NotWhole(String),
}

impl InvalidShare {
    /// What to write instead.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::NoSign(number) => format!("write \"{number}%\""),
            Self::NotWhole(_) => "write something like \"20%\"".into(),
        }
    }
}

/// Reads a share such as `20%`: how many hundredths it is.
///
/// # Errors
/// [`InvalidShare`] says what is wrong, and [`InvalidShare::next`] what to write.
pub fn parse_share(text: &str) -> Result<u32, InvalidShare> {
    let trimmed = text.trim();
    let is_whole =
        |number: &str| (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = trimmed.strip_suffix('%').map(str::trim_end) else {
        return Err(if is_whole(trimmed) {
            InvalidShare::NoSign(trimmed.into())
        } else {
            InvalidShare::NotWhole(text.into())
        });
    };
    let hundredths = if is_whole(number) { number.parse().ok() } else { None };
    hundredths.filter(|number| *number <= 100).ok_or_else(|| InvalidShare::NotWhole(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_hundredths() {
        for (text, expected) in [("0%", 0), ("20%", 20), (" 100 %", 100), ("007%", 7)] {
            assert_eq!(parse_share(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_share("20"), Err(InvalidShare::NoSign("20".into())));
        for text in ["", "%", "101%", "-1%", "+1%", "0.2", "2.5%", "20%%", "99999999999%"] {
            assert_eq!(parse_share(text), Err(InvalidShare::NotWhole(text.into())), "{text}");
        }
    }
}
