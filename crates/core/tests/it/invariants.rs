//! The rules, each over every state and event there is and over random walks from every state.

use proptest::{collection::vec, prelude::any, strategy::Strategy};
use steadfast_core::{AnswerDigest, Doubt, Effect, Event, Fence, State};

use crate::{
    alphabet::{every_event, every_state, sound_states},
    rules::{self, Rule, Step, holder},
    seeded,
};

const WALKS: u32 = 1_500;
const STEPS_MAX: usize = 40;

/// Random walks: a state to begin in, and the choices made from there.
pub(crate) fn walks() -> impl Strategy<Value = (usize, Vec<(u16, bool)>)> {
    (any::<usize>(), vec((any::<u16>(), proptest::bool::weighted(0.75)), 1..STEPS_MAX))
}

/// Takes a walk. Where a choice says so only events that are accepted are chosen from, or a walk would
/// hardly get anywhere.
pub(crate) fn take((start, choices): (usize, Vec<(u16, bool)>), mut each: impl FnMut(&Step)) -> State {
    let states = sound_states();
    let events = every_event();
    let mut state = states[start % states.len()];
    for (choice, accepted) in choices {
        let open: Vec<Event> = events
            .iter()
            .copied()
            .filter(|&event| !accepted || Step::new(state, event).outcome.is_ok())
            .collect();
        let step = Step::new(state, open[usize::from(choice) % open.len()]);
        each(&step);
        state = step.after();
    }
    state
}

fn holds(rule: Rule) {
    for state in sound_states() {
        for event in every_event() {
            rule(&Step::new(state, event));
        }
    }
    seeded::check(WALKS, &walks(), |walk| {
        take(walk, rule);
    });
}

macro_rules! invariants {
    ($($claim:ident: $rule:ident;)+) => {
        $(#[test] fn $claim() { holds(rules::$rule); })+

        #[test]
        fn every_rule_has_a_test() {
            let tested: &[Rule] = &[$(rules::$rule),+];
            assert_eq!(tested.len(), rules::ALL.len());
        }
    };
}

invariants! {
    at_most_one_attempt_is_live: at_most_one_live_attempt;
    a_claim_is_ended_by_its_holder_alone: only_the_holder_ends_a_claim;
    a_stale_fence_without_an_answer_changes_nothing: stale_reports_change_nothing;
    a_stale_fence_with_an_answer_does_no_more_than_end_doubt: a_stale_answer_only_ends_doubt;
    a_case_is_opened_exactly_where_an_answer_contradicts: contradictions_open_a_case;
    no_answer_to_a_living_operation_is_thrown_away: no_answer_is_thrown_away;
    an_attempt_with_an_unknown_outcome_always_leaves_doubt: unknown_outcomes_are_doubted;
    doubt_never_ends_without_an_answer_or_a_settlement: doubt_is_sticky;
    in_doubt_is_left_only_by_settlement_answer_or_an_allowed_rerun: in_doubt_is_held;
    what_is_doubtful_runs_again_only_where_that_is_allowed: doubt_reruns_only_where_allowed;
    a_completed_answer_is_never_replaced: completed_answers_stand;
    nothing_completes_without_an_answer_or_a_person: completed_only_by_an_answer_or_a_person;
    released_follows_only_knowledge_that_nothing_was_executed: released_only_where_nothing_was_executed;
    cancelled_follows_only_knowledge_that_nothing_was_executed: cancelled_only_where_nothing_was_executed;
    synchronous_operations_are_never_queued_waiting_or_dead: synchronous_never_waits_for_a_worker;
    what_is_in_doubt_or_dead_never_expires: doubtful_or_dead_never_expires;
    an_operation_is_forgotten_by_expiry_alone: only_expiry_forgets;
    an_answer_is_stored_exactly_when_it_completes_the_operation: answers_are_stored_on_completion;
    evidence_completes_where_the_attempt_beside_it_brings_no_answer:
        evidence_is_adopted_by_the_attempt_without_an_answer;
    an_attempt_begins_exactly_with_a_granted_claim: attempts_begin_with_claims;
    whoever_waits_is_woken_when_a_claim_ends: the_end_of_a_claim_wakes;
    workers_are_woken_when_an_operation_becomes_ready: what_became_ready_wakes_workers;
    retention_begins_exactly_on_entering_a_state_that_can_expire: retention_begins_where_it_can_end;
    no_effect_is_asked_for_twice: an_effect_is_written_once;
    a_refusal_leaves_nothing_and_says_what_is_true: refusals_tell_the_truth;
}

#[test]
fn every_event_has_an_outcome_in_every_state() {
    let (mut accepted, mut refused) = (0, 0);
    for state in every_state() {
        for event in every_event() {
            // A refusal holds no state, so it cannot leave any; what is to be shown is that nothing panics.
            let step = Step::new(state, event);
            rules::refusals_tell_the_truth(&step);
            if step.outcome.is_ok() { accepted += 1 } else { refused += 1 }
        }
    }
    assert!(accepted > 0 && refused > accepted, "{accepted} accepted, {refused} refused");
}

/// What somebody knows who was only told which events were accepted, and never looks at the state again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ghost {
    live: Option<Fence>,
    /// Some attempt's outcome is unknown.
    unknown: bool,
    /// An answer that ended that doubt while another attempt was live.
    evidence: Option<AnswerDigest>,
    completed: Option<Option<AnswerDigest>>,
}

impl Ghost {
    fn of(state: State) -> Self {
        let doubt = match state {
            State::Queued { doubt }
            | State::Claimed { doubt, .. }
            | State::Waiting { doubt }
            | State::Dead { doubt } => doubt,
            State::InDoubt { .. } => Doubt::Standing,
            _ => Doubt::None,
        };
        Self {
            live: holder(state),
            unknown: doubt == Doubt::Standing,
            evidence: if let Doubt::Answered(answer) = doubt { Some(answer) } else { None },
            completed: if let State::Completed { answer } = state { Some(answer) } else { None },
        }
    }

    fn complete(&mut self, answer: Option<AnswerDigest>) {
        *self = Self { live: None, unknown: false, evidence: None, completed: Some(answer) };
    }

    fn accepted(&mut self, event: Event) {
        match event {
            Event::Claim { fence, .. } => self.live = Some(fence),
            Event::NotSent { .. } | Event::Refused { .. } => self.end(self.unknown),
            Event::Unknown { .. } | Event::LeaseRanOut { .. } => self.end(true),
            Event::Answered { fence, answer } => {
                if self.live == Some(fence) {
                    self.complete(Some(answer));
                } else if self.live.is_some() && self.unknown {
                    (self.unknown, self.evidence) = (false, Some(answer));
                } else if self.unknown || self.completed == Some(None) {
                    self.complete(Some(answer));
                }
            }
            Event::SettleHappened { answer } => self.complete(answer),
            Event::SettleDidNotHappen => self.unknown = false,
            Event::Purge | Event::Expire { .. } => self.completed = None,
            Event::Enqueue | Event::Due | Event::Cancel | Event::Hold | Event::Redrive { .. } => {}
        }
    }

    fn end(&mut self, unknown: bool) {
        match self.evidence {
            Some(answer) => self.complete(Some(answer)),
            None => (self.live, self.unknown) = (None, unknown),
        }
    }
}

#[test]
fn the_state_remembers_all_that_was_told() {
    seeded::check(WALKS * 4, &walks(), |walk| {
        let mut ghost = None;
        take(walk, |step| {
            let ghost = ghost.get_or_insert_with(|| Ghost::of(step.before));
            if step.outcome.is_ok() {
                ghost.accepted(step.event);
            }
            assert_eq!(*ghost, Ghost::of(step.after()), "{step:?}");
        });
    });
}

#[test]
fn an_operation_is_completed_with_one_answer_in_each_life() {
    seeded::check(WALKS * 4, &walks(), |walk| {
        let mut stored = None;
        take(walk, |step| {
            if step.before == State::Absent {
                stored = None;
            }
            if let Ok(transition) = step.outcome
                && transition.effects.iter().any(|e| matches!(e, Effect::StoreAnswer | Effect::AdoptEvidence))
            {
                assert_eq!(stored.replace(step.event), None, "a second answer was stored: {step:?}");
            }
        });
    });
}
