//! Ends of attempts, of the holder's and of those that were superseded.

use std::time::Duration;

use rusqlite::{OptionalExtension, Result, params};
use steadfast_core::{
    AfterUnknown, AttemptEnd, Event, Fence, Mode, Next, OperationId, State, StateName, UnknownCause,
};

use super::{
    desk::{Desk, Told},
    entry,
    recent::{self, After},
    row::{self, Head},
    rows::EndColumns,
};
use crate::{Finished, LedgerError, SettleError, Settled, Settlement, Verdict};

impl Desk {
    /// Writes down in memory and in the log how the attempt that holds the claim ended. `None`, with the end left
    /// where it is, where it takes more than that.
    pub(super) fn finish_at_once(
        &mut self,
        operation: OperationId,
        fence: Fence,
        end: &mut Option<AttemptEnd>,
    ) -> Result<Option<Finished>> {
        let (seq, Some(ended)) = (row::seq(operation), end.as_ref()) else { return Ok(None) };
        if self.recent.get(seq).is_none() {
            // It was claimed a while ago, so the tables have it.
            let Some(found) = self.whole(seq)? else { return Ok(None) };
            // A worker's claim is in the tables alone, and so is what becomes of it.
            let is_background = found.head.mode == Mode::Asynchronous;
            if is_background || recent::after(&found.head, fence, ended, self.now).is_none() {
                return Ok(None);
            }
            self.recent.insert(found, true);
        }
        let head = self.recent.get(seq).map(|recent| &recent.whole.head);
        let head = head.filter(|head| operation.names(&head.digest));
        let Some(After { head, wakes }) = head.and_then(|head| recent::after(head, fence, ended, self.now))
        else {
            return Ok(None);
        };
        let Some(ended) = end.take() else { return Ok(None) };
        let (digest, state) = (head.digest, head.state.name());
        entry::ended(self.log.entries(), seq, fence, self.now, &ended);
        self.recent.end(seq, fence, ended, head);
        self.leases.end(seq);
        if wakes {
            self.wakes.push(digest);
        }
        Ok(Some(Finished::Recorded(state)))
    }

    /// Writes how the attempt with this fence ended into the tables, which have everything that the log says.
    pub(super) fn finish(
        &mut self,
        operation: OperationId,
        fence: Fence,
        end: &AttemptEnd,
    ) -> Result<std::result::Result<Finished, LedgerError>> {
        let Some(head) = self.head(operation)? else { return Ok(Err(LedgerError::Missing)) };
        let is_live = matches!(head.state, State::Claimed { fence: live, .. } if live == fence);
        let columns = EndColumns::of(end);
        let finished = match end {
            AttemptEnd::Answered(answer) => {
                let told = Told { by: Some(fence), answer, digest: answer.digest() };
                // What no attempt of the operation brought is no evidence of anything.
                if !is_live && self.ended(&head, fence)?.is_none() {
                    return Ok(Ok(Finished::Superseded(head.state.name())));
                }
                let event = Event::Answered { fence, answer: told.digest };
                let state = self.apply(&head, event, Some(told), Some(columns))?;
                match state {
                    Ok(State::Completed { answer: Some(stored) }) if stored == told.digest => {
                        Finished::Recorded(StateName::Completed)
                    }
                    Ok(state) => Finished::Superseded(state.name()),
                    Err(_) => Finished::Superseded(head.state.name()),
                }
            }
            AttemptEnd::NotSent(_) | AttemptEnd::Refused { .. } | AttemptEnd::Unknown { .. } => {
                // Whoever says no more than that lets a background operation go round again.
                let next = Next::Again { after: Duration::ZERO, counts: true };
                let next = if matches!(end, AttemptEnd::Unknown { .. }) { Next::Hold } else { next };
                self.end(&head, end_event(fence, end, next), fence, columns)?
            }
        };
        Ok(Ok(finished))
    }

    /// An end without an answer: the holder's alone. Said twice, it is still what was recorded.
    fn end(&mut self, head: &Head, event: Event, fence: Fence, columns: EndColumns) -> Result<Finished> {
        match self.apply(head, event, None, Some(columns))? {
            Ok(state) => Ok(Finished::Recorded(state.name())),
            Err(_) => {
                let said = self.ended(head, fence)?;
                let same =
                    said.is_some_and(|(end, cause)| end == columns.end && cause.as_deref() == columns.cause);
                let state = head.state.name();
                Ok(if same { Finished::Recorded(state) } else { Finished::Superseded(state) })
            }
        }
    }

    /// How the attempt with this fence ended, and why; `None` where the operation never had it, or has it still.
    fn ended(&self, head: &Head, fence: Fence) -> Result<Option<(String, Option<String>)>> {
        const SQL: &str = "SELECT end, cause FROM attempts WHERE seq = ?1 AND fence = ?2";
        self.conn
            .prepare_cached(SQL)?
            .query_row(params![head.seq, fence.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    /// Ends a claim whose holder is gone. Whether it still was a claim of that fence.
    pub(super) fn lose_holder(&mut self, head: &Head, fence: Fence) -> Result<bool> {
        if head.mode == Mode::Asynchronous {
            return self.lose_worker(head, fence);
        }
        let end = AttemptEnd::Unknown { cause: UnknownCause::HolderLost, status: None };
        let event = Event::LeaseRanOut { fence, then: AfterUnknown::Hold };
        Ok(self.apply(head, event, None, Some(EndColumns::of(&end)))?.is_ok())
    }

    /// Writes down what was found out.
    pub(super) fn settle(
        &mut self,
        operation: OperationId,
        settlement: &Settlement,
    ) -> Result<std::result::Result<Settled, SettleError>> {
        const SQL: &str = "INSERT INTO settlements (seq, happened, settled_by, reason, settled_at) \
                           VALUES (?1, ?2, ?3, ?4, ?5)";
        let Some(head) = self.head(operation)? else { return Ok(Err(SettleError::NotFound)) };
        let (event, told) = match &settlement.verdict {
            Verdict::Happened(answer) => {
                let told = answer.as_ref().map(|answer| Told { by: None, answer, digest: answer.digest() });
                (Event::SettleHappened { answer: told.map(|told| told.digest) }, told)
            }
            Verdict::DidNotHappen => (Event::SettleDidNotHappen, None),
        };
        let state = match self.apply(&head, event, told, None)? {
            Ok(state) => state.name(),
            Err(refused) => return Ok(Err(refused.into())),
        };
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            matches!(settlement.verdict, Verdict::Happened(_)),
            &*settlement.by,
            &*settlement.reason,
            self.now.as_millis(),
        ])?;
        Ok(Ok(Settled { state }))
    }
}

/// What the end of an attempt is to the state machine, where this follows it.
pub(super) fn end_event(fence: Fence, end: &AttemptEnd, next: Next) -> Event {
    match end {
        AttemptEnd::NotSent(_) => Event::NotSent { fence, then: next.after_unsent() },
        AttemptEnd::Refused { .. } => Event::Refused { fence, then: next.after_unsent() },
        AttemptEnd::Unknown { .. } => Event::Unknown { fence, then: next.after_unknown() },
        AttemptEnd::Answered(answer) => Event::Answered { fence, answer: answer.digest() },
    }
}
