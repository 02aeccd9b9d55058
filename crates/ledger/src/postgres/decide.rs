//! What a claim or an attempt's end makes of the row it meets: the state machine, handed the facts of the row.
//! Pure; what is decided here is written by [`super::writes`].

use steadfast_core::{
    AfterUnknown, AfterUnsent, AnswerDigest, AttemptEnd, Doubt, Effect, Event, Fence, Mode, Refused, State,
    StateName, Timestamp, rerun, transition,
};

use super::record::Stored;
use crate::{Claim, ClaimRequest, Finished, LedgerError};

/// What a claim request meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimDecision {
    /// The row has the request's own fence: the claim was written before, and nobody heard of it.
    Mine {
        /// Whether an earlier attempt is in doubt.
        after_doubt: bool,
    },
    /// It may be claimed.
    Grant(Grant),
    /// It may not; it counts as being in this state.
    Occupied(State),
    /// Another name has the same digest.
    Collision,
}

/// A claim on a row that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The state it leads to.
    pub(super) state: State,
    /// What was there has expired: nothing of it stays.
    pub(super) new_life: bool,
    /// Nothing was executed before: what is asked now counts, and from now.
    pub(super) afresh: bool,
}

/// Decides a claim.
pub(super) fn claim(row: &Stored, request: &ClaimRequest, now: Timestamp) -> ClaimDecision {
    if row.name != request.name {
        return ClaimDecision::Collision;
    }
    if let State::Claimed { fence, doubt, .. } = row.state
        && fence == request.fence
    {
        return ClaimDecision::Mine { after_doubt: doubt != Doubt::None };
    }
    let (state, _) = expired(row, now);
    let new_life = state == State::Absent;
    let afresh = new_life || state == State::Released;
    let differs = row.fingerprint != request.fingerprint;
    let foreign = matches!(state, State::InDoubt { .. }) && !row.owner.discloses_to(&request.owner);
    if !afresh && (differs || foreign) {
        return ClaimDecision::Occupied(state);
    }
    let rerun = rerun(row.first_sent, now, row.repeatable_for, request.repeatable_for);
    match transition(state, Event::Claim { mode: Mode::Synchronous, fence: request.fence, rerun }) {
        Ok(transition) => ClaimDecision::Grant(Grant { state: transition.state, new_life, afresh }),
        Err(_) => ClaimDecision::Occupied(state),
    }
}

/// The state that a row counts as being in, its retention considered, and until when.
pub(super) fn expired(row: &Stored, now: Timestamp) -> (State, Option<Timestamp>) {
    let (mut state, mut until) = (row.state, row.expires_at);
    while let Some(at) = until.filter(|at| *at <= now) {
        let tombstone = match state {
            State::Completed { .. } | State::Cancelled => row.retention.tombstone,
            _ => None,
        };
        match transition(state, Event::Expire { tombstone: tombstone.is_some() }) {
            Ok(next) => (state, until) = (next.state, tombstone.map(|keep| at.after(keep))),
            Err(_) => break,
        }
    }
    (state, until)
}

/// What an attempt's end leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The state from now on.
    pub(super) state: State,
    /// What else to write.
    pub(super) effects: &'static [Effect],
    /// Whether this ends the attempt that held the claim.
    pub(super) ends_attempt: bool,
}

/// What an attempt's end meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FinishDecision {
    /// Write this, and say so.
    Write(Change, Finished),
    /// Nothing is to be written.
    Tell(Result<Finished, LedgerError>),
    /// Whether an attempt with this fence ended, and how, must be looked up first.
    LookUp,
}

/// How an attempt is stored to have ended: its end, its cause and its status.
pub(super) type StoredEnd = (Box<str>, Option<Box<str>>, Option<i32>);

/// How an attempt's end is stored.
pub(super) fn stored_end(end: &AttemptEnd) -> (&'static str, Option<&'static str>, Option<i32>) {
    match end {
        AttemptEnd::NotSent(cause) => ("not_sent", Some(cause.name()), None),
        AttemptEnd::Refused { status } => ("refused", None, Some(i32::from(*status))),
        AttemptEnd::Unknown { cause, status } => ("unknown", Some(cause.name()), status.map(i32::from)),
        AttemptEnd::Answered(answer) => ("answered", None, Some(i32::from(answer.status))),
    }
}

/// Decides an attempt's end. `earlier` is how the attempt with this fence ended before: `None` where that was
/// not looked up, `Some(None)` where there is no such attempt.
pub(super) fn finish(
    row: Option<&Stored>,
    claim: &Claim,
    end: &AttemptEnd,
    digest: Option<AnswerDigest>,
    earlier: Option<Option<&StoredEnd>>,
) -> FinishDecision {
    let Some(row) = row.filter(|row| row.id == claim.operation) else {
        return FinishDecision::Tell(Err(LedgerError::Missing));
    };
    let holds = matches!(row.state, State::Claimed { fence, .. } if fence == claim.fence);
    let name = row.state.name();
    match earlier {
        _ if holds => {}
        None => return FinishDecision::LookUp,
        // Nobody ever had this fence.
        Some(None) => return FinishDecision::Tell(Ok(Finished::Superseded(name))),
        Some(Some((ending, cause, status))) => {
            let same = stored_end(end) == (&**ending, cause.as_deref(), *status);
            if same && digest.is_none() {
                return FinishDecision::Tell(Ok(Finished::Recorded(name)));
            }
        }
    }
    match transition(row.state, event(claim.fence, end, digest)) {
        Ok(next) => {
            let stored = State::Completed { answer: digest };
            let finished = if digest.is_none() || next.state == stored {
                Finished::Recorded(next.state.name())
            } else {
                Finished::Superseded(next.state.name())
            };
            let change = Change { state: next.state, effects: next.effects, ends_attempt: holds };
            FinishDecision::Write(change, finished)
        }
        Err(Refused::StaleFence) => FinishDecision::Tell(Ok(Finished::Superseded(name))),
        Err(_) if name == StateName::Absent => FinishDecision::Tell(Err(LedgerError::Missing)),
        Err(_) => FinishDecision::Tell(Ok(Finished::Superseded(name))),
    }
}

/// What follows makes no difference to a synchronous operation; an asynchronous one whose holder says no more
/// goes round again where nothing was executed, and is held where nobody knows.
fn event(fence: Fence, end: &AttemptEnd, answer: Option<AnswerDigest>) -> Event {
    match (end, answer) {
        (AttemptEnd::NotSent(_), _) => Event::NotSent { fence, then: AfterUnsent::TryAgain },
        (AttemptEnd::Refused { .. }, _) => Event::Refused { fence, then: AfterUnsent::TryAgain },
        (AttemptEnd::Unknown { .. }, _) => Event::Unknown { fence, then: AfterUnknown::Hold },
        (AttemptEnd::Answered(answer), None) => Event::Answered { fence, answer: answer.digest() },
        (AttemptEnd::Answered(_), Some(answer)) => Event::Answered { fence, answer },
    }
}
