//! Every request that arrived, written down before anything is done about it.
//!
//! The table only grows. Which effect an arrival had is told by the effect, which names its arrival; so "sent at most
//! once" and "took effect at most once" are two questions a test can ask separately.

use std::path::Path;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use rusqlite::params;

use crate::clock;
use crate::database::{Database, open_to_read};
use crate::refusal::Refusal;

/// The header that carries the caller's idempotency key.
pub(crate) const KEY_HEADER: &str = "idempotency-key";
/// The header that carries the caller's own name for what it asks.
pub(crate) const REFERENCE_HEADER: &str = "x-client-reference";

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS arrivals (
        id        INTEGER PRIMARY KEY,
        at_ms     INTEGER NOT NULL,
        method    TEXT NOT NULL,
        path      TEXT NOT NULL,
        key       TEXT,
        reference TEXT
    ) STRICT;
";

/// The arrival a handler is working for.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) id: i64,
    pub(crate) key: Option<String>,
    pub(crate) reference: Option<String>,
}

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalRecord {
    /// Its number, in order of arrival.
    pub id: i64,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its `Idempotency-Key`, as received.
    pub key: Option<String>,
    /// Its `X-Client-Reference`.
    pub reference: Option<String>,
    /// The effect it had, by [`Effect::id`](crate::Effect::id), if it had one.
    pub effect: Option<i64>,
}

/// Middleware: writes the arrival down, commits, and only then lets the handler see the request.
pub(crate) async fn record(State(database): State<Database>, mut request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let key = header_text(request.headers(), KEY_HEADER);
    let reference = header_text(request.headers(), REFERENCE_HEADER);
    let recorded = database
        .run(move |connection| -> Result<Arrival, Refusal> {
            connection
                .prepare_cached(
                    "INSERT INTO arrivals (at_ms, method, path, key, reference) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![clock::now_ms(), method, path, key, reference])?;
            Ok(Arrival { id: connection.last_insert_rowid(), key, reference })
        })
        .await;
    match recorded {
        Ok(arrival) => {
            request.extensions_mut().insert(arrival);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Every arrival in a service's database, oldest first; works beside the running service and after it has gone.
///
/// # Errors
/// When the database cannot be opened or read.
pub fn arrivals(database: &Path) -> rusqlite::Result<Vec<ArrivalRecord>> {
    let connection = open_to_read(database)?;
    let mut statement = connection.prepare(
        "SELECT a.id, a.at_ms, a.method, a.path, a.key, a.reference, e.id
         FROM arrivals a LEFT JOIN effects e ON e.arrival = a.id ORDER BY a.id",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(ArrivalRecord {
            id: row.get(0)?,
            at_ms: row.get(1)?,
            method: row.get(2)?,
            path: row.get(3)?,
            key: row.get(4)?,
            reference: row.get(5)?,
            effect: row.get(6)?,
        })
    })?;
    rows.collect()
}
