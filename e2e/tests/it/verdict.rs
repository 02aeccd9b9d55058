//! The verdict over a storm: the callers' diary, the gateway's ledger and the box office's books, compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use e2e::{Answer, Ask, Caller, Gateway, LEASE, NoAnswer, Office, await_that};
use tempfile::TempDir;

use crate::storm::Diary;

/// How long after the last crash something may still be claimed: a lease, the time between two rounds of whoever
/// ends leases, and some patience.
pub(crate) const CLAIMED_WITHIN: Duration =
    LEASE.saturating_add(LEASE.checked_div(4).expect("not by zero")).saturating_add(Duration::from_secs(10));

/// How a storm ended, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) completed: usize,
    /// Known to have happened, by an answer that broke off.
    pub(crate) without_answer: usize,
    pub(crate) in_doubt: usize,
    /// In doubt, although the box office did it.
    pub(crate) in_doubt_but_done: usize,
    pub(crate) executed_afresh_at_the_end: usize,
}

/// What the upstream is declared to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upstream {
    NotRepeatable,
    Repeatable,
}

/// Compares everything, and asks for every key once more.
///
/// # Panics
/// Anything is not as promised; the folder then stays, and is named.
pub(crate) async fn judge(
    folder: TempDir,
    diary: &Diary,
    gateway: &Gateway,
    office: &Office,
    upstream: Upstream,
) -> Tally {
    gateway.idle(CLAIMED_WITHIN).await;
    let mut judge = Judge { diary, complaints: Vec::new(), tally: Tally::default() };
    let before = office.effects();
    let mut caller = Caller::new(gateway.addr(), Duration::from_secs(30));
    let mut last = BTreeMap::new();
    for key in diary.told.keys() {
        last.insert(key.clone(), last_word(&mut caller, key).await);
    }
    let (effects, arrivals) = (office.effects(), office.arrivals());
    for (key, last) in &last {
        let had = before.get(key).map_or(0, Vec::len);
        let has = effects.get(key).map_or(0, Vec::len);
        let arrived = arrivals.get(key).copied().unwrap_or_default();
        judge.key(key, last, had, has);
        if upstream == Upstream::NotRepeatable && arrived > 1 {
            judge.complain(key, format!("arrived {arrived} times"));
        }
        if upstream == Upstream::Repeatable && !last.is_conclusive() {
            judge.complain(key, format!("not completed: {}", brief(last)));
        }
        if let (Some(effect), true) = (effects.get(key).and_then(|all| all.first()), last.is_conclusive())
            && effect.body.as_ref().map(String::as_bytes) != Some(&*last.body)
        {
            judge.complain(key, "the answer is not what the box office said".into());
        }
    }
    let doubted: BTreeSet<_> = gateway.keys_in("in_doubt").await.into_iter().collect();
    let told: BTreeSet<_> = last
        .iter()
        .filter(|(_, last)| last.code().as_deref() == Some("outcome-in-doubt"))
        .map(|(key, _)| key.clone())
        .collect();
    if doubted != told {
        let difference: Vec<_> = doubted.symmetric_difference(&told).collect();
        judge.complaints.push(format!("the list of what is in doubt and the answers differ: {difference:?}"));
    }
    let counts = gateway.admin("/api/counts").await;
    for (what, expected) in
        [("claimed", 0), ("dead", 0), ("cases_open", 0), ("in_doubt", doubted.len() as u64)]
    {
        if counts[what] != expected {
            judge.complaints.push(format!("{what} is {}, not {expected}", counts[what]));
        }
    }
    println!("{:?}", judge.tally);
    if !judge.complaints.is_empty() {
        let kept = folder.keep();
        let all = judge.complaints.len();
        judge.complaints.truncate(20);
        panic!("{all} complaints; see {}:\n{}", kept.display(), judge.complaints.join("\n"));
    }
    judge.tally
}

/// What a caller is told who asks until nothing changes any more.
async fn last_word(caller: &mut Caller, key: &str) -> Answer {
    await_that(key, Duration::from_secs(60), async || match caller.ask(&Ask::order(key)).await {
        Ok(answer) if answer.is_conclusive() || !answer.says_retry() => Some(answer),
        Ok(_) | Err(_) => None,
    })
    .await
}

struct Judge<'a> {
    diary: &'a Diary,
    complaints: Vec<String>,
    tally: Tally,
}

impl Judge<'_> {
    fn complain(&mut self, key: &str, what: String) {
        let told: Vec<_> = self.diary.told[key].iter().map(brief_result).collect();
        self.complaints.push(format!("{key}: {what}; callers were told {told:?}"));
    }

    /// One key: `had` effects before it was asked for the last time, `has` now.
    fn key(&mut self, key: &str, last: &Answer, had: usize, has: usize) {
        let in_doubt = last.code().as_deref() == Some("outcome-in-doubt");
        // It took effect, and its answer broke off: known, and never run again.
        let without_answer = last.code().as_deref() == Some("replay-unavailable");
        let last_told = brief(last);
        if has > 1 {
            self.complain(key, format!("executed {has} times"));
        }
        let told = &self.diary.told[key];
        let conclusive: Vec<_> = told.iter().flatten().filter(|answer| answer.is_conclusive()).collect();
        if let Some(other) = conclusive.iter().find(|answer| answer.kept() != last.kept()) {
            let what = format!("{other:?} was told, and now {last:?}");
            self.complain(key, what);
        }
        if !conclusive.is_empty() && !last.is_replay() {
            self.complain(key, format!("told before, and not replayed: {last_told}"));
        }
        if had > 0 && !(in_doubt || without_answer || last.is_replay()) {
            self.complain(key, format!("had happened, and now {last_told}"));
        }
        if had == 0 && has == 0 && !in_doubt {
            self.complain(key, format!("never happened, and yet {last_told}"));
        }
        if (in_doubt || without_answer) && !told.iter().any(was_cut) {
            self.complain(key, format!("nobody was cut off, and yet {last_told}"));
        }
        if !(in_doubt || without_answer || last.is_conclusive()) {
            self.complain(key, format!("neither done nor in doubt: {last_told}"));
        }
        self.tally.completed += usize::from(last.is_conclusive());
        self.tally.without_answer += usize::from(without_answer);
        self.tally.in_doubt += usize::from(in_doubt);
        self.tally.in_doubt_but_done += usize::from(in_doubt && has > 0);
        self.tally.executed_afresh_at_the_end += usize::from(has > had);
    }
}

/// Whether this answer tells of an attempt that may have been cut off.
fn was_cut(told: &Result<Answer, NoAnswer>) -> bool {
    match told {
        Ok(answer) => answer.status >= 500,
        Err(NoAnswer::NotConnected) => false,
        Err(NoAnswer::Cut(_) | NoAnswer::HungUp) => true,
    }
}

fn brief_result(told: &Result<Answer, NoAnswer>) -> String {
    match told {
        Ok(answer) => brief(answer),
        Err(error) => format!("{error:?}"),
    }
}

fn brief(answer: &Answer) -> String {
    let note = if answer.is_replay() { " (replay)" } else { "" };
    format!("{}{note} {}", answer.status, answer.code().unwrap_or_default())
}
