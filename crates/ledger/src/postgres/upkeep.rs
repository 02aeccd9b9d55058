//! Renewing, reaping, sweeping and checking: what runs without a caller.

use std::{sync::Arc, time::Duration};

use steadfast_core::{
    AfterUnknown, AttemptEnd, Event, Fence, Mode, OperationId, Stamina, State, Timestamp, UnknownCause,
    after_attempt, rerun, transition,
};
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresLedger,
    decide::{self, Change, Pause},
    failure::{Failure, first},
    pool::{Lent, Pool},
    record::{Stored, get, millis, sixteen},
    session::Session,
    shared::Shared,
    statements,
    writes::{Ending, Writes, bucket_column, seq_column},
};
use crate::{LedgerError, Reaped, Swept, Upkeep, backlog::pause_after_loss};

/// The most operations that one round of reaping or sweeping takes.
const ROUND_MAX: u32 = 1_000;

impl Upkeep for PostgresLedger {
    fn renew(
        &self,
        claims: Vec<(Fence, OperationId)>,
    ) -> crate::BoxFuture<'_, Result<Vec<Fence>, LedgerError>> {
        Box::pin(async move {
            if claims.is_empty() {
                return Ok(Vec::new());
            }
            let first = self.renew_once(&claims, statements::RENEW).await;
            match first {
                // A lost connection, or one row that somebody has locked: renewing twice does no harm.
                Err(LedgerError::Unreachable(_)) => self.renew_once(&claims, statements::RENEW_FREE).await,
                other => other,
            }
        })
    }

    fn reap(&self, limit: u32) -> crate::BoxFuture<'_, Result<Vec<Reaped>, LedgerError>> {
        Box::pin(async move {
            let Some(lent) = self.steady().await? else { return Ok(Vec::new()) };
            let result = reap(lent.session(), limit, self.shared.options.store_time.millis()).await;
            let (writes, reaped) = lent.settle(result).await?;
            self.shared.announce(&writes);
            Ok(reaped)
        })
    }

    fn sweep(&self, limit: u32) -> crate::BoxFuture<'_, Result<Swept, LedgerError>> {
        Box::pin(async move {
            let Some(lent) = self.steady().await? else { return Ok(Swept::default()) };
            let result = sweep(lent.session(), limit, self.shared.options.store_time.millis()).await;
            let (writes, swept) = lent.settle(result).await?;
            self.shared.announce(&writes);
            Ok(swept)
        })
    }

    fn lease(&self) -> Duration {
        self.shared.options.lease
    }

    fn check(&self) -> crate::BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            let lent = look_at_the_server(&self.shared, self.heartbeat.lend().await?).await?;
            lent.settle(Ok(())).await
        })
    }
}

impl PostgresLedger {
    async fn renew_once(
        &self,
        claims: &[(Fence, OperationId)],
        sql: &'static str,
    ) -> Result<Vec<Fence>, LedgerError> {
        let buckets: Vec<i16> = claims.iter().map(|(_, id)| bucket_column(id.bucket())).collect();
        let seqs: Vec<i64> = claims.iter().map(|(_, id)| seq_column(id.sequence())).collect();
        let fences: Vec<&[u8]> = claims.iter().map(|(fence, _)| &fence.as_bytes()[..]).collect();
        let lease = millis(self.shared.options.lease);
        let now = self.shared.options.store_time.millis();
        let lent = self.heartbeat.lend().await?;
        let session = lent.session();
        let result = session
            .bounded(async {
                session.renew_plans().await?;
                let rows = session.query(sql, &[&buckets, &seqs, &fences, &lease, &now]).await?;
                rows.iter()
                    .map(|row| sixteen(row, "fence").map(Fence::from_bytes))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await;
        let renewed: std::collections::HashSet<Fence> = lent.settle(result).await?.into_iter().collect();
        Ok(claims.iter().map(|(fence, _)| *fence).filter(|fence| !renewed.contains(fence)).collect())
    }

    /// A session to expire things with; `None` while the store is not known to be steady.
    async fn steady(&self) -> Result<Option<Lent<'_>>, LedgerError> {
        let lent = look_at_the_server(&self.shared, self.general.lend().await?).await?;
        if self.shared.may_expire() {
            return Ok(Some(lent));
        }
        lent.settle(Ok(())).await?;
        Ok(None)
    }
}

/// Asks which server this is and what time it is there.
async fn look_at_the_server<'a>(shared: &Shared, lent: Lent<'a>) -> Result<Lent<'a>, LedgerError> {
    match lent.session().identity(shared.options.store_time.millis()).await {
        Ok((_, true, _)) => Err(LedgerError::ReadOnly),
        Ok((server, false, now)) => {
            shared.seen(&server);
            shared.clock_read(Timestamp::from_millis(now));
            Ok(lent)
        }
        Err(failure) => {
            let error = failure.to_error();
            lent.settle::<()>(Err(failure)).await?;
            Err(error)
        }
    }
}

/// Asks for the server's answer often enough that a gap is one, for as long as the ledger lives.
pub(super) async fn pulse(shared: Arc<Shared>, heartbeat: Arc<Pool>) {
    loop {
        tokio::time::sleep(shared.options.lease / 6).await;
        // What went wrong is told by whoever needs an answer; here it only matters that there was none.
        let Ok(lent) = heartbeat.lend().await else { continue };
        if let Ok(lent) = look_at_the_server(&shared, lent).await {
            let _ = lent.settle(Ok(())).await;
        }
    }
}

async fn reap(session: &Session, limit: u32, now: Option<i64>) -> Result<(Writes, Vec<Reaped>), Failure> {
    let rows = begin(session, statements::REAP, limit, now).await?;
    let (mut writes, mut reaped) = (Writes::default(), Vec::new());
    for row in &rows {
        let (now, stamina) = (Timestamp::from_millis(get(row, "now_ms")?), stamina_left(row)?);
        let row = Stored::read(row)?;
        let State::Claimed { fence, .. } = row.state else { continue };
        let end = AttemptEnd::Unknown { cause: UnknownCause::HolderLost, status: None };
        let (then, pause) = after_lost_holder(&row, &end, stamina, now);
        let Ok(next) = transition(row.state, Event::LeaseRanOut { fence, then }) else { continue };
        let change = Change::of(&row, next, true, pause, now);
        writes.change(&row, change, Some(&Ending::of(fence, &end)), None, now);
        reaped.push(Reaped { operation: row.id, digest: row.name.digest() });
    }
    session.bounded(writes.commit(session, 0, None)).await?;
    Ok((writes, reaped))
}

/// What an asynchronous operation has left, by its request.
fn stamina_left(row: &Row) -> Result<Option<Stamina>, Failure> {
    let Some(tries_max) = get::<Option<i32>>(row, "tries_max")? else { return Ok(None) };
    Ok(Some(Stamina {
        tries: u32::try_from(get::<i32>(row, "tries")?).unwrap_or(0),
        tries_max: u32::try_from(tries_max).unwrap_or(0),
        give_up_at: Timestamp::from_millis(get(row, "give_up_ms")?),
    }))
}

/// What follows an attempt whose holder is gone. No worker is there to say, so the stored policy does: on an upstream that
/// repeats safely the operation runs again soon, and later each time.
fn after_lost_holder(
    row: &Stored,
    end: &AttemptEnd,
    stamina: Option<Stamina>,
    now: Timestamp,
) -> (AfterUnknown, Pause) {
    let Some(stamina) = stamina.filter(|_| row.mode == Mode::Asynchronous) else {
        return (AfterUnknown::Hold, Pause::NONE);
    };
    let after = pause_after_loss(stamina.tries);
    let rerun = rerun(row.first_sent, now, row.repeatable_for, row.repeatable_for);
    let next = after_attempt(end, stamina, rerun, false, (now, after));
    (next.after_unknown(), Pause { after, counts: true })
}

async fn sweep(session: &Session, limit: u32, now: Option<i64>) -> Result<(Writes, Swept), Failure> {
    let rows = begin(session, statements::SWEEP, limit, now).await?;
    let (mut writes, mut swept) = (Writes::default(), Swept::default());
    for row in &rows {
        let now = Timestamp::from_millis(get(row, "now_ms")?);
        let row = Stored::read(row)?;
        match decide::expired(&row, now) {
            (State::Absent, _) => {
                writes.remove(&row);
                swept.removed += 1;
            }
            (state, until) if state != row.state => {
                writes.entomb(&row, state, until, now);
                swept.entombed += 1;
            }
            _ => {}
        }
    }
    session.bounded(writes.commit(session, 0, None)).await?;
    Ok((writes, swept))
}

/// Begins a transaction and locks what a round is about.
async fn begin(
    session: &Session,
    sql: &'static str,
    limit: u32,
    now: Option<i64>,
) -> Result<Vec<Row>, Failure> {
    let limit = i64::from(limit.min(ROUND_MAX));
    let parameters: &[&(dyn ToSql + Sync)] = &[&limit, &now];
    session
        .bounded(async {
            let (begun, rows) = tokio::join!(biased; session.begin(false), session.query(sql, parameters));
            let mut failure = None;
            first(begun, &mut failure);
            let rows = first(rows, &mut failure);
            match failure {
                None => Ok(rows.unwrap_or_default()),
                Some(failure) => Err(failure),
            }
        })
        .await
}
