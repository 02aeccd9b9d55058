//! What people and callers do to operations of the backlog: call off, redrive, purge. Each is one operation, one
//! transaction.

use steadfast_core::{Event, Mode, OperationId, Refused, State, StateName, Timestamp, rerun, transition};
use tokio_postgres::types::ToSql;

use super::{
    PostgresLedger,
    decide::{Change, Pause},
    erasing::taken_until,
    failure::Failure,
    record::{Place, Stored, millis},
    session::Session,
    settle::lock,
    writes::{Writes, bucket_column, seq_column},
};
use crate::{Cancelled, ChangeError, Redrive};

/// Gives a redriven operation time and attempts.
pub(super) const REDRIVE: &str = "
    UPDATE steadfast.background SET tries_max = $3, give_up_ms = $4 WHERE bucket = $1 AND seq = $2";

/// What is written of a change, or why it is not made.
pub(super) type Decided<T> = Result<(T, Writes), Refused>;

impl PostgresLedger {
    pub(super) async fn cancel_operation(&self, id: OperationId) -> Result<Cancelled, ChangeError> {
        self.change_operation(id, |row, now| {
            let mut writes = Writes::default();
            if let State::Claimed { mode: Mode::Asynchronous, .. } = row.state {
                writes.ask_to_cancel(row, now);
                return Ok((Cancelled::AfterThisAttempt, writes));
            }
            let next = transition(row.state, Event::Cancel)?;
            writes.change(row, Change::of(row, next, false, Pause::NONE, now), None, None, now);
            Ok((Cancelled::Now(next.state.name()), writes))
        })
        .await
    }

    pub(super) async fn redrive_operation(
        &self,
        id: OperationId,
        order: Redrive,
    ) -> Result<StateName, ChangeError> {
        self.change_operation(id, |row, now| redriven(row, order, now)).await
    }

    pub(super) async fn purge_operation(&self, id: OperationId) -> Result<StateName, ChangeError> {
        self.change_operation(id, |row, now| {
            let next = transition(row.state, Event::Purge)?;
            let mut writes = Writes::default();
            match next.state {
                State::Absent => writes.remove(row),
                state => {
                    let until = taken_until(row, row.state, row.expires_at, now);
                    writes.entomb(row, state, Some(until), now);
                }
            }
            Ok((next.state.name(), writes))
        })
        .await
    }

    /// Locks an operation, decides, and writes what was decided.
    async fn change_operation<T>(
        &self,
        id: OperationId,
        decide: impl FnOnce(&Stored, Timestamp) -> Decided<T>,
    ) -> Result<T, ChangeError> {
        let lent = self.general.lend().await?;
        let now = self.shared.options.store_time.millis();
        let changed = change(lent.session(), id, now, decide).await;
        let (told, writes) = lent.settle(changed).await??;
        self.shared.announce(&writes);
        Ok(told)
    }
}

async fn change<T>(
    session: &Session,
    id: OperationId,
    now: Option<i64>,
    decide: impl FnOnce(&Stored, Timestamp) -> Decided<T>,
) -> Result<Result<(T, Writes), ChangeError>, Failure> {
    let Some((row, now)) = lock(session, id, now).await? else {
        session.roll_back().await?;
        return Ok(Err(ChangeError::NotFound));
    };
    match decide(&row, now) {
        Ok((told, writes)) => {
            session.bounded(writes.commit(session, 0, None)).await?;
            Ok(Ok((told, writes)))
        }
        Err(refused) => {
            session.roll_back().await?;
            Ok(Err(ChangeError::Refused(refused)))
        }
    }
}

/// Sends a dead operation round again, where that is allowed.
pub(super) fn redriven(row: &Stored, order: Redrive, now: Timestamp) -> Decided<StateName> {
    let allowed = rerun(row.first_sent, now, row.repeatable_for, order.repeatable_for);
    let next = transition(row.state, Event::Redrive { rerun: allowed })?;
    let change = Change::of(row, next, false, Pause::NONE, now);
    let place = change.place.map(|place| Place { tries: 0, ..place });
    let mut writes = Writes::default();
    writes.change(row, Change { place, ..change }, None, None, now);
    let tries_max = i32::try_from(order.tries_max.max(1)).unwrap_or(i32::MAX);
    writes.redriven = Some((row.id, tries_max, now.as_millis().saturating_add(millis(order.age_max))));
    Ok((next.state.name(), writes))
}

/// Writes what a redriven operation has from now on.
pub(super) async fn redrive(
    session: &Session,
    redriven: Option<(OperationId, i32, i64)>,
) -> Result<u64, tokio_postgres::Error> {
    let Some((id, tries_max, give_up)) = redriven else { return Ok(0) };
    let (bucket, seq) = (bucket_column(id.bucket()), seq_column(id.sequence()));
    let parameters: &[&(dyn ToSql + Sync)] = &[&bucket, &seq, &tries_max, &give_up];
    session.execute(REDRIVE, parameters).await
}
