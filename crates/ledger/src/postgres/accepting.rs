//! Accepting work for later: one statement for a batch, which writes an operation, its request and its place in `ready`.

use steadfast_core::{OperationDigest, Principal, Timestamp};
use tokio_postgres::Row;

use super::{
    failure::Failure,
    record::{get, millis, sixteen},
    session::Session,
    writes::{bucket_column, kept_path},
};
use crate::{Enqueue, KeepFrom, LaneTrouble};

/// Accepts what nobody has. The requests and the places are written of those whose operation was: which these are is looked
/// up in an array of numbers, because a join of what one statement writes with what it was given would compare each with
/// each. Operations of lanes get their place in `ready` from [`super::places`].
pub(super) const ACCEPT: &str = "
    WITH asked AS MATERIALIZED (
        SELECT coalesce(k.own_seq, nextval('steadfast.operation_seq')) AS seq, t.now, k.*
        FROM (SELECT coalesce($1::bigint, steadfast.now_ms()) AS now OFFSET 0) AS t,
             unnest($2::smallint[], $3::bytea[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::bytea[],
                    $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::boolean[], $15::bigint[],
                    $16::bigint[], $17::bigint[], $18::integer[], $19::smallint[], $20::bytea[], $21::boolean[],
                    $22::text[], $23::bytea[], $24::bytea[], $25::bigint[])
                 AS k (bucket, digest, namespace, key, fingerprint, principal, credential, route, method, path,
                       repeatable_ms, keep_ms, keep_from_claim, tombstone_ms, delay_ms, age_max_ms, tries_max, priority,
                       lane, lane_passes, target, headers, body, own_seq)
    ),
    accepted AS (
        INSERT INTO steadfast.operations
            (bucket, seq, digest, namespace, key, fingerprint, principal, credential, route, method, path,
             repeatable_ms, keep_ms, keep_from_claim, tombstone_ms, state, asynchronous, doubt, attempts,
             first_sent_ms, created_ms, changed_ms, tries, due_ms, lane, lane_passes, never_sent)
        SELECT bucket, seq, digest, namespace, key, fingerprint, principal, credential, route, method, path,
               repeatable_ms, keep_ms, keep_from_claim, tombstone_ms, 'queued', true, 'none', 0, now, now, now, 0,
               now + delay_ms, lane, lane_passes, true
        FROM asked
        ON CONFLICT (bucket, digest) DO NOTHING
        RETURNING digest, seq, due_ms
    ),
    kept AS (
        INSERT INTO steadfast.background (bucket, seq, priority, tries_max, give_up_ms, target, headers, body)
        SELECT bucket, seq, priority, tries_max, now + delay_ms + age_max_ms, target, headers, body
        FROM asked WHERE seq = ANY (ARRAY(SELECT seq FROM accepted))
    ),
    offered AS (
        INSERT INTO steadfast.ready (bucket, seq, due_ms, priority, digest, route)
        SELECT bucket, seq, now + delay_ms, priority, digest, route
        FROM asked WHERE lane IS NULL AND seq = ANY (ARRAY(SELECT seq FROM accepted))
    )
    SELECT digest, seq, due_ms FROM accepted";

/// Lets operations that were accepted go on as those that they were.
pub(super) const GO_ON: &str = "
    UPDATE steadfast.operations AS o SET attempts = k.attempts, created_ms = k.created_ms
    FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::bigint[]) AS k (bucket, seq, attempts, created_ms)
    WHERE o.bucket = k.bucket AND o.seq = k.seq";

/// The statements of this module that are sent in one flight with others.
pub(super) const PREPARED: &[&str] = &[ACCEPT, GO_ON];

/// Work to be accepted, and the number that it is to have, where it is not a new one.
pub(super) type Asked<'a> = (&'a Enqueue, Option<i64>);

/// The longest time that is counted with: times beyond it would not fit.
const LONGEST_MS: i64 = 1 << 50;

/// An operation that was accepted: its name, its number, and when it is due.
pub(super) type Accepted = (OperationDigest, u64, Timestamp);

/// Accepts these, sorted by name: so do all nodes, and none waits for another in a circle.
pub(super) async fn accept(
    session: &Session,
    mut work: Vec<Asked<'_>>,
    now: Option<i64>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if work.is_empty() {
        return Ok(Vec::new());
    }
    work.sort_by_key(|(work, _)| (work.name.bucket(), work.name.digest()));
    macro_rules! column {
        (|$work:ident| $value:expr) => {
            &work.iter().map(|($work, _)| $value).collect::<Vec<_>>()
        };
    }
    let time = |duration| millis(duration).min(LONGEST_MS);
    session
        .query(
            ACCEPT,
            &[
                &now,
                column!(|work| bucket_column(work.name.bucket())),
                column!(|work| work.name.digest().as_bytes().to_vec()),
                column!(|work| work.name.namespace().as_str()),
                column!(|work| work.name.key().as_str()),
                column!(|work| &work.fingerprint.as_bytes()[..]),
                column!(|work| work.owner.principal.as_ref().map(Principal::as_str)),
                column!(|work| work.owner.credential.as_ref().map(|digest| &digest.as_bytes()[..])),
                column!(|work| &*work.route),
                column!(|work| &*work.method),
                column!(|work| kept_path(&work.path)),
                column!(|work| work.repeatable_for.map(time)),
                column!(|work| time(work.retention.keep)),
                column!(|work| work.retention.from == KeepFrom::Claim),
                column!(|work| work.retention.tombstone.map(time)),
                column!(|work| time(work.delay)),
                column!(|work| time(work.age_max)),
                column!(|work| i32::try_from(work.tries_max.max(1)).unwrap_or(i32::MAX)),
                column!(|work| work.priority.0),
                column!(|work| work.lane.as_ref().map(|lane| &lane.digest[..])),
                column!(|work| work.lane.map(|lane| lane.trouble == LaneTrouble::Passes)),
                column!(|work| &*work.request.target),
                column!(|work| work.request.headers.as_packed()),
                column!(|work| &work.request.body[..]),
                &work.iter().map(|(_, own)| *own).collect::<Vec<Option<i64>>>(),
            ],
        )
        .await
}

/// Reads what was accepted.
pub(super) fn accepted(row: &Row) -> Result<Accepted, Failure> {
    let digest = OperationDigest::from_bytes(sixteen(row, "digest")?);
    let seq = u64::try_from(get::<i64>(row, "seq")?).unwrap_or(0);
    Ok((digest, seq, Timestamp::from_millis(get(row, "due_ms")?)))
}
