//! The backlog in Postgres. What is accepted and what is concluded goes through the [queue](super::queue), like claims and
//! finishes; work is handed out by [`super::taking`], and single operations are changed by [`super::changing`].

use std::sync::Arc;

use steadfast_core::{AttemptEnd, Mode, OperationId, Stamina, StateName, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio_postgres::Row;

use super::{
    Claiming, PostgresLedger,
    failure::Failure,
    queue::Work,
    record::{Stored, columns, get},
    taking::kept_request,
    writes::{bucket_column, seq_column},
};
use crate::{
    Backlog, BoxFuture, Cancelled, ChangeError, Claim, Conclusion, DeadLetters, Enqueue, Enqueued, Finished,
    KeptWork, LedgerError, LetterFilter, Priority, Redrive, RouteBacklog, Taken, Wish, backlog::kept_excerpt,
};

/// An operation with its request, and whether it may be taken when its time comes.
const KEPT_WORK: &str = concat!(
    "SELECT ",
    columns!(),
    ", b.priority, b.tries_max, b.give_up_ms, b.target, b.headers, b.body,
       EXISTS (SELECT FROM steadfast.ready AS r
               WHERE r.route = o.route AND r.priority = b.priority AND r.due_ms = o.due_ms AND r.seq = o.seq) AS is_ready
    FROM steadfast.operations AS o
    JOIN steadfast.background AS b ON b.bucket = o.bucket AND b.seq = o.seq
    WHERE o.bucket = $1 AND o.seq = $2"
);

/// What is beyond two millions, a second's work, is not counted: to be told of less is better than of nothing.
const BACKLOG: &str = "
    SELECT r.route, count(*) FILTER (WHERE r.due_ms <= t.now) AS due, count(*) FILTER (WHERE r.due_ms > t.now) AS later,
           min(r.due_ms) FILTER (WHERE r.due_ms <= t.now) AS oldest_ms
    FROM (SELECT route, due_ms FROM steadfast.ready LIMIT 2000000) AS r
    CROSS JOIN (SELECT coalesce($1::bigint, steadfast.now_ms()) AS now OFFSET 0) AS t
    GROUP BY r.route ORDER BY r.route LIMIT 1000";

impl Backlog for PostgresLedger {
    fn enqueue(&self, work: Enqueue) -> BoxFuture<'_, Result<Enqueued, LedgerError>> {
        Box::pin(async move {
            let open_max = self.shared.options.open_max;
            let enqueuing = Claiming::new(&self.shared);
            if enqueuing.before >= open_max {
                return Err(LedgerError::Overloaded { open_max });
            }
            let name = (work.name.bucket(), work.name.digest());
            let (reply, receiver) = oneshot::channel();
            let work = Work::Enqueue { work: Arc::new(work), lock: false, reply };
            let started = self.put(name, work);
            self.word(receiver, &started).await
        })
    }

    fn take(&self, wishes: Vec<Wish>) -> BoxFuture<'_, Result<Taken, LedgerError>> {
        Box::pin(self.take_work(wishes))
    }

    fn conclude(
        &self,
        claim: &Claim,
        conclusion: Conclusion,
    ) -> BoxFuture<'_, Result<Finished, LedgerError>> {
        let Conclusion { end, next, excerpt } = conclusion;
        // An answer that is kept needs no excerpt.
        let excerpt =
            excerpt.filter(|_| !matches!(end, AttemptEnd::Answered(_))).map(|excerpt| kept_excerpt(&excerpt));
        self.end_attempt(claim, end, (Some(next), excerpt))
    }

    fn cancel(&self, id: OperationId) -> BoxFuture<'_, Result<Cancelled, ChangeError>> {
        Box::pin(self.cancel_operation(id))
    }

    fn redrive(&self, id: OperationId, order: Redrive) -> BoxFuture<'_, Result<StateName, ChangeError>> {
        Box::pin(self.redrive_operation(id, order))
    }

    fn purge(&self, id: OperationId) -> BoxFuture<'_, Result<StateName, ChangeError>> {
        Box::pin(self.purge_operation(id))
    }

    fn kept_work(&self, id: OperationId) -> BoxFuture<'_, Result<Option<KeptWork>, LedgerError>> {
        Box::pin(async move {
            let (bucket, seq) = (bucket_column(id.bucket()), seq_column(id.sequence()));
            let rows = self.read(KEPT_WORK, &[&bucket, &seq]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            kept_work(row, id).map_err(|failure| failure.to_error())
        })
    }

    fn backlog(&self) -> BoxFuture<'_, Result<Vec<RouteBacklog>, LedgerError>> {
        Box::pin(async move {
            let rows = self.read(BACKLOG, &[&self.shared.options.store_time.millis()]).await?;
            let routes: Result<_, Failure> = rows.iter().map(route_backlog).collect();
            routes.map_err(|failure| failure.to_error())
        })
    }

    fn dead_letters(&self) -> BoxFuture<'_, Result<Vec<DeadLetters>, LedgerError>> {
        Box::pin(self.letter_groups(LetterFilter::default()))
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.shared.arrivals.subscribe()
    }
}

fn kept_work(row: &Row, id: OperationId) -> Result<Option<KeptWork>, Failure> {
    let stored = Stored::read(row)?;
    let Some(place) = stored.place.filter(|_| stored.id == id && stored.mode == Mode::Asynchronous) else {
        return Ok(None);
    };
    Ok(Some(KeptWork {
        digest: stored.name.digest(),
        request: kept_request(row)?,
        stamina: Stamina {
            tries: place.tries,
            tries_max: u32::try_from(get::<i32>(row, "tries_max")?).unwrap_or(0),
            give_up_at: Timestamp::from_millis(get(row, "give_up_ms")?),
        },
        first_sent: stored.first_sent,
        repeatable_for: stored.repeatable_for,
        due_at: get::<bool>(row, "is_ready")?.then_some(place.due_at),
        priority: Priority(get(row, "priority")?),
        lane: place.lane,
        cancel_asked: place.cancel_asked,
    }))
}

fn count(row: &Row, column: &str) -> Result<u64, Failure> {
    Ok(u64::try_from(get::<i64>(row, column)?).unwrap_or(0))
}

fn route_backlog(row: &Row) -> Result<RouteBacklog, Failure> {
    Ok(RouteBacklog {
        route: get::<&str>(row, "route")?.into(),
        due: count(row, "due")?,
        later: count(row, "later")?,
        oldest_due_at: get::<Option<i64>>(row, "oldest_ms")?.map(Timestamp::from_millis),
    })
}
