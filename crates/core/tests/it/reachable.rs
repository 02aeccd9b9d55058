//! What an operation can come to from nothing: a search through the whole machine.

use std::collections::HashSet;

use steadfast_core::{Event, Rerun, State, StateName};

use crate::{
    alphabet::{every_event, is_sound, sound_states},
    rules::Step,
};

/// Every state that `events` lead to from `start`.
fn reachable(start: State, events: &[Event]) -> HashSet<State> {
    let mut seen = HashSet::from([start]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        for &event in events {
            let after = Step::new(state, event).after();
            if seen.insert(after) {
                open.push(after);
            }
        }
    }
    seen
}

#[test]
fn evidence_is_kept_only_beside_a_live_attempt() {
    for state in sound_states() {
        for event in every_event() {
            let step = Step::new(state, event);
            assert!(is_sound(step.after()), "{step:?}");
        }
    }
}

#[test]
fn every_sound_state_can_be_reached_from_nothing() {
    let reached = reachable(State::Absent, &every_event());
    assert_eq!(reached, sound_states().into_iter().collect());
}

#[test]
fn nothing_is_ever_stuck_even_where_no_rerun_is_allowed() {
    let events: Vec<Event> = every_event()
        .into_iter()
        .filter(|event| {
            !matches!(
                event,
                Event::Claim { rerun: Rerun::Allowed, .. } | Event::Redrive { rerun: Rerun::Allowed }
            )
        })
        .collect();
    for state in sound_states() {
        assert!(reachable(state, &events).contains(&State::Absent), "{state:?} is stuck");
    }
}

#[test]
fn machines_alone_never_settle_what_is_held() {
    // Neither time nor a worker nor the caller may decide what happened: an answer or a person does.
    let events: Vec<Event> = every_event()
        .into_iter()
        .filter(|event| {
            !matches!(
                event,
                Event::Answered { .. }
                    | Event::SettleHappened { .. }
                    | Event::SettleDidNotHappen
                    | Event::Claim { rerun: Rerun::Allowed, .. }
                    | Event::Redrive { rerun: Rerun::Allowed }
            )
        })
        .collect();
    for state in sound_states().into_iter().filter(|state| state.name() == StateName::InDoubt) {
        assert_eq!(reachable(state, &events), HashSet::from([state]));
    }
}
