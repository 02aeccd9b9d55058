//! Folding what the log says into the tables: many operations in one transaction, each written once, as it stands.
//!
//! It waits for no disk. What is folded is in the log, on disk, before it is committed here, so the tables never
//! show what could still be lost; and how far they are is written with them, so that whoever opens the ledger next
//! knows which frames to read.

use rusqlite::{Connection, Result};

use super::{desk::Desk, recent::Operation, rows};

impl Desk {
    /// Writes those that have ended into the tables, at most so many, in a transaction that stays open. On an
    /// error nothing of it is left, and everything is still to be folded.
    pub(super) fn fold_ended(&mut self, limit: usize) -> Result<()> {
        let folded = self.begin_fold().and_then(|()| self.write_ended(limit));
        self.undo_on_error(folded)
    }

    /// Writes all of it into the tables, and commits; with `synced` it is on disk there when this returns.
    pub(super) fn fold(&mut self, synced: bool) -> Result<()> {
        let folded = self.begin_fold().and_then(|()| {
            self.write_ended(usize::MAX)?;
            let mut insert = rows::Insert::of(&self.conn)?;
            for operation in self.recent.under_way() {
                insert.run(&operation.whole, None)?;
            }
            drop(insert);
            const SQL: &str = "UPDATE counters SET value = ?1 WHERE name = 'log_applied'";
            self.conn.prepare_cached(SQL)?.execute([self.log.newest().cast_signed()])?;
            self.conn.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        });
        self.undo_on_error(folded)?;
        self.folding = false;
        self.recent.clear();
        if synced { self.sync_tables() } else { Ok(()) }
    }

    /// Syncs what the tables have: one commit that is synced covers all before it that were not.
    fn sync_tables(&mut self) -> Result<()> {
        self.sync_on_commit(true)?;
        self.must_write()
    }

    /// Whether the tables lag behind, or a transaction is open.
    pub(super) fn is_behind(&self) -> bool {
        self.folding || !self.recent.is_empty()
    }

    fn begin_fold(&mut self) -> Result<()> {
        if !self.folding {
            self.sync_on_commit(false)?;
            self.conn.prepare_cached("BEGIN")?.execute([])?;
            self.folding = true;
        }
        Ok(())
    }

    fn write_ended(&mut self, limit: usize) -> Result<()> {
        let Self { conn, recent, .. } = self;
        let mut tables = Tables::of(conn)?;
        for _ in 0..limit {
            let Some(operation) = recent.next_ended() else { break };
            tables.write(operation)?;
            recent.folded_one();
        }
        Ok(())
    }

    fn undo_on_error(&mut self, folded: Result<()>) -> Result<()> {
        if folded.is_err() {
            self.roll_back_transaction();
            self.folding = false;
            self.recent.unfold();
        }
        folded
    }
}

/// The statements that write operations into the tables, found once for many.
struct Tables<'a> {
    insert: rows::Insert<'a>,
    update: rows::Update<'a>,
    attempt: rows::InsertAttempt<'a>,
}

impl<'a> Tables<'a> {
    fn of(conn: &'a Connection) -> Result<Self> {
        Ok(Self {
            insert: rows::Insert::of(conn)?,
            update: rows::Update::of(conn)?,
            attempt: rows::InsertAttempt::of(conn)?,
        })
    }

    fn write(&mut self, operation: &Operation) -> Result<()> {
        let Operation { whole, is_row, ended } = operation;
        let head = &whole.head;
        let answer = ended.as_ref().and_then(|ended| ended.answer.as_ref());
        if let Some(ended) = ended {
            let (changed_at, request_id) = (head.changed_at, whole.request_id.as_deref());
            self.attempt.run(head, ended.fence, ended.began_at, changed_at, ended.columns, request_id)?;
        }
        if *is_row { self.update.run(head, answer) } else { self.insert.run(whole, answer) }
    }
}
