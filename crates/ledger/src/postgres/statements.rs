//! The statements of the hot path. Each takes a whole batch as arrays, one column each.
//!
//! Plans, looked at with 330,000 operations, generic plans and 128 names a statement (Postgres 15,
//! `EXPLAIN (ANALYZE, BUFFERS) EXECUTE …`): `LOOK`, `LOCK`, `ENDED`, `RENEW` and `FORGET` are nested loops from
//! `unnest` into one unique index, four buffers a row, 1 to 3 ms in a warm cache. `ADVANCE` finds the rows, which are
//! locked by then, where they lie, whatever it was planned on; it writes three index entries a row. What the planner did instead, and what keeps it from that:
//!
//! - Planned on tables that are empty, or were analysed with a few rows, all of them are hash joins over a
//!   sequential scan, and a generic plan keeps that. So the sessions are told not to ([`super::session`]).
//! - With that, on an empty table, a statement may take the wrong one of two unique indexes, by its bucket alone, and
//!   read the whole bucket for each row: 6.7 ms for 20 rows. So the sessions plan anew while the tables grow.
//! - With `state = 'claimed'` in it, `RENEW` joined the index of all leases to the array without a condition.
//! - `REAP` and `SWEEP` need their time as a scalar subquery: joined to a one-row subquery it became a filter,
//!   and every live lease was read (50 ms instead of 0.04 ms).

use super::record::columns;

/// Claims what nobody has: one row each, none where there is one of that name.
pub(super) const INSERT: &str = "
    INSERT INTO steadfast.operations
        (bucket, seq, digest, namespace, key, fingerprint, principal, credential, route, method, path, fence,
         repeatable_ms, keep_ms, keep_from_claim, tombstone_ms, state, asynchronous, doubt, attempts,
         first_sent_ms, created_ms, changed_ms, lease_until_ms, request_id)
    SELECT k.bucket, nextval('steadfast.operation_seq'), k.digest, k.namespace, k.key, k.fingerprint,
           k.principal, k.credential, k.route, k.method, k.path, k.fence, k.repeatable_ms, k.keep_ms,
           k.keep_from_claim, k.tombstone_ms, 'claimed', false, 'none', 1, t.now, t.now, t.now, t.now + $17::bigint,
           k.request_id
    FROM (SELECT coalesce($16::bigint, steadfast.now_ms()) AS now OFFSET 0) AS t,
         unnest($1::smallint[], $2::bytea[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bytea[],
                $8::text[], $9::text[], $10::text[], $11::bytea[], $12::bigint[], $13::bigint[],
                $14::boolean[], $15::bigint[], $18::text[])
             AS k (bucket, digest, namespace, key, fingerprint, principal, credential, route, method, path,
                   fence, repeatable_ms, keep_ms, keep_from_claim, tombstone_ms, request_id)
    ON CONFLICT (bucket, digest) DO NOTHING
    RETURNING digest, seq, created_ms";

/// Reads those of the claimed names that somebody else holds, without a lock: what is committed is true. A
/// fence that is null reads the row whoever holds it.
pub(super) const LOOK: &str = concat!(
    "SELECT ",
    columns!(),
    ", a.status, a.headers, a.body, t.now AS now_ms
    FROM (SELECT coalesce($4::bigint, steadfast.now_ms()) AS now OFFSET 0) AS t,
         unnest($1::smallint[], $2::bytea[], $3::bytea[]) AS k (bucket, digest, fence)
    JOIN steadfast.operations AS o ON o.bucket = k.bucket AND o.digest = k.digest
    LEFT JOIN steadfast.answers AS a ON a.bucket = o.bucket AND a.seq = o.seq
    WHERE k.fence IS NULL OR o.fence IS DISTINCT FROM k.fence"
);

macro_rules! lock {
    ($how:literal) => {
        concat!(
            "SELECT ",
            columns!(),
            ", (SELECT coalesce($3::bigint, steadfast.now_ms())) AS now_ms
            FROM unnest($1::smallint[], $2::bytea[]) AS k (bucket, digest)
            JOIN steadfast.operations AS o ON o.bucket = k.bucket AND o.digest = k.digest
            ORDER BY o.bucket, o.seq
            FOR UPDATE OF o",
            $how
        )
    };
}

/// Locks operations by name. Every transaction that waits for locks takes them in this order, so that no two
/// of them can wait for each other.
pub(super) const LOCK: &str = lock!("");

/// Locks those operations that nobody else has locked.
pub(super) const LOCK_FREE: &str = lock!(" SKIP LOCKED");

/// Which of these operations there are, locked or not.
pub(super) const EXISTING: &str = "
    SELECT o.digest
    FROM unnest($1::smallint[], $2::bytea[]) AS k (bucket, digest)
    JOIN steadfast.operations AS o ON o.bucket = k.bucket AND o.digest = k.digest";

/// How the attempts with these fences ended.
pub(super) const ENDED: &str = "
    SELECT a.fence, a.ending, a.cause, a.status
    FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS k (bucket, seq, fence)
    JOIN steadfast.attempts AS a ON a.bucket = k.bucket AND a.seq = k.seq AND a.fence = k.fence";

/// Claims operations that are there already: released ones, expired ones, and those in doubt that may run
/// again. A new life gets a new number.
pub(super) const RECLAIM: &str = "
    UPDATE steadfast.operations AS o
    SET seq = CASE WHEN k.new_life THEN nextval('steadfast.operation_seq') ELSE o.seq END,
        namespace = k.namespace, key = k.key, fingerprint = k.fingerprint, principal = k.principal, credential = k.credential, route = k.route,
        method = k.method, path = k.path, fence = k.fence, repeatable_ms = k.repeatable_ms,
        keep_ms = k.keep_ms, keep_from_claim = k.keep_from_claim, tombstone_ms = k.tombstone_ms,
        state = 'claimed', doubt = k.doubt, doubt_answer = NULL, attempts = k.attempts,
        first_sent_ms = k.first_sent_ms, created_ms = k.created_ms, changed_ms = $19::bigint,
        lease_until_ms = $19::bigint + $20::bigint, answer_digest = NULL, expires_ms = NULL,
        request_id = k.request_id, asynchronous = false, tries = NULL, due_ms = NULL, lane = NULL,
        lane_passes = NULL, cancel_asked = NULL, never_sent = NULL
    FROM unnest($1::smallint[], $2::bigint[], $3::boolean[], $4::bytea[], $5::text[], $6::bytea[], $7::text[],
                $8::text[], $9::text[], $10::bytea[], $11::bigint[], $12::bigint[], $13::boolean[],
                $14::bigint[], $15::text[], $16::integer[], $17::bigint[], $18::bigint[], $21::text[], $22::text[],
                $23::text[])
             AS k (bucket, seq, new_life, fingerprint, principal, credential, route, method, path, fence,
                   repeatable_ms, keep_ms, keep_from_claim, tombstone_ms, doubt, attempts, first_sent_ms,
                   created_ms, namespace, key, request_id)
    WHERE o.bucket = k.bucket AND o.seq = k.seq
    RETURNING o.digest, o.seq";

/// Writes what a transition made of operations that this transaction has locked.
pub(super) const ADVANCE: &str = "
    UPDATE steadfast.operations AS o
    SET state = k.state, doubt = k.doubt, doubt_answer = k.doubt_answer, fence = k.fence,
        lease_until_ms = CASE WHEN k.fence IS NULL THEN NULL ELSE o.lease_until_ms END,
        request_id = CASE WHEN k.fence IS NULL THEN NULL ELSE o.request_id END,
        answer_digest = k.answer_digest, expires_ms = k.expires_ms, changed_ms = k.changed_ms,
        tries = k.tries, due_ms = k.due_ms, cancel_asked = k.cancel_asked
    FROM unnest($1::tid[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bigint[],
                $8::bigint[], $9::integer[], $10::bigint[], $11::boolean[])
             AS k (at, state, doubt, doubt_answer, fence, answer_digest, expires_ms, changed_ms, tries, due_ms,
                   cancel_asked)
    WHERE o.ctid = k.at";

/// Writes attempts that ended.
pub(super) const END_ATTEMPTS: &str = "
    INSERT INTO steadfast.attempts
        (bucket, seq, number, fence, began_ms, ended_ms, ending, cause, status, request_id, excerpt)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::bytea[], $5::bigint[], $6::bigint[],
                         $7::text[], $8::text[], $9::integer[], $10::text[], $11::text[])";

/// Writes the answers of operations.
pub(super) const STORE_ANSWERS: &str = "
    INSERT INTO steadfast.answers (bucket, seq, status, headers, body)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::integer[], $4::bytea[], $5::bytea[])";

/// Keeps answers beside operations; told again, they are kept once.
pub(super) const KEEP_EVIDENCE: &str = "
    INSERT INTO steadfast.evidence (bucket, seq, fence, answer_digest, status, headers, body, came_ms)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::integer[], $6::bytea[],
                         $7::bytea[], $8::bigint[])
    ON CONFLICT DO NOTHING";

/// Makes kept answers their operations' own.
pub(super) const ADOPT_EVIDENCE: &str = "
    INSERT INTO steadfast.answers (bucket, seq, status, headers, body)
    SELECT DISTINCT ON (e.bucket, e.seq) e.bucket, e.seq, e.status, e.headers, e.body
    FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS k (bucket, seq, answer_digest)
    JOIN steadfast.evidence AS e
        ON e.bucket = k.bucket AND e.seq = k.seq AND e.answer_digest = k.answer_digest
    ORDER BY e.bucket, e.seq, e.came_ms";

/// Opens cases; told again, they stay one.
pub(super) const OPEN_CASES: &str = "
    INSERT INTO steadfast.cases (bucket, seq, fence, answer_digest, opened_ms)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bigint[])
    ON CONFLICT DO NOTHING";

macro_rules! forget {
    ($table:literal) => {
        concat!(
            "DELETE FROM steadfast.",
            $table,
            " AS c USING unnest($1::smallint[], $2::bigint[]) AS k (bucket, seq)
            WHERE c.bucket = k.bucket AND c.seq = k.seq"
        )
    };
}

/// Removes everything that hangs on operations.
pub(super) const FORGET: [&str; 5] =
    [forget!("answers"), forget!("attempts"), forget!("evidence"), forget!("cases"), forget!("settlements")];

/// Removes the requests of asynchronous operations.
pub(super) const FORGET_BACKGROUND: &str = forget!("background");

/// Removes operations themselves.
pub(super) const REMOVE: &str = forget!("operations");

/// Reads the claims whose lease ran out, and locks them.
pub(super) const REAP: &str = concat!(
    "SELECT ",
    columns!(),
    ", b.tries_max, b.give_up_ms, (SELECT coalesce($2::bigint, steadfast.now_ms())) AS now_ms
    FROM steadfast.operations AS o
    LEFT JOIN steadfast.background AS b ON b.bucket = o.bucket AND b.seq = o.seq
    WHERE o.state = 'claimed' AND o.lease_until_ms <= (SELECT coalesce($2::bigint, steadfast.now_ms()))
    ORDER BY o.lease_until_ms LIMIT $1
    FOR UPDATE OF o SKIP LOCKED"
);

/// Reads what has expired, and locks it.
pub(super) const SWEEP: &str = concat!(
    "SELECT ",
    columns!(),
    ", (SELECT coalesce($2::bigint, steadfast.now_ms())) AS now_ms
    FROM steadfast.operations AS o
    WHERE o.expires_ms IS NOT NULL AND o.expires_ms <= (SELECT coalesce($2::bigint, steadfast.now_ms()))
    ORDER BY o.expires_ms LIMIT $1
    FOR UPDATE OF o SKIP LOCKED"
);

macro_rules! renew {
    ($how:literal) => {
        concat!(
            "WITH held AS (
                SELECT o.bucket, o.seq
                FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS k (bucket, seq, fence)
                JOIN steadfast.operations AS o ON o.bucket = k.bucket AND o.seq = k.seq
                WHERE o.fence = k.fence
                ORDER BY o.bucket, o.seq
                FOR UPDATE OF o",
            $how,
            ")
            UPDATE steadfast.operations AS o
            SET lease_until_ms = (SELECT coalesce($5::bigint, steadfast.now_ms())) + $4::bigint
            FROM held WHERE o.bucket = held.bucket AND o.seq = held.seq
            RETURNING o.fence"
        )
    };
}

/// Renews the leases of those claims that are still their holders'. Only what is claimed has a fence.
pub(super) const RENEW: &str = renew!("");

/// Renews the leases of those that nobody else has locked.
pub(super) const RENEW_FREE: &str = renew!(" SKIP LOCKED");

/// Which server this is, and what time it is there.
pub(super) const IDENTITY: &str = "
    SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
           pg_postmaster_start_time()::text AS started,
           CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
               AS timeline,
           coalesce($1::bigint, steadfast.now_ms()) AS now_ms";

/// Locks one operation by its number.
pub(super) const LOCK_ONE: &str = concat!(
    "SELECT ",
    columns!(),
    ", (SELECT coalesce($3::bigint, steadfast.now_ms())) AS now_ms
    FROM steadfast.operations AS o WHERE o.bucket = $1 AND o.seq = $2 FOR UPDATE OF o"
);

/// Writes down who settled an operation, and why.
pub(super) const SETTLE: &str = "
    INSERT INTO steadfast.settlements (bucket, seq, settled_ms, happened, said_by, reason, number)
    SELECT $1::smallint, $2::bigint, $3::bigint, $4::boolean, $5::text, $6::text, 1 + count(*)
    FROM steadfast.settlements WHERE bucket = $1 AND seq = $2";

/// Reads an owner's operations from a row on to the end of a bucket, and locks them. An empty key is that of one that
/// was erased.
pub(super) const TO_ERASE: &str = concat!(
    "SELECT ",
    columns!(),
    ", (SELECT coalesce($8::bigint, steadfast.now_ms())) AS now_ms
    FROM steadfast.operations AS o
    WHERE o.bucket BETWEEN $1::smallint AND $3::smallint AND (o.bucket, o.seq) > ($1::smallint, $2::bigint)
      AND (o.principal = $4::text OR o.credential = $5::bytea OR o.namespace = $6::text) AND o.key <> ''
    ORDER BY o.bucket, o.seq LIMIT $7
    FOR UPDATE OF o"
);

/// Leaves tombstones that nothing but their digests name.
pub(super) const ERASE: &str = "
    UPDATE steadfast.operations AS o
    SET state = 'tombstone', doubt = 'none', doubt_answer = NULL, fence = NULL, lease_until_ms = NULL,
        answer_digest = NULL, expires_ms = k.expires_ms, changed_ms = $4::bigint,
        fingerprint = decode(repeat('00', 16), 'hex'), namespace = o.bucket::text, key = '', principal = NULL,
        credential = NULL, path = '', request_id = NULL, lane = NULL, lane_passes = NULL, cancel_asked = NULL
    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS k (bucket, seq, expires_ms)
    WHERE o.bucket = k.bucket AND o.seq = k.seq";

/// Every statement that is sent in one flight with others, and so must be prepared before.
pub(super) const PREPARED: &[&str] = &[
    INSERT,
    LOOK,
    LOCK,
    LOCK_FREE,
    EXISTING,
    ENDED,
    RECLAIM,
    ADVANCE,
    END_ATTEMPTS,
    STORE_ANSWERS,
    KEEP_EVIDENCE,
    ADOPT_EVIDENCE,
    OPEN_CASES,
    FORGET[0],
    FORGET[1],
    FORGET[2],
    FORGET[3],
    FORGET[4],
    FORGET_BACKGROUND,
    REMOVE,
    REAP,
    SWEEP,
    RENEW,
    RENEW_FREE,
    IDENTITY,
    LOCK_ONE,
    SETTLE,
    TO_ERASE,
    ERASE,
];
