//! The bans in the tables of the file.

use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params, types::Type};
use steadfast_core::{Ban, BanOrder, BanSource, BanSubject, Timestamp};

use super::{SqliteLedger, desk::Desk};
use crate::{
    BanChanges, BanError, Bans, BoxFuture, LedgerError, Revision,
    bans::{Counted, count_max, forgotten_before, warn_of_unreadable},
};

impl Bans for SqliteLedger {
    fn ban(&self, order: BanOrder) -> BoxFuture<'_, std::result::Result<Option<Ban>, BanError>> {
        self.write(move |desk| desk.ban(&order))
    }

    fn lift(&self, subject: BanSubject, at: Timestamp) -> BoxFuture<'_, std::result::Result<Ban, BanError>> {
        self.write(move |desk| desk.lift_ban(&subject, at))
    }

    fn bans(&self, since: Revision) -> BoxFuture<'_, std::result::Result<BanChanges, LedgerError>> {
        self.read(move |conn| changes(conn, since))
    }
}

impl Desk {
    fn ban(&mut self, order: &BanOrder) -> Result<std::result::Result<Option<Ban>, BanError>> {
        if self.bans.is_due(order.at) {
            self.forget_bans(order.at)?;
        }
        let before = one(&self.conn, &order.subject)?;
        let Some(ban) = order.upon(before.as_ref()) else { return Ok(Ok(None)) };
        if before.is_none() && self.bans.count >= count_max(order) {
            return Ok(Err(BanError::TooMany));
        }
        self.put_ban(&ban)?;
        // A batch that is rolled back is counted until all are looked at again.
        self.bans.count += usize::from(before.is_none());
        Ok(Ok(Some(ban)))
    }

    fn forget_bans(&mut self, now: Timestamp) -> Result<()> {
        const FORGET: &str = "DELETE FROM bans WHERE coalesce(min(until, lifted_at), until, lifted_at) < ?1";
        self.conn.prepare_cached(FORGET)?.execute([forgotten_before(now)])?;
        let count = self.conn.query_row("SELECT count(*) FROM bans", [], |row| row.get(0))?;
        self.bans = Counted::as_of(now, count);
        Ok(())
    }

    fn lift_ban(
        &mut self,
        subject: &BanSubject,
        at: Timestamp,
    ) -> Result<std::result::Result<Ban, BanError>> {
        let Some(ban) = one(&self.conn, subject)?.filter(|ban| ban.holds(at)) else {
            return Ok(Err(BanError::NotFound));
        };
        let lifted = Ban { lifted_at: Some(at), ..ban };
        self.put_ban(&lifted)?;
        Ok(Ok(lifted))
    }

    fn put_ban(&mut self, ban: &Ban) -> Result<()> {
        const REVISION: &str = "UPDATE counters SET value = value + 1 WHERE name = 'bans' RETURNING value";
        const SQL: &str = "INSERT OR REPLACE INTO bans (subject, source, began_at, until, lifted_at, reason, \
                           made_by, challenge, repeats, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let revision: i64 = self.conn.prepare_cached(REVISION)?.query_row([], |row| row.get(0))?;
        self.conn.prepare_cached(SQL)?.execute(params![
            ban.subject.to_string(),
            ban.source.as_str(),
            ban.began_at.as_millis(),
            ban.until.map(Timestamp::as_millis),
            ban.lifted_at.map(Timestamp::as_millis),
            ban.reason,
            ban.by,
            ban.challenge,
            ban.repeats,
            revision,
        ])?;
        Ok(())
    }
}

const COLUMNS: &str =
    "SELECT subject, source, began_at, until, lifted_at, reason, made_by, challenge, repeats FROM bans";

fn changes(conn: &Connection, since: Revision) -> Result<BanChanges> {
    // In this order: what changes between the two is told again with the next question.
    let revision: i64 =
        conn.query_row("SELECT value FROM counters WHERE name = 'bans'", [], |row| row.get(0))?;
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    let mut changes =
        BanChanges { revision: Revision(u64::try_from(revision).unwrap_or(0)), bans: Vec::new() };
    if revision > since {
        let mut statement =
            conn.prepare_cached(&format!("{COLUMNS} WHERE revision > ?1 ORDER BY began_at, subject"))?;
        for read in statement.query_map([since], ban)? {
            match read {
                Ok(ban) => changes.bans.push(ban),
                Err(
                    Error::InvalidColumnType(..)
                    | Error::FromSqlConversionFailure(..)
                    | Error::IntegralValueOutOfRange(..),
                ) => warn_of_unreadable(),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(changes)
}

fn one(conn: &Connection, subject: &BanSubject) -> Result<Option<Ban>> {
    conn.prepare_cached(&format!("{COLUMNS} WHERE subject = ?1"))?
        .query_row([subject.to_string()], ban)
        .optional()
}

fn ban(row: &Row<'_>) -> Result<Ban> {
    let time = |at| row.get::<_, Option<i64>>(at).map(|time| time.map(Timestamp::from_millis));
    let text = |at| row.get_ref(at).and_then(|text| Ok(text.as_str()?));
    let unreadable = |at| Error::InvalidColumnType(at, "a ban that cannot be read".into(), Type::Text);
    Ok(Ban {
        subject: text(0)?.parse().map_err(|_| unreadable(0))?,
        source: BanSource::from_text(text(1)?).ok_or_else(|| unreadable(1))?,
        began_at: Timestamp::from_millis(row.get(2)?),
        until: time(3)?,
        lifted_at: time(4)?,
        reason: text(5)?.into(),
        by: text(6)?.into(),
        challenge: row.get::<_, Option<Box<str>>>(7)?,
        repeats: row.get(8)?,
    })
}
