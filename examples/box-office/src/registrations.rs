//! Registrations of students for events, as rows: each takes a seat.

use http::StatusCode;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::arrivals::Arrival;
use crate::effects::{self, EffectKind};
use crate::orders::take_seats;
use crate::refusal::{Refusal, require_text};
use crate::remembered::Key;

pub(crate) const PATH: &str = "/register";

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS registrations (
        id      INTEGER PRIMARY KEY,
        event   TEXT NOT NULL REFERENCES events (id),
        student TEXT NOT NULL
    ) STRICT;
";

/// What `POST /register` takes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewRegistration {
    student: String,
    event: String,
}

impl NewRegistration {
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        require_text("student", &self.student)?;
        require_text("event", &self.event)
    }
}

/// Registers a student: again and again, if asked again and again.
pub(crate) fn register(
    connection: &Connection,
    new: &NewRegistration,
    arrival: &Arrival,
    key: Option<&Key>,
) -> Result<Answer, Refusal> {
    if let Some(key) = key
        && let Some(effect) = key.effect(connection)?
        && let Some(answer) = effects::kept_answer(connection, effect)?
    {
        return Ok(answer);
    }
    take_seats(connection, &new.event, 1)?;
    connection
        .prepare_cached("INSERT INTO registrations (event, student) VALUES (?1, ?2)")?
        .execute([&new.event, &new.student])?;
    let id = connection.last_insert_rowid();
    let answer = Answer::created(format!("/registrations/{id}"), &json(id, &new.event, &new.student));
    let effect = effects::record(connection, arrival, EffectKind::Registration, id)?;
    effects::decide(connection, effect, &answer, Some(answer.status))?;
    if let Some(key) = key {
        key.remember(connection, effect)?;
    }
    Ok(answer)
}

/// One registration as `GET /registrations/{id}` shows it.
pub(crate) fn show(connection: &Connection, id: i64) -> Result<Answer, Refusal> {
    let registration = connection
        .prepare_cached("SELECT event, student FROM registrations WHERE id = ?1")?
        .query_row([id], |row| Ok(json(id, &row.get::<_, String>(0)?, &row.get::<_, String>(1)?)))
        .optional()?;
    registration.map(|body| Answer::new(StatusCode::OK, &body)).ok_or(Refusal::NotFound)
}

fn json(id: i64, event: &str, student: &str) -> Value {
    json!({ "registration": id, "event": event, "student": student })
}
