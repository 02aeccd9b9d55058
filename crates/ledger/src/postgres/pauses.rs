//! The routes that rest by hand, in Postgres, on the server's clock, which all nodes share.

use steadfast_core::Timestamp;
use tokio_postgres::Row;

use super::{
    PostgresLedger,
    failure::Failure,
    record::{get, millis},
};
use crate::{BoxFuture, LedgerError, PAUSES_MAX, PauseError, PauseOrder, Pauses, RoutePause};

/// Nothing where as many others rest as may.
const PAUSE: &str = "
    WITH t AS (SELECT coalesce($1::bigint, steadfast.now_ms()) AS now),
    forgotten AS (
        DELETE FROM steadfast.pauses AS p USING t WHERE p.until_ms <= t.now AND p.route <> $2 RETURNING p.route)
    INSERT INTO steadfast.pauses (route, since_ms, until_ms, made_by, reason)
    SELECT $2::text, t.now, t.now + $3::bigint, $4::text, $5::text FROM t
    WHERE (SELECT count(*) FROM steadfast.pauses AS p WHERE p.route <> $2)
          - (SELECT count(*) FROM forgotten) < $6::bigint
    ON CONFLICT (route) DO UPDATE SET since_ms = excluded.since_ms, until_ms = excluded.until_ms,
        made_by = excluded.made_by, reason = excluded.reason
    RETURNING *";

const RESUME: &str = "
    DELETE FROM steadfast.pauses AS p WHERE p.route = $1
    RETURNING p.*, coalesce(p.until_ms > coalesce($2::bigint, steadfast.now_ms()), true) AS held";

const PAUSES: &str = "
    SELECT * FROM steadfast.pauses AS p
    WHERE p.until_ms IS NULL OR p.until_ms > coalesce($1::bigint, steadfast.now_ms()) ORDER BY p.route LIMIT $2";

impl Pauses for PostgresLedger {
    fn pause(&self, order: PauseOrder) -> BoxFuture<'_, Result<RoutePause, PauseError>> {
        Box::pin(async move {
            let now = self.shared.options.store_time.millis();
            let time = order.time.map(|time| millis(time).min(i64::MAX / 2));
            let most = i64::try_from(PAUSES_MAX).unwrap_or(i64::MAX);
            let PauseOrder { route, by, reason, .. } = order;
            let rows = self.read(PAUSE, &[&now, &&*route, &time, &&*by, &&*reason, &most]).await?;
            let row = rows.first().ok_or(PauseError::TooMany)?;
            pause(row).map_err(|failure| failure.to_error().into())
        })
    }

    fn resume(&self, route: Box<str>) -> BoxFuture<'_, Result<Option<RoutePause>, LedgerError>> {
        Box::pin(async move {
            let rows = self.read(RESUME, &[&&*route, &self.shared.options.store_time.millis()]).await?;
            let ended = rows.first().map(|row| Ok(get::<bool>(row, "held")?.then(|| pause(row)))).transpose();
            let ended = ended.map_err(|failure: Failure| failure.to_error())?;
            ended.flatten().transpose().map_err(|failure| failure.to_error())
        })
    }

    fn pauses(&self) -> BoxFuture<'_, Result<Vec<RoutePause>, LedgerError>> {
        Box::pin(async move {
            let most = i64::try_from(PAUSES_MAX).unwrap_or(i64::MAX);
            let rows = self.read(PAUSES, &[&self.shared.options.store_time.millis(), &most]).await?;
            let pauses: Result<_, Failure> = rows.iter().map(pause).collect();
            pauses.map_err(|failure| failure.to_error())
        })
    }
}

fn pause(row: &Row) -> Result<RoutePause, Failure> {
    Ok(RoutePause {
        route: get::<&str>(row, "route")?.into(),
        since: Timestamp::from_millis(get(row, "since_ms")?),
        until: get::<Option<i64>>(row, "until_ms")?.map(Timestamp::from_millis),
        by: get::<&str>(row, "made_by")?.into(),
        reason: get::<&str>(row, "reason")?.into(),
    })
}
