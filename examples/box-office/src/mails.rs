//! The mails a sink holds, as rows, each with a file of its own; and how often each was offered.
//!
//! A mail is known by its `Message-ID` and its recipient. Offered again, it is acknowledged again and not kept a second
//! time, as mail servers do that suppress duplicates. What a reader would call the same mail, with the same recipient and the
//! same subject, is counted by itself: there, a mail that was sent under two names shows.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock;
use crate::database::open_to_read;
use crate::refusal::{Refusal, require_text};
use crate::shelf::Staged;

/// Mails listed in one answer at most, and by default.
pub(crate) const LISTED_MAX: u32 = 1000;
/// Domains closed at once at most.
const CLOSED_MAX: usize = 100;
/// How much of a subject or a `Message-ID` is kept.
const HEADER_CHARS_MAX: usize = 1000;

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS mails (
        id         INTEGER PRIMARY KEY,
        at_ms      INTEGER NOT NULL,
        message_id TEXT,
        sender     TEXT NOT NULL,
        recipient  TEXT NOT NULL,
        subject    TEXT NOT NULL,
        file       TEXT NOT NULL,
        offered    INTEGER NOT NULL DEFAULT 1 CHECK (offered > 0)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS mails_by_message_id ON mails (message_id, recipient) WHERE message_id IS NOT NULL;
    CREATE TABLE IF NOT EXISTS closed_domains (
        domain TEXT PRIMARY KEY
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS mishaps (
        mishap TEXT PRIMARY KEY,
        count  INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// One mail that a sink holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MailRecord {
    /// Its number, in order of arrival.
    pub mail: i64,
    /// When it arrived first, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its `Message-ID`, if it has one.
    pub message_id: Option<String>,
    /// Who it is for.
    pub recipient: String,
    /// Its subject, as written in its header.
    pub subject: String,
    /// The name of its file in the sink's folder.
    pub file: String,
    /// How often it was taken: once, and once more for each time it came again and was recognised.
    pub offered: u32,
}

impl MailRecord {
    const COLUMNS: &'static str = "id, at_ms, message_id, recipient, subject, file, offered";

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(MailRecord {
            mail: row.get(0)?,
            at_ms: row.get(1)?,
            message_id: row.get(2)?,
            recipient: row.get(3)?,
            subject: row.get(4)?,
            file: row.get(5)?,
            offered: row.get(6)?,
        })
    }
}

/// Every mail in a sink's database, oldest first; works beside the running sink and after it has gone.
///
/// # Errors
/// When the database cannot be opened or read.
pub fn mails(database: &Path) -> rusqlite::Result<Vec<MailRecord>> {
    let connection = open_to_read(database)?;
    let mut statement =
        connection.prepare(&format!("SELECT {} FROM mails ORDER BY id", MailRecord::COLUMNS))?;
    statement.query_map([], MailRecord::from_row)?.collect()
}

/// A message as it came over the wire.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) sender: String,
    pub(crate) recipients: BTreeSet<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) subject: String,
}

impl Message {
    pub(crate) fn new(sender: String, recipients: BTreeSet<String>, bytes: &[u8]) -> Message {
        let message_id = header(bytes, "message-id").filter(|id| !id.is_empty());
        let subject = header(bytes, "subject").unwrap_or_default();
        Message { sender, recipients, message_id, subject }
    }
}

/// Keeps a message for each of its recipients who does not have it; its file gets its name only if there is one.
///
/// The file comes before the rows: a crash between them leaves a file without a mail, which the next one replaces, and
/// never a mail without a file.
pub(crate) fn take(
    connection: &Connection,
    message: &Message,
    staged: Staged,
    recognises_repeats: bool,
) -> Result<(), Refusal> {
    let mut file = None;
    for recipient in &message.recipients {
        if recognises_repeats && offered_again(connection, message, recipient)? {
            continue;
        }
        let next: i64 = connection
            .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM mails")?
            .query_row([], |row| row.get(0))?;
        let file: &str = file.get_or_insert_with(|| format!("mail-{next}.eml"));
        connection
            .prepare_cached(
                "INSERT INTO mails (id, at_ms, message_id, sender, recipient, subject, file)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                next,
                clock::now_ms(),
                message.message_id,
                message.sender,
                recipient,
                message.subject,
                file
            ])?;
    }
    match file {
        Some(file) => Ok(staged.keep_as(&file)?),
        None => Ok(()),
    }
}

/// Whether this recipient has this message already; that it came again is counted.
fn offered_again(connection: &Connection, message: &Message, recipient: &str) -> rusqlite::Result<bool> {
    let Some(message_id) = &message.message_id else { return Ok(false) };
    let changed = connection
        .prepare_cached("UPDATE mails SET offered = offered + 1 WHERE message_id = ?1 AND recipient = ?2")?
        .execute([message_id, recipient])?;
    Ok(changed > 0)
}

/// A header of a message, unfolded, without the space round it.
fn header(message: &[u8], name: &str) -> Option<String> {
    let mut value: Option<String> = None;
    for line in message.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        match (&mut value, line.split_once(':')) {
            // The end of the header.
            _ if line.is_empty() => break,
            (Some(value), _) if line.starts_with([' ', '\t']) => value.push_str(line),
            (Some(_), _) => break,
            (None, Some((found, first))) if found.eq_ignore_ascii_case(name) => {
                value = Some(first.to_owned())
            }
            (None, _) => {}
        }
    }
    value.map(|value| value.trim().chars().take(HEADER_CHARS_MAX).collect())
}

/// Whether mail for this recipient is refused, because the domain is closed.
pub(crate) fn is_closed(connection: &Connection, recipient: &str) -> Result<bool, Refusal> {
    let domain = recipient.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
    let closed = connection
        .prepare_cached("SELECT 1 FROM closed_domains WHERE domain = ?1")?
        .query_row([domain], |_| Ok(()))
        .optional()?;
    Ok(closed.is_some())
}

/// Closes these domains, and no others.
///
/// # Errors
/// [`Refusal::BadInput`] when there are too many, or one is no text.
pub(crate) fn close(connection: &Connection, domains: &[String]) -> Result<(), Refusal> {
    if domains.len() > CLOSED_MAX {
        return Err(Refusal::BadInput(format!("at most {CLOSED_MAX} domains are closed at once")));
    }
    connection.prepare_cached("DELETE FROM closed_domains")?.execute([])?;
    let mut statement = connection.prepare_cached("INSERT OR IGNORE INTO closed_domains VALUES (?1)")?;
    for domain in domains {
        require_text("domains", domain)?;
        statement.execute([domain.to_ascii_lowercase()])?;
    }
    Ok(())
}

/// The domains that are closed.
pub(crate) fn closed(connection: &Connection) -> Result<Vec<String>, Refusal> {
    let mut statement = connection.prepare_cached("SELECT domain FROM closed_domains ORDER BY domain")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Counts something that the sink did to whoever sent.
pub(crate) fn count_mishap(connection: &Connection, mishap: &'static str) -> Result<(), Refusal> {
    connection
        .prepare_cached(
            "INSERT INTO mishaps (mishap, count) VALUES (?1, 1) ON CONFLICT (mishap) DO UPDATE SET count = count + 1",
        )?
        .execute([mishap])?;
    Ok(())
}

/// The mails after `after`, oldest first, of one recipient or all.
pub(crate) fn list(
    connection: &Connection,
    recipient: Option<&str>,
    after: i64,
    limit: u32,
) -> Result<Vec<MailRecord>, Refusal> {
    let filter = if recipient.is_some() { "recipient = ?1" } else { "?1 IS NULL" };
    let sql =
        format!("SELECT {} FROM mails WHERE {filter} AND id > ?2 ORDER BY id LIMIT ?3", MailRecord::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![recipient, after, limit.min(LISTED_MAX)], MailRecord::from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many mails arrived, how many came again and were recognised, how many arrived twice, and the mishaps.
pub(crate) fn totals(connection: &Connection) -> Result<Value, Refusal> {
    let (arrived, offered): (i64, i64) = connection
        .prepare_cached("SELECT count(*), coalesce(sum(offered), 0) FROM mails")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let twice: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM (SELECT 1 FROM mails GROUP BY recipient, subject HAVING count(*) > 1)",
        )?
        .query_row([], |row| row.get(0))?;
    let mut statement = connection.prepare_cached("SELECT mishap, count FROM mishaps ORDER BY mishap")?;
    let mut mishaps = json!({});
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        mishaps[row.get::<_, String>(0)?] = row.get::<_, i64>(1)?.into();
    }
    Ok(json!({
        "arrived": arrived,
        "offered": offered,
        "recognised_repeats": offered - arrived,
        "arrived_twice": twice,
        "mishaps": mishaps,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] =
        b"Message-ID: <a@b>\r\nSUBJECT: Your ticket\r\n for order 7\r\nTo: ada@example.com\r\n\r\nDate: never\r\n";

    #[test]
    fn reads_a_header_and_unfolds_it() {
        assert_eq!(header(MESSAGE, "message-id").as_deref(), Some("<a@b>"));
        assert_eq!(header(MESSAGE, "subject").as_deref(), Some("Your ticket for order 7"));
    }

    #[test]
    fn takes_no_body_for_a_header() {
        assert_eq!(header(MESSAGE, "date"), None);
        assert_eq!(header(b"", "date"), None);
    }

    fn sent_twice(message: &[u8], recognises_repeats: bool) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        for _ in 0..2 {
            let recipients = BTreeSet::from(["ada@example.com".to_owned(), "eve@example.com".to_owned()]);
            let message = Message::new("desk@example.com".into(), recipients, message);
            let staged = crate::shelf::stage(folder.path(), b"bytes").unwrap();
            take(&connection, &message, staged, recognises_repeats).unwrap();
        }
        totals(&connection).unwrap()
    }

    #[test]
    fn keeps_a_known_message_once_for_each_recipient() {
        let totals = sent_twice(MESSAGE, true);
        assert_eq!((&totals["arrived"], &totals["recognised_repeats"]), (&2.into(), &2.into()));
        assert_eq!(totals["arrived_twice"], 0);
    }

    #[test]
    fn counts_what_arrived_twice_where_no_name_tells() {
        assert_eq!(sent_twice(MESSAGE, false)["arrived_twice"], 2);
        assert_eq!(sent_twice(b"Subject: s\r\n\r\n", true)["arrived_twice"], 2);
    }
}
