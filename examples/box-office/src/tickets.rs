//! The life of a ticket, as rows: its page is stored, its e-mail is offered, and only then is it made.
//!
//! ```text
//! (new) ──▶ making ── stored and e-mailed ──────────▶ made
//!             │ ▲
//!             ▼ └── the same key again
//!          stopped      (not stored, not e-mailed, nobody knows, or the process ended)
//! ```
//!
//! The e-mail has a state of its own. It is written down as in doubt before it is offered, so a process that ends
//! meanwhile leaves the truth behind: nobody knows.

use http::StatusCode;
use lettre::Address;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

use crate::answer::Answer;
use crate::arrivals::Arrival;
use crate::clock;
use crate::database::open_to_read;
use crate::effects::{self, EffectKind};
use crate::postman::MailOutcome;
use crate::refusal::{Refusal, require_text};
use crate::remembered::Key;
use crate::ticket_page::TicketPage;

pub(crate) const PATH: &str = "/tickets";
/// Tickets or orders listed in one answer at most, and by default.
pub(crate) const LISTED_MAX: u32 = 1000;
/// The longest name of an order: it is the name of a file, too.
const ORDER_BYTES_MAX: usize = 64;

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS tickets (
        id         INTEGER PRIMARY KEY,
        at_ms      INTEGER NOT NULL,
        key        TEXT NOT NULL UNIQUE,
        request    TEXT NOT NULL,
        order_name TEXT NOT NULL,
        state      TEXT NOT NULL CHECK (state IN ('making', 'stopped', 'made')),
        mail       TEXT NOT NULL DEFAULT 'unsent' CHECK (mail IN ('unsent', 'in_doubt', 'sent')),
        executions INTEGER NOT NULL DEFAULT 1 CHECK (executions > 0),
        offers     INTEGER NOT NULL DEFAULT 0 CHECK (offers BETWEEN 0 AND executions),
        CHECK ((state = 'made') = (mail = 'sent'))
    ) STRICT;
    CREATE INDEX IF NOT EXISTS tickets_by_order ON tickets (order_name);
    CREATE INDEX IF NOT EXISTS tickets_making ON tickets (id) WHERE state = 'making';
    -- Whoever was making it is gone.
    UPDATE tickets SET state = 'stopped' WHERE state = 'making';
";

/// What `POST /tickets` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewTicket {
    pub(crate) order: String,
    pub(crate) event: String,
    pub(crate) holder: String,
    pub(crate) email: Address,
    pub(crate) seat: String,
}

impl NewTicket {
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if self.order.is_empty() || self.order.len() > ORDER_BYTES_MAX || !self.order.bytes().all(named) {
            return Err(Refusal::BadInput(format!(
                "`order` must be 1 to {ORDER_BYTES_MAX} letters, digits, `-` and `_`"
            )));
        }
        require_text("event", &self.event)?;
        require_text("holder", &self.holder)?;
        require_text("seat", &self.seat)
    }

    /// The name of its page in the folder.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.pdf", self.order)
    }
}

/// What is known of a ticket's e-mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    /// It was never offered, or refused each time.
    Unsent,
    /// It was offered, and what became of it is not known.
    InDoubt,
    /// It was accepted.
    Sent,
}

impl MailState {
    fn as_str(self) -> &'static str {
        match self {
            MailState::Unsent => "unsent",
            MailState::InDoubt => "in_doubt",
            MailState::Sent => "sent",
        }
    }
}

impl FromSql for MailState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "unsent" => Ok(MailState::Unsent),
            "in_doubt" => Ok(MailState::InDoubt),
            "sent" => Ok(MailState::Sent),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// One ticket as the desk's books have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TicketRecord {
    /// Its number, in order of first being asked for.
    pub ticket: i64,
    /// The order it is for.
    pub order: String,
    /// The `Idempotency-Key` it was asked for under.
    pub key: String,
    /// Whether it was made: stored, and its e-mail accepted.
    pub made: bool,
    /// What is known of its e-mail.
    pub mail: MailState,
    /// The `Message-ID` its e-mail has, every time.
    pub message_id: String,
    /// How often the desk set about making it; requests that only asked for the first answer again do not count.
    pub executions: u32,
    /// How often its e-mail was offered to the mail server.
    pub offers: u32,
}

impl TicketRecord {
    const COLUMNS: &'static str = "id, order_name, key, state = 'made', mail, executions, offers";

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let key: String = row.get(2)?;
        Ok(TicketRecord {
            ticket: row.get(0)?,
            order: row.get(1)?,
            made: row.get(3)?,
            mail: row.get(4)?,
            message_id: message_id(&key),
            key,
            executions: row.get(5)?,
            offers: row.get(6)?,
        })
    }
}

/// Every ticket in a desk's database, oldest first; works beside the running desk and after it has gone.
///
/// # Errors
/// When the database cannot be opened or read.
pub fn tickets(database: &Path) -> rusqlite::Result<Vec<TicketRecord>> {
    let connection = open_to_read(database)?;
    let sql = format!("SELECT {} FROM tickets ORDER BY id", TicketRecord::COLUMNS);
    let mut statement = connection.prepare(&sql)?;
    statement.query_map([], TicketRecord::from_row)?.collect()
}

/// A ticket that somebody is making.
#[derive(Debug, Clone)]
pub(crate) struct Making {
    id: i64,
    at_ms: i64,
    pub(crate) new: NewTicket,
    key: String,
    /// What was known of the e-mail before.
    mail: MailState,
}

impl Making {
    pub(crate) fn page(&self) -> TicketPage<'_> {
        let NewTicket { order, event, holder, email: _, seat } = &self.new;
        TicketPage { ticket: self.id, order, event, holder, seat }
    }

    /// When it was first asked for, in milliseconds since the Unix epoch.
    pub(crate) fn asked_at_ms(&self) -> u64 {
        u64::try_from(self.at_ms).unwrap_or(0)
    }

    pub(crate) fn message_id(&self) -> String {
        message_id(&self.key)
    }
}

/// The `Message-ID` of the e-mail under a key: the same for the same key, and another for any other.
fn message_id(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("={byte:02X}"));
        }
    }
    format!("<{name}@tickets.box-office.example>")
}

/// How far a request got by itself.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The ticket was made before, under this key.
    Answered(Answer),
    /// It is to be made.
    Making(Making),
}

/// Writes the ticket down, or takes it up again where an earlier request with its key left it.
///
/// # Errors
/// [`Refusal`] when the key is missing, came with another request, or is being worked on.
pub(crate) fn begin(connection: &Connection, new: NewTicket, arrival: &Arrival) -> Result<Begun, Refusal> {
    let key = key_of(arrival, &new)?;
    if let Some(effect) = key.effect(connection)?
        && let Some(answer) = effects::kept_answer(connection, effect)?
    {
        return Ok(Begun::Answered(answer));
    }
    let known: Option<(i64, i64, String, String, MailState)> = connection
        .prepare_cached("SELECT id, at_ms, request, state, mail FROM tickets WHERE key = ?1")?
        .query_row([key.name()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .optional()?;
    let (id, at_ms, mail) = match known {
        Some((_, _, request, _, _)) if request != key.request() => return Err(Refusal::KeyReused),
        Some((_, _, _, state, _)) if state == "making" => return Err(Refusal::InProgress),
        Some((id, at_ms, _, _, mail)) => {
            connection
                .prepare_cached(
                    "UPDATE tickets SET state = 'making', executions = executions + 1 WHERE id = ?1",
                )?
                .execute([id])?;
            (id, at_ms, mail)
        }
        None => {
            let at_ms = clock::now_ms();
            connection
                .prepare_cached(
                    "INSERT INTO tickets (at_ms, key, request, order_name, state) VALUES (?1, ?2, ?3, ?4, 'making')",
                )?
                .execute(params![at_ms, key.name(), key.request(), new.order])?;
            (connection.last_insert_rowid(), at_ms, MailState::Unsent)
        }
    };
    Ok(Begun::Making(Making { id, at_ms, new, key: key.name().to_owned(), mail }))
}

/// A desk that promises one ticket for a key has to be told the key.
fn key_of(arrival: &Arrival, new: &NewTicket) -> Result<Key, Refusal> {
    let key = Key::of(true, PATH, arrival, new)
        .ok_or_else(|| Refusal::BadInput("the header `Idempotency-Key` is missing".into()))?;
    require_text("Idempotency-Key", key.name())?;
    Ok(key)
}

/// Writes down that the e-mail is about to be offered: from here on nobody knows, until there is an answer.
pub(crate) fn intend(connection: &Connection, making: &Making) -> Result<(), Refusal> {
    connection
        .prepare_cached("UPDATE tickets SET mail = 'in_doubt', offers = offers + 1 WHERE id = ?1")?
        .execute([making.id])?;
    Ok(())
}

/// Leaves the ticket for whoever asks again.
pub(crate) fn stop(connection: &Connection, making: &Making) -> Result<(), Refusal> {
    connection.prepare_cached("UPDATE tickets SET state = 'stopped' WHERE id = ?1")?.execute([making.id])?;
    Ok(())
}

/// Settles a ticket by what became of its e-mail, and returns what the caller is told; `given` is the status of the
/// answer to a ticket that was made, where the caller gets one.
pub(crate) fn settle(
    connection: &Connection,
    making: &Making,
    arrival: &Arrival,
    outcome: &MailOutcome,
    given: Option<StatusCode>,
) -> Result<Answer, Refusal> {
    let (mail, answer) = match outcome {
        MailOutcome::Sent => (MailState::Sent, making.created()),
        MailOutcome::NotSent { why } => {
            (making.mail, making.told(StatusCode::SERVICE_UNAVAILABLE, making.mail, "not-mailed", why))
        }
        MailOutcome::Refused { why } => {
            (making.mail, making.told(StatusCode::BAD_GATEWAY, making.mail, "mail-refused", why))
        }
        MailOutcome::Unknown { why } => {
            let in_doubt = MailState::InDoubt;
            (in_doubt, making.told(StatusCode::BAD_GATEWAY, in_doubt, "mail-in-doubt", why))
        }
    };
    let state = if mail == MailState::Sent { "made" } else { "stopped" };
    connection.prepare_cached("UPDATE tickets SET state = ?2, mail = ?3 WHERE id = ?1")?.execute(params![
        making.id,
        state,
        mail.as_str()
    ])?;
    if mail == MailState::Sent {
        let effect = effects::record(connection, arrival, EffectKind::Ticket, making.id)?;
        effects::decide(connection, effect, &answer, given)?;
        key_of(arrival, &making.new)?.remember(connection, effect)?;
    }
    Ok(answer)
}

impl Making {
    fn created(&self) -> Answer {
        let NewTicket { order, event, holder, email, seat } = &self.new;
        Answer::created(
            format!("{PATH}/{}", self.id),
            &json!({
                "ticket": self.id,
                "order": order,
                "event": event,
                "holder": holder,
                "email": email,
                "seat": seat,
                "pdf": format!("{PATH}/{}/pdf", self.id),
                "message_id": self.message_id(),
            }),
        )
    }

    fn told(&self, status: StatusCode, mail: MailState, error: &str, detail: &str) -> Answer {
        Answer::new(
            status,
            &json!({ "error": error, "detail": detail, "mail": mail, "ticket": self.id, "order": self.new.order }),
        )
    }
}

/// One ticket as `GET /tickets/{id}` shows it.
pub(crate) fn show(connection: &Connection, id: i64) -> Result<Answer, Refusal> {
    let sql = format!("SELECT {} FROM tickets WHERE id = ?1", TicketRecord::COLUMNS);
    let ticket = connection.prepare_cached(&sql)?.query_row([id], TicketRecord::from_row).optional()?;
    ticket.map(|ticket| Answer::new(StatusCode::OK, &json!(ticket))).ok_or(Refusal::NotFound)
}

/// The name of a ticket's page in the folder, once the ticket was made.
pub(crate) fn file_name(connection: &Connection, id: i64) -> Result<String, Refusal> {
    let request: Option<String> = connection
        .prepare_cached("SELECT request FROM tickets WHERE id = ?1 AND state = 'made'")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let new: Option<NewTicket> = request.and_then(|request| serde_json::from_str(&request).ok());
    new.map(|new| new.file_name()).ok_or(Refusal::NotFound)
}

/// The tickets after `after`, oldest first, of one order or all.
pub(crate) fn list(
    connection: &Connection,
    order: Option<&str>,
    after: i64,
    limit: u32,
) -> Result<Vec<TicketRecord>, Refusal> {
    let filter = if order.is_some() { "order_name = ?1" } else { "?1 IS NULL" };
    let sql = format!(
        "SELECT {} FROM tickets WHERE {filter} AND id > ?2 ORDER BY id LIMIT ?3",
        TicketRecord::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![order, after, limit.min(LISTED_MAX)], TicketRecord::from_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// `GET /statement`: how many tickets were made, how often that took more than one execution, and how many tickets each
/// order has, the most first.
pub(crate) fn statement(connection: &Connection) -> Result<Value, Refusal> {
    let totals = connection
        .prepare_cached(
            "SELECT count(*), sum(state = 'made'), sum(state = 'stopped'), sum(mail = 'in_doubt'),
                    sum(executions), sum(executions > 1), sum(offers) FROM tickets",
        )?
        .query_row([], |row| {
            let total = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.unwrap_or(0));
            Ok(json!({
                "tickets": total(0)?,
                "made": total(1)?,
                "stopped": total(2)?,
                "mails_in_doubt": total(3)?,
                "executions": total(4)?,
                "executed_again": total(5)?,
                "offers": total(6)?,
            }))
        })?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT order_name, count(*), sum(state = 'made'), sum(executions), sum(offers) FROM tickets
         GROUP BY order_name ORDER BY count(*) DESC, min(id) LIMIT {LISTED_MAX}"
    ))?;
    let by_order = statement.query_map([], |row| {
        Ok(json!({
            "order": row.get::<_, String>(0)?,
            "tickets": row.get::<_, i64>(1)?,
            "made": row.get::<_, i64>(2)?,
            "executions": row.get::<_, i64>(3)?,
            "offers": row.get::<_, i64>(4)?,
        }))
    })?;
    let by_order: Vec<Value> = by_order.collect::<rusqlite::Result<_>>()?;
    let mut statement = totals;
    statement["by_order"] = by_order.into();
    statement["listed_max"] = LISTED_MAX.into();
    Ok(statement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_key_a_message_id_of_its_own() {
        assert_eq!(message_id("order-17_a"), "<order-17_a@tickets.box-office.example>");
        assert_eq!(message_id("a b=20"), "<a=20b=3D20@tickets.box-office.example>");
        assert_ne!(message_id("a b"), message_id("a=20b"));
    }

    #[test]
    fn takes_only_an_order_that_can_name_a_file() {
        let new = |order: &str| NewTicket {
            order: order.into(),
            event: "Gala".into(),
            holder: "Ada".into(),
            email: "ada@example.com".parse().unwrap(),
            seat: "C 12".into(),
        };
        assert!(new("order-17_b").check().is_ok());
        for order in ["", "..", "a/b", "a b", "é", &"o".repeat(65)] {
            assert!(matches!(new(order).check(), Err(Refusal::BadInput(_))), "{order}");
        }
    }
}
