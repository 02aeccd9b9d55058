//! The statements that write rows of operations and attempts, each prepared once and run many times.

use rusqlite::{CachedStatement, Connection, Result, params};
use steadfast_core::{Answer, AttemptEnd, Fence, Timestamp};

use super::row::{self, Head, Whole};

/// Writes operations that the tables do not have.
pub(super) struct Insert<'a>(CachedStatement<'a>);

/// Writes what an event changes of operations.
pub(super) struct Update<'a>(CachedStatement<'a>);

/// Writes attempts that have ended.
pub(super) struct InsertAttempt<'a>(CachedStatement<'a>);

/// How the attempt under way ended, as `attempts` writes it.
#[derive(Clone, Copy, Debug)]
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

impl<'a> Insert<'a> {
    pub(super) fn of(conn: &'a Connection) -> Result<Self> {
        const SQL: &str = "INSERT INTO operations (seq, digest, state, mode, doubt, fence, attempts, created_at, \
                           began_at, changed_at, expires_at, keep_ms, keep_from, tombstone_ms, repeatable_ms, \
                           answer, fingerprint, namespace, key, principal, credential, route, method, path, \
                           digest_head, answer_status, answer_headers, answer_body, request_id) \
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
                           ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)";
        conn.prepare_cached(SQL).map(Self)
    }

    /// Writes the operation, and the answer that its state names.
    pub(super) fn run(&mut self, operation: &Whole, answer: Option<&Answer>) -> Result<()> {
        let Whole { head, fingerprint, name, owner, route, method, path, request_id } = operation;
        let columns = row::state_columns(head.state);
        self.0.execute(params![
            head.seq,
            head.digest.as_bytes(),
            columns.state,
            row::mode_name(head.mode),
            columns.doubt,
            columns.fence,
            head.attempts,
            head.created_at.as_millis(),
            head.began_at.map(Timestamp::as_millis),
            head.changed_at.as_millis(),
            head.expires_at.map(Timestamp::as_millis),
            row::millis(head.retention.keep),
            row::keep_from_name(head.retention.from),
            head.retention.tombstone.map(row::millis),
            head.repeatable_for.map(row::millis),
            columns.answer,
            fingerprint.as_bytes(),
            name.namespace().as_str(),
            name.key().as_str(),
            owner.principal.as_ref().map(|principal| principal.as_str()),
            owner.credential.map(|credential| *credential.as_bytes()),
            &**route,
            &**method,
            &**path,
            row::digest_head(&head.digest),
            answer.map(|answer| answer.status),
            answer.map(|answer| answer.headers.as_packed()),
            answer.and_then(|answer| answer.body.as_deref()),
            request_id.as_deref().filter(|_| columns.fence.is_some()),
        ])?;
        Ok(())
    }
}

impl<'a> Update<'a> {
    pub(super) fn of(conn: &'a Connection) -> Result<Self> {
        const SQL: &str = "UPDATE operations SET state = ?2, doubt = ?3, evidence = ?4, fence = ?5, answer = ?6, \
                           began_at = ?7, changed_at = ?8, expires_at = ?9, answer_status = ?10, \
                           answer_headers = ?11, answer_body = ?12, \
                           request_id = CASE WHEN ?5 IS NOT NULL THEN request_id END WHERE seq = ?1";
        conn.prepare_cached(SQL).map(Self)
    }

    /// Writes the operation's new state, and the answer that it names: a state that names none keeps none.
    pub(super) fn run(&mut self, head: &Head, answer: Option<&Answer>) -> Result<()> {
        let columns = row::state_columns(head.state);
        self.0.execute(params![
            head.seq,
            columns.state,
            columns.doubt,
            columns.evidence,
            columns.fence,
            columns.answer,
            head.began_at.map(Timestamp::as_millis),
            head.changed_at.as_millis(),
            head.expires_at.map(Timestamp::as_millis),
            answer.map(|answer| answer.status),
            answer.map(|answer| answer.headers.as_packed()),
            answer.and_then(|answer| answer.body.as_deref()),
        ])?;
        Ok(())
    }
}

impl<'a> InsertAttempt<'a> {
    pub(super) fn of(conn: &'a Connection) -> Result<Self> {
        const SQL: &str = "INSERT INTO attempts (seq, number, fence, began_at, ended_at, end, cause, status, \
                           request_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                           coalesce(?9, (SELECT request_id FROM operations WHERE seq = ?1)))";
        conn.prepare_cached(SQL).map(Self)
    }

    /// Writes how the attempt ended of the operation whose head this is, before the operation's row says so: the id of
    /// the request that made it stands there, where it is not given.
    pub(super) fn run(
        &mut self,
        head: &Head,
        fence: Fence,
        began_at: Timestamp,
        ended_at: Timestamp,
        end: EndColumns,
        request_id: Option<&str>,
    ) -> Result<()> {
        self.0.execute(params![
            head.seq,
            head.attempts,
            fence.as_bytes(),
            began_at.as_millis(),
            ended_at.as_millis(),
            end.end,
            end.cause,
            end.status,
            request_id,
        ])?;
        Ok(())
    }
}
