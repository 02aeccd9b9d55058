//! Reading operations. Numbers come from one sequence, so the newest are found bucket by bucket in a window of
//! numbers below the last page: the primary key leads with the bucket, and a thousand index descents (5 ms with
//! 330,000 operations, where taking a page of each bucket took 460 ms) are cheaper than an index more on every
//! insert. Where few rows pass a filter, a page ends short after a bounded number of rows, with a cursor.

use steadfast_core::{Answer, Bucket, Fence, OperationId, StateName, Timestamp};
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresLedger,
    failure::Failure,
    record::{self, Stored, columns, get, sixteen},
    writes::{bucket_column, seq_column},
};
use crate::{
    AttemptRecord, BoxFuture, Counts, Cursor, Filter, LedgerError, OperationRecord, Operations,
    PAGE_ROWS_MAX, Page, SettlementRecord,
};

/// How many rows a page holds where nothing is said.
const PAGE_ROWS: u32 = 100;

/// How many numbers the first window of a page covers.
const WINDOW: i64 = 4_096;

/// How many numbers the windows of one page cover at most.
const WINDOWS_MAX: i64 = 262_144;

/// How many numbers a window covers at most that is searched for a request: no index helps there, and it is to end long
/// before the server gives up.
const WINDOW_OF_REQUEST_MAX: i64 = 32_768;

/// The newest number below another one.
const NEWEST: &str = "
    SELECT max(n.seq) AS seq FROM generate_series(0, $2::integer - 1) AS b (number)
    CROSS JOIN LATERAL (
        SELECT i.seq FROM steadfast.operations AS i
        WHERE i.bucket = b.number::smallint AND i.seq < $1 ORDER BY i.seq DESC LIMIT 1) AS n";

/// A whole record, and more where that is said.
macro_rules! full_record {
    () => {
        full_record!("")
    };
    ($more:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", (SELECT a.status FROM steadfast.answers AS a WHERE a.bucket = o.bucket AND a.seq = o.seq)
                   AS answer_status,
               (SELECT count(*) FROM steadfast.cases AS c
                WHERE c.bucket = o.bucket AND c.seq = o.seq AND c.closed_ms IS NULL) AS cases_open,
               s.happened, s.said_by, s.reason, s.settled_ms",
            $more,
            " FROM steadfast.operations AS o
            LEFT JOIN LATERAL (SELECT * FROM steadfast.settlements AS s
                WHERE s.bucket = o.bucket AND s.seq = o.seq ORDER BY s.number DESC LIMIT 1) AS s ON true "
        )
    };
}
pub(super) use full_record;

const OPERATION: &str = concat!(full_record!(), "WHERE o.bucket = $1 AND o.seq = $2");

const ANSWER: &str = "
    SELECT o.digest, a.status, a.headers, a.body
    FROM steadfast.operations AS o JOIN steadfast.answers AS a ON a.bucket = o.bucket AND a.seq = o.seq
    WHERE o.bucket = $1 AND o.seq = $2";

/// The attempts that ended, and the one under way, which is in its operation's row.
const ATTEMPTS: &str = "
    SELECT t.*, EXISTS (SELECT FROM steadfast.evidence AS e
        WHERE e.bucket = $1 AND e.seq = $2 AND e.fence = t.fence) AS evidence
    FROM (
        SELECT a.number, a.fence, a.began_ms, a.ended_ms, a.ending, a.cause, a.status, a.request_id, a.excerpt
        FROM steadfast.attempts AS a WHERE a.bucket = $1 AND a.seq = $2
        UNION ALL
        SELECT o.attempts, o.fence, o.changed_ms, NULL, NULL, NULL, NULL, o.request_id, NULL
        FROM steadfast.operations AS o WHERE o.bucket = $1 AND o.seq = $2 AND o.state = 'claimed'
        ORDER BY number DESC LIMIT $3
    ) AS t ORDER BY t.number";

/// Those of which this request makes the attempt under way: what is claimed is always little.
const UNDER_WAY_OF_REQUEST: &str =
    concat!(full_record!(), "WHERE o.state = 'claimed' AND o.request_id = $1 ORDER BY o.seq DESC LIMIT $2");

/// Those in a window of numbers of which this request made an attempt that ended.
const ENDED_OF_REQUEST: &str = concat!(
    full_record!(),
    "WHERE (o.bucket, o.seq) IN (
        SELECT n.bucket, n.seq FROM generate_series(0, $4::integer - 1) AS b (number)
        CROSS JOIN LATERAL (
            SELECT a.bucket, a.seq FROM steadfast.attempts AS a
            WHERE a.bucket = b.number::smallint AND a.seq < $2 AND a.seq >= $3 AND a.request_id = $1
        ) AS n)
    ORDER BY o.seq DESC LIMIT $5"
);

const DIGEST: &str = "SELECT digest FROM steadfast.operations WHERE bucket = $1 AND seq = $2";

const COUNTS: &str = "
    SELECT (SELECT count(*) FROM steadfast.operations WHERE state = 'claimed') AS claimed,
           (SELECT count(*) FROM steadfast.operations WHERE state = 'in_doubt') AS in_doubt,
           (SELECT count(*) FROM steadfast.operations WHERE state = 'dead') AS dead,
           (SELECT count(*) FROM steadfast.cases WHERE closed_ms IS NULL) AS cases_open";

impl Operations for PostgresLedger {
    fn operation(&self, id: OperationId) -> BoxFuture<'_, Result<Option<OperationRecord>, LedgerError>> {
        Box::pin(async move {
            let rows = self.read(OPERATION, &[&bucket(id), &seq(id)]).await?;
            let record = rows.first().map(record).transpose().map_err(|failure| failure.to_error())?;
            Ok(record.filter(|record| record.id == id))
        })
    }

    fn attempts(&self, id: OperationId) -> BoxFuture<'_, Result<Vec<AttemptRecord>, LedgerError>> {
        Box::pin(async move {
            if !self.is_there(id).await? {
                return Ok(Vec::new());
            }
            let limit = i64::from(PAGE_ROWS_MAX);
            let rows = self.read(ATTEMPTS, &[&bucket(id), &seq(id), &limit]).await?;
            let attempts: Result<_, Failure> = rows.iter().map(attempt).collect();
            attempts.map_err(|failure| failure.to_error())
        })
    }

    fn answer(&self, id: OperationId) -> BoxFuture<'_, Result<Option<Answer>, LedgerError>> {
        Box::pin(async move {
            let rows = self.read(ANSWER, &[&bucket(id), &seq(id)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            if !names(id, row)? {
                return Ok(None);
            }
            record::answer(row).map_err(|failure| failure.to_error())
        })
    }

    fn list(&self, filter: Filter) -> BoxFuture<'_, Result<Page, LedgerError>> {
        Box::pin(async move {
            let limit = match filter.limit {
                0 => PAGE_ROWS,
                limit => limit.min(PAGE_ROWS_MAX),
            };
            let before = filter.before.map_or(i64::MAX, |Cursor(seq)| seq_column(seq));
            if is_selective(&filter) {
                self.list_few(&filter, before, limit).await
            } else {
                self.list_windows(&filter, before, limit).await
            }
        })
    }

    fn of_request(
        &self,
        request_id: Box<str>,
        before: Option<Cursor>,
    ) -> BoxFuture<'_, Result<Page, LedgerError>> {
        Box::pin(async move {
            let mut operations = Vec::new();
            if before.is_none() {
                let most = i64::from(PAGE_ROWS_MAX);
                operations = records(&self.read(UNDER_WAY_OF_REQUEST, &[&&*request_id, &most]).await?)?;
            }
            let before = before.map_or(i64::MAX, |Cursor(seq)| seq_column(seq));
            let ended = self.of_request_ended(&request_id, before).await?;
            // Of one operation it may have made more attempts than one.
            let are_new = |record: &OperationRecord| operations.iter().all(|found| found.id != record.id);
            let ended_new: Vec<_> = ended.operations.into_iter().filter(are_new).collect();
            operations.extend(ended_new);
            Ok(Page { operations, next: ended.next })
        })
    }

    fn counts(&self) -> BoxFuture<'_, Result<Counts, LedgerError>> {
        Box::pin(async move {
            let rows = self.read(COUNTS, &[]).await?;
            let row = rows.first().ok_or_else(|| LedgerError::Corrupt("counting counts nothing".into()))?;
            let count = |column| {
                let count = get::<i64>(row, column).map_err(|failure| failure.to_error())?;
                Ok::<_, LedgerError>(u64::try_from(count).unwrap_or(0))
            };
            Ok(Counts {
                claimed: count("claimed")?,
                in_doubt: count("in_doubt")?,
                dead: count("dead")?,
                cases_open: count("cases_open")?,
            })
        })
    }
}

impl PostgresLedger {
    /// Reads with a statement that is sent alone; once more where the connection was lost.
    pub(super) async fn read(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, LedgerError> {
        let mut tries = 0;
        loop {
            let lent = self.general.lend().await?;
            let session = lent.session();
            let reading = async { session.client().query(sql, parameters).await.map_err(Failure::from) };
            let result = session.bounded(reading).await;
            let lost = matches!(result, Err(Failure::Lost(_)));
            let result = lent.settle(result).await;
            tries += 1;
            if !lost || tries > 1 {
                return result;
            }
        }
    }

    /// A page of what a partial index holds.
    async fn list_few(&self, filter: &Filter, before: i64, limit: u32) -> Result<Page, LedgerError> {
        let sql = format!(
            "{} WHERE (o.bucket, o.seq) IN (
                SELECT i.bucket, i.seq FROM steadfast.operations AS i
                WHERE i.seq < $1 AND {} ORDER BY i.seq DESC LIMIT $2)
            ORDER BY o.seq DESC",
            full_record!(),
            conditions(filter)
        );
        let (route, key) = (filter.route.as_deref(), filter.key.as_deref());
        let rows = self.read(&sql, &[&before, &i64::from(limit), &route, &key]).await?;
        let operations = records(&rows)?;
        let full = u32::try_from(operations.len()).unwrap_or(u32::MAX) >= limit;
        let next = operations.last().filter(|_| full).map(|record| Cursor(record.id.sequence()));
        Ok(Page { operations, next })
    }

    /// A page of anything, window by window.
    async fn list_windows(&self, filter: &Filter, before: i64, limit: u32) -> Result<Page, LedgerError> {
        let sql = format!(
            "{} WHERE (o.bucket, o.seq) IN (
                SELECT n.bucket, n.seq FROM generate_series(0, $6::integer - 1) AS b (number)
                CROSS JOIN LATERAL (
                    SELECT i.bucket, i.seq FROM steadfast.operations AS i
                    WHERE i.bucket = b.number::smallint AND i.seq < $1 AND i.seq >= $5 AND {}
                    ORDER BY i.seq DESC LIMIT $2
                ) AS n ORDER BY n.seq DESC LIMIT $2)
            ORDER BY o.seq DESC",
            full_record!(),
            conditions(filter)
        );
        let (route, key) = (filter.route.as_deref(), filter.key.as_deref());
        let (buckets, limit) = (i32::from(Bucket::COUNT), usize::try_from(limit).unwrap_or(usize::MAX));
        let (mut before, mut window, mut covered) = (before, WINDOW, 0);
        let mut operations: Vec<OperationRecord> = Vec::new();
        while operations.len() < limit && covered < WINDOWS_MAX {
            // Numbers may have wide gaps: those that replays drew and did not use.
            let rows = self.read(NEWEST, &[&before, &buckets]).await?;
            let newest = rows.first().map(|row| get::<Option<i64>>(row, "seq")).transpose();
            let Some(newest) = newest.map_err(|failure| failure.to_error())?.flatten() else {
                return Ok(Page { operations, next: None });
            };
            let (above, lowest) = (newest.saturating_add(1), newest.saturating_add(1).saturating_sub(window));
            let left = i64::try_from(limit - operations.len()).unwrap_or(i64::MAX);
            let parameters: [&(dyn ToSql + Sync); 6] = [&above, &left, &route, &key, &lowest, &buckets];
            operations.extend(records(&self.read(&sql, &parameters).await?)?);
            before = lowest.max(0);
            covered += window;
            window = window.saturating_mul(8).min(WINDOWS_MAX - covered).max(1);
        }
        let last = operations.last().map(|record| record.id.sequence());
        let full = operations.len() >= limit;
        let next = if full { last } else { u64::try_from(before).ok() };
        Ok(Page { operations, next: next.map(Cursor) })
    }

    /// What this request made of what has ended, in as many windows as a page covers.
    async fn of_request_ended(&self, request_id: &str, before: i64) -> Result<Page, LedgerError> {
        let buckets = i32::from(Bucket::COUNT);
        let (mut before, mut window, mut covered) = (before, WINDOW, 0);
        let mut operations = Vec::new();
        while operations.is_empty() && covered < WINDOWS_MAX {
            let rows = self.read(NEWEST, &[&before, &buckets]).await?;
            let newest = rows.first().map(|row| get::<Option<i64>>(row, "seq")).transpose();
            let Some(newest) = newest.map_err(|failure| failure.to_error())?.flatten() else {
                return Ok(Page { operations, next: None });
            };
            let (above, lowest) = (newest.saturating_add(1), newest.saturating_add(1).saturating_sub(window));
            let most = i64::from(PAGE_ROWS_MAX);
            let rows = self.read(ENDED_OF_REQUEST, &[&request_id, &above, &lowest, &buckets, &most]).await?;
            operations = records(&rows)?;
            let last = operations.last().filter(|_| operations.len() >= PAGE_ROWS_MAX as usize);
            before = last.map_or(lowest.max(0), |record| seq(record.id));
            covered += window;
            window = window.saturating_mul(8).min(WINDOW_OF_REQUEST_MAX).min(WINDOWS_MAX - covered).max(1);
        }
        Ok(Page { operations, next: u64::try_from(before).ok().map(Cursor) })
    }

    /// Whether there is an operation with this id.
    async fn is_there(&self, id: OperationId) -> Result<bool, LedgerError> {
        let rows = self.read(DIGEST, &[&bucket(id), &seq(id)]).await?;
        rows.first().map_or(Ok(false), |row| names(id, row))
    }
}

/// Whether a partial index holds all that can pass, and little else.
fn is_selective(filter: &Filter) -> bool {
    let few = [StateName::Claimed, StateName::InDoubt, StateName::Dead, StateName::Absent];
    filter.with_cases || filter.state.is_some_and(|state| few.contains(&state))
}

/// The conditions of a filter on the rows of `i`, its route being `$3` and its key `$4`.
fn conditions(filter: &Filter) -> String {
    let state = match filter.state {
        // Only names that the schema knows, so nothing can be slipped in; as literals, so that the partial
        // indexes apply.
        Some(state) if state != StateName::Absent => format!("AND i.state = '{}'", state.as_str()),
        Some(_) => "AND false".to_owned(),
        None => String::new(),
    };
    let cases = if filter.with_cases {
        "AND (i.bucket, i.seq) IN (SELECT c.bucket, c.seq FROM steadfast.cases AS c WHERE c.closed_ms IS NULL)"
    } else {
        ""
    };
    format!("($3::text IS NULL OR i.route = $3) AND ($4::text IS NULL OR i.key = $4) {state} {cases}")
}

fn bucket(id: OperationId) -> i16 {
    bucket_column(id.bucket())
}

fn seq(id: OperationId) -> i64 {
    seq_column(id.sequence())
}

/// Whether the row with a `digest` is the operation that is meant.
fn names(id: OperationId, row: &Row) -> Result<bool, LedgerError> {
    let digest = sixteen(row, "digest").map_err(|failure| failure.to_error())?;
    Ok(id.names(&steadfast_core::OperationDigest::from_bytes(digest)))
}

fn records(rows: &[Row]) -> Result<Vec<OperationRecord>, LedgerError> {
    let records: Result<Vec<_>, Failure> = rows.iter().map(record).collect();
    records.map_err(|failure| failure.to_error())
}

pub(super) fn record(row: &Row) -> Result<OperationRecord, Failure> {
    let stored = Stored::read(row)?;
    let settlement = match get::<Option<bool>>(row, "happened")? {
        None => None,
        Some(happened) => Some(SettlementRecord {
            happened,
            by: get::<&str>(row, "said_by")?.into(),
            reason: get::<&str>(row, "reason")?.into(),
            at: Timestamp::from_millis(get(row, "settled_ms")?),
        }),
    };
    Ok(OperationRecord {
        id: stored.id,
        name: stored.name,
        state: stored.state.name(),
        doubtful: stored.state.is_doubtful(),
        mode: stored.mode,
        fingerprint: stored.fingerprint,
        owner: stored.owner,
        route: stored.route,
        method: stored.method,
        path: stored.path,
        attempts: stored.attempts,
        created_at: stored.created_at,
        changed_at: stored.changed_at,
        expires_at: stored.expires_at,
        answer_status: status(row, "answer_status")?,
        cases_open: u32::try_from(get::<i64>(row, "cases_open")?).unwrap_or(u32::MAX),
        settlement,
    })
}

fn attempt(row: &Row) -> Result<AttemptRecord, Failure> {
    Ok(AttemptRecord {
        fence: Fence::from_bytes(sixteen(row, "fence")?),
        number: u32::try_from(get::<i32>(row, "number")?).unwrap_or(0),
        began_at: Timestamp::from_millis(get(row, "began_ms")?),
        ended_at: get::<Option<i64>>(row, "ended_ms")?.map(Timestamp::from_millis),
        end: get::<Option<&str>>(row, "ending")?.map(Into::into),
        cause: get::<Option<&str>>(row, "cause")?.map(Into::into),
        status: status(row, "status")?,
        evidence: get(row, "evidence")?,
        request_id: get::<Option<&str>>(row, "request_id")?.map(Into::into),
        excerpt: get::<Option<&str>>(row, "excerpt")?.map(Into::into),
    })
}

pub(super) fn status(row: &Row, column: &str) -> Result<Option<u16>, Failure> {
    Ok(get::<Option<i32>>(row, column)?.and_then(|status| u16::try_from(status).ok()))
}
