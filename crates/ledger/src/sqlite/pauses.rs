//! The routes that rest by hand, in the tables of the file.

use rusqlite::{OptionalExtension, Result, Row, params};
use steadfast_core::Timestamp;

use super::{SqliteLedger, desk::Desk};
use crate::{BoxFuture, LedgerError, PAUSES_MAX, PauseError, PauseOrder, Pauses, RoutePause};

impl Pauses for SqliteLedger {
    fn pause(&self, order: PauseOrder) -> BoxFuture<'_, std::result::Result<RoutePause, PauseError>> {
        self.write(move |desk: &mut Desk| desk.pause_route(&order))
    }

    fn resume(&self, route: Box<str>) -> BoxFuture<'_, std::result::Result<Option<RoutePause>, LedgerError>> {
        self.write(move |desk: &mut Desk| desk.resume_route(&route).map(Ok))
    }

    fn pauses(&self) -> BoxFuture<'_, std::result::Result<Vec<RoutePause>, LedgerError>> {
        self.write(move |desk: &mut Desk| desk.pauses().map(Ok))
    }
}

impl Desk {
    fn pause_route(&self, order: &PauseOrder) -> Result<std::result::Result<RoutePause, PauseError>> {
        const FORGET: &str = "DELETE FROM pauses WHERE until <= ?1";
        const COUNT: &str = "SELECT count(*) FROM pauses WHERE route <> ?1";
        const PUT: &str = "INSERT OR REPLACE INTO pauses (route, since, until, made_by, reason) \
                           VALUES (?1, ?2, ?3, ?4, ?5)";
        self.conn.prepare_cached(FORGET)?.execute([self.now.as_millis()])?;
        let others: i64 = self.conn.prepare_cached(COUNT)?.query_row([&*order.route], |row| row.get(0))?;
        if usize::try_from(others).unwrap_or(usize::MAX) >= PAUSES_MAX {
            return Ok(Err(PauseError::TooMany));
        }
        let PauseOrder { route, time, by, reason } = order.clone();
        let pause =
            RoutePause { route, since: self.now, until: time.map(|time| self.now.after(time)), by, reason };
        self.conn.prepare_cached(PUT)?.execute(params![
            pause.route,
            pause.since.as_millis(),
            pause.until.map(Timestamp::as_millis),
            pause.by,
            pause.reason
        ])?;
        Ok(Ok(pause))
    }

    fn resume_route(&self, route: &str) -> Result<Option<RoutePause>> {
        const SQL: &str =
            "DELETE FROM pauses WHERE route = ?1 RETURNING route, since, until, made_by, reason";
        let ended = self.conn.prepare_cached(SQL)?.query_row([route], pause).optional()?;
        Ok(ended.filter(|pause| pause.until.is_none_or(|until| until > self.now)))
    }

    fn pauses(&self) -> Result<Vec<RoutePause>> {
        const SQL: &str = "SELECT route, since, until, made_by, reason FROM pauses \
                           WHERE until IS NULL OR until > ?1 ORDER BY route";
        self.conn.prepare_cached(SQL)?.query_map([self.now.as_millis()], pause)?.collect()
    }
}

fn pause(row: &Row<'_>) -> Result<RoutePause> {
    Ok(RoutePause {
        route: row.get(0)?,
        since: Timestamp::from_millis(row.get(1)?),
        until: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
        by: row.get(3)?,
        reason: row.get(4)?,
    })
}
