//! The report: a table with a verdict in plain words, or one JSON document.

use serde::Serialize;

use super::{
    resellers::NoiseReport,
    tally::Tally,
    verdict::{Verdict, Violation},
    watchers::BadMinuteReport,
};

/// Violations that the table shows; JSON has them all.
const SHOWN_MAX: usize = 20;

/// Everything that is reported. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Gives the same run again.
    pub(super) seed: u64,
    /// How long traffic ran.
    pub(super) seconds: u64,
    /// Clicks: calls that customers made, each with its own retries.
    pub(super) asked: u64,
    /// Distinct things asked for, each under a key of its own.
    pub(super) distinct: u64,
    /// HTTP requests sent, double clicks and retries included.
    pub(super) requests: u64,
    /// Keys whose effect stands in the box office's database.
    pub(super) executed: u64,
    /// Answers that customers received as replays.
    pub(super) replayed: u64,
    /// Requests turned away because the first was running, or because their key belonged to another request.
    pub(super) conflicts: u64,
    /// Keys that the ledger holds in doubt.
    pub(super) in_doubt: u64,
    /// Those of them that had happened after all.
    pub(super) in_doubt_happened: u64,
    /// Keys for which no customer got a final answer.
    pub(super) gave_up: u64,
    /// Keys with more than one effect, or with more than one charge: must be 0.
    pub(super) executed_twice: u64,
    /// Keys whose acknowledged answer is not true, or changed: must be 0.
    pub(super) acknowledged_missing: u64,
    /// Times that the gateway came back on its ledger.
    pub(super) restarts: u64,
    /// Times that it was killed with SIGKILL.
    pub(super) kills: u64,
    /// Answers that were lost on purpose, on either side of the gateway.
    pub(super) lost_answers: u64,
    /// Those of them that were lost on their way to customers.
    pub(super) lost_answers_to_customers: u64,
    /// Those of them that were lost on their way from the box office to the gateway.
    pub(super) lost_answers_to_gateway: u64,
    /// What became of a noisy reseller and of the others; nothing where the run was too short for it.
    pub(super) noise: Option<NoiseReport>,
    /// What callers saw in the bank's bad minute; nothing where the run was too short for one.
    pub(super) bad_minute: Option<BadMinuteReport>,
    /// Everything that must not be, in words.
    pub(super) violations: Vec<Found>,
    /// `passed`, `violated`, or `proved_nothing` where too little happened.
    pub(super) verdict: Finding,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Finding {
    Passed,
    Violated,
    ProvedNothing,
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) what: String,
}

impl From<&Violation> for Found {
    fn from(violation: &Violation) -> Self {
        Self { key: violation.key.clone(), what: violation.wrong.to_string() }
    }
}

/// What was shown while nothing else went wrong; nothing of what there was no time for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) noise: Option<NoiseReport>,
    pub(super) bad_minute: Option<BadMinuteReport>,
}

/// Answers that were lost on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LostAnswers {
    pub(super) to_customers: u64,
    pub(super) to_gateway: u64,
}

impl Report {
    pub(super) fn new(
        seed: u64,
        seconds: u64,
        tally: &Tally,
        lost: LostAnswers,
        verdict: &Verdict,
        shown: Shown,
    ) -> Self {
        let Shown { noise, bad_minute } = shown;
        let is_bad_enough = bad_minute.as_ref().is_none_or(|bad| bad.is_meaningful)
            && noise.as_ref().is_none_or(|noise| noise.is_meaningful);
        let meaningful = verdict.distinct > 0 && verdict.executed > 0 && tally.restarts.get() > 0;
        let kept = bad_minute.as_ref().is_none_or(|bad| bad.broken_promises.is_empty())
            && noise.as_ref().is_none_or(|noise| noise.broken_promises.is_empty());
        let finding = match (verdict.violations.is_empty() && kept, meaningful && is_bad_enough) {
            (false, _) => Finding::Violated,
            (true, true) => Finding::Passed,
            (true, false) => Finding::ProvedNothing,
        };
        Self {
            seed,
            seconds,
            asked: tally.asked.get(),
            distinct: verdict.distinct,
            requests: tally.requests.get(),
            executed: verdict.executed,
            replayed: tally.replayed.get(),
            conflicts: tally.conflicts.get(),
            in_doubt: verdict.in_doubt,
            in_doubt_happened: verdict.in_doubt_happened,
            gave_up: verdict.gave_up,
            executed_twice: verdict.executed_twice(),
            acknowledged_missing: verdict.acknowledged_missing(),
            restarts: tally.restarts.get(),
            kills: tally.kills.get(),
            lost_answers: lost.to_customers + lost.to_gateway,
            lost_answers_to_customers: lost.to_customers,
            lost_answers_to_gateway: lost.to_gateway,
            noise,
            bad_minute,
            violations: verdict.violations.iter().map(Found::from).collect(),
            verdict: finding,
        }
    }

    /// The report for people: at most 80 columns, but for the violations.
    pub(super) fn table(&self, coloured: bool) -> String {
        let doubt = format!(
            "outcome unknown: {} had happened, {} had not",
            self.in_doubt_happened,
            self.in_doubt - self.in_doubt_happened
        );
        let lost = format!(
            "{} to customers, {} to the gateway",
            self.lost_answers_to_customers, self.lost_answers_to_gateway
        );
        let rows: [(&str, u64, &str); 13] = [
            ("asked", self.asked, "clicks of customers, double clicks included"),
            ("distinct", self.distinct, "registrations and orders they meant, a key each"),
            ("requests", self.requests, "sent for them, with every retry"),
            ("executed", self.executed, "effects in the box office's own database"),
            ("replayed", self.replayed, "first answers given again"),
            ("conflicts", self.conflicts, "still running, or a key used for something else"),
            ("in doubt", self.in_doubt, &doubt),
            ("gave up", self.gave_up, "neither a final answer nor word of doubt"),
            ("lost answers", self.lost_answers, &lost),
            ("kills", self.kills, "of the gateway, with SIGKILL"),
            ("restarts", self.restarts, "on the same ledger"),
            ("executed twice", self.executed_twice, "must be 0: effects and charges, by key"),
            ("acknowledged missing", self.acknowledged_missing, "must be 0: answers that were not true"),
        ];
        let mut text = format!("\n  {} s of traffic, seed {}\n\n", self.seconds, self.seed);
        for (name, number, meaning) in rows {
            if name == "executed twice" {
                text.push('\n');
            }
            text += &format!("  {name:<20}  {number:>7}  {meaning}\n");
        }
        text.push('\n');
        if let Some(noise) = &self.noise {
            text += &noise_story(noise);
        }
        if let Some(bad) = &self.bad_minute {
            text += &story(bad);
        }
        for found in self.violations.iter().take(SHOWN_MAX) {
            text += &format!("  {}: {}\n", found.key, found.what);
        }
        if self.violations.len() > SHOWN_MAX {
            text += &format!("  … and {} more (-o json has all)\n", self.violations.len() - SHOWN_MAX);
        }
        let (mark, words) = self.words();
        let (on, off) = if coloured { (mark, "\x1b[0m") } else { ("", "") };
        text + &format!("  {on}{words}{off}\n")
    }

    /// The verdict in plain words, and its colour.
    fn words(&self) -> (&'static str, String) {
        match self.verdict {
            Finding::Passed => {
                let doubt = match self.in_doubt {
                    0 => "Nothing is in doubt.".into(),
                    1 => "1 outcome is unknown and waits for a person: not sent again.".into(),
                    count => format!("{count} outcomes are unknown and wait for a person: none sent again."),
                };
                let words =
                    format!("Nothing happened twice, and every answer that was given is true.\n  {doubt}");
                ("\x1b[32m", words)
            }
            Finding::Violated => {
                let promises = self.bad_minute.as_ref().map_or(0, |bad| bad.broken_promises.len())
                    + self.noise.as_ref().map_or(0, |noise| noise.broken_promises.len());
                let words = match self.keys_in_violation() {
                    0 => format!(
                        "Promises that were not kept: {promises}. That is a bug in Steadfast, or a machine\n  \
                         with too much else to do."
                    ),
                    keys => {
                        format!("{keys} of {} keys went wrong: this is a bug in Steadfast.", self.distinct)
                    }
                };
                ("\x1b[31m", words)
            }
            Finding::ProvedNothing => {
                ("\x1b[33m", "Too little happened to prove anything: let it run for longer.".into())
            }
        }
    }

    fn keys_in_violation(&self) -> usize {
        let mut keys: Vec<_> = self.violations.iter().map(|found| &found.key).collect();
        keys.sort();
        keys.dedup();
        keys.len()
    }
}

/// What became of the noisy reseller and of the others, for people.
fn noise_story(noise: &NoiseReport) -> String {
    let (title, rows) = noise.rows();
    let mut text = format!("  {title:<54}  {:>9}  {:>9}\n", "in quiet", "in it");
    for (name, quiet, noise) in rows {
        text += &format!("  {name:<54}  {quiet:>9}  {noise:>9}\n");
    }
    text.push('\n');
    for broken in &noise.broken_promises {
        text += &format!("  not kept: {broken}\n");
    }
    text
}

/// What callers saw in the bank's bad minute, for people.
fn story(bad: &BadMinuteReport) -> String {
    let length = bad.length_ms as f64 / 1_000.0;
    let title = format!("the bank's bad minute: {length:.1} s of slow, refusing, gone");
    let mut text = format!("  {title:<54}  {:>9}  {:>9}\n", "otherwise", "in it");
    for (name, before, within) in bad.rows() {
        text += &format!("  {name:<54}  {before:>9}  {within:>9}\n");
    }
    let recovered = bad.recovered_after_ms.map_or("never".to_owned(), |after| format!("{after} ms"));
    text += &format!("  {:<54}  {:>9}  {recovered:>9}\n", "the bank itself again, after", "");
    text += &format!("  {:<54}  {:>9}  {:>6} ms\n\n", "promised: an answer within", "", bad.deadline_ms);
    for broken in &bad.broken_promises {
        text += &format!("  not kept: {broken}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::verdict::Wrong;

    fn verdict(violations: Vec<Violation>) -> Verdict {
        Verdict { distinct: 9, executed: 7, in_doubt: 2, in_doubt_happened: 1, gave_up: 0, violations }
    }

    fn tally(restarts: u64) -> Tally {
        let tally = Tally::default();
        (0..restarts).for_each(|_| tally.restarts.add_one());
        tally
    }

    fn report(restarts: u64, violations: Vec<Violation>) -> Report {
        let lost = LostAnswers { to_customers: 1_000_000, to_gateway: 100_000 };
        Report::new(7, 20, &tally(restarts), lost, &verdict(violations), Shown::default())
    }

    #[test]
    fn passes_only_where_something_happened() {
        assert_eq!(report(1, vec![]).verdict, Finding::Passed);
        assert_eq!(report(0, vec![]).verdict, Finding::ProvedNothing);
        let stuck = Violation { key: "k".into(), wrong: Wrong::Stuck };
        assert_eq!(report(1, vec![stuck.clone()]).verdict, Finding::Violated);
        assert_eq!(report(0, vec![stuck]).verdict, Finding::Violated);
    }

    #[test]
    fn the_table_fits_eighty_columns_and_is_plain_where_it_has_to_be() {
        let table = report(1, vec![]).table(false);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(!table.contains('\x1b'));
        assert!(report(1, vec![]).table(true).contains('\x1b'));
    }

    /// A bad minute that `broken` is to be said of.
    fn bad_minute(broken: &[&str], is_meaningful: bool) -> BadMinuteReport {
        BadMinuteReport {
            length_ms: 60_000,
            deadline_ms: 1_000,
            recovered_after_ms: Some(4_999),
            broken_promises: broken.iter().map(|broken| (*broken).to_owned()).collect(),
            is_meaningful,
            ..BadMinuteReport::default()
        }
    }

    #[test]
    fn a_promise_that_was_not_kept_is_a_violation_and_is_told() {
        let lost = LostAnswers { to_customers: 1, to_gateway: 1 };
        let report = |bad| {
            let shown = Shown { bad_minute: Some(bad), ..Shown::default() };
            Report::new(7, 20, &tally(1), lost, &verdict(vec![]), shown)
        };
        assert_eq!(report(bad_minute(&[], true)).verdict, Finding::Passed);
        assert_eq!(report(bad_minute(&[], false)).verdict, Finding::ProvedNothing);
        let broken = report(bad_minute(&["somebody waited"], true));
        assert_eq!(broken.verdict, Finding::Violated);
        let table = broken.table(false);
        assert!(table.contains("not kept: somebody waited"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }

    #[test]
    fn noise_that_others_noticed_is_a_violation_and_is_told() {
        let lost = LostAnswers { to_customers: 1, to_gateway: 1 };
        let report = |broken: &[&str], is_meaningful| {
            let broken_promises = broken.iter().map(|broken| (*broken).to_owned()).collect();
            let noise =
                NoiseReport { length_ms: 2_000, broken_promises, is_meaningful, ..NoiseReport::default() };
            let shown = Shown { noise: Some(noise), ..Shown::default() };
            Report::new(7, 20, &tally(1), lost, &verdict(vec![]), shown)
        };
        assert_eq!(report(&[], true).verdict, Finding::Passed);
        assert_eq!(report(&[], false).verdict, Finding::ProvedNothing);
        let noticed = report(&["another one was refused"], true);
        assert_eq!(noticed.verdict, Finding::Violated);
        let table = noticed.table(false);
        assert!(table.contains("not kept: another one was refused"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }

    #[test]
    fn the_json_names_every_violation() {
        let violations = vec![Violation { key: "k".into(), wrong: Wrong::ChargedTwice { times: 2 } }];
        let json = serde_json::to_value(report(1, violations)).unwrap();
        assert_eq!(json["verdict"], "violated");
        assert_eq!(json["executed_twice"], 1);
        assert_eq!(json["violations"][0]["key"], "k");
    }
}
