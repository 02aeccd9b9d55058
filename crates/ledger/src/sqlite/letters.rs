//! Finding dead letters: single ones page by page, and counted in groups.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Result, params};
use steadfast_core::Timestamp;

use super::{
    reading,
    row::{Whole, whole_columns},
};
use crate::{Cursor, DeadLetters, Letter, LetterFilter, Letters, PAGE_ROWS_MAX};

/// How many groups one answer tells of.
const GROUPS_MAX: u32 = 1_000;

/// How many dead letters one page looks at: other readers wait for it.
const ROWS_A_LOOK: u32 = 10_000;

/// How long a page may look for matches before it returns those it has.
const LOOKING_MAX: Duration = Duration::from_millis(500);

/// A page of the letters that pass, in the order in which they were accepted.
pub(super) fn page(
    conn: &Connection,
    of: &LetterFilter,
    after: Option<Cursor>,
    limit: u32,
) -> Result<Letters> {
    const SQL: &str = concat!(
        "SELECT ",
        whole_columns!(),
        " FROM operations WHERE expires_at IS NULL AND state = 'dead' AND seq > ?1 ORDER BY seq LIMIT ?2"
    );
    let limit = limit.clamp(1, PAGE_ROWS_MAX) as usize;
    let after = after.map_or(0, |Cursor(seq)| seq.cast_signed());
    let began = Instant::now();
    let tx = conn.unchecked_transaction()?;
    let mut statement = tx.prepare_cached(SQL)?;
    let mut rows = statement.query(params![after, ROWS_A_LOOK])?;
    let (mut letters, mut looked) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        looked += 1;
        let found = Whole::read(row)?;
        let seq = found.head.seq;
        if let Some(letter) = passing(&tx, of, found)? {
            letters.push(letter);
        }
        if letters.len() >= limit || looked == ROWS_A_LOOK || began.elapsed() > LOOKING_MAX {
            return Ok(Letters { letters, next: Some(Cursor(seq.unsigned_abs())) });
        }
    }
    Ok(Letters { letters, next: None })
}

/// The letter, if it passes.
fn passing(tx: &Connection, of: &LetterFilter, found: Whole) -> Result<Option<Letter>> {
    const LAST: &str = "SELECT end, cause, status FROM attempts WHERE seq = ?1 AND number = ?2";
    let head = &found.head;
    let is = |wanted: &Option<Box<str>>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
    if !is(&of.route, &found.route)
        || of.died_before.is_some_and(|before| head.changed_at >= before)
        || of.doubtful.is_some_and(|doubtful| doubtful != head.state.is_doubtful())
    {
        return Ok(None);
    }
    let last = tx.prepare_cached(LAST)?.query_row(params![head.seq, head.attempts], |row| {
        Ok((row.get::<_, Box<str>>(0)?, row.get::<_, Option<Box<str>>>(1)?, row.get::<_, Option<u16>>(2)?))
    });
    let (end, cause, status) = last.optional()?.unwrap_or_else(|| ("unknown".into(), None, None));
    if !is(&of.end, &end)
        || of.cause.as_ref().is_some_and(|wanted| Some(wanted) != cause.as_ref())
        || of.status.is_some_and(|wanted| Some(wanted) != status)
    {
        return Ok(None);
    }
    Ok(Some(Letter { operation: reading::record(tx, found)?, end, cause, status }))
}

/// How many there are that pass, by what made them dead.
pub(super) fn groups(conn: &Connection, of: &LetterFilter) -> Result<Vec<DeadLetters>> {
    const SQL: &str = "SELECT o.route, coalesce(a.end, 'unknown'), a.cause, a.status, count(*), sum(o.doubt <> 'none'), \
                       min(o.changed_at), max(o.changed_at) FROM operations AS o \
                       LEFT JOIN attempts AS a ON a.seq = o.seq AND a.number = o.attempts \
                       WHERE o.expires_at IS NULL AND o.state = 'dead' AND (?2 IS NULL OR o.route = ?2) \
                       AND (?3 IS NULL OR coalesce(a.end, 'unknown') = ?3) AND (?4 IS NULL OR a.cause = ?4) \
                       AND (?5 IS NULL OR a.status = ?5) AND (?6 IS NULL OR o.changed_at < ?6) \
                       AND (?7 IS NULL OR (o.doubt <> 'none') = ?7) \
                       GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4 LIMIT ?1";
    let mut statement = conn.prepare_cached(SQL)?;
    let died_before = of.died_before.map(Timestamp::as_millis);
    let filter = params![GROUPS_MAX, of.route, of.end, of.cause, of.status, died_before, of.doubtful];
    let count = |row: &rusqlite::Row<'_>, column: usize| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let rows = statement.query_map(filter, |row| {
        Ok(DeadLetters {
            route: row.get(0)?,
            end: row.get(1)?,
            cause: row.get(2)?,
            status: row.get(3)?,
            count: count(row, 4)?,
            doubtful: count(row, 5)?,
            oldest_at: Timestamp::from_millis(row.get(6)?),
            newest_at: Timestamp::from_millis(row.get(7)?),
        })
    })?;
    rows.collect()
}
