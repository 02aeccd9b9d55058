//! Where everything is written: the log, the tables, the time that counts, and how a transition gets into the
//! tables.

use rusqlite::{Connection, OptionalExtension, Result, params};
use steadfast_core::{
    Answer, AnswerDigest, Doubt, Effect, Event, Fence, Mode, OperationDigest, OperationId, Refused, State,
    Timestamp, Transition, transition,
};

use tokio::sync::watch;

use super::{
    leases::Leases,
    log::Log,
    recent::Recent,
    row::{self, Head, Whole, head_columns, whole_columns},
    rows::{self, EndColumns},
    sweeping::SweepClock,
};
use crate::{BootInstant, Clock, LedgerError, bans::Counted};

/// What the writer works with. What is kept in memory follows what is written.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) conn: Connection,
    /// Whether the next commit waits for the disk.
    pub(super) synced: bool,
    pub(super) log: Log,
    /// What the log says and the tables do not, yet.
    pub(super) recent: Recent,
    /// Whether a transaction is open in which the tables follow the log.
    pub(super) folding: bool,
    /// Why the tables cannot follow the log: until they do, nothing new is claimed.
    pub(super) stuck: Option<LedgerError>,
    pub(super) clock: Clock,
    /// The wall time of the batch.
    pub(super) now: Timestamp,
    /// The boot time of the batch.
    pub(super) boot: BootInstant,
    pub(super) leases: Leases,
    pub(super) sweeping: SweepClock,
    /// How many bans there are.
    pub(super) bans: Counted,
    /// The next sequence number. A batch that is rolled back leaves a gap, which harms nobody.
    pub(super) seq_next: i64,
    /// Whom to wake when the batch is on disk.
    pub(super) wakes: Vec<OperationDigest>,
    /// Whether something can be taken from the backlog since the batch began.
    pub(super) arrived: bool,
    /// Counts up when something can be taken.
    pub(super) arrivals: watch::Sender<u64>,
}

/// An answer that came.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    /// The attempt that brought it; a person's has none.
    pub(super) by: Option<Fence>,
    pub(super) answer: &'a Answer,
    pub(super) digest: AnswerDigest,
}

impl Desk {
    /// A desk for a ledger that was just opened.
    pub(super) fn new(conn: Connection, clock: Clock, lease: std::time::Duration, log: Log) -> Result<Self> {
        conn.set_prepared_statement_cache_capacity(64);
        let (now, boot) = (clock.wall(), clock.boot());
        let mut desk = Self {
            leases: Leases::new(lease, boot),
            sweeping: SweepClock::new(now, boot),
            bans: Counted::default(),
            seq_next: 1,
            wakes: Vec::new(),
            arrived: false,
            arrivals: watch::Sender::new(0),
            conn,
            synced: true,
            log,
            recent: Recent::default(),
            folding: false,
            stuck: None,
            clock,
            now,
            boot,
        };
        desk.number_from_tables()?;
        Ok(desk)
    }

    /// Numbers operations from the highest number on that was ever given out.
    pub(super) fn number_from_tables(&mut self) -> Result<()> {
        let counted: i64 =
            self.conn.query_row("SELECT value FROM counters WHERE name = 'seq'", [], |row| row.get(0))?;
        let newest: i64 =
            self.conn.query_row("SELECT coalesce(max(seq), 0) FROM operations", [], |row| row.get(0))?;
        self.seq_next = counted.max(newest) + 1;
        Ok(())
    }

    /// Reads the clocks for what comes now.
    pub(super) fn look_at_clocks(&mut self) {
        (self.now, self.boot) = (self.clock.wall(), self.clock.boot());
    }

    /// Hands to the kernel what was done at once; whether there was anything to sync. On an error it is as if
    /// nothing of it had been done.
    pub(super) fn write_log(&mut self) -> std::io::Result<bool> {
        let written = self.log.write();
        if written.is_ok() {
            self.leases.commit();
            self.recent.commit();
        } else {
            self.leases.roll_back();
            self.recent.roll_back();
            self.wakes.clear();
        }
        written
    }

    /// Begins a batch that changes the tables themselves. They have everything that the log says.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.look_at_clocks();
        self.conn.prepare_cached("BEGIN")?.execute([])?;
        Ok(())
    }

    /// Commits the batch. When it returns, the batch is on disk.
    pub(super) fn commit(&mut self) -> Result<()> {
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        self.leases.commit();
        if std::mem::take(&mut self.arrived) {
            self.arrivals.send_modify(|arrivals| *arrivals += 1);
        }
        Ok(())
    }

    /// Takes the batch back.
    pub(super) fn roll_back(&mut self) {
        self.leases.roll_back();
        self.wakes.clear();
        self.arrived = false;
        self.roll_back_transaction();
    }

    /// Rolls the transaction back. An error that SQLite rolled back for by itself leaves nothing to do.
    pub(super) fn roll_back_transaction(&self) {
        if !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    /// Whether the next commit waits for the disk. In SQLite's own log, a later commit that does covers all earlier
    /// ones that did not.
    pub(super) fn sync_on_commit(&mut self, synced: bool) -> Result<()> {
        if self.synced != synced {
            let level = if synced { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.conn.prepare_cached(level)?.execute([])?;
            self.synced = synced;
        }
        Ok(())
    }

    /// Changes something, so that the commit writes, and syncs where it should.
    pub(super) fn must_write(&self) -> Result<()> {
        const SQL: &str = "UPDATE counters SET value = value + 1 WHERE name = 'writes'";
        self.conn.prepare_cached(SQL)?.execute([])?;
        Ok(())
    }

    /// The operation that `id` names, unless it is gone.
    pub(super) fn head(&self, id: OperationId) -> Result<Option<Head>> {
        const SQL: &str = concat!("SELECT ", head_columns!(), " FROM operations WHERE seq = ?1");
        let head = self.conn.prepare_cached(SQL)?.query_row([row::seq(id)], Head::read).optional()?;
        Ok(head.filter(|head| id.names(&head.digest)))
    }

    /// The whole row.
    pub(super) fn whole(&self, seq: i64) -> Result<Option<Whole>> {
        const SQL: &str = concat!("SELECT ", whole_columns!(), " FROM operations WHERE seq = ?1");
        self.conn.prepare_cached(SQL)?.query_row([seq], Whole::read).optional()
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
        let (mut news, mut stored, mut adopted) = (true, None, None);
        for effect in effects {
            match effect {
                // The row of the attempt under way is the operation's own, until it ends.
                Effect::BeginAttempt => {}
                // Both with the state, below.
                Effect::StoreAnswer => stored = told.map(|told| told.answer),
                Effect::AdoptEvidence => adopted = Some(self.evidence(head)?),
                Effect::KeepEvidence => {
                    if let Some(told) = told {
                        news = self.keep_evidence(head.seq, told)?;
                    }
                }
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
            let began_at = head.began_at.unwrap_or(head.created_at);
            rows::InsertAttempt::of(&self.conn)?.run(head, fence, began_at, self.now, end, None)?;
            self.leases.end(head.seq);
        }
        if state != head.state {
            let expires_at = effects.contains(&Effect::BeginRetention).then(|| self.expiry(head, state));
            // A claim that goes on, with evidence beside it, is the same attempt still.
            let began_at = head.began_at.filter(|_| matches!(state, State::Claimed { .. }));
            let after = Head { state, began_at, changed_at: self.now, expires_at, ..*head };
            rows::Update::of(&self.conn)?.run(&after, stored.or(adopted.as_ref()))?;
            if head.mode == Mode::Asynchronous {
                self.keep_place(head.seq, head.state, state)?;
            }
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
            told.answer.headers.as_packed(),
            told.answer.body.as_deref(),
        ])?;
        Ok(inserted == 1)
    }

    /// The answer that was kept beside the operation, and becomes its own.
    fn evidence(&self, head: &Head) -> Result<Answer> {
        const SQL: &str = "SELECT status, headers, body FROM evidence WHERE seq = ?1 AND digest = ?2 \
                           ORDER BY came_at LIMIT 1";
        let kept = match head.state {
            State::Claimed { doubt: Doubt::Answered(digest), .. } => self
                .conn
                .prepare_cached(SQL)?
                .query_row(params![head.seq, digest.as_bytes()], |row| row::answer(row, 0))
                .optional()?,
            _ => None,
        };
        kept.ok_or_else(|| super::failure::damaged("the answer that was kept as evidence is gone"))
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
            "DELETE FROM attempts WHERE seq = ?1",
            "DELETE FROM evidence WHERE seq = ?1",
            "DELETE FROM cases WHERE seq = ?1",
            "DELETE FROM settlements WHERE seq = ?1",
            "DELETE FROM background WHERE seq = ?1",
        ] {
            self.conn.prepare_cached(sql)?.execute([seq])?;
        }
        Ok(())
    }
}
