//! What is wrong with a config, where, and what to do next. All errors of a file are said at once.

use std::{fmt, ops::Range};

/// How many errors are written out; the rest are counted.
const ERRORS_SHOWN_MAX: usize = 20;

/// How many characters of a line are shown.
const LINE_CHARS_MAX: usize = 160;

/// Where in a config something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, at a line and column, both counted from 1, the column in characters.
    Line {
        /// The file's name.
        file: String,
        /// Its line.
        line: usize,
        /// The column where it begins.
        column: usize,
        /// How many characters of the line it takes; 1 at least.
        width: usize,
        /// The line itself, passwords in URLs starred out.
        text: String,
    },
    /// The file as a whole.
    File(String),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Place {
    /// The place of the bytes `span` of `text`, which is the content of `file`.
    pub(super) fn in_text(file: &str, text: &str, span: &Range<usize>) -> Self {
        let start = floor_char_boundary(text, span.start);
        let end = floor_char_boundary(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        Self::Line {
            file: file.into(),
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end.min(line_end).max(start)].chars().count().max(1),
            text: starred(text[line_start..line_end].trim_end_matches('\r')),
        }
    }

    /// Its line, where it is in a file.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Line { line, .. } => Some(*line),
            Self::File(_) | Self::Variable(_) | Self::Flag(_) => None,
        }
    }
}

/// `file:line:column`, or what else it is.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, column, .. } => write!(formatter, "{file}:{line}:{column}"),
            Self::File(file) => formatter.write_str(file),
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::Flag(name) => write!(formatter, "{name}"),
        }
    }
}

/// One thing that is wrong with a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to do next.
    pub next: String,
}

/// The place and what is wrong, the line with a caret below it, and what to do next.
impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, Printable(&self.what))?;
        write_excerpt(formatter, &self.place)?;
        write!(formatter, "\n  next: {}", Printable(&self.next))
    }
}

impl std::error::Error for ConfigError {}

/// Everything that is wrong with a config; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(super) fn one(place: Place, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { errors: vec![ConfigError { place, what: what.into(), next: next.into() }] }
    }

    /// In the order of their places.
    pub(super) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|error| match &error.place {
            Place::Line { line, column, .. } => (*line, *column),
            Place::File(_) | Place::Variable(_) | Place::Flag(_) => (0, 0),
        });
        Self { errors }
    }

    /// Without those that only repeat what was `said` of these `places` before.
    pub(super) fn without_echoes(mut self, said: &[ConfigError], places: &[Place]) -> Self {
        self.errors.retain(|error| said.contains(error) || !places.contains(&error.place));
        self
    }

    /// The errors, in the order of their places.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().take(ERRORS_SHOWN_MAX).enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            error.fmt(formatter)?;
        }
        match self.errors.len().saturating_sub(ERRORS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(formatter, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that works, but probably not as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning {
    /// Where it is.
    pub place: Place,
    /// What it is, and what to do about it.
    pub what: String,
}

/// The place and what it is, on one line.
impl fmt::Display for ConfigWarning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, Printable(&self.what))
    }
}

/// A text whose control characters cannot move the reader's terminal.
struct Printable<'t>(&'t str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            fmt::Write::write_char(formatter, if letter.is_control() { ' ' } else { letter })?;
        }
        Ok(())
    }
}

fn write_excerpt(formatter: &mut fmt::Formatter<'_>, place: &Place) -> fmt::Result {
    let Place::Line { line, column, width, text, .. } = place else { return Ok(()) };
    let skipped = column.saturating_sub(LINE_CHARS_MAX / 2).min(text.chars().count());
    let skipped = if text.chars().count() > LINE_CHARS_MAX { skipped } else { 0 };
    let shown: String = text.chars().skip(skipped).take(LINE_CHARS_MAX).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let indent = " ".repeat(column.saturating_sub(skipped + 1));
    let carets = "^".repeat((*width).min(LINE_CHARS_MAX));
    write!(
        formatter,
        "\n {margin} |\n {number} | {}\n {margin} | {indent}{carets}",
        Printable(shown.trim_end())
    )
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

/// `text` with every password of a URL replaced by stars, one per character.
pub(super) fn starred(text: &str) -> String {
    let mut starred = text.to_owned();
    for secret in secrets(text).into_iter().rev() {
        let stars = "*".repeat(text[secret.clone()].chars().count());
        starred.replace_range(secret, &stars);
    }
    starred
}

/// Where in `text` passwords of URLs stand, in order: between `:` and `@`, and in `password=`.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(scheme) = text[from..].find("://") {
        let start = from + scheme + 3;
        let end = text[start..]
            .find(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\''))
            .map_or(text.len(), |end| start + end);
        let url = &text[start..end];
        if let Some(at) = url.rfind('@')
            && let Some(colon) = url[..at].find(':')
        {
            found.push(start + colon + 1..start + at);
        }
        if let Some(query) = url.find('?') {
            for name in ["password=", "sslpassword="] {
                for (index, _) in url[query..].match_indices(name) {
                    let before = url.as_bytes()[query + index - 1];
                    let value = query + index + name.len();
                    let length = url[value..].find('&').unwrap_or(url.len() - value);
                    if matches!(before, b'?' | b'&') {
                        found.push(start + value..start + value + length);
                    }
                }
            }
        }
        from = end;
    }
    found.sort_by_key(|secret| secret.start);
    found.dedup_by(|next, previous| next.start < previous.end);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_starred_out() {
        for (text, shown) in [
            (
                r#"ledger = "postgres://me:hunter2@db/x" # mine"#,
                r#"ledger = "postgres://me:*******@db/x" # mine"#,
            ),
            ("postgres://me:a@b@db/x?sslmode=off", "postgres://me:***@db/x?sslmode=off"),
            ("postgres://db/x?user=me&password=geheim&a=b", "postgres://db/x?user=me&password=******&a=b"),
            ("http://127.0.0.1:80/a", "http://127.0.0.1:80/a"),
            ("a://b:c@d e://f:g@h", "a://b:*@d e://f:*@h"),
        ] {
            assert_eq!(starred(text), shown);
        }
    }

    #[test]
    fn a_place_counts_characters_and_survives_any_span() {
        let text = "a = 1\nö = \"x\"\r\nlast";
        let Place::Line { line, column, width, text: shown, .. } = Place::in_text("f", text, &(11..14))
        else {
            panic!("a line")
        };
        assert_eq!((line, column, width, shown.as_str()), (2, 5, 3, "ö = \"x\""));
        for start in 0..text.len() + 3 {
            for end in 0..text.len() + 3 {
                let place = Place::in_text("f", text, &(start..end));
                let _ = ConfigError { place, what: String::new(), next: String::new() }.to_string();
            }
        }
    }
}
