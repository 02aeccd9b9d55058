//! Claiming: one insert where the name is new; otherwise what the state machine says.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, params};
use steadfast_core::{
    Answer, Event, Mode, OperationDigest, Refused, Rerun, State, Timestamp, Transition, rerun, transition,
};

use super::{
    desk::Desk,
    failure::damaged,
    headers,
    row::{self, Head, Whole, whole_columns},
};
use crate::{Claim, ClaimOutcome, ClaimRequest, LedgerError, Occupied, Standing};

/// The longest path that is kept, in bytes.
const PATH_BYTES_MAX: usize = 1_024;

impl Desk {
    /// Claims what `request` names, or says how it stands.
    pub(super) fn claim(
        &mut self,
        request: &ClaimRequest,
    ) -> Result<std::result::Result<ClaimOutcome, LedgerError>> {
        let Some(found) = self.by_digest(request.name.digest())? else {
            return self.claim_new(request).map(Ok);
        };
        if found.name != request.name {
            return Ok(Err(LedgerError::DigestCollision));
        }
        let state = expired(&found.head, self.now);
        match state {
            State::Absent => {
                self.remove(found.head.seq)?;
                self.claim_new(request).map(Ok)
            }
            State::Released => self.claim_released(&found.head, request).map(Ok),
            State::Claimed { fence, .. } if fence == request.fence => {
                Ok(Ok(self.claim_again(&found.head, request)))
            }
            _ if found.fingerprint != request.fingerprint => self.occupied(found, state).map(Ok),
            State::InDoubt { .. } if found.owner.discloses_to(&request.owner) => {
                self.claim_doubtful(found, request).map(Ok)
            }
            _ => self.occupied(found, state).map(Ok),
        }
    }

    fn by_digest(&self, digest: OperationDigest) -> Result<Option<Whole>> {
        const SQL: &str = concat!("SELECT ", whole_columns!(), " FROM operations WHERE digest = ?1");
        self.conn.prepare_cached(SQL)?.query_row([digest.as_bytes()], Whole::read).optional()
    }

    fn claim_new(&mut self, request: &ClaimRequest) -> Result<ClaimOutcome> {
        const SQL: &str = "INSERT INTO operations (seq, digest, state, mode, doubt, fence, attempts, created_at, \
                           began_at, changed_at, keep_ms, keep_from, tombstone_ms, repeatable_ms, fingerprint, \
                           namespace, key, principal, credential, route, method, path) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
                           ?16, ?17, ?18, ?19)";
        let Transition { state, .. } = claimed(State::Absent, request, Rerun::Forbidden)?;
        let columns = row::state_columns(state);
        let seq = self.seq_next;
        self.seq_next += 1;
        let (name, owner, retention) = (&request.name, &request.owner, &request.retention);
        self.conn.prepare_cached(SQL)?.execute(params![
            seq,
            name.digest().as_bytes(),
            columns.state,
            row::mode_name(Mode::Synchronous),
            columns.doubt,
            columns.fence,
            self.now.as_millis(),
            row::millis(retention.keep),
            row::keep_from_name(retention.from),
            retention.tombstone.map(row::millis),
            request.repeatable_for.map(row::millis),
            request.fingerprint.as_bytes(),
            name.namespace().as_str(),
            name.key().as_str(),
            owner.principal.as_ref().map(|principal| principal.as_str()),
            owner.credential.map(|credential| *credential.as_bytes()),
            &*request.route,
            &*request.method,
            kept_path(&request.path),
        ])?;
        Ok(self.granted(seq, 1, false, self.now, request))
    }

    /// A released operation took no effect, so everything about it is as new as the request that claims it; it
    /// keeps its id and the history of its attempts.
    fn claim_released(&mut self, head: &Head, request: &ClaimRequest) -> Result<ClaimOutcome> {
        const SQL: &str = "UPDATE operations SET state = ?2, doubt = ?3, fence = ?4, attempts = ?5, \
                           created_at = ?6, began_at = ?6, changed_at = ?6, expires_at = NULL, keep_ms = ?7, \
                           keep_from = ?8, tombstone_ms = ?9, repeatable_ms = ?10, fingerprint = ?11, \
                           principal = ?12, credential = ?13, route = ?14, method = ?15, path = ?16 \
                           WHERE seq = ?1";
        let Transition { state, .. } = claimed(head.state, request, Rerun::Forbidden)?;
        let columns = row::state_columns(state);
        let (owner, retention, attempt) = (&request.owner, &request.retention, head.attempts + 1);
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            columns.state,
            columns.doubt,
            columns.fence,
            attempt,
            self.now.as_millis(),
            row::millis(retention.keep),
            row::keep_from_name(retention.from),
            retention.tombstone.map(row::millis),
            request.repeatable_for.map(row::millis),
            request.fingerprint.as_bytes(),
            owner.principal.as_ref().map(|principal| principal.as_str()),
            owner.credential.map(|credential| *credential.as_bytes()),
            &*request.route,
            &*request.method,
            kept_path(&request.path),
        ])?;
        Ok(self.granted(head.seq, attempt, false, self.now, request))
    }

    /// An operation in doubt runs again only where that is allowed. Everything that binds it stays.
    fn claim_doubtful(&mut self, found: Whole, request: &ClaimRequest) -> Result<ClaimOutcome> {
        const SQL: &str = "UPDATE operations SET state = ?2, doubt = ?3, fence = ?4, attempts = ?5, began_at = ?6, \
                           changed_at = ?6 WHERE seq = ?1";
        let head = &found.head;
        let rerun = rerun(head.created_at, self.now, head.repeatable_for, request.repeatable_for);
        let event = Event::Claim { mode: Mode::Synchronous, fence: request.fence, rerun };
        let Ok(Transition { state, .. }) = transition(head.state, event) else {
            let state = head.state;
            return self.occupied(found, state);
        };
        let (columns, attempt) = (row::state_columns(state), head.attempts + 1);
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            columns.state,
            columns.doubt,
            columns.fence,
            attempt,
            self.now.as_millis(),
        ])?;
        Ok(self.granted(head.seq, attempt, true, head.created_at, request))
    }

    /// The claim was written by an earlier try whose end nobody knew.
    fn claim_again(&mut self, head: &Head, request: &ClaimRequest) -> ClaimOutcome {
        self.granted(head.seq, head.attempts, head.state.is_doubtful(), head.created_at, request)
    }

    fn granted(
        &mut self,
        seq: i64,
        attempt: u32,
        after_doubt: bool,
        claimed_at: Timestamp,
        request: &ClaimRequest,
    ) -> ClaimOutcome {
        let digest = request.name.digest();
        ClaimOutcome::Granted(Claim {
            operation: row::id(request.name.bucket(), seq, &digest),
            digest,
            fence: request.fence,
            attempt,
            after_doubt,
            claimed_at,
            send_by: self.leases.begin(seq, request.fence, self.boot),
        })
    }

    fn occupied(&self, found: Whole, state: State) -> Result<ClaimOutcome> {
        let head = &found.head;
        let occupied = match state {
            State::Claimed { .. } => Occupied::Claimed { since: head.began_at.unwrap_or(head.changed_at) },
            State::InDoubt { .. } => Occupied::InDoubt { since: head.changed_at },
            State::Completed { answer } => Occupied::Completed {
                answer: match answer {
                    Some(_) => stored_answer(&self.conn, head.seq)?,
                    None => None,
                },
                expires_at: head.expires_at.ok_or_else(|| damaged("a completed operation never expires"))?,
            },
            State::Queued { .. } | State::Waiting { .. } => Occupied::Queued,
            State::Dead { .. } => Occupied::Dead,
            State::Cancelled => Occupied::Cancelled,
            State::Tombstone => Occupied::Tombstone,
            State::Absent | State::Released => return Err(damaged("what is free cannot be occupied")),
        };
        let operation = found.id();
        let Whole { fingerprint, name, owner, .. } = found;
        Ok(ClaimOutcome::Occupied(Arc::new(Standing { operation, name, fingerprint, owner, occupied })))
    }
}

/// The state of an operation, its expiry taken into account: whether it was swept makes no difference.
pub(super) fn expired(head: &Head, now: Timestamp) -> State {
    if head.expires_at.is_none_or(|expires_at| now < expires_at) {
        return head.state;
    }
    let tombstone = head.state != State::Tombstone && head.tombstone_until().is_some_and(|until| now < until);
    transition(head.state, Event::Expire { tombstone }).map_or(head.state, |transition| transition.state)
}

/// The stored answer of the operation in row `seq`.
pub(super) fn stored_answer(conn: &Connection, seq: i64) -> Result<Option<Answer>> {
    const SQL: &str = "SELECT status, headers, body FROM answers WHERE seq = ?1";
    let answer = conn.prepare_cached(SQL)?.query_row([seq], |row| {
        let body: Option<Vec<u8>> = row.get(2)?;
        Ok(Answer { status: row.get(0)?, headers: headers::unpack(row.get(1)?)?, body: body.map(Into::into) })
    });
    answer.optional()
}

/// The claim of what is free; that the state machine refuses it would be a row that contradicts itself.
fn claimed(state: State, request: &ClaimRequest, rerun: Rerun) -> Result<Transition> {
    let event = Event::Claim { mode: Mode::Synchronous, fence: request.fence, rerun };
    transition(state, event).map_err(|_: Refused| damaged("what is free was not granted"))
}

/// The path, cut to what is kept, at the boundary of a character.
fn kept_path(path: &str) -> &str {
    let end = (0..=path.len().min(PATH_BYTES_MAX)).rev().find(|end| path.is_char_boundary(*end));
    &path[..end.unwrap_or(0)]
}
