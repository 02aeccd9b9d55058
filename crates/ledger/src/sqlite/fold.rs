//! Folding what the log says into the tables: many operations in one transaction, each written once, as it stands.
//!
//! It waits for no disk. What is folded is in the log, on disk, before it is committed here, so the tables never
//! show what could still be lost; and how far they are is written with them, so that whoever opens the ledger next
//! knows which frames to read.

use rusqlite::Result;

use super::{
    desk::Desk,
    recent::{Ended, Operation},
    row::Head,
};

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
            for operation in self.recent.under_way() {
                self.insert_operation(&operation.whole)?;
            }
            const SQL: &str = "UPDATE counters SET value = ?1 WHERE name = 'log_applied'";
            self.conn.prepare_cached(SQL)?.execute([self.log_newest.cast_signed()])?;
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
        for _ in 0..limit {
            let Some(operation) = self.recent.next_ended() else { break };
            self.write_operation(operation)?;
            self.recent.folded_one();
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

    fn write_operation(&self, operation: &Operation) -> Result<()> {
        let head = &operation.whole.head;
        if operation.is_row {
            self.update_state(head)?;
        } else {
            self.insert_operation(&operation.whole)?;
        }
        match &operation.ended {
            Some(ended) => self.write_end(head, ended),
            None => Ok(()),
        }
    }

    fn write_end(&self, head: &Head, ended: &Ended) -> Result<()> {
        self.insert_attempt(head, ended.fence, ended.began_at, head.changed_at, ended.columns)?;
        match &ended.answer {
            Some(stored) => self.insert_answer(head.seq, &stored.answer, &stored.packed),
            None => Ok(()),
        }
    }
}
