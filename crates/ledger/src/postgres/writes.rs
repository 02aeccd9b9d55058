//! What a transaction writes, gathered as one array a column, and sent in one flight with its commit.

use std::{future::Future, sync::Arc};

use steadfast_core::{
    Answer, AnswerDigest, AttemptEnd, Bucket, Effect, Fence, Mode, OperationDigest, OperationId, State,
    Timestamp,
};
use tokio_postgres::{Row, types::ToSql};

use super::{
    accepting::{GO_ON, accept},
    changing::redrive,
    decide::{Change, Grant, stored_end},
    failure::{Failure, first},
    places::Places,
    record::{Place, RowAt, Stored, doubt_columns, millis},
    session::Session,
    statements,
};
use crate::{ClaimRequest, Enqueue, KeepFrom};

/// A bucket as its column.
pub(super) fn bucket_column(bucket: Bucket) -> i16 {
    i16::try_from(bucket.number()).unwrap_or(i16::MAX)
}

/// A sequence number as its column.
pub(super) fn seq_column(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// Rows that a commit brought back.
#[derive(Debug)]
pub(super) struct Written {
    /// Those of claims: digest and number.
    pub(super) claimed: Vec<Row>,
    /// Those of work that was accepted.
    pub(super) accepted: Vec<Row>,
}

/// Everything that one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Writes {
    advance: Advance,
    reclaim: Reclaim,
    attempts: Attempts,
    answers: Answers,
    evidence: Evidence,
    adopt: (Vec<i16>, Vec<i64>, Vec<Vec<u8>>),
    cases: Cases,
    forget: (Vec<i16>, Vec<i64>),
    forget_background: (Vec<i16>, Vec<i64>),
    remove: (Vec<i16>, Vec<i64>),
    /// The operations that somebody may wait for.
    pub(super) wakes: Vec<OperationDigest>,
    /// How places in the backlog change.
    pub(super) places: Places,
    /// Work that is accepted where something else was.
    accept: Accept,
    /// An operation that was redriven: how many attempts it has, and until when they begin.
    pub(super) redriven: Option<(OperationId, i32, i64)>,
}

/// Work that is accepted where something else was.
#[derive(Debug, Default)]
struct Accept {
    work: Vec<(Arc<Enqueue>, Option<i64>)>,
    bucket: Vec<i16>,
    seq: Vec<i64>,
    attempts: Vec<i32>,
    created: Vec<i64>,
}

#[derive(Debug, Default)]
struct Advance {
    at: Vec<RowAt>,
    state: Vec<&'static str>,
    doubt: Vec<&'static str>,
    doubt_answer: Vec<Option<Vec<u8>>>,
    fence: Vec<Option<Vec<u8>>>,
    answer_digest: Vec<Option<Vec<u8>>>,
    expires: Vec<Option<i64>>,
    changed: Vec<i64>,
    tries: Vec<Option<i32>>,
    due: Vec<Option<i64>>,
    cancel_asked: Vec<Option<bool>>,
}

#[derive(Debug, Default)]
struct Reclaim {
    now: i64,
    bucket: Vec<i16>,
    seq: Vec<i64>,
    new_life: Vec<bool>,
    namespace: Vec<String>,
    key: Vec<String>,
    fingerprint: Vec<Vec<u8>>,
    principal: Vec<Option<String>>,
    credential: Vec<Option<Vec<u8>>>,
    route: Vec<String>,
    method: Vec<String>,
    path: Vec<String>,
    fence: Vec<Vec<u8>>,
    repeatable: Vec<Option<i64>>,
    keep: Vec<i64>,
    keep_from_claim: Vec<bool>,
    tombstone: Vec<Option<i64>>,
    doubt: Vec<&'static str>,
    attempts: Vec<i32>,
    first_sent: Vec<i64>,
    created: Vec<i64>,
    request_id: Vec<Option<String>>,
}

#[derive(Debug, Default)]
struct Attempts {
    bucket: Vec<i16>,
    seq: Vec<i64>,
    number: Vec<i32>,
    fence: Vec<Vec<u8>>,
    began: Vec<i64>,
    ended: Vec<i64>,
    ending: Vec<&'static str>,
    cause: Vec<Option<&'static str>>,
    status: Vec<Option<i32>>,
    request_id: Vec<Option<String>>,
    excerpt: Vec<Option<String>>,
}

#[derive(Debug, Default)]
struct Answers {
    bucket: Vec<i16>,
    seq: Vec<i64>,
    status: Vec<i32>,
    headers: Vec<Vec<u8>>,
    body: Vec<Option<bytes::Bytes>>,
}

#[derive(Debug, Default)]
struct Evidence {
    fence: Vec<Vec<u8>>,
    digest: Vec<Vec<u8>>,
    came: Vec<i64>,
    answers: Answers,
}

#[derive(Debug, Default)]
struct Cases {
    bucket: Vec<i16>,
    seq: Vec<i64>,
    fence: Vec<Vec<u8>>,
    digest: Vec<Vec<u8>>,
    opened: Vec<i64>,
}

impl Answers {
    fn push(&mut self, row: &Stored, answer: &Answer) {
        self.bucket.push(bucket_column(row.id.bucket()));
        self.seq.push(seq_column(row.id.sequence()));
        self.status.push(i32::from(answer.status));
        self.headers.push(answer.headers.as_packed().to_vec());
        self.body.push(answer.body.clone());
    }
}

/// An attempt's end as its columns, or none where the change came by other ways.
pub(super) struct Ending {
    pub(super) fence: Fence,
    pub(super) ending: &'static str,
    pub(super) cause: Option<&'static str>,
    pub(super) status: Option<i32>,
    pub(super) excerpt: Option<Box<str>>,
}

impl Ending {
    /// The end of the attempt with this fence.
    pub(super) fn of(fence: Fence, end: &AttemptEnd) -> Self {
        let (ending, cause, status) = stored_end(end);
        Self { fence, ending, cause, status, excerpt: None }
    }
}

impl Writes {
    /// Writes a change of state and its effects. `answer` is the event's, where it brought one.
    pub(super) fn change(
        &mut self,
        row: &Stored,
        change: Change,
        by: Option<&Ending>,
        answer: Option<(&Answer, AnswerDigest)>,
        now: Timestamp,
    ) {
        let mut expires_at = row.expires_at;
        for effect in change.effects {
            match effect {
                Effect::StoreAnswer => answer.iter().for_each(|(answer, _)| self.answers.push(row, answer)),
                Effect::KeepEvidence => self.keep_evidence(row, by, answer, now),
                Effect::AdoptEvidence => self.adopt(row, change.state),
                Effect::OpenCase => self.open_case(row, by, answer, now),
                Effect::Wake => self.wakes.push(row.name.digest()),
                Effect::BeginRetention => expires_at = Some(row.expiry(now)),
                // Claims are written whole, by `claim`.
                Effect::BeginAttempt => {}
            }
        }
        if change.ends_attempt
            && let Some(by) = by
        {
            self.end_attempt(row, by, now);
        }
        if change.state != row.state {
            self.advance(row, change.state, change.place, expires_at, now);
            self.places.follow(row, change.state);
        }
    }

    /// Writes that an operation which was taken out of `ready` is not sent: it is in doubt.
    pub(super) fn hold_taken(&mut self, row: &Stored, change: &Change, now: Timestamp) {
        self.advance(row, change.state, change.place, row.expires_at, now);
        self.places.follow_taken(row, change.state);
        self.wakes.push(row.name.digest());
    }

    /// Writes the state that a row's retention ended in: a tombstone, without what hung on the operation.
    pub(super) fn entomb(&mut self, row: &Stored, state: State, until: Option<Timestamp>, now: Timestamp) {
        self.advance(row, state, row.place, until, now);
        self.places.follow(row, state);
        self.forget(row);
        self.wakes.push(row.name.digest());
    }

    /// Writes that an operation is to be called off, should its attempt bring nothing.
    pub(super) fn ask_to_cancel(&mut self, row: &Stored, now: Timestamp) {
        let place = row.place.map(|place| Place { cancel_asked: true, ..place });
        self.advance(row, row.state, place, row.expires_at, now);
    }

    /// Accepts work where something is over, in its stead, or, where that was released, as it.
    pub(super) fn accept(&mut self, row: &Stored, work: &Arc<Enqueue>, new_life: bool) {
        if new_life {
            self.remove(row);
        } else {
            self.remove.0.push(bucket_column(row.id.bucket()));
            self.remove.1.push(seq_column(row.id.sequence()));
            self.accept.bucket.push(bucket_column(row.id.bucket()));
            self.accept.seq.push(seq_column(row.id.sequence()));
            self.accept.attempts.push(i32::try_from(row.attempts).unwrap_or(i32::MAX));
            self.accept.created.push(row.created_at.as_millis());
        }
        if let Some(lane) = work.lane {
            self.places.join(work.name.bucket(), work.name.digest(), lane);
        }
        self.accept.work.push((Arc::clone(work), (!new_life).then_some(seq_column(row.id.sequence()))));
    }

    /// Whether there may be something new to take.
    pub(super) fn bring_work(&self) -> bool {
        self.places.bring_work() || !self.accept.work.is_empty()
    }

    /// Removes an operation and all that hangs on it.
    pub(super) fn remove(&mut self, row: &Stored) {
        self.places.follow(row, State::Absent);
        self.forget(row);
        self.remove.0.push(bucket_column(row.id.bucket()));
        self.remove.1.push(seq_column(row.id.sequence()));
    }

    /// Writes a claim on a row that is there.
    pub(super) fn claim(&mut self, row: &Stored, request: &ClaimRequest, grant: Grant, now: Timestamp) {
        if grant.new_life {
            self.forget(row);
        }
        let reclaim = &mut self.reclaim;
        let owner = if grant.afresh { &request.owner } else { &row.owner };
        let retention = if grant.afresh { request.retention } else { row.retention };
        let text = |new: &str, old: &str| if grant.afresh { new.to_owned() } else { old.to_owned() };
        reclaim.now = now.as_millis();
        reclaim.bucket.push(bucket_column(row.id.bucket()));
        reclaim.seq.push(seq_column(row.id.sequence()));
        reclaim.new_life.push(grant.new_life);
        // An earlier life's may have been erased.
        reclaim.namespace.push(request.name.namespace().as_str().to_owned());
        reclaim.key.push(request.name.key().as_str().to_owned());
        reclaim.fingerprint.push(request.fingerprint.as_bytes().to_vec());
        reclaim.principal.push(owner.principal.as_ref().map(|name| name.as_str().to_owned()));
        reclaim.credential.push(owner.credential.as_ref().map(|digest| digest.as_bytes().to_vec()));
        reclaim.route.push(text(&request.route, &row.route));
        reclaim.method.push(text(&request.method, &row.method));
        reclaim.path.push(text(kept_path(&request.path), &row.path));
        reclaim.fence.push(request.fence.as_bytes().to_vec());
        let repeatable = if grant.afresh { request.repeatable_for } else { row.repeatable_for };
        reclaim.repeatable.push(repeatable.map(millis));
        reclaim.keep.push(millis(retention.keep));
        reclaim.keep_from_claim.push(retention.from == KeepFrom::Claim);
        reclaim.tombstone.push(retention.tombstone.map(millis));
        reclaim.doubt.push(doubt_columns(grant.state).0);
        reclaim.attempts.push(i32::try_from(attempt_number(row, grant)).unwrap_or(i32::MAX));
        reclaim.first_sent.push(if grant.afresh { now } else { row.first_sent }.as_millis());
        reclaim.created.push(first_claimed(row, grant, now).as_millis());
        reclaim.request_id.push(request.kept_request_id().map(str::to_owned));
    }

    pub(super) fn advance(
        &mut self,
        row: &Stored,
        state: State,
        place: Option<Place>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let (doubt, doubt_answer) = doubt_columns(state);
        let advance = &mut self.advance;
        advance.at.push(row.at);
        advance.state.push(state.name().as_str());
        advance.doubt.push(doubt);
        advance.doubt_answer.push(doubt_answer.map(|digest| digest.as_bytes().to_vec()));
        advance.fence.push(match state {
            State::Claimed { fence, .. } => Some(fence.as_bytes().to_vec()),
            _ => None,
        });
        advance.answer_digest.push(match state {
            State::Completed { answer } => answer.map(|digest| digest.as_bytes().to_vec()),
            _ => None,
        });
        advance.expires.push(expires_at.map(Timestamp::as_millis));
        let changed = if state.name() == row.state.name() { row.changed_at } else { now };
        advance.changed.push(changed.as_millis());
        advance.tries.push(place.map(|place| i32::try_from(place.tries).unwrap_or(i32::MAX)));
        advance.due.push(place.map(|place| place.due_at.as_millis()));
        advance.cancel_asked.push(place.filter(|place| place.cancel_asked).map(|_| true));
    }

    fn end_attempt(&mut self, row: &Stored, by: &Ending, now: Timestamp) {
        let attempts = &mut self.attempts;
        attempts.bucket.push(bucket_column(row.id.bucket()));
        attempts.seq.push(seq_column(row.id.sequence()));
        attempts.number.push(i32::try_from(row.attempts).unwrap_or(i32::MAX));
        attempts.fence.push(by.fence.as_bytes().to_vec());
        attempts.began.push(row.changed_at.as_millis());
        attempts.ended.push(now.as_millis());
        attempts.ending.push(by.ending);
        attempts.cause.push(by.cause);
        attempts.status.push(by.status);
        attempts.request_id.push(row.request_id.as_deref().map(str::to_owned));
        attempts.excerpt.push(by.excerpt.as_deref().map(str::to_owned));
    }

    fn keep_evidence(
        &mut self,
        row: &Stored,
        by: Option<&Ending>,
        answer: Option<(&Answer, AnswerDigest)>,
        now: Timestamp,
    ) {
        if let (Some(by), Some((answer, digest))) = (by, answer) {
            self.evidence.answers.push(row, answer);
            self.evidence.fence.push(by.fence.as_bytes().to_vec());
            self.evidence.digest.push(digest.as_bytes().to_vec());
            self.evidence.came.push(now.as_millis());
        }
    }

    fn open_case(
        &mut self,
        row: &Stored,
        by: Option<&Ending>,
        answer: Option<(&Answer, AnswerDigest)>,
        now: Timestamp,
    ) {
        if let (Some(by), Some((_, digest))) = (by, answer) {
            self.cases.bucket.push(bucket_column(row.id.bucket()));
            self.cases.seq.push(seq_column(row.id.sequence()));
            self.cases.fence.push(by.fence.as_bytes().to_vec());
            self.cases.digest.push(digest.as_bytes().to_vec());
            self.cases.opened.push(now.as_millis());
        }
    }

    fn adopt(&mut self, row: &Stored, state: State) {
        if let State::Completed { answer: Some(digest) } = state {
            self.adopt.0.push(bucket_column(row.id.bucket()));
            self.adopt.1.push(seq_column(row.id.sequence()));
            self.adopt.2.push(digest.as_bytes().to_vec());
        }
    }

    /// Removes all that hangs on an operation.
    pub(super) fn forget(&mut self, row: &Stored) {
        self.forget.0.push(bucket_column(row.id.bucket()));
        self.forget.1.push(seq_column(row.id.sequence()));
        if row.mode == Mode::Asynchronous {
            self.forget_background.0.push(bucket_column(row.id.bucket()));
            self.forget_background.1.push(seq_column(row.id.sequence()));
        }
    }

    /// Sends everything and the commit in one flight.
    pub(super) async fn commit(
        &self,
        session: &Session,
        lease_ms: i64,
        now: Option<i64>,
    ) -> Result<Written, Failure> {
        let [answers, attempts, evidence, cases, settlements] = statements::FORGET;
        // In the order they are sent: what hung on an earlier life goes before the row gets its new number.
        let results = tokio::join!(
            biased;
            self.places.withdraw(session),
            delete(session, statements::FORGET_BACKGROUND, &self.forget_background),
            delete(session, answers, &self.forget),
            delete(session, attempts, &self.forget),
            delete(session, evidence, &self.forget),
            delete(session, cases, &self.forget),
            delete(session, settlements, &self.forget),
            delete(session, statements::REMOVE, &self.remove),
            self.send_advance(session),
            self.send_reclaim(session, lease_ms),
            self.send_attempts(session),
            self.send_answers(session),
            self.send_evidence(session),
            self.send_adopted(session),
            self.send_cases(session),
            redrive(session, self.redriven),
            self.send_accepted(session, now),
            self.places.send(session),
            session.simple("COMMIT"),
        );
        let mut failure = None;
        for result in [
            results.0, results.1, results.2, results.3, results.4, results.5, results.6, results.7,
            results.8, results.10, results.11, results.12, results.13, results.14, results.15,
        ] {
            first(result, &mut failure);
        }
        let claimed = first(results.9, &mut failure);
        let accepted = first(results.16, &mut failure);
        if let Err(of_places) = results.17 {
            failure.get_or_insert(of_places);
        }
        first(results.18, &mut failure);
        match failure {
            None => {
                Ok(Written { claimed: claimed.unwrap_or_default(), accepted: accepted.unwrap_or_default() })
            }
            Some(failure) => Err(failure),
        }
    }

    async fn send_advance(&self, session: &Session) -> Result<u64, tokio_postgres::Error> {
        let rows = &self.advance;
        unless(
            rows.at.is_empty(),
            session.execute(
                statements::ADVANCE,
                &[
                    &rows.at,
                    &rows.state,
                    &rows.doubt,
                    &rows.doubt_answer,
                    &rows.fence,
                    &rows.answer_digest,
                    &rows.expires,
                    &rows.changed,
                    &rows.tries,
                    &rows.due,
                    &rows.cancel_asked,
                ],
            ),
        )
        .await
    }

    async fn send_reclaim(
        &self,
        session: &Session,
        lease_ms: i64,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let rows = &self.reclaim;
        unless(
            rows.seq.is_empty(),
            session.query(
                statements::RECLAIM,
                &[
                    &rows.bucket,
                    &rows.seq,
                    &rows.new_life,
                    &rows.fingerprint,
                    &rows.principal,
                    &rows.credential,
                    &rows.route,
                    &rows.method,
                    &rows.path,
                    &rows.fence,
                    &rows.repeatable,
                    &rows.keep,
                    &rows.keep_from_claim,
                    &rows.tombstone,
                    &rows.doubt,
                    &rows.attempts,
                    &rows.first_sent,
                    &rows.created,
                    &rows.now,
                    &lease_ms,
                    &rows.namespace,
                    &rows.key,
                    &rows.request_id,
                ],
            ),
        )
        .await
    }

    async fn send_attempts(&self, session: &Session) -> Result<u64, tokio_postgres::Error> {
        let rows = &self.attempts;
        unless(
            rows.seq.is_empty(),
            session.execute(
                statements::END_ATTEMPTS,
                &[
                    &rows.bucket,
                    &rows.seq,
                    &rows.number,
                    &rows.fence,
                    &rows.began,
                    &rows.ended,
                    &rows.ending,
                    &rows.cause,
                    &rows.status,
                    &rows.request_id,
                    &rows.excerpt,
                ],
            ),
        )
        .await
    }

    async fn send_answers(&self, session: &Session) -> Result<u64, tokio_postgres::Error> {
        let rows = &self.answers;
        let bodies: Vec<Option<&[u8]>> = rows.body.iter().map(Option::as_deref).collect();
        unless(
            rows.seq.is_empty(),
            session.execute(
                statements::STORE_ANSWERS,
                &[&rows.bucket, &rows.seq, &rows.status, &rows.headers, &bodies],
            ),
        )
        .await
    }

    async fn send_evidence(&self, session: &Session) -> Result<u64, tokio_postgres::Error> {
        let (rows, answers) = (&self.evidence, &self.evidence.answers);
        let bodies: Vec<Option<&[u8]>> = answers.body.iter().map(Option::as_deref).collect();
        unless(
            rows.fence.is_empty(),
            session.execute(
                statements::KEEP_EVIDENCE,
                &[
                    &answers.bucket,
                    &answers.seq,
                    &rows.fence,
                    &rows.digest,
                    &answers.status,
                    &answers.headers,
                    &bodies,
                    &rows.came,
                ],
            ),
        )
        .await
    }

    async fn send_adopted(&self, session: &Session) -> Result<u64, tokio_postgres::Error> {
        let rows = &self.adopt;
        unless(rows.0.is_empty(), session.execute(statements::ADOPT_EVIDENCE, &[&rows.0, &rows.1, &rows.2]))
            .await
    }

    async fn send_accepted(
        &self,
        session: &Session,
        now: Option<i64>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let rows = &self.accept;
        let work = rows.work.iter().map(|(work, own)| (&**work, *own)).collect();
        let going_on: &[&(dyn ToSql + Sync)] = &[&rows.bucket, &rows.seq, &rows.attempts, &rows.created];
        let (accepted, went_on) = tokio::join!(
            biased;
            accept(session, work, now),
            unless(rows.seq.is_empty(), session.execute(GO_ON, going_on)),
        );
        let accepted = accepted?;
        went_on?;
        Ok(accepted)
    }

    async fn send_cases(&self, session: &Session) -> Result<u64, tokio_postgres::Error> {
        let rows = &self.cases;
        unless(
            rows.bucket.is_empty(),
            session.execute(
                statements::OPEN_CASES,
                &[&rows.bucket, &rows.seq, &rows.fence, &rows.digest, &rows.opened],
            ),
        )
        .await
    }
}

/// The number of the attempt that a claim begins.
pub(super) fn attempt_number(row: &Stored, grant: Grant) -> u32 {
    if grant.new_life { 1 } else { row.attempts.saturating_add(1) }
}

/// When the operation was first claimed in the life that a claim begins or goes on with.
pub(super) fn first_claimed(row: &Stored, grant: Grant, now: Timestamp) -> Timestamp {
    if grant.new_life { now } else { row.created_at }
}

/// As much of a path as is kept: at most 1,024 bytes.
pub(super) fn kept_path(path: &str) -> &str {
    const PATH_BYTES_MAX: usize = 1_024;
    let mut end = path.len().min(PATH_BYTES_MAX);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

async fn delete(
    session: &Session,
    sql: &'static str,
    rows: &(Vec<i16>, Vec<i64>),
) -> Result<u64, tokio_postgres::Error> {
    unless(rows.0.is_empty(), session.execute(sql, &[&rows.0, &rows.1])).await
}

/// Nothing, or what `future` brings: a statement without rows is not sent.
pub(super) async fn unless<T: Default, E>(
    nothing: bool,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    if nothing { Ok(T::default()) } else { future.await }
}
