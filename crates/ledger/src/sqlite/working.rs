//! What a worker does: it takes what is due, and says how its attempts ended.

use rusqlite::{OptionalExtension, Result, params};
use steadfast_core::{
    AttemptEnd, Event, Fence, Mode, Next, OperationId, State, Timestamp, Transition, UnknownCause,
    after_attempt, transition,
};

use super::{
    desk::Desk,
    failure::damaged,
    finishing::end_event,
    places::Place,
    row::{self, Head, Whole},
    rows::EndColumns,
};
use crate::{
    Claim, Conclusion, Finished, Job, LedgerError, TAKEN_AT_ONCE_MAX, Taken, Wish,
    backlog::{kept_excerpt, pause_after_loss},
};

/// One that is due.
struct Due {
    seq: i64,
    urgency: i64,
    due_at: Timestamp,
}

impl Desk {
    /// Claims what is due of these routes.
    pub(super) fn take(&mut self, wishes: &[Wish]) -> Result<Taken> {
        let mut taken = Taken::default();
        let mut left = TAKEN_AT_ONCE_MAX;
        for wish in wishes {
            let limit = wish.limit.min(left);
            let due = self.due(&wish.route, limit)?;
            if (due.len() as u32) < limit {
                let next = self.next_due_in(&wish.route)?;
                taken.next_due_in = [taken.next_due_in, next].into_iter().flatten().min();
            }
            for due in due {
                if let Some(job) = self.take_one(wish, &due)? {
                    taken.jobs.push(job);
                    left -= 1;
                }
            }
        }
        if left == 0 {
            // Some that are due may have been left.
            taken.next_due_in = None;
        }
        Ok(taken)
    }

    /// Which of a route's are due, the most urgent first; at most so many.
    fn due(&self, route: &str, limit: u32) -> Result<Vec<Due>> {
        const SQL: &str = "SELECT seq, due_at FROM ready WHERE route = ?1 AND urgency = ?2 AND due_at <= ?3 \
                           ORDER BY due_at, seq LIMIT ?4";
        let mut found = Vec::new();
        let mut above = None;
        while (found.len() as u32) < limit
            && let Some(urgency) = self.next_urgency(route, above)?
        {
            let wanted = limit - found.len() as u32;
            let mut statement = self.conn.prepare_cached(SQL)?;
            let rows = statement.query_map(params![route, urgency, self.now.as_millis(), wanted], |row| {
                Ok(Due { seq: row.get(0)?, urgency, due_at: Timestamp::from_millis(row.get(1)?) })
            })?;
            for row in rows {
                found.push(row?);
            }
            above = Some(urgency);
        }
        Ok(found)
    }

    /// The next urgency that any of a route's has: those of one stand together, by the time at which they are due.
    fn next_urgency(&self, route: &str, above: Option<i64>) -> Result<Option<i64>> {
        const SQL: &str =
            "SELECT urgency FROM ready WHERE route = ?1 AND urgency > ?2 ORDER BY urgency LIMIT 1";
        let above = above.unwrap_or(i64::MIN);
        self.conn.prepare_cached(SQL)?.query_row(params![route, above], |row| row.get(0)).optional()
    }

    fn next_due_in(&self, route: &str) -> Result<Option<std::time::Duration>> {
        const SQL: &str = "SELECT due_at FROM ready WHERE route = ?1 AND urgency = ?2 AND due_at > ?3 \
                           ORDER BY due_at LIMIT 1";
        let (mut soonest, mut above) = (None::<Timestamp>, None);
        while let Some(urgency) = self.next_urgency(route, above)? {
            let next = self
                .conn
                .prepare_cached(SQL)?
                .query_row(params![route, urgency, self.now.as_millis()], |row| row.get::<_, i64>(0))
                .optional()?;
            let next = next.map(Timestamp::from_millis);
            soonest = [soonest, next].into_iter().flatten().min();
            above = Some(urgency);
        }
        Ok(soonest.map(|at| at.since(self.now)))
    }

    /// Claims one, or holds it where its upstream may not be asked again any more.
    fn take_one(&mut self, wish: &Wish, due: &Due) -> Result<Option<Job>> {
        let (Some(found), Some(place)) = (self.whole(due.seq)?, self.place(due.seq)?) else {
            return Err(damaged("an operation that can be taken is not there"));
        };
        debug_assert_eq!((place.urgency, place.due_at), (due.urgency, due.due_at));
        let fence = Fence::random();
        let rerun = self.may_rerun(&found.head, &place, wish.repeatable_for);
        let before = found.head.state;
        let ready = match before {
            State::Waiting { .. } => transition(before, Event::Due).map_or(before, |next| next.state),
            _ => before,
        };
        match transition(ready, Event::Claim { mode: Mode::Asynchronous, fence, rerun }) {
            Ok(Transition { state, .. }) => {
                self.leave_ready(due.seq, &place)?;
                self.claim_taken(found, place, fence, state).map(Some)
            }
            Err(_) => {
                // Not in doubt, and not to be claimed: a row that contradicts itself.
                let held = self.apply(&found.head, Event::Hold, None, None)?;
                held.map(|_| None).map_err(|_| damaged("an operation that can be taken cannot be claimed"))
            }
        }
    }

    fn claim_taken(&mut self, found: Whole, place: Place, fence: Fence, state: State) -> Result<Job> {
        const CLAIM: &str = "UPDATE operations SET state = ?2, doubt = ?3, fence = ?4, attempts = ?5, began_at = ?6, \
                             changed_at = ?6 WHERE seq = ?1";
        const COUNT: &str = "UPDATE background SET tries = tries + 1, first_sent_at = coalesce(first_sent_at, ?2) \
                             WHERE seq = ?1";
        let (head, now) = (&found.head, self.now.as_millis());
        let (columns, attempt) = (row::state_columns(state), head.attempts + 1);
        self.conn.prepare_cached(CLAIM)?.execute(params![
            head.seq,
            columns.state,
            columns.doubt,
            columns.fence,
            attempt,
            now
        ])?;
        self.conn.prepare_cached(COUNT)?.execute(params![head.seq, now])?;
        let request =
            self.kept_request(head.seq)?.ok_or_else(|| damaged("a request that was kept is gone"))?;
        let mut stamina = place.stamina;
        stamina.tries += 1;
        Ok(Job {
            claim: Claim {
                operation: found.id(),
                digest: head.digest,
                fence,
                attempt,
                after_doubt: head.state.is_doubtful(),
                claimed_at: head.created_at,
                send_by: self.leases.begin(head.seq, fence, self.boot),
            },
            request,
            stamina,
            first_sent: place.first_sent.unwrap_or(self.now),
            repeatable_for: head.repeatable_for,
            claimed_at: self.now,
            due_at: place.due_at,
            name: found.name,
            owner: found.owner,
            route: found.route,
            method: found.method,
        })
    }

    /// Writes how the attempt of a worker ended, and what follows.
    pub(super) fn conclude(
        &mut self,
        operation: OperationId,
        fence: Fence,
        conclusion: &Conclusion,
    ) -> Result<std::result::Result<Finished, LedgerError>> {
        let Conclusion { end, next, .. } = conclusion;
        let Some(head) = self.head(operation)? else { return Ok(Err(LedgerError::Missing)) };
        let holds = matches!(head.state, State::Claimed { fence: live, .. } if live == fence);
        if matches!(end, AttemptEnd::Answered(_)) || !holds {
            return self.finish(operation, fence, end);
        }
        let finished = self.follow(&head, end_event(fence, end, *next), EndColumns::of(end), *next)?;
        if let Some(excerpt) = &conclusion.excerpt {
            const SQL: &str = "UPDATE attempts SET excerpt = ?3 WHERE seq = ?1 AND number = ?2";
            self.conn.prepare_cached(SQL)?.execute(params![
                head.seq,
                head.attempts,
                &*kept_excerpt(excerpt)
            ])?;
        }
        Ok(Ok(finished))
    }

    /// Ends the attempt that holds the claim, and lets follow what was said: the next attempt has its time before the
    /// operation stands among those that wait for one.
    fn follow(&mut self, head: &Head, event: Event, columns: EndColumns, next: Next) -> Result<Finished> {
        const SQL: &str = "UPDATE background SET due_at = ?2, tries = tries - ?3 WHERE seq = ?1";
        if let Next::Again { after, counts } = next {
            let due_at = self.now.after(after).as_millis();
            self.conn.prepare_cached(SQL)?.execute(params![head.seq, due_at, !counts])?;
        }
        let state = self.apply(head, event, None, Some(columns))?;
        let state = state.map_err(|_| damaged("the holder of a claim could not end it"))?;
        self.heed_call_off(head.seq, state).map(|state| Finished::Recorded(state.name()))
    }

    /// Lets nothing follow where the operation was called off, and would go round again; the state that it is in then.
    pub(super) fn heed_call_off(&mut self, seq: i64, state: State) -> Result<State> {
        let goes_on = matches!(state, State::Queued { .. } | State::Waiting { .. });
        if !goes_on || !self.place(seq)?.is_some_and(|place| place.cancel_asked) {
            return Ok(state);
        }
        let head = self.head_of_row(seq)?;
        Ok(self.apply(&head, Event::Cancel, None, None)?.unwrap_or(state))
    }

    fn head_of_row(&self, seq: i64) -> Result<Head> {
        let found = self.whole(seq)?.map(|found| found.head);
        found.ok_or_else(|| damaged("an operation that was just changed is gone"))
    }

    /// Ends the claim of a worker that is gone: its attempt counts as sent.
    pub(super) fn lose_worker(&mut self, head: &Head, fence: Fence) -> Result<bool> {
        let end = AttemptEnd::Unknown { cause: UnknownCause::HolderLost, status: None };
        let Some(place) = self.place(head.seq)? else {
            return Err(damaged("a request that was kept is gone"));
        };
        let rerun = self.may_rerun(head, &place, head.repeatable_for);
        let pause = pause_after_loss(place.stamina.tries);
        let next = after_attempt(&end, place.stamina, rerun, false, (self.now, pause));
        let event = Event::LeaseRanOut { fence, then: next.after_unknown() };
        if transition(head.state, event).is_err() {
            return Ok(false);
        }
        self.follow(head, event, EndColumns::of(&end), next)?;
        Ok(true)
    }
}
