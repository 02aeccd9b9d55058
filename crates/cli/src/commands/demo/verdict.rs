//! The comparison: what customers were told, what the ledger says, and what really happened.

use std::fmt;

use box_office::EffectKind;

use super::{
    books::{Books, Standing},
    traffic::{Answer, Ending, Heard},
};

/// What the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Keys that customers used.
    pub(super) distinct: u64,
    /// Keys with an effect that stands.
    pub(super) executed: u64,
    /// Keys that the ledger has in doubt.
    pub(super) in_doubt: u64,
    /// Those of them whose effect stands: they had happened.
    pub(super) in_doubt_happened: u64,
    /// Keys for which no customer got a final answer, nor "in doubt".
    pub(super) gave_up: u64,
    /// Everything that must not be.
    pub(super) violations: Vec<Violation>,
}

/// Something that must not be, about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) key: String,
    pub(super) wrong: Wrong,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// More than one effect stands.
    ExecutedTwice { kind: EffectKind, times: usize },
    /// The bank charged more than once.
    ChargedTwice { times: u32 },
    /// A customer was told of success, and there is no such effect (or another one).
    AcknowledgedMissing { told: String },
    /// A customer was told of a paid order, and the bank charged nothing.
    PaidButNotCharged,
    /// Two answers under one key differ.
    AnswersDiffer { one: String, other: String },
    /// A customer was told that it failed for good, and the effect stands or the card was charged.
    DeniedButDone { told: u16 },
    /// A final answer was given that the ledger does not have.
    NotInLedger { state: String },
    /// An effect stands of which the ledger knows nothing: neither completed nor in doubt.
    Unaccounted { state: String },
    /// A customer was told "in doubt", and the ledger forgot.
    DoubtForgotten { state: String },
    /// The operation is still claimed, long after everybody left.
    Stuck,
    /// A key was accepted for another request.
    KeyReuseAccepted { told: String },
}

impl Wrong {
    fn is_twice(&self) -> bool {
        matches!(self, Self::ExecutedTwice { .. } | Self::ChargedTwice { .. })
    }

    fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::AcknowledgedMissing { .. } | Self::PaidButNotCharged | Self::AnswersDiffer { .. }
        )
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExecutedTwice { kind, times } => {
                write!(formatter, "{times} times a {kind}, asked for once")
            }
            Self::ChargedTwice { times } => write!(formatter, "charged {times} times for one order"),
            Self::AcknowledgedMissing { told } => {
                write!(formatter, "told {told}, which the box office does not have")
            }
            Self::PaidButNotCharged => formatter.write_str("told that it is paid, and nothing was charged"),
            Self::AnswersDiffer { one, other } => write!(formatter, "told {one}, and then {other}"),
            Self::DeniedButDone { told } => write!(formatter, "told {told}, and yet it was done"),
            Self::NotInLedger { state } => {
                write!(formatter, "answered for good, and {state} in the ledger")
            }
            Self::Unaccounted { state } => write!(formatter, "done, and {state} in the ledger"),
            Self::DoubtForgotten { state } => {
                write!(formatter, "told that it is in doubt, and {state} in the ledger")
            }
            Self::Stuck => formatter.write_str("still claimed after everybody had left"),
            Self::KeyReuseAccepted { told } => {
                write!(formatter, "its key was used for another request, which was told {told}")
            }
        }
    }
}

impl Verdict {
    /// Keys with more than one effect, or with more than one charge.
    pub(super) fn executed_twice(&self) -> u64 {
        self.keys(Wrong::is_twice)
    }

    /// Keys whose acknowledged answer is not true, or changed.
    pub(super) fn acknowledged_missing(&self) -> u64 {
        self.keys(Wrong::is_missing)
    }

    fn keys(&self, matches: impl Fn(&Wrong) -> bool) -> u64 {
        let mut keys: Vec<_> = self
            .violations
            .iter()
            .filter(|violation| matches(&violation.wrong))
            .map(|violation| &violation.key)
            .collect();
        keys.sort();
        keys.dedup();
        keys.len() as u64
    }
}

/// Compares.
pub(super) fn judge(heard: &[Heard], books: &Books) -> Verdict {
    let mut verdict = Verdict { distinct: heard.len() as u64, ..Verdict::default() };
    for heard in heard {
        let standing = books.effects.get(&heard.key).map_or(&[][..], Vec::as_slice);
        let state = books.ledger.get(&heard.key).map_or("not there", String::as_str);
        let charges = books.charges.get(&heard.key).copied().unwrap_or_default();
        verdict.executed += u64::from(!standing.is_empty());
        if state == "in_doubt" {
            verdict.in_doubt += 1;
            verdict.in_doubt_happened += u64::from(!standing.is_empty());
        }
        let gave_up = |ending: &Ending| matches!(ending, Ending::GaveUp(_));
        verdict.gave_up += u64::from(heard.endings.iter().all(gave_up));

        let mut wrongs = Vec::new();
        wrongs.extend(check_effects(standing, charges, state));
        wrongs.extend(check_answers(heard, standing, charges, state));
        let named = wrongs.into_iter().map(|wrong| Violation { key: heard.key.clone(), wrong });
        verdict.violations.extend(named);
    }
    // The worst first, for whoever reads only the beginning.
    verdict.violations.sort_by_key(|Violation { wrong, .. }| match wrong {
        wrong if wrong.is_twice() => 0,
        wrong if wrong.is_missing() => 1,
        _ => 2,
    });
    verdict
}

/// What really happened, against the ledger.
fn check_effects(standing: &[Standing], charges: u32, state: &str) -> Vec<Wrong> {
    let mut wrongs = Vec::new();
    if let [first, _, ..] = standing {
        wrongs.push(Wrong::ExecutedTwice { kind: first.kind, times: standing.len() });
    }
    if charges > 1 {
        wrongs.push(Wrong::ChargedTwice { times: charges });
    }
    if state == "claimed" {
        wrongs.push(Wrong::Stuck);
    }
    let done = !standing.is_empty() || charges > 0;
    if done && !matches!(state, "completed" | "in_doubt" | "claimed") {
        wrongs.push(Wrong::Unaccounted { state: state.into() });
    }
    wrongs
}

/// What customers were told, against what happened and against the ledger.
fn check_answers(heard: &Heard, standing: &[Standing], charges: u32, state: &str) -> Vec<Wrong> {
    let mut wrongs = Vec::new();
    let mut answers = heard.endings.iter().filter_map(|ending| match ending {
        Ending::Answered(answer) => Some(answer),
        _ => None,
    });
    if let Some(first) = answers.next() {
        wrongs.extend(check_answer(first, standing, charges));
        if let Some(other) = answers.find(|other| *other != first) {
            wrongs.push(Wrong::AnswersDiffer { one: describe(first), other: describe(other) });
        }
        if state != "completed" {
            wrongs.push(Wrong::NotInLedger { state: state.into() });
        }
    }
    // A late answer may have completed it since.
    if heard.endings.contains(&Ending::InDoubt) && !matches!(state, "in_doubt" | "completed") {
        wrongs.push(Wrong::DoubtForgotten { state: state.into() });
    }
    if let Some(Ending::Answered(answer)) = &heard.slip {
        wrongs.push(Wrong::KeyReuseAccepted { told: describe(answer) });
    }
    wrongs
}

/// One final answer against what happened.
fn check_answer(answer: &Answer, standing: &[Standing], charges: u32) -> Option<Wrong> {
    if !answer.is_success() {
        let done = !standing.is_empty() || charges > 0;
        return done.then_some(Wrong::DeniedButDone { told: answer.status });
    }
    let is_told = |effect: &Standing| effect.body.as_deref().map(str::as_bytes) == Some(&answer.body);
    if !standing.iter().any(is_told) {
        return Some(Wrong::AcknowledgedMissing { told: describe(answer) });
    }
    let paid =
        serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok_and(|body| body["status"] == "paid");
    (paid && charges == 0).then_some(Wrong::PaidButNotCharged)
}

fn describe(answer: &Answer) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAID: &str = r#"{"order":1,"status":"paid"}"#;

    fn told(status: u16, body: &'static str) -> Ending {
        Ending::Answered(Answer { status, location: None, body: body.into() })
    }

    fn heard(endings: Vec<Ending>) -> Heard {
        Heard { key: "k".into(), endings, slip: None }
    }

    fn books(effects: &[&str], charges: u32, state: &str) -> Books {
        let standing = |body: &&str| Standing { kind: EffectKind::Order, body: Some((*body).into()) };
        let mut books = Books::default();
        books.ledger.insert("k".into(), state.into());
        if !effects.is_empty() {
            books.effects.insert("k".into(), effects.iter().map(standing).collect());
        }
        if charges > 0 {
            books.charges.insert("k".into(), charges);
        }
        books
    }

    fn wrongs(heard: Heard, books: Books) -> Vec<Wrong> {
        judge(&[heard], &books).violations.into_iter().map(|violation| violation.wrong).collect()
    }

    #[test]
    fn finds_nothing_wrong_where_all_books_agree() {
        let both = vec![told(201, PAID), told(201, PAID)];
        let verdict = judge(&[heard(both)], &books(&[PAID], 1, "completed"));
        assert_eq!(verdict, Verdict { distinct: 1, executed: 1, ..Verdict::default() });
    }

    #[test]
    fn finds_an_effect_and_a_charge_that_happened_twice() {
        let twice = books(&[PAID, PAID], 2, "completed");
        let verdict = judge(&[heard(vec![told(201, PAID)])], &twice);
        let found: Vec<_> = verdict.violations.iter().map(|violation| violation.wrong.clone()).collect();
        let expected =
            [Wrong::ExecutedTwice { kind: EffectKind::Order, times: 2 }, Wrong::ChargedTwice { times: 2 }];
        assert_eq!(found, expected);
        assert_eq!((verdict.executed_twice(), verdict.acknowledged_missing()), (1, 0));
    }

    #[test]
    fn tells_the_worst_first() {
        let endings = vec![told(201, PAID), Ending::InDoubt];
        let found = wrongs(heard(endings), books(&[PAID, PAID], 1, "released"));
        assert_eq!(found.first(), Some(&Wrong::ExecutedTwice { kind: EffectKind::Order, times: 2 }));
        let later = Heard { key: "l".into(), ..heard(vec![told(201, PAID)]) };
        let missing = judge(&[heard(vec![Ending::InDoubt]), later], &Books::default());
        assert!(matches!(missing.violations[0].wrong, Wrong::AcknowledgedMissing { .. }));
    }

    #[test]
    fn finds_an_acknowledged_effect_that_is_missing_or_another() {
        for effects in [&[][..], &[r#"{"order":2}"#][..]] {
            let verdict = judge(&[heard(vec![told(201, PAID)])], &books(effects, 1, "completed"));
            assert_eq!((verdict.executed_twice(), verdict.acknowledged_missing()), (0, 1));
        }
    }

    #[test]
    fn finds_a_replay_that_differs() {
        let endings = vec![told(201, PAID), told(200, PAID)];
        let verdict = judge(&[heard(endings)], &books(&[PAID], 1, "completed"));
        assert_eq!(verdict.acknowledged_missing(), 1);
    }

    #[test]
    fn finds_an_order_that_was_paid_without_a_charge() {
        let found = wrongs(heard(vec![told(201, PAID)]), books(&[PAID], 0, "completed"));
        assert_eq!(found, [Wrong::PaidButNotCharged]);
    }

    #[test]
    fn finds_what_was_denied_and_yet_done() {
        let denied = vec![told(402, r#"{"error":"card-declined"}"#)];
        assert_eq!(wrongs(heard(denied.clone()), books(&[], 0, "completed")), []);
        let found = wrongs(heard(denied), books(&[], 1, "completed"));
        assert_eq!(found, [Wrong::DeniedButDone { told: 402 }]);
    }

    #[test]
    fn doubt_is_no_violation_and_forgetting_it_is() {
        let verdict = judge(&[heard(vec![Ending::InDoubt])], &books(&[PAID], 1, "in_doubt"));
        assert_eq!((verdict.in_doubt, verdict.in_doubt_happened), (1, 1));
        assert_eq!(verdict.violations, []);
        assert_eq!(wrongs(heard(vec![Ending::InDoubt]), books(&[PAID], 1, "completed")), []);
        let found = wrongs(heard(vec![Ending::InDoubt]), books(&[], 0, "released"));
        assert_eq!(found, [Wrong::DoubtForgotten { state: "released".into() }]);
    }

    #[test]
    fn finds_effects_that_the_ledger_does_not_account_for() {
        let gave_up = heard(vec![Ending::GaveUp("503".into())]);
        let found = wrongs(gave_up.clone(), books(&[PAID], 1, "released"));
        assert_eq!(found, [Wrong::Unaccounted { state: "released".into() }]);
        let verdict = judge(&[gave_up], &books(&[], 0, "released"));
        assert_eq!((verdict.gave_up, verdict.violations.len()), (1, 0));
    }

    #[test]
    fn finds_an_answer_that_is_not_in_the_ledger() {
        let found = wrongs(heard(vec![told(201, PAID)]), books(&[PAID], 1, "in_doubt"));
        assert_eq!(found, [Wrong::NotInLedger { state: "in_doubt".into() }]);
    }

    #[test]
    fn finds_what_is_stuck() {
        assert_eq!(wrongs(heard(vec![]), books(&[PAID], 1, "claimed")), [Wrong::Stuck]);
    }

    #[test]
    fn finds_a_key_that_was_accepted_for_another_request() {
        let slipped = |slip| Heard { slip: Some(slip), ..heard(vec![told(201, PAID)]) };
        assert_eq!(wrongs(slipped(Ending::KeyReused), books(&[PAID], 1, "completed")), []);
        assert_eq!(wrongs(slipped(told(201, PAID)), books(&[PAID], 1, "completed")).len(), 1);
    }
}
