//! Reading for people: on a connection and a thread of its own, so that no list makes a claim wait.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Params, Result, Row, params};
use steadfast_core::{Answer, Fence, OperationId, State, StateName, Timestamp};

use super::row::{self, Head, Whole, answer_columns, head_columns, whole_columns};
use crate::{AttemptRecord, Counts, Cursor, Filter, OperationRecord, PAGE_ROWS_MAX, Page, SettlementRecord};

/// How many rows one statement of a list looks at: a bound on how old a snapshot gets, since the log cannot be
/// begun anew under one.
const ROWS_A_LOOK: u32 = 10_000;

/// How many attempts one search for those of a request looks at: they are small, and lie side by side. Other readers wait
/// for it.
const ATTEMPTS_A_LOOK: u32 = 20_000;

/// How long a list may look for matches before it returns those it has.
const LOOKING_MAX: Duration = Duration::from_secs(1);

/// What is unfinished, as the condition of its index says it.
macro_rules! unfinished {
    () => {
        "expires_at IS NULL"
    };
}

pub(super) fn operation(conn: &Connection, id: OperationId) -> Result<Option<OperationRecord>> {
    const SQL: &str = concat!("SELECT ", whole_columns!(), " FROM operations WHERE seq = ?1");
    let tx = conn.unchecked_transaction()?;
    let found = tx.prepare_cached(SQL)?.query_row([row::seq(id)], Whole::read).optional()?;
    match found.filter(|found| id.names(&found.head.digest)) {
        Some(found) => record(&tx, found).map(Some),
        None => Ok(None),
    }
}

pub(super) fn answer(conn: &Connection, id: OperationId) -> Result<Option<Answer>> {
    const SQL: &str = concat!("SELECT ", answer_columns!(), " FROM operations WHERE seq = ?1");
    let tx = conn.unchecked_transaction()?;
    match head(&tx, id)?.map(|head| head.state) {
        Some(State::Completed { answer: Some(_) }) => {
            tx.prepare_cached(SQL)?.query_row([row::seq(id)], |row| row::answer(row, 0)).map(Some)
        }
        _ => Ok(None),
    }
}

pub(super) fn attempts(conn: &Connection, id: OperationId) -> Result<Vec<AttemptRecord>> {
    const SQL: &str = "SELECT fence, number, began_at, ended_at, end, cause, status, \
                       EXISTS (SELECT 1 FROM evidence WHERE seq = a.seq AND fence = a.fence), request_id, excerpt \
                       FROM attempts a WHERE seq = ?1 ORDER BY number DESC LIMIT ?2";
    let tx = conn.unchecked_transaction()?;
    let Some(head) = head(&tx, id)? else { return Ok(Vec::new()) };
    let live = match head.state {
        State::Claimed { fence, .. } => Some(AttemptRecord {
            fence,
            number: head.attempts,
            began_at: head.began_at.unwrap_or(head.changed_at),
            ended_at: None,
            end: None,
            cause: None,
            status: None,
            evidence: false,
            request_id: tx
                .prepare_cached("SELECT request_id FROM operations WHERE seq = ?1")?
                .query_row([head.seq], |row| row.get(0))?,
            excerpt: None,
        }),
        _ => None,
    };
    let ended_max = PAGE_ROWS_MAX - u32::from(live.is_some());
    let mut statement = tx.prepare_cached(SQL)?;
    let ended = statement.query_map([head.seq, i64::from(ended_max)], |row| {
        Ok(AttemptRecord {
            fence: Fence::from_bytes(row.get(0)?),
            number: row.get(1)?,
            began_at: Timestamp::from_millis(row.get(2)?),
            ended_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
            end: row.get(4)?,
            cause: row.get(5)?,
            status: row.get(6)?,
            evidence: row.get(7)?,
            request_id: row.get(8)?,
            excerpt: row.get(9)?,
        })
    })?;
    let mut attempts: Vec<_> = live.into_iter().map(Ok).chain(ended).collect::<Result<_>>()?;
    attempts.reverse();
    Ok(attempts)
}

/// A page, looked for piece by piece. Where matches are rare it may hold fewer than it could, and even none,
/// with a cursor from which the search goes on.
pub(super) fn list(conn: &Connection, filter: &Filter) -> Result<Page> {
    let limit = if filter.limit == 0 { 100 } else { filter.limit.min(PAGE_ROWS_MAX) } as usize;
    let began = Instant::now();
    let mut page = Page::default();
    let mut before = filter.before.map_or(i64::MAX, |Cursor(seq)| seq.cast_signed());
    loop {
        let reached = look(conn, filter, limit - page.operations.len(), before, &mut page.operations)?;
        match reached {
            None => return Ok(page),
            Some(seq) => before = seq,
        }
        if page.operations.len() >= limit || began.elapsed() > LOOKING_MAX {
            page.next = Some(Cursor(before.unsigned_abs()));
            return Ok(page);
        }
    }
}

/// Looks at the next rows below `before`; returns the row it reached, or `None` where there are no more.
fn look(
    conn: &Connection,
    filter: &Filter,
    wanted: usize,
    before: i64,
    found: &mut Vec<OperationRecord>,
) -> Result<Option<i64>> {
    // The rows to look at are chosen by what an index knows, and the rest of the filter is applied to them
    // here, so that one piece looks at a bounded number of rows however rare the matches are.
    const OPEN_CASES: &str = concat!(
        "SELECT ",
        whole_columns!(),
        " FROM operations WHERE seq IN (SELECT seq FROM cases WHERE closed_at IS NULL AND seq < ?1 \
         ORDER BY seq DESC LIMIT ?2) ORDER BY seq DESC"
    );
    const UNFINISHED: &str = concat!(
        "SELECT ",
        whole_columns!(),
        " FROM operations WHERE ",
        unfinished!(),
        " AND state = ?3 AND seq < ?1 ORDER BY seq DESC LIMIT ?2"
    );
    const ALL: &str =
        concat!("SELECT ", whole_columns!(), " FROM operations WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2");
    let tx = conn.unchecked_transaction()?;
    let state = filter.state.map(StateName::as_str);
    match filter.state {
        _ if filter.with_cases => scan(&tx, OPEN_CASES, (before, ROWS_A_LOOK), filter, wanted, found),
        Some(
            StateName::Queued
            | StateName::Claimed
            | StateName::Waiting
            | StateName::InDoubt
            | StateName::Dead,
        ) => scan(&tx, UNFINISHED, (before, ROWS_A_LOOK, state), filter, wanted, found),
        Some(
            StateName::Absent
            | StateName::Completed
            | StateName::Released
            | StateName::Cancelled
            | StateName::Tombstone,
        )
        | None => scan(&tx, ALL, (before, ROWS_A_LOOK), filter, wanted, found),
    }
}

fn scan(
    tx: &Connection,
    sql: &str,
    params: impl Params,
    filter: &Filter,
    wanted: usize,
    found: &mut Vec<OperationRecord>,
) -> Result<Option<i64>> {
    let mut statement = tx.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let (mut taken, mut looked, mut reached) = (0, 0, None);
    while let Some(row) = rows.next()? {
        looked += 1;
        reached = Some(row.get(0)?);
        if matches(filter, row)? {
            found.push(record(tx, Whole::read(row)?)?);
            taken += 1;
            if taken == wanted {
                return Ok(reached);
            }
        }
    }
    // Fewer rows than were asked for: that was the end. (Several open cases of one operation are one row.)
    Ok(reached.filter(|_| filter.with_cases || looked == ROWS_A_LOOK))
}

/// Whether a row of `whole_columns` passes the filter, without reading all of it.
fn matches(filter: &Filter, row: &Row<'_>) -> Result<bool> {
    let is = |column: usize, wanted: Option<&str>| -> Result<bool> {
        Ok(match wanted {
            Some(wanted) => row.get_ref(column)?.as_str()? == wanted,
            None => true,
        })
    };
    Ok(is(2, filter.state.map(StateName::as_str))?
        && is(19, filter.key.as_deref())?
        && is(22, filter.route.as_deref())?)
}

/// A page of the operations of which this request made an attempt: those whose attempts are under way, and what the next
/// attempts below the cursor tell.
pub(super) fn of_request(conn: &Connection, request_id: &str, before: Option<Cursor>) -> Result<Page> {
    const UNDER_WAY: &str = concat!(
        "SELECT seq FROM operations WHERE ",
        unfinished!(),
        " AND state = 'claimed' AND request_id = ?1 ORDER BY seq DESC LIMIT ?2"
    );
    const ENDED: &str = "SELECT seq, request_id FROM attempts WHERE seq < ?1 ORDER BY seq DESC, number DESC";
    let tx = conn.unchecked_transaction()?;
    let mut found: Vec<i64> = Vec::new();
    if before.is_none() {
        let mut statement = tx.prepare_cached(UNDER_WAY)?;
        let rows = statement.query_map(params![request_id, PAGE_ROWS_MAX], |row| row.get(0))?;
        found = rows.collect::<Result<_>>()?;
    }
    let mut statement = tx.prepare_cached(ENDED)?;
    let mut rows = statement.query([before.map_or(i64::MAX, |Cursor(seq)| seq.cast_signed())])?;
    let (mut looked, mut reached, mut next) = (0, None::<i64>, None);
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        // A page ends between two operations, so that no attempt is left out.
        if reached.is_some_and(|reached| reached != seq)
            && (looked >= ATTEMPTS_A_LOOK || found.len() >= PAGE_ROWS_MAX as usize)
        {
            next = reached.map(|reached| Cursor(reached.unsigned_abs()));
            break;
        }
        looked += 1;
        reached = Some(seq);
        if row.get_ref(1)?.as_str_or_null()? == Some(request_id) && !found.contains(&seq) {
            found.push(seq);
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    let mut operations = Vec::with_capacity(found.len());
    for seq in found {
        const SQL: &str = concat!("SELECT ", whole_columns!(), " FROM operations WHERE seq = ?1");
        if let Some(whole) = tx.prepare_cached(SQL)?.query_row([seq], Whole::read).optional()? {
            operations.push(record(&tx, whole)?);
        }
    }
    Ok(Page { operations, next })
}

pub(super) fn counts(conn: &Connection) -> Result<Counts> {
    const IN_STATE: &str =
        concat!("SELECT count(*) FROM operations WHERE ", unfinished!(), " AND state = ?1");
    let tx = conn.unchecked_transaction()?;
    let in_state = |state: StateName| {
        tx.prepare_cached(IN_STATE)?.query_row([state.as_str()], |row| row.get::<_, i64>(0))
    };
    Ok(Counts {
        claimed: in_state(StateName::Claimed)?.unsigned_abs(),
        in_doubt: in_state(StateName::InDoubt)?.unsigned_abs(),
        dead: in_state(StateName::Dead)?.unsigned_abs(),
        cases_open: tx
            .prepare_cached("SELECT count(*) FROM cases WHERE closed_at IS NULL")?
            .query_row([], |row| row.get::<_, i64>(0))?
            .unsigned_abs(),
    })
}

fn head(tx: &Connection, id: OperationId) -> Result<Option<Head>> {
    const SQL: &str = concat!("SELECT ", head_columns!(), " FROM operations WHERE seq = ?1");
    let head = tx.prepare_cached(SQL)?.query_row([row::seq(id)], Head::read).optional()?;
    Ok(head.filter(|head| id.names(&head.digest)))
}

/// The rest of what is told of an operation.
pub(super) fn record(tx: &Connection, found: Whole) -> Result<OperationRecord> {
    let id = found.id();
    let Whole { head, fingerprint, name, owner, route, method, path, .. } = found;
    let answer_status = tx
        .prepare_cached("SELECT answer_status FROM operations WHERE seq = ?1")?
        .query_row([head.seq], |row| row.get(0))?;
    let cases_open = tx
        .prepare_cached("SELECT count(*) FROM cases WHERE closed_at IS NULL AND seq = ?1")?
        .query_row([head.seq], |row| row.get(0))?;
    let settlement = tx
        .prepare_cached(
            "SELECT happened, settled_by, reason, settled_at FROM settlements WHERE seq = ?1 \
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row([head.seq], |row| {
            let at = Timestamp::from_millis(row.get(3)?);
            Ok(SettlementRecord { happened: row.get(0)?, by: row.get(1)?, reason: row.get(2)?, at })
        })
        .optional()?;
    Ok(OperationRecord {
        id,
        name,
        state: head.state.name(),
        doubtful: head.state.is_doubtful(),
        mode: head.mode,
        fingerprint,
        owner,
        route: (*route).into(),
        method,
        path,
        attempts: head.attempts,
        created_at: head.created_at,
        changed_at: head.changed_at,
        expires_at: head.expires_at,
        answer_status,
        cases_open,
        settlement,
    })
}
