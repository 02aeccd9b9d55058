//! One transaction for many commands.
//!
//! Claims of names that nobody has are one flight: insert, look at those that were there, commit. Whatever
//! must change a row that is there locks it first, in one sorted statement, so it takes two flights. Both kinds
//! share a transaction where they came together.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use steadfast_core::{
    Answer, AnswerDigest, AttemptEnd, Fence, Fingerprint, Next, NotSentCause, OperationDigest, OperationId,
    State, Timestamp,
};
use tokio_postgres::Row;

use super::{
    accepting::{self, Asked, accept},
    decide::{self, Change, ClaimDecision, EnqueueDecision, FinishDecision, Pause, StoredEnd},
    failure::{Failure, first},
    places::Places,
    queue::{Command, Work},
    record::{self, Stored, get, millis, sixteen},
    session::Session,
    statements,
    writes::{Ending, Writes, attempt_number, bucket_column, first_claimed, kept_path, seq_column, unless},
};
use crate::{
    BootInstant, Claim, ClaimOutcome, ClaimRequest, Durability, Enqueue, Enqueued, Finished, KeepFrom,
    LedgerError, OperationName, postgres::options::PostgresOptions,
};

/// How much of its lease a holder has to hand its request to a connection.
pub(super) const SEND_BY_PERCENT: u32 = 70;

/// What became of a command in a transaction that was committed.
#[derive(Debug)]
pub(super) enum Done {
    /// A claim was decided.
    Claim(Result<ClaimOutcome, LedgerError>),
    /// Whether work for later is accepted was decided.
    Enqueue(Result<Enqueued, LedgerError>),
    /// A finish was decided.
    Finish(Result<Finished, LedgerError>),
    /// Whether it is certain that a claim taken back does not stand.
    TakeBack(bool),
    /// The row is there: lock it and decide again.
    Lock,
    /// The row went away in between, or is complete: begin again without a lock.
    Fresh,
    /// Somebody else has the row locked.
    Blocked,
}

/// What a committed transaction did.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What became of each command, in their order.
    pub(super) done: Vec<Done>,
    /// The operations that somebody may wait for.
    pub(super) wakes: Vec<OperationDigest>,
    /// Whether there may be something new to take.
    pub(super) brings_work: bool,
}

/// A row that was read, with what hangs on it.
#[derive(Clone)]
struct Seen {
    row: Stored,
    answer: Option<Answer>,
    now: Timestamp,
}

/// What the first flight brought.
#[derive(Default)]
struct Found {
    inserted: HashMap<OperationDigest, (u64, Timestamp)>,
    accepted: HashMap<OperationDigest, (u64, Timestamp)>,
    looked: HashMap<OperationDigest, Seen>,
    locked: HashMap<OperationDigest, Seen>,
    existing: HashSet<OperationDigest>,
}

/// A transaction being made.
pub(super) struct Batch<'a> {
    session: &'a Session,
    options: &'a PostgresOptions,
    commands: &'a [Command],
    /// Read before the first statement was sent: leases count from then.
    began: BootInstant,
}

impl<'a> Batch<'a> {
    pub(super) fn new(session: &'a Session, options: &'a PostgresOptions, commands: &'a [Command]) -> Self {
        Self { session, options, commands, began: options.clock.boot() }
    }

    /// When the transaction began, on the holder's clock.
    pub(super) fn began(&self) -> BootInstant {
        self.began
    }

    /// Runs it.
    pub(super) async fn run(&self) -> Result<Outcome, Failure> {
        let locks = self.commands.iter().any(Command::locks);
        let mut writes = Writes::default();
        writes.places = self.joins();
        let mut found = self.session.bounded(self.first_flight((!locks).then_some(&writes.places))).await?;
        self.session.bounded(self.look_at_occupied(&mut found)).await?;
        if !locks {
            let done = self.commands.iter().map(|command| self.decide_fresh(command, &found)).collect();
            return Ok(Outcome { done, wakes: Vec::new(), brings_work: !found.accepted.is_empty() });
        }
        let earlier = self.session.bounded(self.earlier_ends(&found)).await?;
        let mut done: Vec<Done> =
            self.commands.iter().map(|command| self.decide(command, &found, &earlier, &mut writes)).collect();
        let (lease, now) = (millis(self.options.lease), self.options.store_time.millis());
        let written = self.session.bounded(writes.commit(self.session, lease, now)).await?;
        self.name_reclaimed(&written.claimed, &mut done)?;
        self.name_accepted(&written.accepted, &mut done)?;
        let brings_work = writes.bring_work() || !found.accepted.is_empty();
        Ok(Outcome { done, wakes: writes.wakes, brings_work })
    }

    /// Sends what needs no answer before it, and the commit where nothing follows.
    async fn first_flight(&self, commit: Option<&Places>) -> Result<Found, Failure> {
        let relaxed = self.commands.iter().all(|command| match &command.work {
            Work::Claim { request, lock: false, .. } => request.durability == Durability::Relaxed,
            _ => false,
        });
        let cautious = self.commands.iter().any(|command| command.cautious);
        let (begun, inserted, accepted, looked, locked, existing, places, committed) = tokio::join!(
            biased;
            self.session.begin(relaxed),
            self.insert(),
            accept(self.session, self.fresh_work(), self.options.store_time.millis()),
            self.look(),
            self.lock(cautious),
            self.existing(cautious),
            async { match commit { Some(places) => places.send(self.session).await, None => Ok(()) } },
            unless(commit.is_none(), self.session.simple("COMMIT")),
        );
        let mut failure = None;
        first(begun, &mut failure);
        let inserted = first(inserted, &mut failure).unwrap_or_default();
        let accepted = first(accepted, &mut failure).unwrap_or_default();
        let looked = first(looked, &mut failure).unwrap_or_default();
        let locked = first(locked, &mut failure).unwrap_or_default();
        let existing = first(existing, &mut failure).unwrap_or_default();
        if let Err(of_places) = places {
            failure.get_or_insert(of_places);
        }
        first(committed, &mut failure);
        if let Some(failure) = failure {
            return Err(failure);
        }
        let mut found = Found::read(&inserted, &looked, &locked, &existing)?;
        for row in &accepted {
            let (digest, seq, due_at) = accepting::accepted(row)?;
            found.accepted.insert(digest, (seq, due_at));
        }
        Ok(found)
    }

    /// Work of names that nobody has, as far as is known.
    fn fresh_work(&self) -> Vec<Asked<'_>> {
        let fresh = self.commands.iter().filter_map(|command| match &command.work {
            Work::Enqueue { work, lock: false, .. } => Some((&**work, None)),
            _ => None,
        });
        fresh.collect()
    }

    /// The lanes that are joined by what this transaction accepts, in the order in which it came.
    fn joins(&self) -> Places {
        let mut places = Places::default();
        for command in self.commands {
            if let Work::Enqueue { work, lock: false, .. } = &command.work
                && let Some(lane) = work.lane
            {
                places.join(command.bucket, command.digest, lane);
            }
        }
        places
    }

    /// Reads what stands where work was not accepted. That is rare, so it is a flight of its own.
    async fn look_at_occupied(&self, found: &mut Found) -> Result<(), Failure> {
        let fresh = self.commands.iter().filter(|command| {
            matches!(command.work, Work::Enqueue { lock: false, .. })
                && !found.accepted.contains_key(&command.digest)
        });
        let (buckets, digests) = names(fresh);
        if digests.is_empty() {
            return Ok(());
        }
        let anybody: Vec<Option<&[u8]>> = vec![None; digests.len()];
        let now = self.options.store_time.millis();
        let rows = self.session.query(statements::LOOK, &[&buckets, &digests, &anybody, &now]).await?;
        found.read_looked(&rows)
    }

    /// Commands that lock nothing yet, sorted by name: so do all nodes, and none waits for another in a circle.
    fn fresh(&self) -> Vec<(&Command, &ClaimRequest)> {
        let mut fresh: Vec<_> = self
            .commands
            .iter()
            .filter_map(|command| match &command.work {
                Work::Claim { request, lock: false, .. } => Some((command, &**request)),
                _ => None,
            })
            .collect();
        fresh.sort_by_key(|(command, _)| (command.bucket, command.digest));
        fresh
    }

    async fn insert(&self) -> Result<Vec<Row>, tokio_postgres::Error> {
        let fresh = self.fresh();
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let each = |column: fn(&ClaimRequest) -> &[u8]| -> Vec<&[u8]> {
            fresh.iter().map(|(_, request)| column(request)).collect()
        };
        let text = |column: fn(&ClaimRequest) -> &str| -> Vec<&str> {
            fresh.iter().map(|(_, request)| column(request)).collect()
        };
        let number = |column: fn(&ClaimRequest) -> Option<i64>| -> Vec<Option<i64>> {
            fresh.iter().map(|(_, request)| column(request)).collect()
        };
        let buckets: Vec<i16> = fresh.iter().map(|(command, _)| bucket_column(command.bucket)).collect();
        let digests: Vec<&[u8]> = fresh.iter().map(|(command, _)| &command.digest.as_bytes()[..]).collect();
        let principals: Vec<Option<&str>> = fresh
            .iter()
            .map(|(_, request)| request.owner.principal.as_ref().map(steadfast_core::Principal::as_str))
            .collect();
        let credentials: Vec<Option<&[u8]>> = fresh
            .iter()
            .map(|(_, request)| request.owner.credential.as_ref().map(|digest| &digest.as_bytes()[..]))
            .collect();
        let request_ids: Vec<Option<&str>> =
            fresh.iter().map(|(_, request)| request.kept_request_id()).collect();
        let windows: Vec<bool> =
            fresh.iter().map(|(_, request)| request.retention.from == KeepFrom::Claim).collect();
        self.session
            .query(
                statements::INSERT,
                &[
                    &buckets,
                    &digests,
                    &text(|request| request.name.namespace().as_str()),
                    &text(|request| request.name.key().as_str()),
                    &each(|request| request.fingerprint.as_bytes()),
                    &principals,
                    &credentials,
                    &text(|request| &request.route),
                    &text(|request| &request.method),
                    &text(|request| kept_path(&request.path)),
                    &each(|request| request.fence.as_bytes()),
                    &number(|request| request.repeatable_for.map(millis)),
                    &number(|request| Some(millis(request.retention.keep))),
                    &windows,
                    &number(|request| request.retention.tombstone.map(millis)),
                    &self.options.store_time.millis(),
                    &millis(self.options.lease),
                    &request_ids,
                ],
            )
            .await
    }

    async fn look(&self) -> Result<Vec<Row>, tokio_postgres::Error> {
        let fresh = self.fresh();
        if fresh.is_empty() {
            return Ok(Vec::new());
        }
        let (buckets, digests) = names(fresh.iter().map(|(command, _)| *command));
        let fences: Vec<Option<&[u8]>> = fresh
            .iter()
            .map(|(command, request)| {
                let elsewhere_only = command.maybe_written.is_none() && !command.cautious;
                elsewhere_only.then_some(&request.fence.as_bytes()[..])
            })
            .collect();
        let now = self.options.store_time.millis();
        self.session.query(statements::LOOK, &[&buckets, &digests, &fences, &now]).await
    }

    async fn lock(&self, cautious: bool) -> Result<Vec<Row>, tokio_postgres::Error> {
        let (buckets, digests) = names(self.commands.iter().filter(|command| command.locks()));
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        let sql = if cautious { statements::LOCK_FREE } else { statements::LOCK };
        self.session.query(sql, &[&buckets, &digests, &self.options.store_time.millis()]).await
    }

    async fn existing(&self, cautious: bool) -> Result<Vec<Row>, tokio_postgres::Error> {
        let (buckets, digests) = names(self.commands.iter().filter(|command| command.locks()));
        if digests.is_empty() || !cautious {
            return Ok(Vec::new());
        }
        self.session.query(statements::EXISTING, &[&buckets, &digests]).await
    }

    /// How the attempts ended whose finishes do not come from the holder.
    async fn earlier_ends(&self, found: &Found) -> Result<HashMap<Fence, StoredEnd>, Failure> {
        let (mut buckets, mut seqs, mut fences) = (Vec::new(), Vec::new(), Vec::<&[u8]>::new());
        for command in self.commands {
            if let Work::Finish { claim, end, answer, .. } = &command.work
                && let Some(seen) = found.locked.get(&command.digest)
                && decide::finish(Some(&seen.row), claim, end, (*answer, None), None, seen.now)
                    == FinishDecision::LookUp
            {
                buckets.push(bucket_column(claim.operation.bucket()));
                seqs.push(seq_column(claim.operation.sequence()));
                fences.push(claim.fence.as_bytes());
            }
        }
        if fences.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.session.query(statements::ENDED, &[&buckets, &seqs, &fences]).await?;
        let ended = rows.iter().map(|row| {
            let cause = get::<Option<&str>>(row, "cause")?.map(Into::into);
            let end = (get::<&str>(row, "ending")?.into(), cause, get(row, "status")?);
            Ok((Fence::from_bytes(sixteen(row, "fence")?), end))
        });
        ended.collect()
    }

    fn decide(
        &self,
        command: &Command,
        found: &Found,
        earlier: &HashMap<Fence, StoredEnd>,
        writes: &mut Writes,
    ) -> Done {
        let seen = found.locked.get(&command.digest);
        if seen.is_none() && found.existing.contains(&command.digest) {
            return Done::Blocked;
        }
        match &command.work {
            Work::Claim { lock: false, .. } => self.decide_fresh(command, found),
            Work::Claim { request, .. } => match seen {
                None => Done::Fresh,
                Some(seen) => self.decide_locked(command, request, seen, writes),
            },
            Work::Enqueue { lock: false, .. } => self.decide_fresh(command, found),
            Work::Enqueue { work, .. } => match seen {
                None => Done::Fresh,
                Some(seen) => accept_afresh(work, seen, writes),
            },
            Work::Finish { claim, end, answer, next, excerpt, .. } => {
                let earlier = Some(earlier.get(&claim.fence));
                finish((claim, end), (*answer, *next, excerpt.as_deref()), seen, earlier, writes)
            }
            Work::TakeBack { fence, .. } => Done::TakeBack(take_back(*fence, seen, writes)),
        }
    }

    fn decide_fresh(&self, command: &Command, found: &Found) -> Done {
        let request = match &command.work {
            Work::Claim { request, .. } => request,
            Work::Enqueue { work, .. } => return decide_work(command, work, found),
            Work::Finish { .. } | Work::TakeBack { .. } => return Done::Fresh,
        };
        if let Some((seq, now)) = found.inserted.get(&command.digest) {
            let operation = OperationId::new(command.bucket, *seq, &command.digest);
            return self.granted(command, request, (operation, 1, false, *now));
        }
        let Some(seen) = found.looked.get(&command.digest) else { return Done::Fresh };
        let seen = &*seen.as_asked(|name, fingerprint| request.recall(name, fingerprint));
        match decide::claim(&seen.row, request, seen.now) {
            ClaimDecision::Mine { after_doubt } => self.mine(command, request, seen, after_doubt),
            ClaimDecision::Grant(_) => Done::Lock,
            ClaimDecision::Occupied(state) => occupied(seen, state),
            ClaimDecision::Collision => Done::Claim(Err(LedgerError::DigestCollision)),
        }
    }

    fn decide_locked(
        &self,
        command: &Command,
        request: &ClaimRequest,
        seen: &Seen,
        writes: &mut Writes,
    ) -> Done {
        let seen = &*seen.as_asked(|name, fingerprint| request.recall(name, fingerprint));
        match decide::claim(&seen.row, request, seen.now) {
            ClaimDecision::Mine { after_doubt } => self.mine(command, request, seen, after_doubt),
            ClaimDecision::Grant(grant) => {
                writes.claim(&seen.row, request, grant, seen.now);
                let after_doubt = !grant.afresh;
                let claimed_at = first_claimed(&seen.row, grant, seen.now);
                // A new life's number is not known yet: `name_reclaimed` fills it in.
                let attempt = attempt_number(&seen.row, grant);
                self.granted(command, request, (seen.row.id, attempt, after_doubt, claimed_at))
            }
            // The answer was not read with the lock.
            ClaimDecision::Occupied(State::Completed { .. }) => Done::Fresh,
            ClaimDecision::Occupied(state) => occupied(seen, state),
            ClaimDecision::Collision => Done::Claim(Err(LedgerError::DigestCollision)),
        }
    }

    fn mine(&self, command: &Command, request: &ClaimRequest, seen: &Seen, after_doubt: bool) -> Done {
        let row = &seen.row;
        self.granted(command, request, (row.id, row.attempts, after_doubt, row.created_at))
    }

    fn granted(
        &self,
        command: &Command,
        request: &ClaimRequest,
        (operation, attempt, after_doubt, claimed_at): (OperationId, u32, bool, Timestamp),
    ) -> Done {
        // A claim that was written by an earlier try has its lease from then.
        let began = command.maybe_written.unwrap_or(self.began);
        Done::Claim(Ok(ClaimOutcome::Granted(Claim {
            operation,
            digest: command.digest,
            fence: request.fence,
            attempt,
            after_doubt,
            claimed_at,
            send_by: began.after(self.options.lease * SEND_BY_PERCENT / 100),
        })))
    }

    /// Gives the claims on rows that were there the numbers that the rows have now.
    fn name_reclaimed(&self, rows: &[Row], done: &mut [Done]) -> Result<(), Failure> {
        let mut numbers = HashMap::new();
        for row in rows {
            let digest = OperationDigest::from_bytes(sixteen(row, "digest")?);
            numbers.insert(digest, u64::try_from(get::<i64>(row, "seq")?).unwrap_or(0));
        }
        for (command, done) in self.commands.iter().zip(done) {
            if let Done::Claim(Ok(ClaimOutcome::Granted(claim))) = done
                && let Some(seq) = numbers.get(&command.digest)
            {
                claim.operation = OperationId::new(command.bucket, *seq, &command.digest);
            }
        }
        Ok(())
    }

    /// Gives work that was accepted where something was its number and its time.
    fn name_accepted(&self, rows: &[Row], done: &mut [Done]) -> Result<(), Failure> {
        let accepted: HashMap<_, _> = rows
            .iter()
            .map(|row| accepting::accepted(row).map(|(digest, seq, due_at)| (digest, (seq, due_at))))
            .collect::<Result<_, _>>()?;
        for (command, done) in self.commands.iter().zip(done) {
            if let (Some((seq, at)), Done::Enqueue(Ok(Enqueued::Accepted { operation, due_at }))) =
                (accepted.get(&command.digest), done)
            {
                *operation = OperationId::new(command.bucket, *seq, &command.digest);
                *due_at = *at;
            }
        }
        Ok(())
    }
}

/// Says whether work was accepted, or what was there. Whoever asks again after an answer was lost finds the operation that
/// is its own: queued, asked by the same owner. Told apart from another's it need not be: either way it is accepted once.
fn decide_work(command: &Command, work: &Enqueue, found: &Found) -> Done {
    if let Some((seq, due_at)) = found.accepted.get(&command.digest) {
        let operation = OperationId::new(command.bucket, *seq, &command.digest);
        return Done::Enqueue(Ok(Enqueued::Accepted { operation, due_at: *due_at }));
    }
    let Some(seen) = found.looked.get(&command.digest) else { return Done::Fresh };
    let seen = &*seen.as_asked(|name, fingerprint| work.recall(name, fingerprint));
    match decide::enqueue(&seen.row, work, seen.now) {
        EnqueueDecision::Accept { .. } => Done::Lock,
        EnqueueDecision::Occupied(state) => occupied_work(seen, state),
        EnqueueDecision::Collision => Done::Enqueue(Err(LedgerError::DigestCollision)),
    }
}

/// Accepts work where something is over.
fn accept_afresh(work: &Arc<Enqueue>, seen: &Seen, writes: &mut Writes) -> Done {
    let seen = &*seen.as_asked(|name, fingerprint| work.recall(name, fingerprint));
    match decide::enqueue(&seen.row, work, seen.now) {
        EnqueueDecision::Accept { new_life } => {
            writes.accept(&seen.row, work, new_life);
            // The number is not known yet: `name_accepted` fills it in.
            Done::Enqueue(Ok(Enqueued::Accepted { operation: seen.row.id, due_at: seen.now }))
        }
        // The answer was not read with the lock.
        EnqueueDecision::Occupied(State::Completed { .. }) => Done::Fresh,
        EnqueueDecision::Occupied(state) => occupied_work(seen, state),
        EnqueueDecision::Collision => Done::Enqueue(Err(LedgerError::DigestCollision)),
    }
}

fn occupied_work(seen: &Seen, state: State) -> Done {
    match seen.row.standing(state, seen.answer.clone()) {
        Some(standing) => Done::Enqueue(Ok(Enqueued::Occupied(standing))),
        None => Done::Lock,
    }
}

impl Found {
    fn read(inserted: &[Row], looked: &[Row], locked: &[Row], existing: &[Row]) -> Result<Self, Failure> {
        let mut found = Self::default();
        let digest = |row| Ok::<_, Failure>(OperationDigest::from_bytes(sixteen(row, "digest")?));
        for row in inserted {
            let seq = u64::try_from(get::<i64>(row, "seq")?).unwrap_or(0);
            found.inserted.insert(digest(row)?, (seq, Timestamp::from_millis(get(row, "created_ms")?)));
        }
        found.read_looked(looked)?;
        for row in locked {
            found.locked.insert(digest(row)?, Seen::read(row, None)?);
        }
        for row in existing {
            found.existing.insert(digest(row)?);
        }
        Ok(found)
    }

    fn read_looked(&mut self, rows: &[Row]) -> Result<(), Failure> {
        for row in rows {
            let digest = OperationDigest::from_bytes(sixteen(row, "digest")?);
            self.looked.insert(digest, Seen::read(row, record::answer(row)?)?);
        }
        Ok(())
    }
}

impl Seen {
    fn read(row: &Row, answer: Option<Answer>) -> Result<Self, Failure> {
        let now = Timestamp::from_millis(get(row, "now_ms")?);
        Ok(Self { row: Stored::read(row)?, answer, now })
    }

    /// The row, with what was erased of it said anew by who asks.
    fn as_asked(&self, recall: impl FnOnce(&mut OperationName, &mut Fingerprint)) -> Cow<'_, Self> {
        if !self.row.name.is_erased() {
            return Cow::Borrowed(self);
        }
        let mut seen = self.clone();
        recall(&mut seen.row.name, &mut seen.row.fingerprint);
        Cow::Owned(seen)
    }
}

/// The names of commands as columns.
fn names<'c>(commands: impl Iterator<Item = &'c Command>) -> (Vec<i16>, Vec<&'c [u8]>) {
    commands.map(|command| (bucket_column(command.bucket), &command.digest.as_bytes()[..])).unzip()
}

fn occupied(seen: &Seen, state: State) -> Done {
    match seen.row.standing(state, seen.answer.clone()) {
        Some(standing) => Done::Claim(Ok(ClaimOutcome::Occupied(standing))),
        None => Done::Lock,
    }
}

fn finish(
    (claim, end): (&Claim, &AttemptEnd),
    (digest, next, excerpt): (Option<AnswerDigest>, Option<Next>, Option<&str>),
    seen: Option<&Seen>,
    earlier: Option<Option<&StoredEnd>>,
    writes: &mut Writes,
) -> Done {
    let now = seen.map_or(Timestamp::from_millis(0), |seen| seen.now);
    match decide::finish(seen.map(|seen| &seen.row), claim, end, (digest, next), earlier, now) {
        FinishDecision::Write(change, finished) => {
            if let Some(seen) = seen {
                let by = Ending { excerpt: excerpt.map(Into::into), ..Ending::of(claim.fence, end) };
                let answer = match end {
                    AttemptEnd::Answered(answer) => digest.map(|digest| (answer, digest)),
                    _ => None,
                };
                writes.change(&seen.row, change, Some(&by), answer, seen.now);
            }
            Done::Finish(Ok(finished))
        }
        FinishDecision::Tell(told) => Done::Finish(told),
        // Looked up before; a row that changed under its lock does not exist.
        FinishDecision::LookUp => Done::Finish(Err(LedgerError::Missing)),
    }
}

/// Takes a claim back that nobody heard of. Where the row is there, what is certain is certain: whoever would
/// still write that claim has to get past the row.
fn take_back(fence: Fence, seen: Option<&Seen>, writes: &mut Writes) -> bool {
    let Some(seen) = seen else { return false };
    if matches!(seen.row.state, State::Claimed { fence: holder, .. } if holder == fence) {
        let event = steadfast_core::Event::NotSent { fence, then: steadfast_core::AfterUnsent::TryAgain };
        if let Ok(next) = steadfast_core::transition(seen.row.state, event) {
            let by = Ending::of(fence, &AttemptEnd::NotSent(NotSentCause::HeldBack));
            let pause = Pause { counts: false, ..Pause::NONE };
            let change = Change::of(&seen.row, next, true, pause, seen.now);
            writes.change(&seen.row, change, Some(&by), None, seen.now);
        }
    }
    true
}
