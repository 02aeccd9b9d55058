//! The bank: charges cards, in a good mood or a bad one, and keeps a statement of every charge.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRef, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http::StatusCode;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arrivals::Arrival;
use crate::database::Database;
use crate::effects::{self, EffectKind};
use crate::refusal::{Refusal, parse, require_text};
use crate::remembered::Key;
use crate::server::{self, AnswerLost, RunningService, StartError};
use crate::temper::{self, BankTemper, Mood, Turn};

/// The one card this bank always declines.
const DECLINED_CARD: &str = "4000000000000002";
/// A charge's greatest amount: a million in whole money.
const AMOUNT_CENTS_MAX: i64 = 100_000_000;
/// References or charges listed in one answer at most, and by default.
const LISTED_MAX: u32 = 1000;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS charges (
        id               INTEGER PRIMARY KEY,
        card             TEXT NOT NULL,
        amount_cents     INTEGER NOT NULL CHECK (amount_cents > 0),
        reference        TEXT NOT NULL,
        client_reference TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS charges_by_reference ON charges (reference);
";

/// What a bank needs to start.
#[derive(Debug, Clone)]
pub struct BankConfig {
    /// Where to listen; port 0 takes any free one (the default, on 127.0.0.1).
    pub address: SocketAddr,
    /// The file of its database, created if it is not there.
    pub database: PathBuf,
    /// Its temper at the start (default: perfect health).
    pub temper: BankTemper,
    /// Whether the same `Idempotency-Key` again gets the first answer again, instead of a second charge (default: no).
    pub honours_keys: bool,
}

impl BankConfig {
    /// A bank in perfect health on any free port, with its books in `database`.
    pub fn new(database: impl Into<PathBuf>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        BankConfig { address, database: database.into(), temper: BankTemper::default(), honours_keys: false }
    }
}

/// The bank.
#[derive(Debug)]
pub struct Bank;

impl Bank {
    /// Starts a bank on a thread of its own; once this returns, it answers.
    ///
    /// # Errors
    /// [`StartError`] when its temper is out of bounds, or its address or database cannot be had.
    pub fn start(config: BankConfig) -> Result<RunningService, StartError> {
        let mood = Mood::new(config.temper)?;
        let honours_keys = config.honours_keys;
        server::start(
            config.address,
            config.database,
            |connection| connection.execute_batch(SCHEMA),
            |database| {
                Router::new()
                    .route("/charges", post(charge).get(list_charges))
                    .route("/charges/{id}", get(show_charge))
                    .route("/statement", get(statement))
                    .route("/effects", get(effects::probe))
                    .route("/temper", get(temper::show).put(temper::change))
                    .with_state(Desk { database, mood, honours_keys })
            },
        )
    }
}

#[derive(Clone)]
struct Desk {
    database: Database,
    mood: Mood,
    honours_keys: bool,
}

impl FromRef<Desk> for Database {
    fn from_ref(desk: &Desk) -> Database {
        desk.database.clone()
    }
}

impl FromRef<Desk> for Mood {
    fn from_ref(desk: &Desk) -> Mood {
        desk.mood.clone()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct NewCharge {
    card: String,
    amount_cents: i64,
    reference: String,
}

impl NewCharge {
    fn check(&self) -> Result<(), Refusal> {
        if !(12..=19).contains(&self.card.len()) || !self.card.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Refusal::BadInput("`card` must be 12 to 19 digits".into()));
        }
        if !(1..=AMOUNT_CENTS_MAX).contains(&self.amount_cents) {
            return Err(Refusal::BadInput(format!("`amount_cents` must be from 1 to {AMOUNT_CENTS_MAX}")));
        }
        require_text("reference", &self.reference)
    }
}

/// `POST /charges`: charges a card, in whatever way the plan says.
async fn charge(
    State(desk): State<Desk>,
    Extension(arrival): Extension<Arrival>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let charge: NewCharge = parse(body)?;
    charge.check()?;
    let fate = desk.mood.befalls().await;
    if fate.turn == Turn::Refuse {
        return Err(Refusal::NotExecuted("the bank"));
    }
    if charge.card == DECLINED_CARD {
        return Err(Refusal::CardDeclined);
    }
    let key = Key::of(desk.honours_keys, "/charges", &arrival, &charge);
    let answer = desk
        .database
        .run(move |connection| execute(connection, &charge, &arrival, key.as_ref(), fate.turn))
        .await?;
    Ok(match fate.turn {
        Turn::Answer | Turn::Refuse => answer.into_response(),
        Turn::FailAfter => {
            let detail = json!({ "error": "internal", "detail": "something broke; whether the card was charged is for you to find out" });
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, &detail).into_response()
        }
        Turn::Lose => (Extension(AnswerLost), StatusCode::OK).into_response(),
    })
}

fn execute(
    connection: &Connection,
    charge: &NewCharge,
    arrival: &Arrival,
    key: Option<&Key>,
    turn: Turn,
) -> Result<Answer, Refusal> {
    if let Some(key) = key
        && let Some(effect) = key.effect(connection)?
        && let Some(answer) = effects::kept_answer(connection, effect)?
    {
        return Ok(answer);
    }
    connection
        .prepare_cached(
            "INSERT INTO charges (card, amount_cents, reference, client_reference) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![charge.card, charge.amount_cents, charge.reference, arrival.reference])?;
    let id = connection.last_insert_rowid();
    let answer = Answer::created(
        format!("/charges/{id}"),
        &json!({ "charge": id, "amount_cents": charge.amount_cents, "reference": charge.reference }),
    );
    let effect = effects::record(connection, arrival, EffectKind::Charge, id)?;
    let given = match turn {
        Turn::Answer | Turn::Refuse => Some(answer.status),
        Turn::FailAfter => Some(StatusCode::INTERNAL_SERVER_ERROR),
        Turn::Lose => None,
    };
    effects::decide(connection, effect, &answer, given)?;
    if let Some(key) = key {
        key.remember(connection, effect)?;
    }
    Ok(answer)
}

const CHARGE_COLUMNS: &str = "id, amount_cents, reference, client_reference, card";

fn charge_json(row: &Row<'_>) -> rusqlite::Result<Value> {
    let card: String = row.get(4)?;
    Ok(json!({
        "charge": row.get::<_, i64>(0)?,
        "amount_cents": row.get::<_, i64>(1)?,
        "reference": row.get::<_, String>(2)?,
        "client_reference": row.get::<_, Option<String>>(3)?,
        "card_ending": card.get(card.len().saturating_sub(4)..),
    }))
}

/// `GET /charges/{id}`.
async fn show_charge(
    State(database): State<Database>,
    path: Result<Path<i64>, PathRejection>,
) -> Result<Answer, Refusal> {
    let Path(id) = path?;
    let charge = database
        .run(move |connection| -> Result<_, Refusal> {
            let sql = format!("SELECT {CHARGE_COLUMNS} FROM charges WHERE id = ?1");
            Ok(connection.prepare_cached(&sql)?.query_row([id], charge_json).optional()?)
        })
        .await?;
    charge.map(|charge| Answer::new(StatusCode::OK, &charge)).ok_or(Refusal::NotFound)
}

#[derive(Debug, Deserialize)]
struct Listing {
    /// Only the charges with this reference.
    reference: Option<String>,
    /// Only the charges after this one.
    #[serde(default)]
    after: i64,
    limit: Option<u32>,
}

/// `GET /charges?reference=…&after=…&limit=…`: the charges, oldest first; 404 when a reference was named and has none.
async fn list_charges(
    State(database): State<Database>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Answer, Refusal> {
    let Query(listing) = query?;
    let named = listing.reference.is_some();
    let charges = database
        .run(move |connection| -> Result<Vec<Value>, Refusal> {
            let filter = if listing.reference.is_some() { "reference = ?1" } else { "?1 IS NULL" };
            let sql = format!(
                "SELECT {CHARGE_COLUMNS} FROM charges WHERE {filter} AND id > ?2 ORDER BY id LIMIT ?3"
            );
            let limit = listing.limit.unwrap_or(LISTED_MAX).min(LISTED_MAX);
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![listing.reference, listing.after, limit], charge_json)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await?;
    let status = if named && charges.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    Ok(Answer::new(status, &json!({ "count": charges.len(), "charges": charges })))
}

/// `GET /statement`: how much was charged in all, and how often for each reference, the most charged first.
async fn statement(State(database): State<Database>) -> Result<Answer, Refusal> {
    let statement = database
        .run(|connection| -> Result<Value, Refusal> {
            let (count, total_cents): (i64, i64) = connection
                .prepare_cached("SELECT count(*), coalesce(sum(amount_cents), 0) FROM charges")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(json!({
                "count": count,
                "total_cents": total_cents,
                "by_reference": counts_by(connection, "reference")?,
                "by_client_reference": counts_by(connection, "client_reference")?,
                "listed_max": LISTED_MAX,
            }))
        })
        .await?;
    Ok(Answer::new(StatusCode::OK, &statement))
}

fn counts_by(connection: &Connection, column: &'static str) -> rusqlite::Result<Vec<Value>> {
    let sql = format!(
        "SELECT {column}, count(*), sum(amount_cents) FROM charges WHERE {column} IS NOT NULL
         GROUP BY {column} ORDER BY count(*) DESC, min(id) LIMIT {LISTED_MAX}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], |row| {
        Ok(json!({
            column: row.get::<_, String>(0)?,
            "count": row.get::<_, i64>(1)?,
            "amount_cents": row.get::<_, i64>(2)?,
        }))
    })?;
    rows.collect()
}
