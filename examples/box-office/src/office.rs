//! The box office: registers students, sells tickets, and tells the truth about what it does not know.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRef, Path, State};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use bytes::Bytes;
use http::StatusCode;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arrivals::Arrival;
use crate::database::{Database, DatabaseError};
use crate::effects;
use crate::orders::{self, Begun, NewOrder};
use crate::refusal::{Refusal, parse};
use crate::registrations::{self, NewRegistration};
use crate::remembered::Key;
use crate::server::{self, RunningService, StartError};
use crate::teller::{Charge, Teller};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        id          TEXT PRIMARY KEY,
        title       TEXT NOT NULL,
        seats       INTEGER NOT NULL CHECK (seats >= 0),
        seats_left  INTEGER NOT NULL CHECK (seats_left BETWEEN 0 AND seats),
        price_cents INTEGER NOT NULL CHECK (price_cents >= 0)
    ) STRICT, WITHOUT ROWID;
";

/// An event, as it goes on sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What requests call it.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// How many seats it has.
    pub seats: u32,
    /// What a ticket costs, in cents; 0 is free.
    pub price_cents: u32,
}

impl Event {
    /// An event with this id, title, number of seats and price in cents.
    pub fn new(id: &str, title: &str, seats: u32, price_cents: u32) -> Self {
        Event { id: id.into(), title: title.into(), seats, price_cents }
    }
}

/// What a box office needs to start.
#[derive(Debug, Clone)]
pub struct OfficeConfig {
    /// Where to listen; port 0 takes any free one (the default, on 127.0.0.1).
    pub address: SocketAddr,
    /// The file of its database, created if it is not there.
    pub database: PathBuf,
    /// The bank's base URL, such as `http://127.0.0.1:9000` (or that of a gateway before it); without one, everything
    /// is free and no card is taken (the default).
    pub bank: Option<String>,
    /// How long it waits for the bank: for a connection, and again for the answer (default: 2 s).
    pub bank_patience: Duration,
    /// The events on sale; one that the database knows already keeps the seats it has left. Default: see the README.
    pub events: Vec<Event>,
    /// Whether the same `Idempotency-Key` again gets the first answer again, instead of a second effect (default: no).
    /// With a bank, this needs a bank that honours keys too.
    pub honours_keys: bool,
}

impl OfficeConfig {
    /// A free box office on any free port, with its books in `database` and the default events.
    pub fn new(database: impl Into<PathBuf>) -> Self {
        OfficeConfig {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            database: database.into(),
            bank: None,
            bank_patience: Duration::from_secs(2),
            events: vec![
                Event::new("open-air", "Open-Air Concert", 1_000_000, 2_500),
                Event::new("spring-gala", "Spring Gala", 200, 4_000),
                Event::new("chamber-night", "Chamber Night", 3, 1_500),
                Event::new("campus-tour", "Campus Tour", 1_000_000, 0),
            ],
            honours_keys: false,
        }
    }
}

/// The box office.
#[derive(Debug)]
pub struct BoxOffice;

impl BoxOffice {
    /// Starts a box office on a thread of its own; once this returns, it answers.
    ///
    /// # Errors
    /// [`StartError`] when its bank's URL is none, or its address or database cannot be had.
    pub fn start(config: OfficeConfig) -> Result<RunningService, StartError> {
        let OfficeConfig { address, database: path, bank, bank_patience, events, honours_keys } = config;
        let teller = bank.map(|url| Teller::new(&url, bank_patience)).transpose()?.map(Arc::new);
        let prepare = move |connection: &Connection| {
            connection.execute_batch(&[SCHEMA, registrations::SCHEMA, orders::SCHEMA].concat())?;
            put_on_sale(connection, &events)
        };
        server::start(address, path, prepare, |database| {
            Router::new()
                .route("/events", get(list_events))
                .route(registrations::PATH, post(register))
                .route("/registrations/{id}", get(show_registration))
                .route(orders::PATH, post(place_order))
                .route("/orders/{id}", get(show_order))
                .route("/effects", get(effects::probe))
                .route("/bank", put(redirect_bank))
                .with_state(Counter { database, teller, honours_keys })
        })
    }
}

fn put_on_sale(connection: &Connection, events: &[Event]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "INSERT INTO events (id, title, seats, seats_left, price_cents) VALUES (?1, ?2, ?3, ?3, ?4)
         ON CONFLICT (id) DO NOTHING",
    )?;
    for event in events {
        statement.execute(params![event.id, event.title, event.seats, event.price_cents])?;
    }
    Ok(())
}

#[derive(Clone)]
struct Counter {
    database: Database,
    teller: Option<Arc<Teller>>,
    honours_keys: bool,
}

impl FromRef<Counter> for Database {
    fn from_ref(counter: &Counter) -> Database {
        counter.database.clone()
    }
}

/// `GET /events`.
async fn list_events(State(database): State<Database>) -> Result<Answer, Refusal> {
    let events = database.run(events_json).await?;
    Ok(Answer::new(StatusCode::OK, &json!({ "events": events })))
}

fn events_json(connection: &Connection) -> Result<Vec<Value>, Refusal> {
    let mut statement = connection
        .prepare_cached("SELECT id, title, seats, seats_left, price_cents FROM events ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok(json!({
            "id": row.get::<_, String>(0)?,
            "title": row.get::<_, String>(1)?,
            "seats": row.get::<_, i64>(2)?,
            "seats_left": row.get::<_, i64>(3)?,
            "price_cents": row.get::<_, i64>(4)?,
        }))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// `POST /register`.
async fn register(
    State(counter): State<Counter>,
    Extension(arrival): Extension<Arrival>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let new: NewRegistration = parse(body)?;
    new.check()?;
    let key = Key::of(counter.honours_keys, registrations::PATH, &arrival, &new);
    counter
        .database
        .run(move |connection| registrations::register(connection, &new, &arrival, key.as_ref()))
        .await
}

/// `GET /registrations/{id}`.
async fn show_registration(
    State(database): State<Database>,
    path: Result<Path<i64>, PathRejection>,
) -> Result<Answer, Refusal> {
    let Path(id) = path?;
    database.run(move |connection| registrations::show(connection, id)).await
}

/// `POST /orders`: three steps that are not one, which is the whole trouble.
async fn place_order(
    State(counter): State<Counter>,
    Extension(arrival): Extension<Arrival>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let order: NewOrder = parse(body)?;
    order.check()?;
    let key = Key::of(counter.honours_keys, orders::PATH, &arrival, &order);
    let client_reference = arrival.reference.clone();
    let takes_cards = counter.teller.is_some();
    let begun = counter
        .database
        .run(move |connection| orders::begin(connection, order, &arrival, key.as_ref(), takes_cards))
        .await?;
    let (charging, teller) = match (begun, counter.teller) {
        (Begun::Answered(answer), _) => return Ok(answer),
        (Begun::Charging(charging), Some(teller)) => (charging, teller),
        // Not reached: `begin` asks for a charge only where cards are taken.
        (Begun::Charging(_), None) => return Err(DatabaseError::NotWritten.into()),
    };
    let outcome = teller
        .charge(&Charge {
            card: &charging.card,
            amount_cents: charging.amount_cents,
            order_key: &charging.order_key(),
            client_reference: client_reference.as_deref(),
        })
        .await;
    counter
        .database
        .run(move |connection| -> Result<_, Refusal> { Ok(orders::settle(connection, &charging, &outcome)?) })
        .await
}

/// `GET /orders/{id}`.
async fn show_order(
    State(database): State<Database>,
    path: Result<Path<i64>, PathRejection>,
) -> Result<Answer, Refusal> {
    let Path(id) = path?;
    database.run(move |connection| orders::show(connection, id)).await
}

#[derive(Debug, Deserialize)]
struct NewBank {
    url: String,
}

/// `PUT /bank`: charges go to this URL from now on, so that a gateway started later can be put between the two.
async fn redirect_bank(
    State(counter): State<Counter>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Answer, Refusal> {
    let NewBank { url } = parse(body)?;
    let teller = counter
        .teller
        .ok_or_else(|| Refusal::BadInput("this box office was started without a bank".into()))?;
    teller.redirect(&url).map_err(|error| Refusal::BadInput(error.to_string()))?;
    Ok(Answer::new(StatusCode::OK, &json!({ "url": url })))
}
