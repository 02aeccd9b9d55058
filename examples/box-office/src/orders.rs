//! The life of an order, as rows: seats are taken, the bank is asked, the order is settled by what is known.
//!
//! ```text
//! (new) ── nothing to pay ──▶ free
//!   └────▶ charging ── charged ───────▶ paid
//!             ├── card declined ──────▶ declined      (seats given back)
//!             ├── bank did nothing ───▶ not_charged   (seats given back)
//!             └── nobody knows, or the process ended ──▶ unsettled   (seats kept)
//! ```

use http::StatusCode;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arrivals::Arrival;
use crate::effects::{self, EffectKind};
use crate::refusal::{Refusal, require_text};
use crate::remembered::{self, Key};
use crate::teller::ChargeOutcome;

pub(crate) const PATH: &str = "/orders";
/// Tickets in one order at most.
const TICKETS_MAX: u32 = 20;

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders (
        id           INTEGER PRIMARY KEY,
        event        TEXT NOT NULL REFERENCES events (id),
        buyer        TEXT NOT NULL,
        tickets      INTEGER NOT NULL CHECK (tickets > 0),
        amount_cents INTEGER NOT NULL CHECK (amount_cents >= 0),
        status       TEXT NOT NULL
            CHECK (status IN ('charging', 'paid', 'free', 'declined', 'not_charged', 'unsettled')),
        charge       INTEGER,
        CHECK (charge IS NULL OR status = 'paid')
    ) STRICT;
    CREATE INDEX IF NOT EXISTS orders_charging ON orders (id) WHERE status = 'charging';
    -- Whoever was asking the bank is gone: what became of it, nobody here knows.
    UPDATE orders SET status = 'unsettled' WHERE status = 'charging';
";

/// What `POST /orders` takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewOrder {
    event: String,
    buyer: String,
    tickets: u32,
    card: Option<String>,
}

impl NewOrder {
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        require_text("event", &self.event)?;
        require_text("buyer", &self.buyer)?;
        if !(1..=TICKETS_MAX).contains(&self.tickets) {
            return Err(Refusal::BadInput(format!("`tickets` must be from 1 to {TICKETS_MAX}")));
        }
        match &self.card {
            Some(card) => require_text("card", card),
            None => Ok(()),
        }
    }
}

/// An order whose seats are taken, and whose charge is still to be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Charging {
    id: i64,
    effect: i64,
    order: NewOrder,
    /// The key the order came with, where keys are honoured.
    key: Option<String>,
    pub(crate) card: String,
    pub(crate) amount_cents: i64,
}

impl Charging {
    /// The order's own name at the bank: stable for this order, another for any other.
    pub(crate) fn order_key(&self) -> String {
        format!("order-{}", self.id)
    }
}

/// How far an order got without the bank.
#[derive(Debug)]
pub(crate) enum Begun {
    /// There is an answer: the order is free, or it was made before under a key that is honoured.
    Answered(Answer),
    /// The bank is to be asked.
    Charging(Charging),
}

/// Takes the seats and writes the order down.
///
/// # Errors
/// [`Refusal`] when the event is unknown or sold out, or the card is missing or useless here.
pub(crate) fn begin(
    connection: &Connection,
    order: NewOrder,
    arrival: &Arrival,
    key: Option<&Key>,
    takes_cards: bool,
) -> Result<Begun, Refusal> {
    if let Some(key) = key
        && let Some(effect) = key.effect(connection)?
    {
        return again(connection, order, arrival, effect, takes_cards);
    }
    let price_cents = take_seats(connection, &order.event, order.tickets)?;
    let amount_cents = if takes_cards { price_cents * i64::from(order.tickets) } else { 0 };
    let card = match (&order.card, takes_cards) {
        (Some(_), false) => {
            return Err(Refusal::BadInput("this box office takes no `card`: it is free".into()));
        }
        (None, true) if amount_cents > 0 => return Err(Refusal::BadInput("`card` is missing".into())),
        (card, _) => card.clone().filter(|_| amount_cents > 0),
    };
    let status = if card.is_some() { "charging" } else { "free" };
    connection
        .prepare_cached(
            "INSERT INTO orders (event, buyer, tickets, amount_cents, status) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![order.event, order.buyer, order.tickets, amount_cents, status])?;
    let id = connection.last_insert_rowid();
    let effect = effects::record(connection, arrival, EffectKind::Order, id)?;
    if let Some(key) = key {
        key.remember(connection, effect)?;
    }
    let charging =
        Charging { id, effect, order, key: key.and(arrival.key.clone()), card: String::new(), amount_cents };
    match card {
        Some(card) => Ok(Begun::Charging(Charging { card, ..charging })),
        None => {
            let answer = charging.created("free", None);
            effects::decide(connection, effect, &answer, Some(answer.status))?;
            Ok(Begun::Answered(answer))
        }
    }
}

/// The same key again, where keys are honoured: the first answer, if there is one that will stay.
///
/// An unsettled order is charged again, under the same name at the bank. That is right if the bank honours keys too,
/// and a service that claims to be repeatable has to have such a bank.
fn again(
    connection: &Connection,
    order: NewOrder,
    arrival: &Arrival,
    effect: i64,
    takes_cards: bool,
) -> Result<Begun, Refusal> {
    let (id, status, amount_cents): (i64, String, i64) = connection
        .prepare_cached(
            "SELECT o.id, o.status, o.amount_cents FROM effects e JOIN orders o ON o.id = e.subject WHERE e.id = ?1",
        )?
        .query_row([effect], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if status == "unsettled" && takes_cards {
        connection.prepare_cached("UPDATE orders SET status = 'charging' WHERE id = ?1")?.execute([id])?;
        let card = order.card.clone().unwrap_or_default();
        return Ok(Begun::Charging(Charging {
            id,
            effect,
            order,
            key: arrival.key.clone(),
            card,
            amount_cents,
        }));
    }
    if status == "charging" {
        return Err(Refusal::InProgress);
    }
    effects::kept_answer(connection, effect)?.map(Begun::Answered).ok_or(Refusal::InProgress)
}

/// Settles an order by what is known of its charge, and returns what its buyer is told.
pub(crate) fn settle(
    connection: &Connection,
    charging: &Charging,
    outcome: &ChargeOutcome,
) -> rusqlite::Result<Answer> {
    let (status, charge, answer) = match outcome {
        ChargeOutcome::Charged { charge } => ("paid", *charge, charging.created("paid", *charge)),
        ChargeOutcome::Declined => {
            let told = charging.told("declined", "no", "card-declined", "the bank declined the card");
            ("declined", None, Answer::new(StatusCode::PAYMENT_REQUIRED, &told))
        }
        ChargeOutcome::NotCharged { why } => {
            let told = charging.told("not_charged", "no", "bank-unavailable", why);
            ("not_charged", None, Answer::new(StatusCode::SERVICE_UNAVAILABLE, &told))
        }
        ChargeOutcome::Unknown { why } => {
            let told = charging.told("unsettled", "unknown", "bank-answer-lost", why);
            ("unsettled", None, Answer::new(StatusCode::BAD_GATEWAY, &told))
        }
    };
    connection
        .prepare_cached("UPDATE orders SET status = ?2, charge = ?3 WHERE id = ?1")?
        .execute(params![charging.id, status, charge])?;
    effects::decide(connection, charging.effect, &answer, Some(answer.status))?;
    if matches!(outcome, ChargeOutcome::Declined | ChargeOutcome::NotCharged { .. }) {
        effects::undo(connection, charging.effect)?;
        connection
            .prepare_cached("UPDATE events SET seats_left = seats_left + ?2 WHERE id = ?1")?
            .execute(params![charging.order.event, charging.order.tickets])?;
    }
    if let (ChargeOutcome::NotCharged { .. }, Some(key)) = (outcome, &charging.key) {
        remembered::forget(connection, PATH, key, charging.effect)?;
    }
    Ok(answer)
}

impl Charging {
    fn created(&self, status: &str, charge: Option<i64>) -> Answer {
        let NewOrder { event, buyer, tickets, .. } = &self.order;
        let body = order_json(self.id, event, buyer, *tickets, self.amount_cents, status, charge);
        Answer::created(format!("/orders/{}", self.id), &body)
    }

    fn told(&self, status: &str, charged: &str, error: &str, detail: &str) -> Value {
        json!({ "error": error, "detail": detail, "charged": charged, "order": self.id, "status": status })
    }
}

fn order_json(
    id: i64,
    event: &str,
    buyer: &str,
    tickets: u32,
    amount_cents: i64,
    status: &str,
    charge: Option<i64>,
) -> Value {
    json!({
        "order": id,
        "event": event,
        "buyer": buyer,
        "tickets": tickets,
        "amount_cents": amount_cents,
        "status": status,
        "charge": charge,
    })
}

/// One order as `GET /orders/{id}` shows it.
pub(crate) fn show(connection: &Connection, id: i64) -> Result<Answer, Refusal> {
    let order = connection
        .prepare_cached(
            "SELECT event, buyer, tickets, amount_cents, status, charge FROM orders WHERE id = ?1",
        )?
        .query_row([id], |row| {
            let (event, buyer, status): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(4)?);
            Ok(order_json(id, &event, &buyer, row.get(2)?, row.get(3)?, &status, row.get(5)?))
        })
        .optional()?;
    order.map(|order| Answer::new(StatusCode::OK, &order)).ok_or(Refusal::NotFound)
}

/// Takes seats of an event, and returns the price of one in cents.
///
/// # Errors
/// [`Refusal::UnknownEvent`], or [`Refusal::SoldOut`] when there are not enough.
pub(crate) fn take_seats(connection: &Connection, event: &str, seats: u32) -> Result<i64, Refusal> {
    let (price_cents, seats_left): (i64, i64) = connection
        .prepare_cached("SELECT price_cents, seats_left FROM events WHERE id = ?1")?
        .query_row([event], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| Refusal::UnknownEvent(event.to_owned()))?;
    if seats_left < i64::from(seats) {
        return Err(Refusal::SoldOut { event: event.to_owned(), seats_left });
    }
    connection
        .prepare_cached("UPDATE events SET seats_left = seats_left - ?2 WHERE id = ?1")?
        .execute(params![event, seats])?;
    Ok(price_cents)
}
