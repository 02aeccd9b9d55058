//! Handing work out: one flight that takes the next rows out of `ready` and locks their operations, what the state machine
//! makes of each, and one flight that writes it and commits. Nothing here waits for a row: what somebody else has locked is
//! left to the next who asks.
//!
//! Plans, looked at with no rows, with 100,000 and with a million (Postgres 15, as in [`super::statements`]): `PICK` walks the
//! one index of `ready` from where a priority begins, and finds each operation and each request by its primary key; what it
//! takes out of `ready` it deletes where it lies. A call for 128 reads ten pages a row, a tenth of them of `ready`, and takes
//! 15 µs a row however much there is; what makes it slower is what was taken before and not vacuumed yet.

use bytes::Bytes;
use steadfast_core::{
    Doubt, Event, Fence, HeaderFields, Mode, Rerun, Stamina, State, Timestamp, rerun, transition,
};
use tokio_postgres::{Row, types::ToSql};

use super::{
    PostgresLedger,
    batch::SEND_BY_PERCENT,
    decide::{Change, Pause},
    failure::{Failure, first},
    record::{RowAt, Stored, columns, get, millis},
    session::Session,
    shared::Shared,
    take_back::Orphan,
    writes::{Writes, unless},
};
use crate::{BootInstant, Claim, Job, KeptRequest, LedgerError, TAKEN_AT_ONCE_MAX, Taken, Wish};

/// The priorities of a route in `ready`, the highest first, each found by one look into the index: so what is not due yet
/// is never read, however much of it there is.
macro_rules! levels {
    () => {
        "WITH RECURSIVE levels (priority) AS (
            (SELECT r.priority FROM steadfast.ready AS r WHERE r.route = w.route ORDER BY r.priority DESC LIMIT 1)
            UNION ALL
            SELECT (SELECT r.priority FROM steadfast.ready AS r WHERE r.route = w.route AND r.priority < l.priority
                    ORDER BY r.priority DESC LIMIT 1)
            FROM levels AS l WHERE l.priority IS NOT NULL
        )"
    };
}

/// Takes what is due out of `ready`, and locks the operations. A row of `ready` changes hands only with the lock of its
/// operation; one that was read before its operation went round has another time than the operation by now.
pub(super) const PICK: &str = concat!(
    "WITH t AS (SELECT coalesce($3::bigint, steadfast.now_ms()) AS now),
    picked AS (
        SELECT p.* FROM unnest($1::text[], $2::bigint[]) AS w (route, most)
        CROSS JOIN LATERAL (",
    levels!(),
    "SELECT d.* FROM levels CROSS JOIN LATERAL (
                SELECT r.ctid AS place, ",
    columns!(),
    "
                FROM steadfast.ready AS r
                JOIN steadfast.operations AS o ON o.bucket = r.bucket AND o.seq = r.seq AND o.digest = r.digest
                WHERE r.route = w.route AND r.priority = levels.priority AND r.due_ms <= (SELECT now FROM t)
                  AND o.state IN ('queued', 'waiting') AND o.due_ms = r.due_ms
                ORDER BY r.due_ms, r.seq LIMIT w.most
                FOR UPDATE OF o SKIP LOCKED
            ) AS d LIMIT w.most
        ) AS p
    ),
    gone AS (DELETE FROM steadfast.ready AS r USING picked AS p WHERE r.ctid = p.place)
    SELECT p.*, t.now AS now_ms, b.priority, b.tries_max, b.give_up_ms, b.target, b.headers, b.body
    FROM picked AS p CROSS JOIN t
    JOIN steadfast.background AS b ON b.bucket = p.bucket AND b.seq = p.seq"
);

/// Writes the claims. An operation's first attempt is the first that it sends.
pub(super) const CLAIM: &str = "
    UPDATE steadfast.operations AS o
    SET state = 'claimed', fence = k.fence, lease_until_ms = $3::bigint + $4::bigint, attempts = o.attempts + 1,
        tries = o.tries + 1, first_sent_ms = CASE WHEN o.never_sent THEN $3::bigint ELSE o.first_sent_ms END,
        never_sent = NULL, changed_ms = $3::bigint
    FROM unnest($1::tid[], $2::bytea[]) AS k (at, fence)
    WHERE o.ctid = k.at";

/// When the next operation of these routes is due, those that are due already left out.
pub(super) const NEXT_DUE: &str = concat!(
    "SELECT min(n.due_ms) - t.now AS due_in_ms
    FROM (SELECT coalesce($2::bigint, steadfast.now_ms()) AS now OFFSET 0) AS t,
         unnest($1::text[]) AS w (route)
    CROSS JOIN LATERAL (",
    levels!(),
    "SELECT d.due_ms FROM levels CROSS JOIN LATERAL (
            SELECT r.due_ms FROM steadfast.ready AS r
            WHERE r.route = w.route AND r.priority = levels.priority AND r.due_ms > t.now
            ORDER BY r.due_ms LIMIT 1) AS d
    ) AS n
    GROUP BY t.now"
);

/// The statements of this module that are sent in one flight with others.
pub(super) const PREPARED: &[&str] = &[PICK, CLAIM, NEXT_DUE];

impl PostgresLedger {
    /// Takes what these wishes name.
    pub(super) async fn take_work(&self, wishes: Vec<Wish>) -> Result<Taken, LedgerError> {
        let wishes = bounded(wishes);
        if wishes.is_empty() {
            return Ok(Taken::default());
        }
        let lent = self.takers.lend().await?;
        let mut taking = Taking {
            shared: &self.shared,
            session: lent.session(),
            began: self.shared.options.clock.boot(),
            wishes: &wishes,
            unheard: Unheard { shared: &self.shared, claims: Vec::new() },
        };
        let taken = taking.run().await;
        if !matches!(taken, Err(Failure::Lost(_))) {
            // They are told of, or nothing was written.
            taking.unheard.claims.clear();
        }
        drop(taking);
        let (taken, writes) = lent.settle(taken).await?;
        self.shared.announce(&writes);
        self.shared.took(taken.jobs.len());
        Ok(taken)
    }
}

/// The wishes that ask for something, within the bound of what one call hands out.
fn bounded(mut wishes: Vec<Wish>) -> Vec<Wish> {
    let mut left = TAKEN_AT_ONCE_MAX;
    for wish in &mut wishes {
        wish.limit = wish.limit.min(left);
        left -= wish.limit;
    }
    wishes.retain(|wish| wish.limit > 0);
    wishes
}

/// Claims that may be written while nobody knows of them: whoever asked has gone, or the connection was lost before it told.
/// Nothing is sent for them, so they are taken back, each known by its fence.
struct Unheard<'a> {
    shared: &'a Shared,
    claims: Vec<Orphan>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        self.claims.drain(..).for_each(|orphan| self.shared.take_back(orphan));
    }
}

/// One call.
struct Taking<'a> {
    shared: &'a Shared,
    session: &'a Session,
    /// Read before the first statement was sent: leases count from then.
    began: BootInstant,
    wishes: &'a [Wish],
    unheard: Unheard<'a>,
}

/// A row that was picked.
struct Picked {
    row: Stored,
    request: KeptRequest,
    priority: i16,
    tries_max: u32,
    give_up_at: Timestamp,
    now: Timestamp,
}

/// The claims to be written, as columns.
#[derive(Default)]
struct Claims {
    at: Vec<RowAt>,
    fence: Vec<Vec<u8>>,
    now: i64,
}

impl Taking<'_> {
    async fn run(&mut self) -> Result<(Taken, Writes), Failure> {
        let picked = self.session.bounded(self.pick()).await?;
        let asked: u32 = self.wishes.iter().map(|wish| wish.limit).sum();
        let left_none = picked.len() < asked as usize;
        let (mut claims, mut writes, mut jobs) = (Claims::default(), Writes::default(), Vec::new());
        for picked in picked {
            self.decide(picked, &mut claims, &mut writes, &mut jobs)?;
        }
        jobs.sort_by_key(|(priority, job): &(i16, Job)| {
            (std::cmp::Reverse(*priority), job.due_at, job.claim.operation.sequence())
        });
        let next_due_in = self.session.bounded(self.write(&claims, &writes, left_none)).await?;
        Ok((Taken { jobs: jobs.into_iter().map(|(_, job)| job).collect(), next_due_in }, writes))
    }

    /// Begins a transaction and takes rows out of `ready`.
    async fn pick(&self) -> Result<Vec<Picked>, Failure> {
        let routes: Vec<&str> = self.wishes.iter().map(|wish| &*wish.route).collect();
        let limits: Vec<i64> = self.wishes.iter().map(|wish| i64::from(wish.limit)).collect();
        let now = self.shared.options.store_time.millis();
        let asked: &[&(dyn ToSql + Sync)] = &[&routes, &limits, &now];
        let (begun, rows) = tokio::join!(biased; self.session.begin(false), self.session.query(PICK, asked));
        let mut failure = None;
        first(begun, &mut failure);
        let rows = first(rows, &mut failure).unwrap_or_default();
        match failure {
            None => rows.iter().map(Picked::read).collect(),
            Some(failure) => Err(failure),
        }
    }

    /// Has the state machine say what becomes of a row: a claim, or, where it may not be sent again any more, doubt.
    fn decide(
        &mut self,
        picked: Picked,
        claims: &mut Claims,
        writes: &mut Writes,
        jobs: &mut Vec<(i16, Job)>,
    ) -> Result<(), Failure> {
        let Picked { row, now, .. } = &picked;
        let current = self.wishes.iter().find(|wish| *wish.route == *row.route);
        let current = current.and_then(|wish| wish.repeatable_for);
        let allowed = rerun(row.first_sent, *now, row.repeatable_for, current);
        let fence = Fence::random();
        match claimed(row.state, fence, allowed) {
            Some(State::Claimed { doubt, .. }) => {
                claims.push(row, fence, *now);
                self.unheard.claims.push(Orphan::new(row.id.bucket(), row.name.digest(), fence));
                jobs.push((picked.priority, self.job(picked, fence, doubt)));
            }
            _ => {
                let held = transition(row.state, Event::Hold).map_err(|refused| {
                    Failure::Corrupt(format!("an operation in the backlog cannot be taken: {refused}"))
                })?;
                writes.hold_taken(row, &Change::of(row, held, false, Pause::NONE, *now), *now);
            }
        }
        Ok(())
    }

    fn job(&self, picked: Picked, fence: Fence, doubt: Doubt) -> Job {
        let Picked { row, request, tries_max, give_up_at, now, .. } = picked;
        let (tries, due_at) = row.place.map_or((0, now), |place| (place.tries, place.due_at));
        let never_sent = row.place.is_some_and(|place| place.never_sent);
        Job {
            claim: Claim {
                operation: row.id,
                digest: row.name.digest(),
                fence,
                attempt: row.attempts.saturating_add(1),
                after_doubt: doubt != Doubt::None,
                claimed_at: row.created_at,
                send_by: self.began.after(self.shared.options.lease * SEND_BY_PERCENT / 100),
            },
            name: row.name,
            owner: row.owner,
            route: row.route.into(),
            method: row.method,
            request,
            stamina: Stamina { tries: tries.saturating_add(1), tries_max, give_up_at },
            first_sent: if never_sent { now } else { row.first_sent },
            repeatable_for: row.repeatable_for,
            claimed_at: now,
            due_at,
        }
    }

    /// Writes what was decided, asks when the next is due where nothing that is due was left, and commits.
    async fn write(
        &self,
        claims: &Claims,
        writes: &Writes,
        left_none: bool,
    ) -> Result<Option<std::time::Duration>, Failure> {
        let session = self.session;
        let lease = millis(self.shared.options.lease);
        let claiming: &[&(dyn ToSql + Sync)] = &[&claims.at, &claims.fence, &claims.now, &lease];
        let routes: Vec<&str> = self.wishes.iter().map(|wish| &*wish.route).collect();
        let now = self.shared.options.store_time.millis();
        let asked: &[&(dyn ToSql + Sync)] = &[&routes, &now];
        let (claimed, next, written) = tokio::join!(
            biased;
            unless(claims.at.is_empty(), session.execute(CLAIM, claiming)),
            unless(!left_none, session.query(NEXT_DUE, asked)),
            writes.commit(session, 0, now),
        );
        let mut failure = None;
        let rows = first(claimed, &mut failure);
        let next = first(next, &mut failure).unwrap_or_default();
        if let Err(of_writes) = written {
            failure.get_or_insert(of_writes);
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if rows.is_some_and(|rows| rows != claims.at.len() as u64) {
            return Err(Failure::Corrupt("an operation changed under its lock".into()));
        }
        let due_in = next.first().map(|row| get::<Option<i64>>(row, "due_in_ms")).transpose()?.flatten();
        Ok(due_in.map(|ms| std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))))
    }
}

/// The claim that a worker makes of an operation in `state`, its time having come.
fn claimed(state: State, fence: Fence, rerun: Rerun) -> Option<State> {
    let due = match state {
        State::Waiting { .. } => transition(state, Event::Due).ok()?.state,
        _ => state,
    };
    let claim = Event::Claim { mode: Mode::Asynchronous, fence, rerun };
    transition(due, claim).ok().map(|claimed| claimed.state)
}

impl Claims {
    fn push(&mut self, row: &Stored, fence: Fence, now: Timestamp) {
        self.at.push(row.at);
        self.fence.push(fence.as_bytes().to_vec());
        self.now = now.as_millis();
    }
}

impl Picked {
    fn read(row: &Row) -> Result<Self, Failure> {
        Ok(Self {
            row: Stored::read(row)?,
            request: kept_request(row)?,
            priority: get(row, "priority")?,
            tries_max: u32::try_from(get::<i32>(row, "tries_max")?).unwrap_or(0),
            give_up_at: Timestamp::from_millis(get(row, "give_up_ms")?),
            now: Timestamp::from_millis(get(row, "now_ms")?),
        })
    }
}

/// The request in the columns `target`, `headers` and `body`.
pub(super) fn kept_request(row: &Row) -> Result<KeptRequest, Failure> {
    Ok(KeptRequest {
        target: get::<&str>(row, "target")?.into(),
        headers: HeaderFields::from_packed(Bytes::copy_from_slice(get(row, "headers")?))
            .map_err(|_| Failure::Corrupt("the header fields of a request cannot be read".into()))?,
        body: Bytes::copy_from_slice(get(row, "body")?),
    })
}
