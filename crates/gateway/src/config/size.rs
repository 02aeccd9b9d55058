//! Sizes as people write them: bytes as a number, or with a unit, `64KB`, `10MB`. A KB is 1,024 bytes.

/// The units, largest first, with their size in bytes.
const UNITS: [(&str, u64); 7] = [
    ("GB", 1 << 30),
    ("GiB", 1 << 30),
    ("MB", 1 << 20),
    ("MiB", 1 << 20),
    ("KB", 1 << 10),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSize {
    /// Its unit is none of ours.
    #[error("`{0}` is not a unit of size")]
    Unit(String),
    /// It is not one whole number and one unit.
    #[error("`{0}` is not one whole number with one unit of size")]
    NotWhole(String),
    /// It does not fit in 64 bits.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

impl InvalidSize {
    /// What to write instead.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Unit(_) => "use one of B, KB, MB and GB; 1KB is 1,024 bytes".into(),
            Self::NotWhole(_) => "write something like \"64KB\" or \"10MB\", or a number of bytes".into(),
            Self::TooLarge(_) => "choose a smaller one".into(),
        }
    }
}

/// Reads a size in bytes such as `512`, `64KB` or `10MB`; 1 KB is 1,024 bytes, with KiB a synonym.
///
/// # Errors
/// [`InvalidSize`] says what is wrong, and [`InvalidSize::next`] what to write.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || unit.contains(|letter: char| !letter.is_alphabetic()) {
        return Err(InvalidSize::NotWhole(text.into()));
    }
    let unit_bytes = if unit.is_empty() {
        1
    } else {
        UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, bytes)| *bytes)
            .ok_or_else(|| InvalidSize::Unit(unit.into()))?
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_bytes))
        .ok_or_else(|| InvalidSize::TooLarge(text.into()))
}

/// Writes a size in its largest whole unit.
pub(super) fn write_size(bytes: u64) -> String {
    let (name, unit_bytes) = UNITS
        .into_iter()
        .find(|(_, unit_bytes)| bytes > 0 && bytes.is_multiple_of(*unit_bytes))
        .unwrap_or(("B", 1));
    format!("{}{name}", bytes / unit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kilobyte_is_1024_bytes() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("64KB", 65_536), ("10 mb", 10 << 20), ("1GiB", 1 << 30), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn everything_else_says_what_to_write() {
        assert_eq!(parse_size("10M"), Err(InvalidSize::Unit("M".into())));
        for text in ["", "MB", "1.5MB", "-1"] {
            assert_eq!(parse_size(text), Err(InvalidSize::NotWhole(text.into())), "{text}");
        }
        assert_eq!(
            parse_size("18446744073709551615KB"),
            Err(InvalidSize::TooLarge("18446744073709551615KB".into()))
        );
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for bytes in [0, 1, 1_023, 1_024, 65_536, 10 << 20, 3 << 30, (1 << 20) + 1] {
            assert_eq!(parse_size(&write_size(bytes)), Ok(bytes));
        }
        assert_eq!(write_size(10 << 20), "10MB");
    }
}
