//! `docs/state-machine.md` shows the machine that the code is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use steadfast_core::{Doubt, Event, Refused, Rerun, State, StateName};

use crate::{
    alphabet::{every_event, sound_states},
    golden::check_block,
    rules::{Step, holder},
};

const FILE: &str = "state-machine.md";

/// `LeaseRanOut` as `lease ran out`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// How a document calls an event: by its name, and what matters of its facts in this state.
fn label(step: &Step) -> String {
    let name = words(&format!("{:?}", step.event.name()));
    match step.event {
        Event::Answered { fence, .. } if holder(step.before) != Some(fence) => "late answer".to_owned(),
        Event::Answered { .. } => "answer".to_owned(),
        Event::Claim { .. } | Event::Redrive { .. } if step.before.is_doubtful() => {
            format!("{name}, rerun allowed")
        }
        Event::Expire { tombstone: true } if step.after() == State::Tombstone => {
            "expire, tombstone kept".to_owned()
        }
        _ => name,
    }
}

/// What an answer means beside the one that is known, where one is.
fn compared(step: &Step) -> &'static str {
    let (State::Completed { answer: Some(known) } | State::Claimed { doubt: Doubt::Answered(known), .. }) =
        step.before
    else {
        return "";
    };
    match step.event {
        Event::Answered { answer, .. } if answer == known => ", the one that is known",
        Event::Answered { .. } => ", another than is known",
        _ => "",
    }
}

fn every_step() -> impl Iterator<Item = Step> {
    sound_states()
        .into_iter()
        .flat_map(|state| every_event().into_iter().map(move |event| Step::new(state, event)))
}

fn joined<'a>(parts: impl IntoIterator<Item = &'a String>, separator: &str) -> String {
    parts.into_iter().map(String::as_str).collect::<Vec<_>>().join(separator)
}

fn diagram() -> String {
    let mut edges: BTreeMap<(StateName, StateName), BTreeSet<String>> = BTreeMap::new();
    for step in every_step().filter(|step| step.after().name() != step.before.name()) {
        edges.entry((step.before.name(), step.after().name())).or_default().insert(label(&step));
    }
    let mut text = "```mermaid\nstateDiagram-v2\n    [*] --> absent\n".to_owned();
    for ((from, to), labels) in edges {
        let labels = joined(&labels, "<br>");
        writeln!(text, "    {} --> {}: {labels}", from.as_str(), to.as_str()).expect("a string");
    }
    text + "```\n"
}

fn doubt(state: State) -> &'static str {
    match state {
        State::Queued { doubt }
        | State::Claimed { doubt, .. }
        | State::Waiting { doubt }
        | State::Dead { doubt } => match doubt {
            Doubt::None => "",
            Doubt::Standing => ", doubtful",
            Doubt::Answered(_) => ", late answer kept",
        },
        State::Completed { answer: None } => ", answer unknown",
        _ => "",
    }
}

fn told(state: State) -> String {
    let mode = match state {
        State::Claimed { mode, .. } | State::InDoubt { mode } => {
            format!(" ({})", words(&format!("{mode:?}")))
        }
        _ => String::new(),
    };
    format!("{}{mode}{}", state.name().as_str(), doubt(state))
}

/// Every accepted event: from, event, to, effects. Events that do the same from the same are one row.
fn accepted() -> String {
    let mut from: BTreeMap<(StateName, String, String, String), BTreeSet<String>> = BTreeMap::new();
    for step in every_step() {
        let Ok(transition) = step.outcome else { continue };
        let effects: Vec<String> =
            transition.effects.iter().map(|effect| words(&format!("{effect:?}"))).collect();
        let to = if step.after() == step.before { "(the same)".to_owned() } else { told(step.after()) };
        let event = label(&step) + compared(&step);
        let row = (step.before.name(), event, to, joined(&effects, ", "));
        from.entry(row).or_default().insert(told(step.before));
    }
    let mut rows: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for ((name, event, to, effects), from) in from {
        rows.entry((name, from, to, effects)).or_default().insert(event);
    }
    let mut text = "| from | event | to | written beside it |\n| --- | --- | --- | --- |\n".to_owned();
    for ((_, from, to, effects), events) in rows {
        let (from, events) = (joined(&from, "<br>"), joined(&events, "<br>"));
        writeln!(text, "| {from} | {events} | {to} | {effects} |").expect("a string");
    }
    text
}

fn refusal(refused: Refused) -> &'static str {
    match refused {
        Refused::StaleFence => "stale",
        Refused::InProgress => "in progress",
        Refused::InDoubt => "in doubt",
        Refused::Finished(_) => "over",
        Refused::NoSuchTransition { .. } => "–",
    }
}

/// For each event and state: accepted (under what conditions is in the other table), refused and why.
fn refused() -> String {
    let mut cells: BTreeMap<_, BTreeMap<StateName, BTreeSet<&'static str>>> = BTreeMap::new();
    for step in every_step() {
        let word = step.outcome.map_or_else(refusal, |_| "**yes**");
        cells.entry(step.event.name()).or_default().entry(step.before.name()).or_default().insert(word);
    }
    let mut text = "| |".to_owned();
    for state in StateName::ALL {
        write!(text, " {} |", state.as_str()).expect("a string");
    }
    writeln!(text, "\n| --- |{}", " --- |".repeat(StateName::ALL.len())).expect("a string");
    for (event, states) in cells {
        write!(text, "| {} |", words(&format!("{event:?}"))).expect("a string");
        for state in StateName::ALL {
            let words: Vec<&str> = states[state].iter().copied().collect();
            write!(text, " {} |", words.join(", ")).expect("a string");
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_document_shows_the_machine_that_the_code_is() {
    // One test for all blocks: two that rewrote the same file at once would lose one block.
    check_block(FILE, "diagram", &diagram());
    check_block(FILE, "accepted", &accepted());
    check_block(FILE, "refused", &refused());
}

#[test]
fn the_document_explains_every_state() {
    let text = std::fs::read_to_string(crate::golden::docs().join(FILE)).expect("the document");
    for state in StateName::ALL {
        assert!(
            text.contains(&format!("\n- **{}** ", state.as_str())),
            "{} is not explained",
            state.as_str()
        );
    }
}

#[test]
fn labels_tell_reruns_and_late_answers_apart() {
    let fences = crate::alphabet::FENCES;
    let mode = steadfast_core::Mode::Synchronous;
    let claim = Event::Claim { mode, fence: fences[0], rerun: Rerun::Allowed };
    assert_eq!(label(&Step::new(State::InDoubt { mode }, claim)), "claim, rerun allowed");
    assert_eq!(label(&Step::new(State::Absent, claim)), "claim");
    let answered = Event::Answered { fence: fences[1], answer: crate::alphabet::ANSWERS[0] };
    let claimed = |fence| State::Claimed { mode, fence, doubt: Doubt::None };
    assert_eq!(label(&Step::new(claimed(fences[1]), answered)), "answer");
    assert_eq!(label(&Step::new(claimed(fences[0]), answered)), "late answer");
}
