//! What really happened: one row for every effect, with the key and reference of the request that caused it.
//!
//! A row is written in the same transaction as the thing itself, so the two cannot disagree. An effect that was taken
//! back (seats given back because the card was declined) stays, marked as undone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::StatusCode;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::Answer;
use crate::arrivals::Arrival;
use crate::clock;
use crate::database::{Database, open_to_read};
use crate::refusal::Refusal;

/// Effects listed in one answer at most.
const LISTED_MAX: usize = 100;

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS effects (
        id           INTEGER PRIMARY KEY,
        at_ms        INTEGER NOT NULL,
        arrival      INTEGER NOT NULL UNIQUE REFERENCES arrivals (id),
        kind         TEXT NOT NULL CHECK (kind IN ('registration', 'order', 'charge', 'ticket')),
        subject      INTEGER NOT NULL,
        key          TEXT,
        reference    TEXT,
        undone       INTEGER NOT NULL DEFAULT 0 CHECK (undone IN (0, 1)),
        status       INTEGER,
        location     TEXT,
        body         TEXT,
        given_status INTEGER
    ) STRICT;
    CREATE INDEX IF NOT EXISTS effects_by_reference ON effects (reference) WHERE reference IS NOT NULL;
    CREATE INDEX IF NOT EXISTS effects_by_key ON effects (key) WHERE key IS NOT NULL;
";

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EffectKind {
    /// A student was registered for an event.
    Registration,
    /// Seats were taken for an order.
    Order,
    /// A card was charged.
    Charge,
    /// A ticket was made, stored and e-mailed.
    Ticket,
}

impl EffectKind {
    fn as_str(self) -> &'static str {
        match self {
            EffectKind::Registration => "registration",
            EffectKind::Order => "order",
            EffectKind::Charge => "charge",
            EffectKind::Ticket => "ticket",
        }
    }
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromSql for EffectKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "registration" => Ok(EffectKind::Registration),
            "order" => Ok(EffectKind::Order),
            "charge" => Ok(EffectKind::Charge),
            "ticket" => Ok(EffectKind::Ticket),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// Its number, in order of happening.
    pub id: i64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The request that caused it, by [`ArrivalRecord::id`](crate::ArrivalRecord::id).
    pub arrival: i64,
    /// What kind of thing happened.
    pub kind: EffectKind,
    /// The number of the registration, order, charge or ticket.
    pub subject: i64,
    /// The `Idempotency-Key` the request came with.
    pub key: Option<String>,
    /// The `X-Client-Reference` the request came with.
    pub reference: Option<String>,
    /// Whether it was taken back since.
    pub undone: bool,
    /// The status the caller was given; `None` while undecided, and when the answer was lost on purpose.
    pub given_status: Option<u16>,
    /// The JSON body that tells of the effect, byte for byte as it is (or would have been) answered.
    pub body: Option<String>,
}

impl Effect {
    const COLUMNS: &'static str =
        "id, at_ms, arrival, kind, subject, key, reference, undone, given_status, body";

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Effect {
            id: row.get(0)?,
            at_ms: row.get(1)?,
            arrival: row.get(2)?,
            kind: row.get(3)?,
            subject: row.get(4)?,
            key: row.get(5)?,
            reference: row.get(6)?,
            undone: row.get(7)?,
            given_status: row.get(8)?,
            body: row.get(9)?,
        })
    }
}

/// How often one kind of effect happened under one key and reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectCount {
    /// What kind of thing happened.
    pub kind: EffectKind,
    /// The `Idempotency-Key` of the requests that caused it.
    pub key: Option<String>,
    /// Their `X-Client-Reference`.
    pub reference: Option<String>,
    /// How many of these effects stand.
    pub count: u32,
    /// How many were taken back.
    pub undone: u32,
    /// The status given for the newest of them; `None` while undecided, and when the answer was lost on purpose.
    pub response_status: Option<u16>,
    /// The JSON body that tells of the newest of them.
    pub response_body: Option<String>,
}

/// Every effect in a service's database, oldest first; works beside the running service and after it has gone.
///
/// # Errors
/// When the database cannot be opened or read.
pub fn effects(database: &Path) -> rusqlite::Result<Vec<Effect>> {
    let connection = open_to_read(database)?;
    let mut statement =
        connection.prepare(&format!("SELECT {} FROM effects ORDER BY id", Effect::COLUMNS))?;
    statement.query_map([], Effect::from_row)?.collect()
}

/// The effects in a service's database counted by kind, key and reference.
///
/// # Errors
/// When the database cannot be opened or read.
pub fn effects_by_key(database: &Path) -> rusqlite::Result<Vec<EffectCount>> {
    let connection = open_to_read(database)?;
    // SQLite takes the bare columns from the row that `max` picked: the newest of the group.
    let mut statement = connection.prepare(
        "SELECT kind, key, reference, sum(undone = 0), sum(undone), given_status, body, max(id)
         FROM effects GROUP BY kind, key, reference ORDER BY min(id)",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(EffectCount {
            kind: row.get(0)?,
            key: row.get(1)?,
            reference: row.get(2)?,
            count: row.get(3)?,
            undone: row.get(4)?,
            response_status: row.get(5)?,
            response_body: row.get(6)?,
        })
    })?;
    rows.collect()
}

/// How many effects of `kind` stand for each `X-Client-Reference`, whatever keys they came under.
///
/// # Errors
/// When the database cannot be opened or read.
pub fn standing_by_reference(database: &Path, kind: EffectKind) -> rusqlite::Result<BTreeMap<String, u32>> {
    let connection = open_to_read(database)?;
    let mut statement = connection.prepare(
        "SELECT reference, count(*) FROM effects
         WHERE kind = ?1 AND undone = 0 AND reference IS NOT NULL GROUP BY reference",
    )?;
    statement.query_map([kind.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Writes down that `kind` happened, as `subject`, with no answer decided yet; returns the effect's id.
pub(crate) fn record(
    connection: &Connection,
    arrival: &Arrival,
    kind: EffectKind,
    subject: i64,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO effects (at_ms, arrival, kind, subject, key, reference) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![clock::now_ms(), arrival.id, kind.as_str(), subject, arrival.key, arrival.reference])?;
    Ok(connection.last_insert_rowid())
}

/// Keeps the answer that tells of an effect, and which status its caller is given (`None`: none at all).
pub(crate) fn decide(
    connection: &Connection,
    effect: i64,
    answer: &Answer,
    given: Option<StatusCode>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE effects SET status = ?2, location = ?3, body = ?4, given_status = ?5 WHERE id = ?1",
        )?
        .execute(params![
            effect,
            answer.status.as_u16(),
            answer.location,
            answer.body,
            given.map(|status| status.as_u16())
        ])
        .map(drop)
}

/// Marks an effect as taken back.
pub(crate) fn undo(connection: &Connection, effect: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE effects SET undone = 1 WHERE id = ?1")?.execute([effect]).map(drop)
}

/// The answer kept for an effect, marked as replayed; `None` while it is undecided.
pub(crate) fn kept_answer(connection: &Connection, effect: i64) -> rusqlite::Result<Option<Answer>> {
    connection.prepare_cached("SELECT status, location, body FROM effects WHERE id = ?1")?.query_row(
        [effect],
        |row| {
            let Some(status) = row.get::<_, Option<u16>>(0)? else { return Ok(None) };
            let status =
                StatusCode::from_u16(status).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, 0))?;
            Ok(Some(Answer { status, location: row.get(1)?, body: row.get(2)?, replayed: true }))
        },
    )
}

/// What a probe asks for.
#[derive(Debug, Deserialize)]
pub(crate) struct Probe {
    reference: Option<String>,
    key: Option<String>,
}

/// `GET /effects?reference=…`, `?key=…` or both: what happened; 404 when nothing that stands did.
pub(crate) async fn probe(
    State(database): State<Database>,
    query: Result<Query<Probe>, QueryRejection>,
) -> Result<Answer, Refusal> {
    let Query(probe) = query?;
    if probe.reference.is_none() && probe.key.is_none() {
        return Err(Refusal::BadInput("say which `reference` or `key`".into()));
    }
    let found: Vec<Effect> = database
        .run(move |connection| -> Result<_, Refusal> {
            // One statement for each way to ask, so that each uses its index.
            let filter = match (&probe.reference, &probe.key) {
                (Some(_), Some(_)) => "reference = ?1 AND key = ?2",
                (Some(_), None) => "reference = ?1 AND ?2 IS NULL",
                (None, _) => "key = ?2 AND ?1 IS NULL",
            };
            let sql = format!(
                "SELECT {} FROM effects WHERE {filter} ORDER BY id LIMIT {LISTED_MAX}",
                Effect::COLUMNS
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![probe.reference, probe.key], Effect::from_row)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await?;
    let count = found.iter().filter(|effect| !effect.undone).count();
    let status = if count == 0 { StatusCode::NOT_FOUND } else { StatusCode::OK };
    Ok(Answer::new(status, &json!({ "count": count, "effects": found })))
}
