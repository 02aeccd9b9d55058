//! Data on stdout: tables for people, JSON for programs. A reader that goes away early is no failure.

use std::io::{ErrorKind, Write};

use serde::Serialize;

/// Writes data to stdout.
///
/// # Errors
/// Where stdout cannot be written, unless its reader has gone.
pub(crate) fn data(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Tells the person at the terminal something that is not data.
#[expect(clippy::print_stderr, reason = "messages go to stderr, beside the data")]
pub(crate) fn message(text: &str) {
    eprintln!("{text}");
}

/// One value as a JSON document.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    data(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Each value as a JSON document on a line of its own.
pub(crate) fn ndjson<T: Serialize>(values: &[T]) -> anyhow::Result<()> {
    let mut lines = String::new();
    for value in values {
        lines.push_str(&serde_json::to_string(value)?);
        lines.push('\n');
    }
    data(&lines)
}

/// Rows below a heading, in columns; nothing at all where there are no rows.
pub(crate) fn table<const COLUMNS: usize>(heading: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rows = std::iter::once(heading.map(str::to_owned)).chain(rows.iter().cloned());
    let rows: Vec<[String; COLUMNS]> = rows.map(|row| row.map(|cell| printable(&cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and values, one pair a line.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {}\n", printable(value))).collect()
}

/// `text` at most this long, with a mark where it was cut.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// `text` without what would steer a terminal: it came from callers.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["1".into(), "in_doubt".into(), "x".into()], ["22".into(), "é".into(), String::new()]];
        assert_eq!(table(["ID", "STATE", "KEY"], &rows), "ID  STATE     KEY\n1   in_doubt  x\n22  é\n");
        assert_eq!(table(["ID"], &[]), "");
    }

    #[test]
    fn what_callers_sent_cannot_steer_the_terminal() {
        assert_eq!(table(["KEY"], &[["a\u{1b}[31m\n".into()]]), "KEY\na\u{fffd}[31m\u{fffd}\n");
        assert_eq!(pairs(&[("by", "a\rb".into())]), "by  a\u{fffd}b\n");
    }

    #[test]
    fn long_cells_are_cut_with_a_mark() {
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("äbcd", 4), "äbcd");
    }
}
