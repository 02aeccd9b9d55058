//! Settling by hand: one operation, one transaction.

use steadfast_core::{Event, OperationId, Timestamp, transition};
use tokio_postgres::types::ToSql;

use super::{
    PostgresLedger,
    decide::{Change, Pause},
    failure::{Failure, first},
    record::{Stored, get},
    session::Session,
    statements,
    writes::{Writes, bucket_column, seq_column},
};
use crate::{BoxFuture, SettleError, Settled, Settlement, Settlements, Verdict};

impl Settlements for PostgresLedger {
    fn settle(&self, id: OperationId, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        Box::pin(async move {
            let lent = self.general.lend().await?;
            let now = self.shared.options.store_time.millis();
            let result = settle(lent.session(), id, &settlement, now).await;
            match lent.settle(result).await? {
                Ok((settled, writes)) => {
                    self.shared.announce(&writes);
                    Ok(settled)
                }
                Err(refusal) => Err(refusal),
            }
        })
    }
}

async fn settle(
    session: &Session,
    id: OperationId,
    settlement: &Settlement,
    now: Option<i64>,
) -> Result<Result<(Settled, Writes), SettleError>, Failure> {
    let Some((row, now)) = lock(session, id, now).await? else {
        session.roll_back().await?;
        return Ok(Err(SettleError::NotFound));
    };
    let (happened, answer) = match &settlement.verdict {
        Verdict::Happened(answer) => (true, answer.as_ref().map(|answer| (answer, answer.digest()))),
        Verdict::DidNotHappen => (false, None),
    };
    let event = if happened {
        Event::SettleHappened { answer: answer.map(|(_, digest)| digest) }
    } else {
        Event::SettleDidNotHappen
    };
    let next = match transition(row.state, event) {
        Ok(next) => next,
        Err(refused) => {
            session.roll_back().await?;
            return Ok(Err(SettleError::Refused(refused)));
        }
    };
    let mut writes = Writes::default();
    let change = Change::of(&row, next, false, Pause::NONE, now);
    writes.change(&row, change, None, answer, now);
    let (bucket, seq) = (bucket_column(id.bucket()), seq_column(id.sequence()));
    let (by, reason): (&str, &str) = (&settlement.by, &settlement.reason);
    let said: &[&(dyn ToSql + Sync)] = &[&bucket, &seq, &now.as_millis(), &happened, &by, &reason];
    session
        .bounded(async {
            let (said, written) =
                tokio::join!(biased; session.execute(statements::SETTLE, said), writes.commit(session, 0, None));
            said.map_err(Failure::from)?;
            written.map(|_| ())
        })
        .await?;
    Ok(Ok((Settled { state: next.state.name() }, writes)))
}

/// Begins a transaction and locks the operation, where it is the one that is meant.
pub(super) async fn lock(
    session: &Session,
    id: OperationId,
    now: Option<i64>,
) -> Result<Option<(Stored, Timestamp)>, Failure> {
    let (bucket, seq) = (bucket_column(id.bucket()), seq_column(id.sequence()));
    let parameters: &[&(dyn ToSql + Sync)] = &[&bucket, &seq, &now];
    let rows = session
        .bounded(async {
            let (begun, rows) = tokio::join!(
                biased; session.begin(false), session.query(statements::LOCK_ONE, parameters)
            );
            let mut failure = None;
            first(begun, &mut failure);
            let rows = first(rows, &mut failure);
            match failure {
                None => Ok(rows.unwrap_or_default()),
                Some(failure) => Err(failure),
            }
        })
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let now = Timestamp::from_millis(get(row, "now_ms")?);
    let row = Stored::read(row)?;
    Ok((row.id == id).then_some((row, now)))
}
