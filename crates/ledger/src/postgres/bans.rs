//! The bans in Postgres. Changes are rare: each is a short transaction, which takes the revision's row first.

use std::sync::{Mutex, PoisonError};

use steadfast_core::{Ban, BanOrder, BanSource, BanSubject, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::{PostgresLedger, Session, failure::Failure, record::get};
use crate::{
    BanChanges, BanError, Bans, BoxFuture, LedgerError, Revision,
    bans::{Counted, count_max, forgotten_before, warn_of_unreadable},
};

const NEXT_REVISION: &str = "UPDATE steadfast.bans_revision SET revision = revision + 1 RETURNING revision";

const FORGET: &str = "DELETE FROM steadfast.bans WHERE least(until_ms, lifted_ms) < $1";

const COUNT: &str = "SELECT count(*) AS count FROM steadfast.bans";

const ONE: &str = "SELECT * FROM steadfast.bans WHERE subject = $1";

const PUT: &str = "INSERT INTO steadfast.bans
    (subject, source, began_ms, until_ms, lifted_ms, reason, made_by, challenge, repeats, revision)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (subject) DO UPDATE SET source = excluded.source, began_ms = excluded.began_ms,
        until_ms = excluded.until_ms, lifted_ms = excluded.lifted_ms, reason = excluded.reason,
        made_by = excluded.made_by, challenge = excluded.challenge, repeats = excluded.repeats,
        revision = excluded.revision";

const REVISION: &str = "SELECT revision FROM steadfast.bans_revision";

const CHANGED: &str = "SELECT * FROM steadfast.bans WHERE revision > $1 ORDER BY began_ms, subject";

impl Bans for PostgresLedger {
    fn ban(&self, order: BanOrder) -> BoxFuture<'_, Result<Option<Ban>, BanError>> {
        let counted = &self.bans;
        Box::pin(
            async move { self.general.change(async |session| ban(session, &order, counted).await).await },
        )
    }

    fn lift(&self, subject: BanSubject, at: Timestamp) -> BoxFuture<'_, Result<Ban, BanError>> {
        Box::pin(async move { self.general.change(async |session| lift(session, &subject, at).await).await })
    }

    fn bans(&self, since: Revision) -> BoxFuture<'_, Result<BanChanges, LedgerError>> {
        Box::pin(async move {
            let lent = self.general.lend().await?;
            let result = changes(lent.session(), since).await;
            lent.settle(result).await
        })
    }
}

/// Makes of the order what it comes to. What other nodes make is counted once a minute.
async fn ban(
    session: &Session,
    order: &BanOrder,
    counted: &Mutex<Counted>,
) -> Result<Result<Option<Ban>, BanError>, Failure> {
    let counted = || counted.lock().unwrap_or_else(PoisonError::into_inner);
    let revision = next_revision(session).await?;
    let is_due = counted().is_due(order.at);
    if is_due {
        session.execute(FORGET, &[&forgotten_before(order.at)]).await?;
        let count = session.query(COUNT, &[]).await?;
        let count: i64 = count.first().map(|row| get(row, "count")).transpose()?.unwrap_or(0);
        *counted() = Counted::as_of(order.at, count);
    }
    let before = one(session, &order.subject).await?;
    // To commit a revision that nothing has is no harm.
    let Some(ban) = order.upon(before.as_ref()) else { return Ok(Ok(None)) };
    if before.is_none() && counted().count >= count_max(order) {
        return Ok(Err(BanError::TooMany));
    }
    put(session, &ban, revision).await?;
    counted().count += usize::from(before.is_none());
    Ok(Ok(Some(ban)))
}

async fn lift(
    session: &Session,
    subject: &BanSubject,
    at: Timestamp,
) -> Result<Result<Ban, BanError>, Failure> {
    let revision = next_revision(session).await?;
    let Some(ban) = one(session, subject).await?.filter(|ban| ban.holds(at)) else {
        return Ok(Err(BanError::NotFound));
    };
    let lifted = Ban { lifted_at: Some(at), ..ban };
    put(session, &lifted, revision).await?;
    Ok(Ok(lifted))
}

async fn put(session: &Session, ban: &Ban, revision: i64) -> Result<(), Failure> {
    let parameters: &[&(dyn ToSql + Sync)] = &[
        &ban.subject.to_string(),
        &ban.source.as_str(),
        &ban.began_at.as_millis(),
        &ban.until.map(Timestamp::as_millis),
        &ban.lifted_at.map(Timestamp::as_millis),
        &&*ban.reason,
        &&*ban.by,
        &ban.challenge.as_deref(),
        &i32::try_from(ban.repeats).unwrap_or(i32::MAX),
        &revision,
    ];
    session.execute(PUT, parameters).await?;
    Ok(())
}

async fn next_revision(session: &Session) -> Result<i64, Failure> {
    let rows = session.query(NEXT_REVISION, &[]).await?;
    rows.first().map(|row| get(row, "revision")).unwrap_or_else(|| Err(no_revision()))
}

fn no_revision() -> Failure {
    Failure::Corrupt("the revision of bans is gone".into())
}

async fn one(session: &Session, subject: &BanSubject) -> Result<Option<Ban>, Failure> {
    session.query(ONE, &[&subject.to_string()]).await?.first().map(record).transpose()
}

async fn changes(session: &Session, since: Revision) -> Result<BanChanges, Failure> {
    let since = i64::try_from(since.0).unwrap_or(i64::MAX);
    session
        .bounded(async {
            // In this order: what changes between the two is told again with the next question.
            let rows = session.query(REVISION, &[]).await?;
            let revision: i64 =
                rows.first().map(|row| get(row, "revision")).unwrap_or_else(|| Err(no_revision()))?;
            let bans = match revision > since {
                true => readable(&session.query(CHANGED, &[&since]).await?),
                false => Vec::new(),
            };
            Ok(BanChanges { revision: Revision(u64::try_from(revision).unwrap_or(0)), bans })
        })
        .await
}

/// All but those that cannot be read.
fn readable(rows: &[Row]) -> Vec<Ban> {
    let read = rows.iter().filter_map(|row| record(row).inspect_err(|_| warn_of_unreadable()).ok());
    read.collect()
}

fn record(row: &Row) -> Result<Ban, Failure> {
    let time = |column| Ok::<_, Failure>(get::<Option<i64>>(row, column)?.map(Timestamp::from_millis));
    let unreadable = || Failure::Corrupt("a ban cannot be read".into());
    Ok(Ban {
        subject: get::<&str>(row, "subject")?.parse().map_err(|_| unreadable())?,
        source: BanSource::from_text(get(row, "source")?).ok_or_else(unreadable)?,
        began_at: Timestamp::from_millis(get(row, "began_ms")?),
        until: time("until_ms")?,
        lifted_at: time("lifted_ms")?,
        reason: get::<&str>(row, "reason")?.into(),
        by: get::<&str>(row, "made_by")?.into(),
        challenge: get::<Option<&str>>(row, "challenge")?.map(Into::into),
        repeats: u32::try_from(get::<i32>(row, "repeats")?).unwrap_or(0),
    })
}
