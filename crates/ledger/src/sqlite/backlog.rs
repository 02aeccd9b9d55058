//! The backlog and the duties of the ledger's user, and what is read of them.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use steadfast_core::{Fence, OperationDigest, OperationId, Stamina, StateName, Timestamp};
use tokio::sync::watch;

use super::{
    SqliteLedger,
    desk::Desk,
    job::{Slot, Task},
    letters, row,
};
use crate::{
    Backlog, BoxFuture, Cancelled, ChangeError, Claim, Conclusion, DeadLetters, Duties, Enqueue, Enqueued,
    Finished, KeptWork, Lane, LaneTrouble, LedgerError, LetterFilter, Priority, Redrive, RouteBacklog, Taken,
    Wish,
};

/// How many routes one answer tells of.
const ROUTES_MAX: u32 = 1_000;

impl Backlog for SqliteLedger {
    fn enqueue(&self, work: Enqueue) -> BoxFuture<'_, std::result::Result<Enqueued, LedgerError>> {
        let (slot, before) = Slot::take(&self.waiting);
        if before + self.live.len() >= self.open_max {
            let refused = LedgerError::Overloaded { open_max: self.open_max };
            return Box::pin(std::future::ready(Err(refused)));
        }
        let enqueued = self.write(move |desk: &mut Desk| desk.enqueue(&work));
        Box::pin(async move {
            let _slot = slot;
            enqueued.await
        })
    }

    fn take(&self, wishes: Vec<Wish>) -> BoxFuture<'_, std::result::Result<Taken, LedgerError>> {
        self.write(move |desk: &mut Desk| desk.take(&wishes).map(Ok))
    }

    fn conclude(
        &self,
        claim: &Claim,
        conclusion: Conclusion,
    ) -> BoxFuture<'_, std::result::Result<Finished, LedgerError>> {
        let (operation, fence) = (claim.operation, claim.fence);
        self.write(move |desk: &mut Desk| desk.conclude(operation, fence, &conclusion))
    }

    fn cancel(&self, id: OperationId) -> BoxFuture<'_, std::result::Result<Cancelled, ChangeError>> {
        self.write(move |desk: &mut Desk| desk.cancel(id))
    }

    fn redrive(
        &self,
        id: OperationId,
        order: Redrive,
    ) -> BoxFuture<'_, std::result::Result<StateName, ChangeError>> {
        self.write(move |desk: &mut Desk| desk.redrive(id, order))
    }

    fn purge(&self, id: OperationId) -> BoxFuture<'_, std::result::Result<StateName, ChangeError>> {
        self.write(move |desk: &mut Desk| desk.purge(id))
    }

    fn kept_work(
        &self,
        id: OperationId,
    ) -> BoxFuture<'_, std::result::Result<Option<KeptWork>, LedgerError>> {
        self.read(move |conn| kept_work(conn, id))
    }

    fn backlog(&self) -> BoxFuture<'_, std::result::Result<Vec<RouteBacklog>, LedgerError>> {
        let (job, now) = Task::boxed(|desk: &mut Desk| Ok(Ok::<_, LedgerError>(desk.now)), true);
        let now = self.ask(job, now);
        Box::pin(async move {
            let now = now.await?;
            self.read(move |conn| backlog(conn, now)).await
        })
    }

    fn dead_letters(&self) -> BoxFuture<'_, std::result::Result<Vec<DeadLetters>, LedgerError>> {
        self.read(|conn| letters::groups(conn, &LetterFilter::default()))
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.clone()
    }
}

impl Duties for SqliteLedger {
    fn take_on(
        &self,
        duty: Box<str>,
        node: Fence,
        time: std::time::Duration,
    ) -> BoxFuture<'_, std::result::Result<bool, LedgerError>> {
        self.write(move |desk: &mut Desk| desk.take_on(&duty, node, desk.now.after(time)).map(Ok))
    }

    fn lay_down(&self, duty: Box<str>, node: Fence) -> BoxFuture<'_, std::result::Result<(), LedgerError>> {
        self.write(move |desk: &mut Desk| desk.lay_down(&duty, node).map(Ok))
    }

    fn mark(&self, of: Box<str>) -> BoxFuture<'_, std::result::Result<Option<Timestamp>, LedgerError>> {
        self.write(move |desk: &mut Desk| desk.mark(&of).map(Ok))
    }

    fn set_mark(&self, of: Box<str>, at: Timestamp) -> BoxFuture<'_, std::result::Result<(), LedgerError>> {
        self.write(move |desk: &mut Desk| desk.set_mark(&of, at).map(Ok))
    }

    fn now(&self) -> BoxFuture<'_, std::result::Result<Timestamp, LedgerError>> {
        let (job, now) = Task::boxed(|desk: &mut Desk| Ok(Ok(desk.now)), true);
        self.ask(job, now)
    }
}

fn kept_work(conn: &Connection, id: OperationId) -> Result<Option<KeptWork>> {
    const SQL: &str = "SELECT b.target, b.headers, b.body, b.tries, b.tries_max, b.give_up_at, b.priority, b.lane, \
                       b.lane_passes, b.cancel_asked, o.digest, (SELECT due_at FROM ready AS r WHERE r.route = o.route \
                       AND r.urgency = -b.priority AND r.due_at = b.due_at AND r.seq = b.seq), coalesce(b.first_sent_at, o.created_at), o.repeatable_ms \
                       FROM background AS b JOIN operations AS o ON o.seq = b.seq WHERE b.seq = ?1";
    let found = conn.prepare_cached(SQL)?.query_row([row::seq(id)], |row| {
        let passes: bool = row.get(8)?;
        let trouble = if passes { LaneTrouble::Passes } else { LaneTrouble::Blocks };
        let digest = OperationDigest::from_bytes(row.get(10)?);
        Ok(KeptWork {
            digest,
            request: row::request(row, 0)?,
            stamina: Stamina {
                tries: row.get(3)?,
                tries_max: row.get(4)?,
                give_up_at: Timestamp::from_millis(row.get(5)?),
            },
            priority: Priority(row.get(6)?),
            lane: row.get::<_, Option<[u8; 16]>>(7)?.map(|digest| Lane { digest, trouble }),
            cancel_asked: row.get(9)?,
            first_sent: Timestamp::from_millis(row.get(12)?),
            repeatable_for: row
                .get::<_, Option<i64>>(13)?
                .map(|millis| std::time::Duration::from_millis(millis.unsigned_abs())),
            due_at: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_millis),
        })
    });
    Ok(found.optional()?.filter(|work| id.names(&work.digest)))
}

fn backlog(conn: &Connection, now: Timestamp) -> Result<Vec<RouteBacklog>> {
    const SQL: &str = "SELECT route, sum(due_at <= ?1), sum(due_at > ?1), min(due_at) FROM ready \
                       GROUP BY route ORDER BY route LIMIT ?2";
    let mut statement = conn.prepare_cached(SQL)?;
    let rows = statement.query_map(params![now.as_millis(), ROUTES_MAX], |row| {
        let oldest = Timestamp::from_millis(row.get(3)?);
        Ok(RouteBacklog {
            route: row.get(0)?,
            due: count(row, 1)?,
            later: count(row, 2)?,
            oldest_due_at: (oldest <= now).then_some(oldest),
        })
    })?;
    rows.collect()
}

fn count(row: &Row<'_>, column: usize) -> Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}
