//! Finding dead letters: single ones page by page, and counted in groups. The literal of each condition on the state is that
//! of the partial index of dead ones.

use steadfast_core::Timestamp;
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresLedger,
    failure::Failure,
    reading::{self, full_record},
    record::{columns, get},
};
use crate::{Cursor, DeadLetters, LedgerError, Letter, LetterFilter, Letters, PAGE_ROWS_MAX};

/// The letters that pass, in the order of their numbers; of an operation's attempts the last made it one.
const LETTERS: &str = concat!(
    full_record!(
        ", coalesce(a.ending, 'unknown') AS letter_end, a.cause AS letter_cause, a.status AS letter_status"
    ),
    "LEFT JOIN steadfast.attempts AS a ON a.bucket = o.bucket AND a.seq = o.seq AND a.number = o.attempts
    WHERE o.state = 'dead' AND o.seq > $7
        AND ($1::text IS NULL OR o.route = $1) AND ($2::text IS NULL OR coalesce(a.ending, 'unknown') = $2)
        AND ($3::text IS NULL OR a.cause = $3) AND ($4::integer IS NULL OR a.status = $4)
        AND ($5::bigint IS NULL OR o.changed_ms < $5) AND ($6::boolean IS NULL OR (o.doubt <> 'none') = $6)
    ORDER BY o.seq LIMIT $8"
);

/// Of more than half a million, a second's work, the rest is not looked at.
const GROUPS: &str = "
    SELECT o.route, coalesce(a.ending, 'unknown') AS ending, a.cause, a.status, count(*) AS count,
           count(*) FILTER (WHERE o.doubt <> 'none') AS doubtful,
           min(o.changed_ms) AS oldest_ms, max(o.changed_ms) AS newest_ms
    FROM (SELECT d.bucket, d.seq, d.route, d.attempts, d.doubt, d.changed_ms
          FROM steadfast.operations AS d WHERE d.state = 'dead' AND ($1::text IS NULL OR d.route = $1) LIMIT 500000) AS o
    LEFT JOIN steadfast.attempts AS a ON a.bucket = o.bucket AND a.seq = o.seq AND a.number = o.attempts
    WHERE ($2::text IS NULL OR coalesce(a.ending, 'unknown') = $2)
        AND ($3::text IS NULL OR a.cause = $3) AND ($4::integer IS NULL OR a.status = $4)
        AND ($5::bigint IS NULL OR o.changed_ms < $5) AND ($6::boolean IS NULL OR (o.doubt <> 'none') = $6)
    GROUP BY 1, 2, 3, 4 ORDER BY count(*) DESC, 1, 2, 3, 4 LIMIT 1000";

impl PostgresLedger {
    /// A page of the letters that pass, in the order in which they were accepted.
    pub(super) async fn letters_page(
        &self,
        of: LetterFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Letters, LedgerError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let after = after.map_or(0, |Cursor(seq)| i64::try_from(seq).unwrap_or(i64::MAX));
        let status = of.status.map(i32::from);
        let died_before = of.died_before.map(Timestamp::as_millis);
        let most = i64::from(limit);
        let parameters: &[&(dyn ToSql + Sync)] = &[
            &of.route.as_deref(),
            &of.end.as_deref(),
            &of.cause.as_deref(),
            &status,
            &died_before,
            &of.doubtful,
            &after,
            &most,
        ];
        let rows = self.read(LETTERS, parameters).await?;
        let letters: Result<Vec<_>, Failure> = rows.iter().map(letter).collect();
        let letters = letters.map_err(|failure| failure.to_error())?;
        let full = letters.len() >= limit as usize;
        let next = letters.last().filter(|_| full).map(|last| Cursor(last.operation.id.sequence()));
        Ok(Letters { letters, next })
    }

    /// How many there are that pass, by what made them dead.
    pub(super) async fn letter_groups(&self, of: LetterFilter) -> Result<Vec<DeadLetters>, LedgerError> {
        let status = of.status.map(i32::from);
        let died_before = of.died_before.map(Timestamp::as_millis);
        let parameters: &[&(dyn ToSql + Sync)] = &[
            &of.route.as_deref(),
            &of.end.as_deref(),
            &of.cause.as_deref(),
            &status,
            &died_before,
            &of.doubtful,
        ];
        let rows = self.read(GROUPS, parameters).await?;
        let groups: Result<_, Failure> = rows.iter().map(group).collect();
        groups.map_err(|failure| failure.to_error())
    }
}

fn letter(row: &Row) -> Result<Letter, Failure> {
    Ok(Letter {
        operation: reading::record(row)?,
        end: get::<&str>(row, "letter_end")?.into(),
        cause: get::<Option<&str>>(row, "letter_cause")?.map(Into::into),
        status: reading::status(row, "letter_status")?,
    })
}

fn group(row: &Row) -> Result<DeadLetters, Failure> {
    let count = |column| Ok::<_, Failure>(u64::try_from(get::<i64>(row, column)?).unwrap_or(0));
    Ok(DeadLetters {
        route: get::<&str>(row, "route")?.into(),
        end: get::<&str>(row, "ending")?.into(),
        cause: get::<Option<&str>>(row, "cause")?.map(Into::into),
        status: reading::status(row, "status")?,
        count: count("count")?,
        doubtful: count("doubtful")?,
        oldest_at: Timestamp::from_millis(get(row, "oldest_ms")?),
        newest_at: Timestamp::from_millis(get(row, "newest_ms")?),
    })
}
