//! Every state and every event, over a handful of fences and answers.
//!
//! Transitions compare fences and answers and look at nothing else of them, so three fences (the holder's,
//! another, and one more) and two answers are enough to meet every case there is.

use steadfast_core::{AfterUnknown, AfterUnsent, AnswerDigest, Doubt, Event, Fence, Mode, Rerun, State};

pub(crate) const FENCES: [Fence; 3] =
    [Fence::from_bytes([1; 16]), Fence::from_bytes([2; 16]), Fence::from_bytes([3; 16])];
pub(crate) const ANSWERS: [AnswerDigest; 2] =
    [AnswerDigest::from_bytes([4; 16]), AnswerDigest::from_bytes([5; 16])];
pub(crate) const MODES: [Mode; 2] = [Mode::Synchronous, Mode::Asynchronous];
const RERUNS: [Rerun; 2] = [Rerun::Allowed, Rerun::Forbidden];

/// Every state that can be written down.
pub(crate) fn every_state() -> Vec<State> {
    let mut states = vec![State::Absent, State::Released, State::Cancelled, State::Tombstone];
    let evidence = ANSWERS.map(Doubt::Answered);
    for doubt in [Doubt::None, Doubt::Standing].into_iter().chain(evidence) {
        states.extend([State::Queued { doubt }, State::Waiting { doubt }, State::Dead { doubt }]);
        for mode in MODES {
            states.extend(FENCES.map(|fence| State::Claimed { mode, fence, doubt }));
        }
    }
    states.extend(MODES.map(|mode| State::InDoubt { mode }));
    states.push(State::Completed { answer: None });
    states.extend(ANSWERS.map(|answer| State::Completed { answer: Some(answer) }));
    states
}

/// Every state that keeps evidence only beside a live attempt: the ones that `reachable` shows to be all that
/// an operation can come to.
pub(crate) fn sound_states() -> Vec<State> {
    every_state().into_iter().filter(|&state| is_sound(state)).collect()
}

pub(crate) fn is_sound(state: State) -> bool {
    !matches!(
        state,
        State::Queued { doubt: Doubt::Answered(_) }
            | State::Waiting { doubt: Doubt::Answered(_) }
            | State::Dead { doubt: Doubt::Answered(_) }
    )
}

/// Every event.
pub(crate) fn every_event() -> Vec<Event> {
    let mut events =
        vec![Event::Enqueue, Event::Due, Event::Cancel, Event::Hold, Event::SettleDidNotHappen, Event::Purge];
    for fence in FENCES {
        for then in [AfterUnsent::TryAgain, AfterUnsent::GiveUp] {
            events.extend([Event::NotSent { fence, then }, Event::Refused { fence, then }]);
        }
        for then in [AfterUnknown::Hold, AfterUnknown::RunAgain, AfterUnknown::GiveUp] {
            events.extend([Event::Unknown { fence, then }, Event::LeaseRanOut { fence, then }]);
        }
        events.extend(ANSWERS.map(|answer| Event::Answered { fence, answer }));
        for mode in MODES {
            events.extend(RERUNS.map(|rerun| Event::Claim { mode, fence, rerun }));
        }
    }
    events.push(Event::SettleHappened { answer: None });
    events.extend(ANSWERS.map(|answer| Event::SettleHappened { answer: Some(answer) }));
    events.extend(RERUNS.map(|rerun| Event::Redrive { rerun }));
    events.extend([true, false].map(|tombstone| Event::Expire { tombstone }));
    events
}
