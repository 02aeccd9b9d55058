//! What people and callers do to background operations: call them off, send dead ones round again, remove them.

use rusqlite::{OptionalExtension, Result, params};
use steadfast_core::{Event, Fence, Mode, OperationId, Refused, State, StateName, Timestamp};

use super::{desk::Desk, failure::damaged};
use crate::{Cancelled, ChangeError, Redrive};

/// What became of a change, or why there was none.
type Changed<T> = std::result::Result<T, ChangeError>;

impl Desk {
    pub(super) fn cancel(&mut self, id: OperationId) -> Result<Changed<Cancelled>> {
        let Some(head) = self.head(id)? else { return Ok(Err(ChangeError::NotFound)) };
        if let State::Claimed { mode: Mode::Asynchronous, .. } = head.state {
            const SQL: &str = "UPDATE background SET cancel_asked = 1 WHERE seq = ?1";
            self.conn.prepare_cached(SQL)?.execute([head.seq])?;
            return Ok(Ok(Cancelled::AfterThisAttempt));
        }
        let cancelled = self.apply(&head, Event::Cancel, None, None)?;
        Ok(cancelled.map(|state| Cancelled::Now(state.name())).map_err(ChangeError::from))
    }

    pub(super) fn redrive(&mut self, id: OperationId, order: Redrive) -> Result<Changed<StateName>> {
        const SQL: &str = "UPDATE background SET tries = 0, tries_max = ?2, due_at = ?3, give_up_at = ?4, \
                           cancel_asked = 0 WHERE seq = ?1";
        let Some(head) = self.head(id)? else { return Ok(Err(ChangeError::NotFound)) };
        if !matches!(head.state, State::Dead { .. }) {
            let event = steadfast_core::EventName::Redrive;
            return Ok(Err(Refused::NoSuchTransition { state: head.state.name(), event }.into()));
        }
        let Some(place) = self.place(head.seq)? else {
            return Err(damaged("a request that was kept is gone"));
        };
        let rerun = self.may_rerun(&head, &place, order.repeatable_for);
        if let Err(refused) = steadfast_core::transition(head.state, Event::Redrive { rerun }) {
            return Ok(Err(refused.into()));
        }
        let (now, until) = (self.now.as_millis(), self.now.after(order.age_max).as_millis());
        self.conn.prepare_cached(SQL)?.execute(params![head.seq, order.tries_max.max(1), now, until])?;
        let redriven = self.apply(&head, Event::Redrive { rerun }, None, None)?;
        Ok(redriven.map(State::name).map_err(ChangeError::from))
    }

    pub(super) fn purge(&mut self, id: OperationId) -> Result<Changed<StateName>> {
        let Some(head) = self.head(id)? else { return Ok(Err(ChangeError::NotFound)) };
        let purged = match self.apply(&head, Event::Purge, None, None)? {
            Ok(State::Absent) => {
                self.remove(head.seq)?;
                StateName::Absent
            }
            Ok(state) => {
                self.strip(head.seq)?;
                state.name()
            }
            Err(refused) => return Ok(Err(refused.into())),
        };
        Ok(Ok(purged))
    }

    /// Takes a duty on, or goes on with it.
    pub(super) fn take_on(&self, duty: &str, node: Fence, until: Timestamp) -> Result<bool> {
        const SQL: &str = "INSERT INTO duties (name, node, until) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE \
                           SET node = ?2, until = ?3 WHERE node = ?2 OR until <= ?4";
        let row = params![duty, node.as_bytes(), until.as_millis(), self.now.as_millis()];
        Ok(self.conn.prepare_cached(SQL)?.execute(row)? == 1)
    }

    pub(super) fn lay_down(&self, duty: &str, node: Fence) -> Result<()> {
        const SQL: &str = "DELETE FROM duties WHERE name = ?1 AND node = ?2";
        self.conn.prepare_cached(SQL)?.execute(params![duty, node.as_bytes()])?;
        Ok(())
    }

    pub(super) fn mark(&self, of: &str) -> Result<Option<Timestamp>> {
        const SQL: &str = "SELECT at FROM marks WHERE name = ?1";
        let at: Option<i64> = self.conn.prepare_cached(SQL)?.query_row([of], |row| row.get(0)).optional()?;
        Ok(at.map(Timestamp::from_millis))
    }

    /// A mark only moves on.
    pub(super) fn set_mark(&self, of: &str, at: Timestamp) -> Result<()> {
        const SQL: &str = "INSERT INTO marks (name, at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE \
                           SET at = max(at, ?2)";
        self.conn.prepare_cached(SQL)?.execute(params![of, at.as_millis()])?;
        Ok(())
    }
}
