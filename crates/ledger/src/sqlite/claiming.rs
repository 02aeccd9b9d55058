//! Claiming: one entry in the log where the name is new; otherwise what the state machine says.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Result, Row, params};
use steadfast_core::{
    Answer, Bucket, Event, Fence, Mode, OperationDigest, Refused, Rerun, State, Timestamp, Transition, rerun,
    transition,
};

use super::{
    desk::Desk,
    entry,
    failure::damaged,
    row::{self, Head, WHOLE_COLUMNS, Whole, answer_columns, whole_columns},
    rows,
};
use crate::{Claim, ClaimOutcome, ClaimRequest, LedgerError, Occupied, Standing};

/// The longest path that is kept, in bytes.
const PATH_BYTES_MAX: usize = 1_024;

/// What became of a claim, or why the ledger cannot say.
type Claimed = std::result::Result<ClaimOutcome, LedgerError>;

impl Desk {
    /// Claims a new operation in memory and in the log, or says how one that there is stands. `None`, with the
    /// request left where it is, where rows of the tables have to be changed.
    pub(super) fn claim_at_once(&mut self, request: &mut Option<ClaimRequest>) -> Result<Option<Claimed>> {
        let Some(asked) = request.as_ref() else { return Ok(None) };
        let digest = asked.name.digest();
        if let Some(recent) = self.recent.by_digest(digest) {
            return Ok(match Way::of(&recent.whole, asked, self.now) {
                Way::Collision => Some(Err(LedgerError::DigestCollision)),
                Way::Occupied(state) => {
                    let answer = recent.ended.as_ref().and_then(|ended| ended.answer.clone());
                    Some(Ok(occupied(recent.whole.clone(), state, answer)?))
                }
                Way::Anew | Way::Released | Way::Again | Way::Doubtful => None,
            });
        }
        match self.by_name(asked)? {
            Some((found, answer)) => match Way::of(&found, asked, self.now) {
                Way::Collision => Ok(Some(Err(LedgerError::DigestCollision))),
                Way::Occupied(state) => occupied(found, state, answer).map(|outcome| Some(Ok(outcome))),
                Way::Anew | Way::Released | Way::Again | Way::Doubtful => Ok(None),
            },
            None => {
                if let Some(stuck) = &self.stuck {
                    return Ok(Some(Err(stuck.clone())));
                }
                let Some(asked) = request.take() else { return Ok(None) };
                let operation = self.new_operation(asked)?;
                let State::Claimed { fence, .. } = operation.head.state else {
                    return Err(damaged("a claim was not granted as one"));
                };
                entry::claimed(self.log.entries(), &operation, fence);
                let granted = self.granted(&operation.head, operation.name.bucket(), fence, false, self.now);
                self.recent.insert(operation, false);
                Ok(Some(Ok(granted)))
            }
        }
    }

    /// Claims what `request` names in the tables, which have everything that the log says, or says how it stands.
    pub(super) fn claim(&mut self, request: &ClaimRequest) -> Result<Claimed> {
        let Some((found, answer)) = self.by_name(request)? else {
            return self.claim_new(request).map(Ok);
        };
        match Way::of(&found, request, self.now) {
            Way::Collision => Ok(Err(LedgerError::DigestCollision)),
            Way::Anew => {
                self.remove(found.head.seq)?;
                self.claim_new(request).map(Ok)
            }
            Way::Released => self.claim_released(&found.head, request).map(Ok),
            Way::Again => Ok(Ok(self.claim_again(&found.head, request))),
            Way::Doubtful => self.claim_doubtful(found, request).map(Ok),
            Way::Occupied(state) => occupied(found, state, answer).map(Ok),
        }
    }

    /// The operation that is asked for, with the answer that it keeps.
    fn by_name(&self, request: &ClaimRequest) -> Result<Option<(Whole, Option<Answer>)>> {
        let mut found = self.by_digest(request.name.digest())?;
        if let Some((found, _)) = &mut found {
            request.recall(&mut found.name, &mut found.fingerprint);
        }
        Ok(found)
    }

    /// The operation whose name has this digest, with the answer that it keeps.
    pub(super) fn by_digest(&self, digest: OperationDigest) -> Result<Option<(Whole, Option<Answer>)>> {
        const SQL: &str = concat!(
            "SELECT ",
            whole_columns!(),
            ", ",
            answer_columns!(),
            " FROM operations WHERE digest_head = ?1 AND digest = ?2"
        );
        let name = params![row::digest_head(&digest), digest.as_bytes()];
        let read = |row: &Row<'_>| {
            let whole = Whole::read(row)?;
            let answer = match whole.head.state {
                State::Completed { answer: Some(_) } => Some(row::answer(row, WHOLE_COLUMNS)?),
                _ => None,
            };
            Ok((whole, answer))
        };
        self.conn.prepare_cached(SQL)?.query_row(name, read).optional()
    }

    fn claim_new(&mut self, request: &ClaimRequest) -> Result<ClaimOutcome> {
        let operation = self.new_operation(request.clone())?;
        rows::Insert::of(&self.conn)?.run(&operation, None)?;
        let bucket = operation.name.bucket();
        Ok(self.granted(&operation.head, bucket, request.fence, false, self.now))
    }

    /// The operation that the claim of an absent one makes.
    fn new_operation(&mut self, request: ClaimRequest) -> Result<Whole> {
        let Transition { state, .. } = claimed(State::Absent, &request, Rerun::Forbidden)?;
        let seq = self.seq_next;
        self.seq_next += 1;
        let (digest, fence) = (request.name.digest(), request.fence);
        let head = Head::claimed(seq, digest, fence, self.now, request.retention, request.repeatable_for);
        let head = Head { state, ..head };
        let request_id = request.kept_request_id().map(Into::into);
        let ClaimRequest { name, fingerprint, owner, route, method, path, .. } = request;
        let path = if path.len() > PATH_BYTES_MAX { kept_path(&path).into() } else { path };
        Ok(Whole { head, fingerprint, name, owner, route, method, path, request_id })
    }

    /// A released operation took no effect, so everything about it is as new as the request that claims it; it
    /// keeps its id and the history of its attempts.
    fn claim_released(&mut self, head: &Head, request: &ClaimRequest) -> Result<ClaimOutcome> {
        const SQL: &str = "UPDATE operations SET state = ?2, doubt = ?3, fence = ?4, attempts = ?5, \
                           created_at = ?6, began_at = ?6, changed_at = ?6, expires_at = NULL, keep_ms = ?7, \
                           keep_from = ?8, tombstone_ms = ?9, repeatable_ms = ?10, fingerprint = ?11, \
                           principal = ?12, credential = ?13, route = ?14, method = ?15, path = ?16, \
                           request_id = ?17 WHERE seq = ?1";
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
            request.kept_request_id(),
        ])?;
        let head = Head { attempts: attempt, ..*head };
        Ok(self.granted(&head, request.name.bucket(), request.fence, false, self.now))
    }

    /// An operation in doubt runs again only where that is allowed. Everything that binds it stays.
    fn claim_doubtful(&mut self, found: Whole, request: &ClaimRequest) -> Result<ClaimOutcome> {
        const SQL: &str = "UPDATE operations SET state = ?2, doubt = ?3, fence = ?4, attempts = ?5, began_at = ?6, \
                           changed_at = ?6, request_id = ?7 WHERE seq = ?1";
        let head = &found.head;
        let rerun = rerun(head.created_at, self.now, head.repeatable_for, request.repeatable_for);
        let event = Event::Claim { mode: Mode::Synchronous, fence: request.fence, rerun };
        let Ok(Transition { state, .. }) = transition(head.state, event) else {
            let state = head.state;
            return occupied(found, state, None);
        };
        let (columns, attempt) = (row::state_columns(state), head.attempts + 1);
        self.conn.prepare_cached(SQL)?.execute(params![
            head.seq,
            columns.state,
            columns.doubt,
            columns.fence,
            attempt,
            self.now.as_millis(),
            request.kept_request_id(),
        ])?;
        let head = Head { attempts: attempt, ..*head };
        Ok(self.granted(&head, request.name.bucket(), request.fence, true, head.created_at))
    }

    /// The claim was written by an earlier try whose end nobody knew.
    fn claim_again(&mut self, head: &Head, request: &ClaimRequest) -> ClaimOutcome {
        let after_doubt = head.state.is_doubtful();
        self.granted(head, request.name.bucket(), request.fence, after_doubt, head.created_at)
    }

    fn granted(
        &mut self,
        head: &Head,
        bucket: Bucket,
        fence: Fence,
        after_doubt: bool,
        claimed_at: Timestamp,
    ) -> ClaimOutcome {
        ClaimOutcome::Granted(Claim {
            operation: row::id(bucket, head.seq, &head.digest),
            digest: head.digest,
            fence,
            attempt: head.attempts,
            after_doubt,
            claimed_at,
            send_by: self.leases.begin(head.seq, fence, self.boot),
        })
    }
}

/// What becomes of a claim of an operation that there is.
pub(super) enum Way {
    /// Its name is not the one that was asked for.
    Collision,
    /// It has expired.
    Anew,
    /// It took no effect.
    Released,
    /// This very attempt holds the claim.
    Again,
    /// Its outcome is unknown, and the caller may know of it.
    Doubtful,
    /// It stands in this state, and cannot be claimed.
    Occupied(State),
}

impl Way {
    fn of(found: &Whole, request: &ClaimRequest, now: Timestamp) -> Self {
        if found.name != request.name {
            return Self::Collision;
        }
        let state = expired(&found.head, now);
        match state {
            State::Absent => Self::Anew,
            State::Released => Self::Released,
            State::Claimed { fence, .. } if fence == request.fence => Self::Again,
            _ if found.fingerprint != request.fingerprint => Self::Occupied(state),
            State::InDoubt { .. } if found.owner.discloses_to(&request.owner) => Self::Doubtful,
            _ => Self::Occupied(state),
        }
    }
}

/// How an operation that cannot be claimed stands.
pub(super) fn occupied(found: Whole, state: State, answer: Option<Answer>) -> Result<ClaimOutcome> {
    let head = &found.head;
    let occupied = match state {
        State::Claimed { .. } => Occupied::Claimed { since: head.began_at.unwrap_or(head.changed_at) },
        State::InDoubt { .. } => Occupied::InDoubt { since: head.changed_at },
        State::Completed { .. } => Occupied::Completed {
            answer,
            expires_at: head.expires_at.ok_or_else(|| damaged("a completed operation never expires"))?,
        },
        State::Queued { .. } | State::Waiting { .. } => Occupied::Queued,
        State::Dead { .. } => Occupied::Dead,
        State::Cancelled => Occupied::Cancelled,
        State::Tombstone => Occupied::Tombstone,
        State::Absent | State::Released => return Err(damaged("what is free cannot be occupied")),
    };
    let (operation, mode) = (found.id(), found.head.mode);
    let Whole { fingerprint, name, owner, .. } = found;
    Ok(ClaimOutcome::Occupied(Arc::new(Standing { operation, name, fingerprint, owner, mode, occupied })))
}

/// The state of an operation, its expiry taken into account: whether it was swept makes no difference.
pub(super) fn expired(head: &Head, now: Timestamp) -> State {
    if head.expires_at.is_none_or(|expires_at| now < expires_at) {
        return head.state;
    }
    let tombstone = head.state != State::Tombstone && head.tombstone_until().is_some_and(|until| now < until);
    transition(head.state, Event::Expire { tombstone }).map_or(head.state, |transition| transition.state)
}

/// The claim of what is free; that the state machine refuses it would be a row that contradicts itself.
fn claimed(state: State, request: &ClaimRequest, rerun: Rerun) -> Result<Transition> {
    let event = Event::Claim { mode: Mode::Synchronous, fence: request.fence, rerun };
    transition(state, event).map_err(|_: Refused| damaged("what is free was not granted"))
}

/// The path, cut to what is kept, at the boundary of a character.
pub(super) fn kept_path(path: &str) -> &str {
    let end = (0..=path.len().min(PATH_BYTES_MAX)).rev().find(|end| path.is_char_boundary(*end));
    &path[..end.unwrap_or(0)]
}
