//! Keeps `ready` and `lanes` true. Whatever changes the state of an asynchronous operation says so here: what is queued or
//! waiting may be taken, unless it stands behind another of its lane.
//!
//! Lanes have locks of their own, because who joins one while its head leaves would otherwise see no head leave, and not be
//! seen by it. They are the last that a transaction waits for: whoever holds one waits for nothing but locks of lanes that
//! sort after it, and then commits. So no circle of waiting can go through a lane.
//!
//! An operation and its request are looked up in subqueries that are planned by themselves (`OFFSET 0`): joined, and planned
//! while the tables were empty, they were found by their bucket alone, and each row read the whole bucket.

use std::collections::BTreeSet;

use steadfast_core::{Bucket, OperationDigest, State};
use tokio_postgres::types::ToSql;

use super::{
    failure::{Failure, first},
    record::Stored,
    session::Session,
    writes::{bucket_column, seq_column, unless},
};
use crate::{Lane, LaneTrouble};

/// Takes operations out of `ready`, where they are: the route and the time stand in their rows, the priority with their
/// requests, so the index finds each at once.
pub(super) const WITHDRAW: &str = "
    DELETE FROM steadfast.ready AS r
    USING unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS k (bucket, seq, digest)
    CROSS JOIN LATERAL (
        SELECT o.bucket, o.seq, o.state, o.due_ms, b.priority, o.digest, o.route
        FROM steadfast.operations AS o
        JOIN steadfast.background AS b ON b.bucket = k.bucket AND b.seq = k.seq
        WHERE o.bucket = k.bucket AND o.seq = k.seq AND o.digest = k.digest OFFSET 0) AS o
    WHERE r.route = o.route AND r.priority = o.priority AND r.due_ms = o.due_ms AND r.seq = o.seq";

/// Puts operations into `ready`, due when their rows say.
pub(super) const OFFER: &str = "
    INSERT INTO steadfast.ready (bucket, seq, due_ms, priority, digest, route)
    SELECT o.bucket, o.seq, o.due_ms, o.priority, o.digest, o.route
    FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS k (bucket, seq, digest)
    CROSS JOIN LATERAL (
        SELECT o.bucket, o.seq, o.state, o.due_ms, b.priority, o.digest, o.route
        FROM steadfast.operations AS o
        JOIN steadfast.background AS b ON b.bucket = k.bucket AND b.seq = k.seq
        WHERE o.bucket = k.bucket AND o.seq = k.seq AND o.digest = k.digest OFFSET 0) AS o";

/// Locks lanes until the transaction ends. The lock's number is a digest itself; that two lanes share one is no harm.
pub(super) const LOCK_LANES: &str = "
    SELECT pg_advisory_xact_lock(l.number)
    FROM (SELECT DISTINCT n.number FROM unnest($1::bigint[]) AS n (number) ORDER BY n.number OFFSET 0) AS l";

/// Has operations leave their lanes.
pub(super) const LEAVE: &str = "
    DELETE FROM steadfast.lanes AS l
    USING unnest($1::smallint[], $2::bigint[]) AS k (bucket, seq)
    WHERE l.bucket = k.bucket AND l.seq = k.seq";

/// Has operations that had left their lanes stand at the head of them again: an operation's own number is lower than every
/// position that was drawn after it.
pub(super) const COME_BACK: &str = "
    INSERT INTO steadfast.lanes (bucket, seq, lane, position, digest)
    SELECT k.bucket, k.seq, k.lane, k.seq, k.digest
    FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[]) AS k (bucket, seq, digest, lane)
    ON CONFLICT DO NOTHING";

/// Has the operations join their lanes that this transaction accepted, in the order in which they are named.
pub(super) const JOIN: &str = "
    INSERT INTO steadfast.lanes (bucket, seq, lane, position, digest)
    SELECT n.bucket, n.seq, n.lane, nextval('steadfast.operation_seq'), n.digest
    FROM (SELECT o.bucket, o.seq, o.lane, o.digest
          FROM unnest($1::smallint[], $2::bytea[]) WITH ORDINALITY AS k (bucket, digest, place)
          JOIN steadfast.operations AS o ON o.bucket = k.bucket AND o.digest = k.digest
          WHERE o.xmin = pg_current_xact_id()::xid
          ORDER BY k.place OFFSET 0) AS n";

/// Puts the heads of lanes into `ready` that are not there. What is seen is consistent: a head that is queued and not in
/// `ready` can be taken by nobody, and only who holds the lane's lock can put it there.
pub(super) const PROMOTE: &str = "
    WITH heads AS MATERIALIZED (
        SELECT head.* FROM unnest($1::smallint[], $2::bytea[]) AS k (bucket, lane)
        CROSS JOIN LATERAL (
            SELECT l.bucket, l.seq, l.digest FROM steadfast.lanes AS l
            WHERE l.bucket = k.bucket AND l.lane = k.lane ORDER BY l.position LIMIT 1) AS head
    )
    INSERT INTO steadfast.ready (bucket, seq, due_ms, priority, digest, route)
    SELECT o.bucket, o.seq, o.due_ms, o.priority, o.digest, o.route
    FROM heads
    CROSS JOIN LATERAL (
        SELECT o.bucket, o.seq, o.state, o.due_ms, b.priority, o.digest, o.route
        FROM steadfast.operations AS o
        JOIN steadfast.background AS b ON b.bucket = heads.bucket AND b.seq = heads.seq
        WHERE o.bucket = heads.bucket AND o.seq = heads.seq AND o.digest = heads.digest OFFSET 0) AS o
    WHERE o.state IN ('queued', 'waiting') AND NOT EXISTS (
        SELECT FROM steadfast.ready AS r
        WHERE r.route = o.route AND r.priority = o.priority AND r.due_ms = o.due_ms AND r.seq = o.seq)";

/// The statements of this module that are sent in one flight with others.
pub(super) const PREPARED: &[&str] = &[WITHDRAW, OFFER, LOCK_LANES, LEAVE, COME_BACK, JOIN, PROMOTE];

/// What a statement is sent with: one array a column.
type Columns<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Operations by their numbers and by their digests.
type Names = (Vec<i16>, Vec<i64>, Vec<Vec<u8>>);

/// How places in the backlog change.
#[derive(Debug, Default)]
pub(super) struct Places {
    withdrawn: Names,
    offered: Names,
    left: Names,
    back: (Names, Vec<Vec<u8>>),
    joined: (Vec<i16>, Vec<Vec<u8>>),
    /// Whose heads may be others afterwards.
    lanes: BTreeSet<(i16, [u8; 16])>,
}

/// Whether an operation in `state` may be taken, as far as its lane lets it.
fn is_ready(state: State) -> bool {
    matches!(state, State::Queued { .. } | State::Waiting { .. })
}

/// Whether an operation in `state` holds its place in its lane.
fn holds_lane(state: State, lane: Lane) -> bool {
    match state {
        State::Queued { .. } | State::Waiting { .. } | State::Claimed { .. } => true,
        State::InDoubt { .. } | State::Dead { .. } => lane.trouble == LaneTrouble::Blocks,
        State::Absent | State::Completed { .. } | State::Released | State::Cancelled | State::Tombstone => {
            false
        }
    }
}

impl Places {
    /// An operation goes from its state to another.
    pub(super) fn follow(&mut self, row: &Stored, to: State) {
        let Some(place) = row.place else { return };
        match (is_ready(row.state), is_ready(to)) {
            (true, false) => push(&mut self.withdrawn, row),
            // It was the head of its lane when it was taken, or its lane passes it by: it may be taken at once.
            (false, true) => push(&mut self.offered, row),
            (true, true) | (false, false) => {}
        }
        self.keep_lane(row, place.lane, to);
    }

    /// An operation that was taken out of `ready` goes to another state.
    pub(super) fn follow_taken(&mut self, row: &Stored, to: State) {
        self.keep_lane(row, row.place.and_then(|place| place.lane), to);
    }

    fn keep_lane(&mut self, row: &Stored, lane: Option<Lane>, to: State) {
        let Some(lane) = lane else { return };
        match (holds_lane(row.state, lane), holds_lane(to, lane)) {
            (true, false) => push(&mut self.left, row),
            (false, true) => {
                push(&mut self.back.0, row);
                self.back.1.push(lane.digest.to_vec());
            }
            (true, true) | (false, false) => return,
        }
        self.lanes.insert((bucket_column(row.id.bucket()), lane.digest));
    }

    /// An operation with this name joins a lane, should this transaction accept it.
    pub(super) fn join(&mut self, bucket: Bucket, digest: OperationDigest, lane: Lane) {
        self.joined.0.push(bucket_column(bucket));
        self.joined.1.push(digest.as_bytes().to_vec());
        self.lanes.insert((bucket_column(bucket), lane.digest));
    }

    /// Whether there may be something new to take.
    pub(super) fn bring_work(&self) -> bool {
        !self.offered.0.is_empty() || !self.lanes.is_empty()
    }

    /// Takes out of `ready` what leaves it: before anything is removed by which it is found.
    pub(super) async fn withdraw(&self, session: &Session) -> Result<u64, tokio_postgres::Error> {
        let rows = &self.withdrawn;
        unless(rows.0.is_empty(), session.execute(WITHDRAW, &[&rows.0, &rows.1, &rows.2])).await
    }

    /// Sends the rest, after everything else that waits for a lock.
    pub(super) async fn send(&self, session: &Session) -> Result<(), Failure> {
        let (offered, left, back, joined) = (&self.offered, &self.left, &self.back, &self.joined);
        let (buckets, lanes): (Vec<i16>, Vec<&[u8]>) =
            self.lanes.iter().map(|(bucket, lane)| (*bucket, &lane[..])).unzip();
        let locks: Vec<i64> = self.lanes.iter().map(|lane| lock_number(*lane)).collect();
        let none = self.lanes.is_empty();
        let offering: Columns<'_> = &[&offered.0, &offered.1, &offered.2];
        let locking: Columns<'_> = &[&locks];
        let leaving: Columns<'_> = &[&left.0, &left.1];
        let coming: Columns<'_> = &[&back.0.0, &back.0.1, &back.0.2, &back.1];
        let joining: Columns<'_> = &[&joined.0, &joined.1];
        let promoting: Columns<'_> = &[&buckets, &lanes];
        let results = tokio::join!(
            biased;
            unless(offered.0.is_empty(), session.execute(OFFER, offering)),
            unless(none, session.execute(LOCK_LANES, locking)),
            unless(left.0.is_empty(), session.execute(LEAVE, leaving)),
            unless(back.1.is_empty(), session.execute(COME_BACK, coming)),
            unless(joined.0.is_empty(), session.execute(JOIN, joining)),
            unless(none, session.execute(PROMOTE, promoting)),
        );
        let mut failure = None;
        for result in [results.0, results.1, results.2, results.3, results.4, results.5] {
            first(result, &mut failure);
        }
        failure.map_or(Ok(()), Err)
    }
}

fn push(names: &mut Names, row: &Stored) {
    names.0.push(bucket_column(row.id.bucket()));
    names.1.push(seq_column(row.id.sequence()));
    names.2.push(row.name.digest().as_bytes().to_vec());
}

/// The number of a lane's lock. Its sign bit is set, which that of the migrations' lock is not.
fn lock_number((bucket, lane): (i16, [u8; 16])) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = lane;
    let number = i64::from_be_bytes([a, b, c, d, e, f, g, h]) ^ i64::from(bucket).rotate_left(48);
    number | i64::MIN
}
