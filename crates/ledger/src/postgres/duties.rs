//! Duties and marks in Postgres: each call is one statement, and the server's clock is the one that all nodes share.

use std::time::Duration;

use steadfast_core::{Fence, Timestamp};

use super::{
    PostgresLedger,
    record::{get, millis},
};
use crate::{BoxFuture, Duties, LedgerError};

const TAKE_ON: &str = "
    INSERT INTO steadfast.duties AS d (duty, node, until_ms)
    SELECT $1::text, $2::bytea, t.now + $3::bigint FROM (SELECT coalesce($4::bigint, steadfast.now_ms()) AS now) AS t
    ON CONFLICT (duty) DO UPDATE SET node = excluded.node, until_ms = excluded.until_ms
    WHERE d.node = excluded.node OR d.until_ms <= coalesce($4::bigint, steadfast.now_ms())
    RETURNING d.duty";

const LAY_DOWN: &str = "DELETE FROM steadfast.duties WHERE duty = $1 AND node = $2 RETURNING duty";

const MARK: &str = "SELECT at_ms FROM steadfast.marks WHERE name = $1";

const SET_MARK: &str = "
    INSERT INTO steadfast.marks AS m (name, at_ms) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET at_ms = excluded.at_ms WHERE m.at_ms < excluded.at_ms
    RETURNING name";

const NOW: &str = "SELECT coalesce($1::bigint, steadfast.now_ms()) AS now_ms";

impl Duties for PostgresLedger {
    fn take_on(
        &self,
        duty: Box<str>,
        node: Fence,
        time: Duration,
    ) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            let now = self.shared.options.store_time.millis();
            let parameters = (&*duty, &node.as_bytes()[..], millis(time).min(i64::MAX / 2));
            let rows = self.read(TAKE_ON, &[&parameters.0, &parameters.1, &parameters.2, &now]).await?;
            Ok(!rows.is_empty())
        })
    }

    fn lay_down(&self, duty: Box<str>, node: Fence) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.read(LAY_DOWN, &[&&*duty, &&node.as_bytes()[..]]).await?;
            Ok(())
        })
    }

    fn mark(&self, of: Box<str>) -> BoxFuture<'_, Result<Option<Timestamp>, LedgerError>> {
        Box::pin(async move {
            let rows = self.read(MARK, &[&&*of]).await?;
            let at = rows.first().map(|row| get(row, "at_ms")).transpose();
            Ok(at.map_err(|failure| failure.to_error())?.map(Timestamp::from_millis))
        })
    }

    fn set_mark(&self, of: Box<str>, at: Timestamp) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.read(SET_MARK, &[&&*of, &at.as_millis()]).await?;
            Ok(())
        })
    }

    fn now(&self) -> BoxFuture<'_, Result<Timestamp, LedgerError>> {
        Box::pin(async move {
            let rows = self.read(NOW, &[&self.shared.options.store_time.millis()]).await?;
            let row =
                rows.first().ok_or_else(|| LedgerError::Corrupt("a clock that shows nothing".into()))?;
            get(row, "now_ms").map(Timestamp::from_millis).map_err(|failure| failure.to_error())
        })
    }
}
