//! Accepting work for later. It happens in the tables: what is accepted may lie there for days.

use rusqlite::{OptionalExtension, Result, params};
use steadfast_core::{Doubt, Event, Mode, Refused, State, Timestamp, Transition, transition};

use super::{
    claiming::{Way, kept_path, occupied},
    desk::Desk,
    failure::damaged,
    row::{self, Head, Whole},
    rows,
};
use crate::{ClaimOutcome, Enqueue, Enqueued, KeptRequest, LaneTrouble, LedgerError};

impl Desk {
    /// Accepts what is asked, or says how the operation of its name stands.
    pub(super) fn enqueue(&mut self, work: &Enqueue) -> Result<std::result::Result<Enqueued, LedgerError>> {
        let mut found = self.by_digest(work.name.digest())?;
        if let Some((found, _)) = &mut found {
            work.recall(&mut found.name, &mut found.fingerprint);
        }
        let Some((found, answer)) = found else { return self.accept_new(work).map(Ok) };
        match Way::of_work(&found, work, self.now) {
            Way::Collision => Ok(Err(LedgerError::DigestCollision)),
            Way::Anew => {
                self.remove(found.head.seq)?;
                self.accept_new(work).map(Ok)
            }
            Way::Released => self.accept_released(&found.head, work).map(Ok),
            Way::Occupied(state) => match occupied(found, state, answer)? {
                ClaimOutcome::Occupied(standing) => Ok(Ok(Enqueued::Occupied(standing))),
                ClaimOutcome::Granted(_) => Err(damaged("what is occupied was granted")),
            },
            Way::Again | Way::Doubtful => Err(damaged("work is not claimed when it is accepted")),
        }
    }

    fn accept_new(&mut self, work: &Enqueue) -> Result<Enqueued> {
        let state = queued(State::Absent)?;
        let seq = self.seq_next;
        self.seq_next += 1;
        let head = Head {
            seq,
            digest: work.name.digest(),
            state,
            mode: Mode::Asynchronous,
            attempts: 0,
            created_at: self.now,
            began_at: None,
            changed_at: self.now,
            expires_at: None,
            retention: work.retention,
            repeatable_for: work.repeatable_for,
        };
        let operation = Whole {
            head,
            fingerprint: work.fingerprint,
            name: work.name.clone(),
            owner: work.owner.clone(),
            route: work.route.clone(),
            method: work.method.clone(),
            path: kept_path(&work.path).into(),
            request_id: None,
        };
        rows::Insert::of(&self.conn)?.run(&operation, None)?;
        self.keep_work(seq, State::Absent, state, work)
    }

    /// A released operation took no effect, so everything about it is as new as the request that is accepted; it keeps
    /// its id and the history of its attempts.
    fn accept_released(&mut self, head: &Head, work: &Enqueue) -> Result<Enqueued> {
        const SQL: &str = "UPDATE operations SET state = ?2, doubt = ?3, mode = 'async', created_at = ?4, \
                           changed_at = ?4, expires_at = NULL, keep_ms = ?5, keep_from = ?6, tombstone_ms = ?7, \
                           repeatable_ms = ?8, fingerprint = ?9, principal = ?10, credential = ?11, route = ?12, \
                           method = ?13, path = ?14 WHERE seq = ?1";
        let state = queued(head.state)?;
        let columns = row::state_columns(state);
        let (owner, retention) = (&work.owner, &work.retention);
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            columns.state,
            columns.doubt,
            self.now.as_millis(),
            row::millis(retention.keep),
            row::keep_from_name(retention.from),
            retention.tombstone.map(row::millis),
            work.repeatable_for.map(row::millis),
            work.fingerprint.as_bytes(),
            owner.principal.as_ref().map(|principal| principal.as_str()),
            owner.credential.map(|credential| *credential.as_bytes()),
            &*work.route,
            &*work.method,
            kept_path(&work.path),
        ])?;
        self.wakes.push(head.digest);
        self.keep_work(head.seq, head.state, state, work)
    }

    /// Keeps what the attempts will need, and puts the operation in its place.
    fn keep_work(&mut self, seq: i64, before: State, after: State, work: &Enqueue) -> Result<Enqueued> {
        const SQL: &str = "INSERT OR REPLACE INTO background (seq, bucket, target, headers, body, priority, lane, \
                           lane_passes, tries, tries_max, due_at, give_up_at) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11)";
        let due_at = self.now.after(work.delay);
        self.conn.prepare_cached(SQL)?.execute(params![
            seq,
            work.name.bucket().number(),
            &*work.request.target,
            work.request.headers.as_packed(),
            &*work.request.body,
            work.priority.0,
            work.lane.map(|lane| lane.digest),
            work.lane.is_some_and(|lane| lane.trouble == LaneTrouble::Passes),
            work.tries_max.max(1),
            due_at.as_millis(),
            due_at.after(work.age_max).as_millis(),
        ])?;
        self.keep_place(seq, before, after)?;
        let operation = row::id(work.name.bucket(), seq, &work.name.digest());
        Ok(Enqueued::Accepted { operation, due_at })
    }

    /// The request that an operation keeps.
    pub(super) fn kept_request(&self, seq: i64) -> Result<Option<KeptRequest>> {
        const SQL: &str = "SELECT target, headers, body FROM background WHERE seq = ?1";
        self.conn.prepare_cached(SQL)?.query_row([seq], |row| row::request(row, 0)).optional()
    }
}

/// What accepting makes of what is free; that the state machine refuses it would be a row that contradicts itself.
fn queued(state: State) -> Result<State> {
    let Transition { state, .. } =
        transition(state, Event::Enqueue).map_err(|_: Refused| damaged("what is free was not accepted"))?;
    debug_assert_eq!(state, State::Queued { doubt: Doubt::None });
    Ok(state)
}

impl Way {
    /// What becomes of work whose name an operation has.
    fn of_work(found: &Whole, work: &Enqueue, now: Timestamp) -> Self {
        if found.name != work.name {
            return Self::Collision;
        }
        match super::claiming::expired(&found.head, now) {
            State::Absent => Self::Anew,
            State::Released => Self::Released,
            state => Self::Occupied(state),
        }
    }
}
