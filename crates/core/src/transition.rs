//! The one function by which an operation changes: what may follow what, and what else must then be written.
//!
//! It is pure and exhaustive. Stores read a row into a [`State`], hand in an [`Event`] with the facts they know
//! (whose attempt, whether a rerun is allowed), and write the new state and the effects in one transaction.

use crate::{AnswerDigest, Doubt, Fence, Mode, Rerun, State, StateName};

/// What a synchronous or asynchronous attempt that took no effect is followed by. Synchronous operations run
/// again only when their caller comes again, so for them it makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterUnsent {
    /// Attempts are left.
    TryAgain,
    /// Attempts, or the time for them, ran out.
    GiveUp,
}

/// What an asynchronous attempt with an unknown outcome is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AfterUnknown {
    /// The upstream may not be asked again: a person or a probe must find out.
    Hold,
    /// The upstream is repeatable and attempts are left.
    RunAgain,
    /// Attempts, or the time for them, ran out.
    GiveUp,
}

/// Something that happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A request is accepted for a worker to do later.
    Enqueue,
    /// An attempt asks to be the one.
    Claim {
        /// Who would make it.
        mode: Mode,
        /// Its fence.
        fence: Fence,
        /// Whether an operation in doubt may run again.
        rerun: Rerun,
    },
    /// The holder says that not a byte was sent.
    NotSent {
        /// The holder's fence.
        fence: Fence,
        /// What follows.
        then: AfterUnsent,
    },
    /// The upstream said that it did not execute the request.
    Refused {
        /// The attempt's fence.
        fence: Fence,
        /// What follows.
        then: AfterUnsent,
    },
    /// A conclusive answer came, in time or late.
    Answered {
        /// The attempt's fence.
        fence: Fence,
        /// What came.
        answer: AnswerDigest,
    },
    /// The holder does not know what its attempt did.
    Unknown {
        /// The holder's fence.
        fence: Fence,
        /// What follows.
        then: AfterUnknown,
    },
    /// The lease of a claim ran out: its holder is gone, and its attempt counts as sent.
    LeaseRanOut {
        /// The fence of the claim that was found expired.
        fence: Fence,
        /// What follows.
        then: AfterUnknown,
    },
    /// The time of the next attempt has come.
    Due,
    /// The caller calls the operation off.
    Cancel,
    /// An earlier attempt is in doubt, and the time in which its upstream may be asked again is over.
    Hold,
    /// Somebody found out that it took effect.
    SettleHappened {
        /// The answer, where it is known.
        answer: Option<AnswerDigest>,
    },
    /// Somebody found out that it took no effect.
    SettleDidNotHappen,
    /// A person sends a dead operation round again, under the same key.
    Redrive {
        /// Whether an operation in doubt may run again.
        rerun: Rerun,
    },
    /// A person removes a finished or dead operation.
    Purge,
    /// Its retention ended.
    Expire {
        /// Whether the route keeps a tombstone.
        tombstone: bool,
    },
}

/// The name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the event of the same name")]
pub enum EventName {
    Enqueue,
    Claim,
    NotSent,
    Refused,
    Answered,
    Unknown,
    LeaseRanOut,
    Due,
    Cancel,
    Hold,
    SettleHappened,
    SettleDidNotHappen,
    Redrive,
    Purge,
    Expire,
}

impl Event {
    /// The event's name.
    #[must_use]
    pub const fn name(self) -> EventName {
        match self {
            Self::Enqueue => EventName::Enqueue,
            Self::Claim { .. } => EventName::Claim,
            Self::NotSent { .. } => EventName::NotSent,
            Self::Refused { .. } => EventName::Refused,
            Self::Answered { .. } => EventName::Answered,
            Self::Unknown { .. } => EventName::Unknown,
            Self::LeaseRanOut { .. } => EventName::LeaseRanOut,
            Self::Due => EventName::Due,
            Self::Cancel => EventName::Cancel,
            Self::Hold => EventName::Hold,
            Self::SettleHappened { .. } => EventName::SettleHappened,
            Self::SettleDidNotHappen => EventName::SettleDidNotHappen,
            Self::Redrive { .. } => EventName::Redrive,
            Self::Purge => EventName::Purge,
            Self::Expire { .. } => EventName::Expire,
        }
    }
}

/// What must be written beside the new state, in the same transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// A new attempt begins, with the event's fence.
    BeginAttempt,
    /// The event's answer becomes the operation's.
    StoreAnswer,
    /// The event's answer is kept beside the operation.
    KeepEvidence,
    /// The answer kept as evidence becomes the operation's.
    AdoptEvidence,
    /// Two stories contradict each other: a person must look.
    OpenCase,
    /// Whoever waits for the operation can go on.
    Wake,
    /// The operation is finished, and its retention begins.
    BeginRetention,
}

/// An event that was accepted: the state it led to, and what else to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state from now on.
    pub state: State,
    /// What to write beside it.
    pub effects: &'static [Effect],
}

/// An event that was refused. Nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The claim belongs to another attempt, or to none any more.
    #[error("the claim belongs to another attempt")]
    StaleFence,
    /// An attempt is under way, or the operation waits for a worker.
    #[error("the operation is in progress")]
    InProgress,
    /// Its outcome is unknown, and running it again is not allowed.
    #[error("the operation is in doubt")]
    InDoubt,
    /// It is over: completed, dead, cancelled or a tombstone.
    #[error("the operation is {}", .0.as_str())]
    Finished(StateName),
    /// The event has no meaning in this state.
    #[error("{event:?} has no meaning for an operation that is {}", state.as_str())]
    NoSuchTransition {
        /// The state the operation is in.
        state: StateName,
        /// The event that came.
        event: EventName,
    },
}

const NOTHING: &[Effect] = &[];
const BEGIN: &[Effect] = &[Effect::BeginAttempt];
const COMPLETE: &[Effect] = &[Effect::StoreAnswer, Effect::Wake, Effect::BeginRetention];
const ADOPT: &[Effect] = &[Effect::AdoptEvidence, Effect::Wake, Effect::BeginRetention];
const FINISH: &[Effect] = &[Effect::Wake, Effect::BeginRetention];
const EVIDENCE: &[Effect] = &[Effect::KeepEvidence];
const CONTRADICTION: &[Effect] = &[Effect::KeepEvidence, Effect::OpenCase];
const WAKE: &[Effect] = &[Effect::Wake];

/// Applies `event` to an operation in `state`.
///
/// # Errors
/// [`Refused`] says why the event changes nothing.
pub fn transition(state: State, event: Event) -> Result<Transition, Refused> {
    match event {
        Event::Enqueue => enqueue(state),
        Event::Claim { mode, fence, rerun } => claim(state, mode, fence, rerun),
        Event::NotSent { fence, then } | Event::Refused { fence, then } => unsent(state, event, fence, then),
        Event::Answered { fence, answer } => answered(state, fence, answer),
        Event::Unknown { fence, then } | Event::LeaseRanOut { fence, then } => {
            unknown(state, event, fence, then)
        }
        Event::SettleHappened { answer } => settle_happened(state, answer),
        Event::SettleDidNotHappen => settle_did_not_happen(state),
        Event::Due => match state {
            State::Waiting { doubt } => to(State::Queued { doubt }, WAKE),
            _ => meaningless(state, event),
        },
        Event::Cancel => match state {
            State::Queued { doubt: Doubt::None } | State::Waiting { doubt: Doubt::None } => {
                to(State::Cancelled, FINISH)
            }
            // Calling it off ends the attempts, not the doubt.
            State::Queued { .. } | State::Waiting { .. } => {
                to(State::InDoubt { mode: Mode::Asynchronous }, WAKE)
            }
            _ => meaningless(state, event),
        },
        Event::Hold => match state {
            State::Queued { doubt: Doubt::Standing | Doubt::Answered(_) }
            | State::Waiting { doubt: Doubt::Standing | Doubt::Answered(_) } => {
                to(State::InDoubt { mode: Mode::Asynchronous }, WAKE)
            }
            _ => meaningless(state, event),
        },
        Event::Redrive { rerun } => match state {
            State::Dead { doubt: Doubt::None } => to(State::Queued { doubt: Doubt::None }, WAKE),
            State::Dead { doubt } if rerun == Rerun::Allowed => to(State::Queued { doubt }, WAKE),
            State::Dead { .. } => Err(Refused::InDoubt),
            _ => meaningless(state, event),
        },
        Event::Purge => match state {
            State::Dead { doubt: Doubt::None } | State::Completed { .. } | State::Cancelled => {
                to(State::Tombstone, FINISH)
            }
            // Its key never took effect, so nothing is to be kept from coming again.
            State::Released => to(State::Absent, NOTHING),
            State::Dead { .. } | State::InDoubt { .. } => Err(Refused::InDoubt),
            _ => meaningless(state, event),
        },
        Event::Expire { tombstone } => match state {
            State::Completed { .. } | State::Cancelled if tombstone => to(State::Tombstone, FINISH),
            State::Completed { .. } | State::Cancelled | State::Released | State::Tombstone => {
                to(State::Absent, NOTHING)
            }
            // What is in doubt or dead never expires unsettled.
            _ => meaningless(state, event),
        },
    }
}

fn to(state: State, effects: &'static [Effect]) -> Result<Transition, Refused> {
    Ok(Transition { state, effects })
}

fn meaningless(state: State, event: Event) -> Result<Transition, Refused> {
    Err(Refused::NoSuchTransition { state: state.name(), event: event.name() })
}

/// Why a new request with the key of an operation in `state` does not execute.
fn occupied(state: State) -> Refused {
    match state {
        State::Queued { .. } | State::Waiting { .. } | State::Claimed { .. } => Refused::InProgress,
        State::InDoubt { .. } => Refused::InDoubt,
        State::Completed { .. } | State::Dead { .. } | State::Cancelled | State::Tombstone => {
            Refused::Finished(state.name())
        }
        State::Absent | State::Released => {
            Refused::NoSuchTransition { state: state.name(), event: EventName::Claim }
        }
    }
}

fn enqueue(state: State) -> Result<Transition, Refused> {
    match state {
        State::Absent | State::Released => to(State::Queued { doubt: Doubt::None }, WAKE),
        State::Queued { .. }
        | State::Claimed { .. }
        | State::Waiting { .. }
        | State::InDoubt { .. }
        | State::Completed { .. }
        | State::Dead { .. }
        | State::Cancelled
        | State::Tombstone => Err(occupied(state)),
    }
}

fn claim(state: State, mode: Mode, fence: Fence, rerun: Rerun) -> Result<Transition, Refused> {
    let claimed = |doubt| to(State::Claimed { mode, fence, doubt }, BEGIN);
    match (state, mode) {
        (State::Absent | State::Released, Mode::Synchronous) => claimed(Doubt::None),
        (State::Queued { doubt: Doubt::None }, Mode::Asynchronous) => claimed(Doubt::None),
        // Doubt is sticky: it goes into the rerun, and out of it unless an answer comes.
        (State::Queued { doubt }, Mode::Asynchronous) if rerun == Rerun::Allowed => claimed(doubt),
        (State::Queued { .. }, Mode::Asynchronous) => Err(Refused::InDoubt),
        (State::InDoubt { mode: Mode::Synchronous }, Mode::Synchronous) if rerun == Rerun::Allowed => {
            claimed(Doubt::Standing)
        }
        (State::Absent | State::Released, Mode::Asynchronous)
        | (State::Queued { .. }, Mode::Synchronous)
        | (
            State::Claimed { .. }
            | State::Waiting { .. }
            | State::InDoubt { .. }
            | State::Completed { .. }
            | State::Dead { .. }
            | State::Cancelled
            | State::Tombstone,
            Mode::Synchronous | Mode::Asynchronous,
        ) => Err(occupied(state)),
    }
}

/// Only the holder may say that nothing was executed, and only its own attempt is covered by that.
fn unsent(state: State, event: Event, by: Fence, then: AfterUnsent) -> Result<Transition, Refused> {
    match state {
        State::Claimed { mode, fence, doubt } if fence == by => match (doubt, mode, then) {
            (Doubt::Answered(answer), _, _) => to(State::Completed { answer: Some(answer) }, ADOPT),
            (Doubt::None, Mode::Synchronous, _) => to(State::Released, FINISH),
            (Doubt::Standing, Mode::Synchronous, _) => to(State::InDoubt { mode }, WAKE),
            (doubt, Mode::Asynchronous, AfterUnsent::TryAgain) => to(State::Waiting { doubt }, WAKE),
            (doubt, Mode::Asynchronous, AfterUnsent::GiveUp) => to(State::Dead { doubt }, WAKE),
        },
        State::Absent => meaningless(state, event),
        State::Claimed { .. }
        | State::Queued { .. }
        | State::Waiting { .. }
        | State::InDoubt { .. }
        | State::Completed { .. }
        | State::Released
        | State::Dead { .. }
        | State::Cancelled
        | State::Tombstone => Err(Refused::StaleFence),
    }
}

/// An answer is never thrown away. The holder's completes the operation; another attempt's is evidence: it ends
/// doubt, and opens a case where it contradicts what is stored.
fn answered(state: State, by: Fence, answer: AnswerDigest) -> Result<Transition, Refused> {
    let completed = to(State::Completed { answer: Some(answer) }, COMPLETE);
    match state {
        State::Claimed { fence, doubt, .. } if fence == by => match doubt {
            Doubt::None | Doubt::Standing => completed,
            Doubt::Answered(evidence) if evidence == answer => completed,
            Doubt::Answered(_) => to(
                State::Completed { answer: Some(answer) },
                &[Effect::StoreAnswer, Effect::OpenCase, Effect::Wake, Effect::BeginRetention],
            ),
        },
        State::Claimed { mode, fence, doubt } => match doubt {
            Doubt::None => to(state, CONTRADICTION),
            Doubt::Standing => to(State::Claimed { mode, fence, doubt: Doubt::Answered(answer) }, EVIDENCE),
            Doubt::Answered(evidence) if evidence == answer => to(state, NOTHING),
            Doubt::Answered(_) => to(state, CONTRADICTION),
        },
        State::InDoubt { .. } => completed,
        State::Queued { doubt } | State::Waiting { doubt } | State::Dead { doubt } => match doubt {
            Doubt::None => to(state, CONTRADICTION),
            Doubt::Standing | Doubt::Answered(_) => completed,
        },
        State::Completed { answer: Some(stored) } if stored == answer => to(state, NOTHING),
        // A person knew that it happened, not what was answered: now that is known too.
        State::Completed { answer: None } => completed,
        State::Completed { .. } | State::Released | State::Cancelled => to(state, CONTRADICTION),
        State::Absent | State::Tombstone => Err(Refused::StaleFence),
    }
}

fn unknown(state: State, event: Event, by: Fence, then: AfterUnknown) -> Result<Transition, Refused> {
    match state {
        State::Claimed { mode, fence, doubt } if fence == by => match (doubt, mode, then) {
            (Doubt::Answered(answer), _, _) => to(State::Completed { answer: Some(answer) }, ADOPT),
            (Doubt::None | Doubt::Standing, Mode::Synchronous, _)
            | (Doubt::None | Doubt::Standing, Mode::Asynchronous, AfterUnknown::Hold) => {
                to(State::InDoubt { mode }, WAKE)
            }
            (Doubt::None | Doubt::Standing, Mode::Asynchronous, AfterUnknown::RunAgain) => {
                to(State::Waiting { doubt: Doubt::Standing }, WAKE)
            }
            (Doubt::None | Doubt::Standing, Mode::Asynchronous, AfterUnknown::GiveUp) => {
                to(State::Dead { doubt: Doubt::Standing }, WAKE)
            }
        },
        State::Absent => meaningless(state, event),
        State::Claimed { .. }
        | State::Queued { .. }
        | State::Waiting { .. }
        | State::InDoubt { .. }
        | State::Completed { .. }
        | State::Released
        | State::Dead { .. }
        | State::Cancelled
        | State::Tombstone => Err(Refused::StaleFence),
    }
}

fn settle_happened(state: State, answer: Option<AnswerDigest>) -> Result<Transition, Refused> {
    match state {
        State::InDoubt { .. } | State::Dead { .. } => {
            let effects = if answer.is_some() { COMPLETE } else { FINISH };
            to(State::Completed { answer }, effects)
        }
        State::Queued { .. } | State::Waiting { .. } | State::Claimed { .. } => Err(Refused::InProgress),
        State::Completed { .. } | State::Cancelled | State::Tombstone => Err(Refused::Finished(state.name())),
        State::Absent | State::Released => meaningless(state, Event::SettleHappened { answer }),
    }
}

fn settle_did_not_happen(state: State) -> Result<Transition, Refused> {
    match state {
        State::InDoubt { mode: Mode::Synchronous } => to(State::Released, FINISH),
        State::InDoubt { mode: Mode::Asynchronous } => to(State::Queued { doubt: Doubt::None }, WAKE),
        // It stays dead: whether to run it again is another decision (redrive).
        State::Dead { doubt: Doubt::Standing | Doubt::Answered(_) } => {
            to(State::Dead { doubt: Doubt::None }, WAKE)
        }
        State::Queued { .. } | State::Waiting { .. } | State::Claimed { .. } => Err(Refused::InProgress),
        State::Dead { doubt: Doubt::None }
        | State::Completed { .. }
        | State::Cancelled
        | State::Tombstone => Err(Refused::Finished(state.name())),
        State::Absent | State::Released => meaningless(state, Event::SettleDidNotHappen),
    }
}
