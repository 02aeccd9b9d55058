//! Keys a service remembers when it is told to honour them: the repeatable kind of upstream.
//!
//! A key names the effect it had, whose kept answer is given again. Off by default; without it, keys are only written
//! down.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use crate::arrivals::Arrival;
use crate::refusal::Refusal;

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS remembered (
        path    TEXT NOT NULL,
        key     TEXT NOT NULL,
        request TEXT NOT NULL,
        effect  INTEGER NOT NULL REFERENCES effects (id),
        PRIMARY KEY (path, key)
    ) STRICT, WITHOUT ROWID;
";

/// A key to remember, and what was asked under it; `None` where keys are not honoured or none came.
#[derive(Debug)]
pub(crate) struct Key {
    path: &'static str,
    key: String,
    request: String,
}

impl Key {
    pub(crate) fn of<T: Serialize>(
        honours_keys: bool,
        path: &'static str,
        arrival: &Arrival,
        request: &T,
    ) -> Option<Key> {
        let key = arrival.key.clone().filter(|_| honours_keys)?;
        let request = serde_json::to_string(request).ok()?;
        Some(Key { path, key, request })
    }

    pub(crate) fn name(&self) -> &str {
        &self.key
    }

    /// What was asked under it, as JSON.
    pub(crate) fn request(&self) -> &str {
        &self.request
    }

    /// The effect this key had before.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`] when the key came before with another request.
    pub(crate) fn effect(&self, connection: &Connection) -> Result<Option<i64>, Refusal> {
        let known: Option<(String, i64)> = connection
            .prepare_cached("SELECT request, effect FROM remembered WHERE path = ?1 AND key = ?2")?
            .query_row([self.path, &self.key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match known {
            Some((request, _)) if request != self.request => Err(Refusal::KeyReused),
            Some((_, effect)) => Ok(Some(effect)),
            None => Ok(None),
        }
    }

    /// Remembers the effect this key had.
    pub(crate) fn remember(&self, connection: &Connection, effect: i64) -> rusqlite::Result<()> {
        connection
            .prepare_cached("INSERT INTO remembered (path, key, request, effect) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.path, self.key, self.request, effect])
            .map(drop)
    }
}

/// Forgets the key of an effect that was taken back, so that a repeat executes afresh.
pub(crate) fn forget(connection: &Connection, path: &str, key: &str, effect: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM remembered WHERE path = ?1 AND key = ?2 AND effect = ?3")?
        .execute(params![path, key, effect])
        .map(drop)
}
