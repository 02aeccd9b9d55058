//! Where a batch is written: the connection, the time it counts by, and how a transition gets onto disk.

use rusqlite::{Connection, OptionalExtension, Result, params};
use steadfast_core::{
    Answer, AnswerDigest, AttemptEnd, Doubt, Effect, Event, Fence, OperationDigest, OperationId, Refused,
    State, Timestamp, Transition, transition,
};

use super::{
    headers,
    leases::Leases,
    row::{self, Head, head_columns},
    sweeping::SweepClock,
};
use crate::{BootInstant, Clock};

/// What the writer works with. One batch is one transaction; what is kept in memory follows it.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) conn: Connection,
    pub(super) clock: Clock,
    /// The wall time of the batch.
    pub(super) now: Timestamp,
    /// The boot time of the batch.
    pub(super) boot: BootInstant,
    pub(super) leases: Leases,
    pub(super) sweeping: SweepClock,
    /// The next sequence number. A batch that is rolled back leaves a gap, which harms nobody.
    pub(super) seq_next: i64,
    /// Whom to wake when the batch is on disk.
    pub(super) wakes: Vec<OperationDigest>,
}

/// An answer that came.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    /// The attempt that brought it; a person's has none.
    pub(super) by: Option<Fence>,
    pub(super) answer: &'a Answer,
    pub(super) digest: AnswerDigest,
}

/// How the attempt under way ended, as `attempts` writes it.
#[derive(Clone, Copy)]
pub(super) struct EndColumns {
    pub(super) end: &'static str,
    pub(super) cause: Option<&'static str>,
    pub(super) status: Option<u16>,
}

impl EndColumns {
    pub(super) fn of(end: &AttemptEnd) -> Self {
        match end {
            AttemptEnd::NotSent(cause) => Self { end: "not_sent", cause: Some(cause.name()), status: None },
            AttemptEnd::Refused { status } => Self { end: "refused", cause: None, status: Some(*status) },
            AttemptEnd::Unknown { cause, status } => {
                Self { end: "unknown", cause: Some(cause.name()), status: *status }
            }
            AttemptEnd::Answered(answer) => {
                Self { end: "answered", cause: None, status: Some(answer.status) }
            }
        }
    }
}

impl Desk {
    /// A desk for a ledger that was just opened.
    pub(super) fn new(conn: Connection, clock: Clock, lease: std::time::Duration) -> Result<Self> {
        conn.set_prepared_statement_cache_capacity(64);
        let counted: i64 =
            conn.query_row("SELECT value FROM counters WHERE name = 'seq'", [], |row| row.get(0))?;
        let newest: i64 =
            conn.query_row("SELECT coalesce(max(seq), 0) FROM operations", [], |row| row.get(0))?;
        let (now, boot) = (clock.wall(), clock.boot());
        Ok(Self {
            leases: Leases::new(lease, boot),
            sweeping: SweepClock::new(now, boot),
            seq_next: counted.max(newest) + 1,
            wakes: Vec::new(),
            conn,
            clock,
            now,
            boot,
        })
    }

    /// Reads the clocks for the batch that begins.
    pub(super) fn begin(&mut self) -> Result<()> {
        (self.now, self.boot) = (self.clock.wall(), self.clock.boot());
        self.conn.prepare_cached("BEGIN")?.execute([])?;
        Ok(())
    }

    /// Commits the batch. When it returns, the batch is on disk.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        self.leases.commit();
        Ok(())
    }

    /// Takes the batch back. An error that SQLite rolled back for by itself leaves nothing to do.
    pub(super) fn roll_back(&mut self) {
        self.leases.roll_back();
        self.wakes.clear();
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a batch could not be rolled back");
        }
    }

    /// The operation that `id` names, unless it is gone.
    pub(super) fn head(&self, id: OperationId) -> Result<Option<Head>> {
        const SQL: &str = concat!("SELECT ", head_columns!(), " FROM operations WHERE seq = ?1");
        let head = self.conn.prepare_cached(SQL)?.query_row([row::seq(id)], Head::read).optional()?;
        Ok(head.filter(|head| id.names(&head.digest)))
    }

    /// Applies `event` to the operation, and writes what follows from it. `told` is the event's answer.
    pub(super) fn apply(
        &mut self,
        head: &Head,
        event: Event,
        told: Option<Told<'_>>,
        end: Option<EndColumns>,
    ) -> Result<std::result::Result<State, Refused>> {
        let Transition { state, effects } = match transition(head.state, event) {
            Ok(transition) => transition,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut news = true;
        for effect in effects {
            match effect {
                // The row of the attempt under way is the operation's own, until it ends.
                Effect::BeginAttempt => {}
                Effect::StoreAnswer => {
                    if let Some(told) = told {
                        self.store_answer(head.seq, told.answer)?;
                    }
                }
                Effect::KeepEvidence => {
                    if let Some(told) = told {
                        news = self.keep_evidence(head.seq, told)?;
                    }
                }
                Effect::AdoptEvidence => self.adopt_evidence(head)?,
                // The same contradiction told twice is one case.
                Effect::OpenCase if news => self.open_case(head.seq, told.and_then(|told| told.by))?,
                Effect::OpenCase => {}
                Effect::Wake => self.wakes.push(head.digest),
                // With the state, below.
                Effect::BeginRetention => {}
            }
        }
        if let (State::Claimed { fence, .. }, Some(end)) = (head.state, end)
            && !matches!(state, State::Claimed { .. })
        {
            self.end_attempt(head, fence, end)?;
            self.leases.end(head.seq);
        }
        if state != head.state {
            let expires_at = effects.contains(&Effect::BeginRetention).then(|| self.expiry(head, state));
            self.write_state(head, state, expires_at)?;
        }
        Ok(Ok(state))
    }

    /// When an operation that finishes now, in `state`, expires.
    fn expiry(&self, head: &Head, state: State) -> Timestamp {
        match (state, head.tombstone_until()) {
            // However late it was swept, its time counts from its expiry.
            (State::Tombstone, Some(until)) => until,
            _ => head.retention.expiry(head.created_at, self.now),
        }
    }

    fn write_state(&self, head: &Head, state: State, expires_at: Option<Timestamp>) -> Result<()> {
        const SQL: &str = "UPDATE operations SET state = ?2, doubt = ?3, evidence = ?4, fence = ?5, answer = ?6, \
                           began_at = ?7, changed_at = ?8, expires_at = ?9 WHERE seq = ?1";
        let columns = row::state_columns(state);
        // A claim that goes on, with evidence beside it, is the same attempt still.
        let began_at = head.began_at.filter(|_| columns.fence.is_some());
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            columns.state,
            columns.doubt,
            columns.evidence,
            columns.fence,
            columns.answer,
            began_at.map(Timestamp::as_millis),
            self.now.as_millis(),
            expires_at.map(Timestamp::as_millis),
        ])?;
        Ok(())
    }

    fn end_attempt(&self, head: &Head, fence: Fence, end: EndColumns) -> Result<()> {
        const SQL: &str = "INSERT INTO attempts (seq, number, fence, began_at, ended_at, end, cause, status) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            head.attempts,
            fence.as_bytes(),
            head.began_at.unwrap_or(head.created_at).as_millis(),
            self.now.as_millis(),
            end.end,
            end.cause,
            end.status,
        ])?;
        Ok(())
    }

    fn store_answer(&self, seq: i64, answer: &Answer) -> Result<()> {
        const SQL: &str = "INSERT INTO answers (seq, status, headers, body) VALUES (?1, ?2, ?3, ?4)";
        let headers = headers::pack(&answer.headers);
        self.conn.prepare_cached(SQL)?.execute(params![
            seq,
            answer.status,
            headers,
            answer.body.as_deref()
        ])?;
        Ok(())
    }

    /// Keeps the answer beside the operation; whether it was new.
    fn keep_evidence(&self, seq: i64, told: Told<'_>) -> Result<bool> {
        const SQL: &str = "INSERT INTO evidence (seq, fence, digest, came_at, status, headers, body) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
        let inserted = self.conn.prepare_cached(SQL)?.execute(params![
            seq,
            told.by.map(|fence| *fence.as_bytes()),
            told.digest.as_bytes(),
            self.now.as_millis(),
            told.answer.status,
            headers::pack(&told.answer.headers),
            told.answer.body.as_deref(),
        ])?;
        Ok(inserted == 1)
    }

    fn adopt_evidence(&self, head: &Head) -> Result<()> {
        const SQL: &str = "INSERT INTO answers (seq, status, headers, body) \
                           SELECT seq, status, headers, body FROM evidence WHERE seq = ?1 AND digest = ?2 \
                           ORDER BY came_at LIMIT 1";
        if let State::Claimed { doubt: Doubt::Answered(digest), .. } = head.state {
            let adopted = self.conn.prepare_cached(SQL)?.execute(params![head.seq, digest.as_bytes()])?;
            if adopted != 1 {
                return Err(super::failure::damaged("the answer that was kept as evidence is gone"));
            }
        }
        Ok(())
    }

    /// Opens a case about what the attempt with this fence brought.
    fn open_case(&self, seq: i64, fence: Option<Fence>) -> Result<()> {
        const SQL: &str = "INSERT INTO cases (seq, fence, opened_at) VALUES (?1, ?2, ?3)";
        if let Some(fence) = fence {
            self.conn.prepare_cached(SQL)?.execute(params![seq, fence.as_bytes(), self.now.as_millis()])?;
        }
        Ok(())
    }

    /// Removes the operation with everything that belongs to it.
    pub(super) fn remove(&self, seq: i64) -> Result<()> {
        self.conn.prepare_cached("DELETE FROM operations WHERE seq = ?1")?.execute([seq])?;
        self.strip(seq)?;
        // The newest may have gone, and its number must not be given out again.
        const SQL: &str = "UPDATE counters SET value = max(value, ?1) WHERE name = 'seq'";
        self.conn.prepare_cached(SQL)?.execute([self.seq_next - 1])?;
        Ok(())
    }

    /// Removes everything that belongs to the operation, but not its row.
    pub(super) fn strip(&self, seq: i64) -> Result<()> {
        for sql in [
            "DELETE FROM answers WHERE seq = ?1",
            "DELETE FROM attempts WHERE seq = ?1",
            "DELETE FROM evidence WHERE seq = ?1",
            "DELETE FROM cases WHERE seq = ?1",
            "DELETE FROM settlements WHERE seq = ?1",
        ] {
            self.conn.prepare_cached(sql)?.execute([seq])?;
        }
        Ok(())
    }
}
