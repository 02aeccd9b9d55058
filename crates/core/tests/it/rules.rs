//! The rules that make the promises true, each as a check of one step of an operation.
//!
//! They are written from what the states mean, not from the transitions, and the fuzz target runs them too.

use steadfast_core::{
    AnswerDigest, Doubt, Effect, Event, Fence, Mode, Refused, Rerun, State, StateName, Transition, transition,
};

/// An event that came to an operation, and what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) before: State,
    pub(crate) event: Event,
    pub(crate) outcome: Result<Transition, Refused>,
}

impl Step {
    pub(crate) fn new(before: State, event: Event) -> Self {
        Self { before, event, outcome: transition(before, event) }
    }

    /// The state from now on.
    pub(crate) fn after(&self) -> State {
        self.outcome.map_or(self.before, |transition| transition.state)
    }

    fn changes(&self) -> bool {
        self.after() != self.before
    }

    fn has(&self, effect: Effect) -> bool {
        self.outcome.is_ok_and(|transition| transition.effects.contains(&effect))
    }

    /// The event is a report about an attempt that does not hold the claim.
    fn is_stale(&self) -> bool {
        reporter(self.event).is_some_and(|fence| holder(self.before) != Some(fence))
    }
}

/// The attempt that holds the claim.
pub(crate) fn holder(state: State) -> Option<Fence> {
    match state {
        State::Claimed { fence, .. } => Some(fence),
        _ => None,
    }
}

/// The attempt that an event is a report about.
pub(crate) fn reporter(event: Event) -> Option<Fence> {
    match event {
        Event::NotSent { fence, .. }
        | Event::Refused { fence, .. }
        | Event::Answered { fence, .. }
        | Event::Unknown { fence, .. }
        | Event::LeaseRanOut { fence, .. } => Some(fence),
        _ => None,
    }
}

fn evidence(state: State) -> Option<AnswerDigest> {
    match state {
        State::Claimed { doubt: Doubt::Answered(answer), .. } => Some(answer),
        _ => None,
    }
}

/// The answer that an event brings.
fn brings(event: Event) -> Option<AnswerDigest> {
    match event {
        Event::Answered { answer, .. } => Some(answer),
        Event::SettleHappened { answer } => answer,
        _ => None,
    }
}

fn is_settlement(event: Event) -> bool {
    matches!(event, Event::SettleHappened { .. } | Event::SettleDidNotHappen)
}

/// One rule.
pub(crate) type Rule = fn(&Step);

/// Every rule about a single step.
pub(crate) const ALL: &[Rule] = &[
    at_most_one_live_attempt,
    only_the_holder_ends_a_claim,
    stale_reports_change_nothing,
    a_stale_answer_only_ends_doubt,
    contradictions_open_a_case,
    no_answer_is_thrown_away,
    unknown_outcomes_are_doubted,
    doubt_is_sticky,
    in_doubt_is_held,
    doubt_reruns_only_where_allowed,
    completed_answers_stand,
    completed_only_by_an_answer_or_a_person,
    released_only_where_nothing_was_executed,
    cancelled_only_where_nothing_was_executed,
    synchronous_never_waits_for_a_worker,
    doubtful_or_dead_never_expires,
    only_expiry_forgets,
    answers_are_stored_on_completion,
    evidence_is_adopted_by_the_attempt_without_an_answer,
    attempts_begin_with_claims,
    the_end_of_a_claim_wakes,
    what_became_ready_wakes_workers,
    retention_begins_where_it_can_end,
    an_effect_is_written_once,
    refusals_tell_the_truth,
];

pub(crate) fn at_most_one_live_attempt(step: &Step) {
    if let (Some(one), Some(other)) = (holder(step.before), holder(step.after())) {
        assert_eq!(one, other, "two attempts were live: {step:?}");
        assert!(!step.has(Effect::BeginAttempt), "an attempt began beside a live one: {step:?}");
    }
    if matches!(step.event, Event::Claim { .. }) && holder(step.before).is_some() {
        assert_eq!(step.outcome, Err(Refused::InProgress), "{step:?}");
    }
}

pub(crate) fn only_the_holder_ends_a_claim(step: &Step) {
    if let State::Claimed { mode, fence, .. } = step.before {
        match step.after() {
            State::Claimed { mode: still, fence: by, .. } => {
                assert_eq!((still, by), (mode, fence), "{step:?}")
            }
            _ => assert_eq!(reporter(step.event), Some(fence), "{step:?}"),
        }
    }
}

pub(crate) fn stale_reports_change_nothing(step: &Step) {
    if step.is_stale() && !matches!(step.event, Event::Answered { .. }) {
        assert!(step.outcome.is_err(), "a stale report was believed: {step:?}");
    }
}

pub(crate) fn a_stale_answer_only_ends_doubt(step: &Step) {
    let Event::Answered { answer, .. } = step.event else { return };
    if !step.is_stale() || !step.changes() {
        return;
    }
    let learns = step.before == State::Completed { answer: None };
    assert!(step.before.is_doubtful() || learns, "there was no doubt to end: {step:?}");
    match step.before {
        State::Claimed { mode, fence, doubt } => {
            assert_eq!(doubt, Doubt::Standing, "{step:?}");
            let kept = State::Claimed { mode, fence, doubt: Doubt::Answered(answer) };
            assert_eq!(step.after(), kept, "{step:?}");
            assert!(step.has(Effect::KeepEvidence), "{step:?}");
        }
        _ => assert_eq!(step.after(), State::Completed { answer: Some(answer) }, "{step:?}"),
    }
}

/// Whether an answer contradicts what is known: that no attempt but the holder's own was executed, or another
/// answer.
fn contradicts(state: State, by: Fence, answer: AnswerDigest) -> bool {
    match state {
        State::Claimed { fence, doubt: Doubt::None, .. } => fence != by,
        State::Claimed { doubt: Doubt::Answered(known), .. } | State::Completed { answer: Some(known) } => {
            known != answer
        }
        State::Queued { .. } | State::Waiting { .. } | State::Dead { .. } => !state.is_doubtful(),
        State::Released | State::Cancelled => true,
        State::Claimed { doubt: Doubt::Standing, .. }
        | State::InDoubt { .. }
        | State::Completed { answer: None }
        | State::Absent
        | State::Tombstone => false,
    }
}

pub(crate) fn contradictions_open_a_case(step: &Step) {
    let expected = match step.event {
        Event::Answered { fence, answer } => contradicts(step.before, fence, answer),
        _ => false,
    };
    assert_eq!(step.has(Effect::OpenCase), expected, "{step:?}");
}

pub(crate) fn no_answer_is_thrown_away(step: &Step) {
    let Event::Answered { answer, .. } = step.event else { return };
    if matches!(step.before, State::Absent | State::Tombstone) {
        return;
    }
    let known =
        step.before == State::Completed { answer: Some(answer) } || evidence(step.before) == Some(answer);
    let written = step.has(Effect::StoreAnswer) || step.has(Effect::KeepEvidence);
    assert!(step.outcome.is_ok() && (known || written), "an answer was lost: {step:?}");
}

pub(crate) fn unknown_outcomes_are_doubted(step: &Step) {
    let unknown = matches!(step.event, Event::Unknown { .. } | Event::LeaseRanOut { .. });
    if unknown && step.outcome.is_ok() {
        let known = evidence(step.before).is_some();
        assert_eq!(step.after().is_doubtful(), !known, "an unknown outcome was not doubted: {step:?}");
    }
}

pub(crate) fn doubt_is_sticky(step: &Step) {
    if step.before.is_doubtful() && !step.after().is_doubtful() {
        let ends = matches!(step.event, Event::Answered { .. })
            || is_settlement(step.event)
            // The answer came earlier, and waited for the attempt beside it to end.
            || evidence(step.before).is_some();
        assert!(ends, "doubt vanished: {step:?}");
    }
}

pub(crate) fn in_doubt_is_held(step: &Step) {
    let State::InDoubt { mode } = step.before else { return };
    if !step.changes() {
        return;
    }
    let rerun = matches!(step.event, Event::Claim { mode: Mode::Synchronous, rerun: Rerun::Allowed, .. });
    let answered = matches!(step.event, Event::Answered { .. });
    assert!(answered || is_settlement(step.event) || (rerun && mode == Mode::Synchronous), "{step:?}");
}

pub(crate) fn doubt_reruns_only_where_allowed(step: &Step) {
    if let Event::Claim { rerun, .. } | Event::Redrive { rerun } = step.event
        && step.before.is_doubtful()
        && step.changes()
    {
        assert_eq!(rerun, Rerun::Allowed, "{step:?}");
        assert!(step.after().is_doubtful(), "the rerun forgot the doubt: {step:?}");
    }
}

pub(crate) fn completed_answers_stand(step: &Step) {
    let State::Completed { answer: before } = step.before else { return };
    if let State::Completed { answer: after } = step.after() {
        assert!(before.is_none() || after == before, "a completed answer was replaced: {step:?}");
        assert!(before.is_none() || !step.has(Effect::StoreAnswer), "{step:?}");
    } else {
        assert!(matches!(step.event, Event::Purge | Event::Expire { .. }), "{step:?}");
    }
}

pub(crate) fn completed_only_by_an_answer_or_a_person(step: &Step) {
    if let State::Completed { answer } = step.after()
        && step.changes()
    {
        let known = brings(step.event).or(evidence(step.before));
        assert_eq!(answer, known, "{step:?}");
        assert!(known.is_some() || is_settlement(step.event), "{step:?}");
    }
}

/// Whether the event says, in this state, that no attempt of the operation was executed.
fn nothing_was_executed(step: &Step) -> bool {
    match step.event {
        Event::NotSent { .. } | Event::Refused { .. } => !step.before.is_doubtful() && !step.is_stale(),
        Event::SettleDidNotHappen => step.before.is_doubtful(),
        _ => false,
    }
}

pub(crate) fn released_only_where_nothing_was_executed(step: &Step) {
    if step.after() == State::Released && step.changes() {
        assert!(nothing_was_executed(step), "released without knowing: {step:?}");
    }
}

pub(crate) fn cancelled_only_where_nothing_was_executed(step: &Step) {
    if step.after() == State::Cancelled && step.changes() {
        assert!(!step.before.is_doubtful() && holder(step.before).is_none(), "{step:?}");
        assert_eq!(step.event, Event::Cancel, "{step:?}");
    }
}

pub(crate) fn synchronous_never_waits_for_a_worker(step: &Step) {
    let synchronous = matches!(
        step.before,
        State::Claimed { mode: Mode::Synchronous, .. } | State::InDoubt { mode: Mode::Synchronous }
    );
    if synchronous {
        let name = step.after().name();
        assert!(!matches!(name, StateName::Queued | StateName::Waiting | StateName::Dead), "{step:?}");
    }
    if let State::Claimed { mode, .. } | State::InDoubt { mode } = step.before
        && let State::Claimed { mode: later, .. } | State::InDoubt { mode: later } = step.after()
    {
        assert_eq!(mode, later, "an operation changed its mode: {step:?}");
    }
}

pub(crate) fn doubtful_or_dead_never_expires(step: &Step) {
    let unsettled = step.before.is_doubtful() || matches!(step.before, State::Dead { .. });
    if unsettled && matches!(step.event, Event::Expire { .. }) {
        assert!(step.outcome.is_err(), "what is unsettled expired: {step:?}");
    }
    if step.before.is_doubtful() {
        let name = step.after().name();
        assert!(!matches!(name, StateName::Absent | StateName::Tombstone), "doubt was forgotten: {step:?}");
    }
}

pub(crate) fn only_expiry_forgets(step: &Step) {
    if !step.changes() {
        return;
    }
    match step.after() {
        State::Absent => {
            let purged = step.before == State::Released && step.event == Event::Purge;
            assert!(purged || matches!(step.event, Event::Expire { .. }), "{step:?}");
        }
        State::Tombstone => {
            let by_right = matches!(step.event, Event::Purge | Event::Expire { tombstone: true });
            assert!(by_right, "{step:?}");
        }
        _ => assert_ne!(step.before, State::Tombstone, "a tombstone came to life: {step:?}"),
    }
}

pub(crate) fn answers_are_stored_on_completion(step: &Step) {
    let completes = brings(step.event)
        .is_some_and(|answer| step.changes() && step.after() == State::Completed { answer: Some(answer) });
    assert_eq!(step.has(Effect::StoreAnswer), completes, "{step:?}");
}

pub(crate) fn evidence_is_adopted_by_the_attempt_without_an_answer(step: &Step) {
    let adopted = evidence(step.before).filter(|_| brings(step.event).is_none());
    let completes = adopted.is_some() && step.after() == State::Completed { answer: adopted };
    assert_eq!(step.has(Effect::AdoptEvidence), completes, "{step:?}");
}

pub(crate) fn attempts_begin_with_claims(step: &Step) {
    let begins = match (step.event, step.after()) {
        (Event::Claim { mode, fence, .. }, State::Claimed { mode: claimed, fence: by, .. }) => {
            let granted = step.outcome.is_ok();
            assert!(!granted || (mode, fence) == (claimed, by), "{step:?}");
            granted
        }
        _ => false,
    };
    assert_eq!(step.has(Effect::BeginAttempt), begins, "{step:?}");
    if holder(step.before).is_none() && holder(step.after()).is_some() {
        assert!(begins, "a claim without an attempt: {step:?}");
    }
}

pub(crate) fn the_end_of_a_claim_wakes(step: &Step) {
    if holder(step.before).is_some() && holder(step.after()).is_none() {
        assert!(step.has(Effect::Wake), "nobody was woken: {step:?}");
    }
    if matches!(step.after(), State::Completed { .. }) && step.changes() {
        assert!(step.has(Effect::Wake), "nobody was woken: {step:?}");
    }
}

pub(crate) fn what_became_ready_wakes_workers(step: &Step) {
    if matches!(step.after(), State::Queued { .. }) && step.changes() {
        assert!(step.has(Effect::Wake), "no worker was woken: {step:?}");
    }
}

pub(crate) fn retention_begins_where_it_can_end(step: &Step) {
    let can_expire = transition(step.after(), Event::Expire { tombstone: false }).is_ok();
    assert_eq!(step.has(Effect::BeginRetention), can_expire && step.changes(), "{step:?}");
}

pub(crate) fn an_effect_is_written_once(step: &Step) {
    let Ok(Transition { effects, .. }) = step.outcome else { return };
    for (at, effect) in effects.iter().enumerate() {
        assert!(!effects[..at].contains(effect), "{effect:?} twice: {step:?}");
    }
}

pub(crate) fn refusals_tell_the_truth(step: &Step) {
    let Err(refused) = step.outcome else { return };
    let name = step.before.name();
    let true_of_it = match refused {
        Refused::StaleFence => step.is_stale(),
        Refused::InProgress => matches!(name, StateName::Queued | StateName::Waiting | StateName::Claimed),
        Refused::InDoubt => step.before.is_doubtful(),
        Refused::Finished(told) => {
            told == name
                && matches!(
                    name,
                    StateName::Completed | StateName::Dead | StateName::Cancelled | StateName::Tombstone
                )
        }
        Refused::NoSuchTransition { state, event } => state == name && event == step.event.name(),
    };
    assert!(true_of_it && !step.changes(), "{step:?}");
    assert!(!refused.to_string().is_empty());
}
