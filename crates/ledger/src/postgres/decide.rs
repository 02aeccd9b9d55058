//! What a claim or an attempt's end makes of the row it meets: the state machine, handed the facts of the row.
//! Pure; what is decided here is written by [`super::writes`].

use std::time::Duration;

use steadfast_core::{
    AnswerDigest, AttemptEnd, Doubt, Effect, Event, Fence, Mode, Next, Refused, State, StateName, Timestamp,
    Transition, rerun, transition,
};

use super::record::{Place, Stored};
use crate::{Claim, ClaimRequest, Enqueue, Finished, LedgerError};

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
    /// Its place in the backlog from now on, where it has one.
    pub(super) place: Option<Place>,
}

/// When the next attempt of an asynchronous operation comes, should one follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    /// How long from now.
    pub(super) after: Duration,
    /// Whether the attempt that ended counts.
    pub(super) counts: bool,
}

impl Pause {
    /// At once.
    pub(super) const NONE: Self = Self { after: Duration::ZERO, counts: true };

    /// What `next` says of it.
    fn of(next: Next) -> Self {
        match next {
            Next::Again { after, counts } => Self { after, counts },
            Next::GiveUp | Next::Hold => Self::NONE,
        }
    }
}

impl Change {
    /// What a transition makes of a row. One that would wait, and was called off, is called off now.
    pub(super) fn of(
        row: &Stored,
        next: Transition,
        ends_attempt: bool,
        pause: Pause,
        now: Timestamp,
    ) -> Self {
        let mut next = next;
        let called_off = row.place.is_some_and(|place| place.cancel_asked);
        if called_off
            && matches!(next.state, State::Waiting { .. })
            && let Ok(cancelled) = transition(next.state, Event::Cancel)
        {
            next = cancelled;
        }
        let comes_back = matches!(next.state, State::Queued { .. } | State::Waiting { .. })
            && !matches!(row.state, State::Queued { .. } | State::Waiting { .. });
        let place = row.place.map(|place| Place {
            tries: if ends_attempt && !pause.counts { place.tries.saturating_sub(1) } else { place.tries },
            due_at: if comes_back { now.after(pause.after) } else { place.due_at },
            cancel_asked: place.cancel_asked && matches!(next.state, State::Claimed { .. }),
            ..place
        });
        Self { state: next.state, effects: next.effects, ends_attempt, place }
    }
}

/// What work for later meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnqueueDecision {
    /// What is there is over. Where it was released, the operation goes on as the one that it was.
    Accept {
        /// Nothing of what is there stays.
        new_life: bool,
    },
    /// It stays; it counts as being in this state.
    Occupied(State),
    /// Another name has the same digest.
    Collision,
}

/// Decides whether work for later is accepted where a row is.
pub(super) fn enqueue(row: &Stored, work: &Enqueue, now: Timestamp) -> EnqueueDecision {
    if row.name != work.name {
        return EnqueueDecision::Collision;
    }
    let (state, _) = expired(row, now);
    match transition(state, Event::Enqueue) {
        Ok(_) => EnqueueDecision::Accept { new_life: state == State::Absent },
        Err(_) => EnqueueDecision::Occupied(state),
    }
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
    (digest, next): (Option<AnswerDigest>, Option<Next>),
    earlier: Option<Option<&StoredEnd>>,
    now: Timestamp,
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
    match transition(row.state, event(claim.fence, end, digest, next)) {
        Ok(to) => {
            let pause = next.map_or(Pause::NONE, Pause::of);
            let next = Change::of(row, to, holds, pause, now);
            let stored = State::Completed { answer: digest };
            let finished = if digest.is_none() || next.state == stored {
                Finished::Recorded(next.state.name())
            } else {
                Finished::Superseded(next.state.name())
            };
            FinishDecision::Write(next, finished)
        }
        Err(Refused::StaleFence) => FinishDecision::Tell(Ok(Finished::Superseded(name))),
        Err(_) if name == StateName::Absent => FinishDecision::Tell(Err(LedgerError::Missing)),
        Err(_) => FinishDecision::Tell(Ok(Finished::Superseded(name))),
    }
}

/// What follows makes no difference to a synchronous operation; an asynchronous one whose holder says no more
/// goes round again where nothing was executed, and is held where nobody knows.
fn event(fence: Fence, end: &AttemptEnd, answer: Option<AnswerDigest>, next: Option<Next>) -> Event {
    let next = next.unwrap_or(Next::Hold);
    match (end, answer) {
        (AttemptEnd::NotSent(_), _) => Event::NotSent { fence, then: next.after_unsent() },
        (AttemptEnd::Refused { .. }, _) => Event::Refused { fence, then: next.after_unsent() },
        (AttemptEnd::Unknown { .. }, _) => Event::Unknown { fence, then: next.after_unknown() },
        (AttemptEnd::Answered(answer), None) => Event::Answered { fence, answer: answer.digest() },
        (AttemptEnd::Answered(_), Some(answer)) => Event::Answered { fence, answer },
    }
}
