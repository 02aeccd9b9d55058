//! Who watches the bank's bad minute from outside, without a lossy network between them and the gateway: accountants,
//! who read the bank's statement, and visitors, who read the box office's list of events and have nothing to do with
//! the bank. What they saw is compared with the quiet time before.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    bad_minute::BadMinute,
    client::{Client, Reply},
    gateway::BANK_DEADLINE,
    tally::{Seen, Tally},
};

/// How many of each there are.
const WATCHERS: u32 = 4;
/// How long each waits before the next question.
const EVERY: Duration = Duration::from_millis(25);
/// How long they wait for an answer: longer than they ever should.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much later than its deadline an answer may be there.
const GRACE: Duration = Duration::from_millis(50);
/// And how much more where other programs take the processor. It is told apart in the report.
const NOISE: Duration = Duration::from_millis(450);
/// Within what the bank's statement has to be its own again.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);
/// How much slower nine of ten answers of the neighbour may be in the bad minute: so many times, and so much.
const NEIGHBOUR_TIMES: u64 = 3;
const NEIGHBOUR_MORE: Duration = Duration::from_millis(50);

/// Watchers at work.
#[derive(Debug)]
pub(super) struct Watchers {
    accountants: JoinSet<Vec<Glance>>,
    visitors: JoinSet<Vec<Glance>>,
    over: watch::Sender<bool>,
}

/// One question.
#[derive(Clone, Copy, Debug)]
struct Glance {
    at: Instant,
    waited: Duration,
    saw: Saw,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    /// The upstream's own answer; with another try, or without.
    Answer { retried: bool },
    /// A stale answer or a fallback.
    Instead,
    /// A refusal, or none at all.
    Nothing,
}

impl Watchers {
    /// Has them look from the beginning of the quiet time on.
    pub(super) fn start(gateway: SocketAddr, bad: BadMinute) -> Self {
        let (over, is_over) = watch::channel(false);
        let (mut accountants, mut visitors) = (JoinSet::new(), JoinSet::new());
        for number in 0..WATCHERS {
            // Not all at once.
            let from = bad.quiet_from + EVERY * number / WATCHERS;
            accountants.spawn(look("/bank/statement", gateway, from, is_over.clone()));
            visitors.spawn(look("/events", gateway, from, is_over.clone()));
        }
        Self { accountants, visitors, over }
    }

    /// Has them stop, and says what they and the customers saw.
    ///
    /// # Errors
    /// One of them panicked.
    pub(super) async fn finish(self, bad: BadMinute, tally: &Tally) -> anyhow::Result<BadMinuteReport> {
        self.over.send_replace(true);
        let (statements, events) = (all(self.accountants).await?, all(self.visitors).await?);
        Ok(BadMinuteReport::new(bad, &statements, &events, tally))
    }
}

async fn all(mut watching: JoinSet<Vec<Glance>>) -> anyhow::Result<Vec<Glance>> {
    let mut all = Vec::new();
    while let Some(glances) = watching.join_next().await {
        all.extend(glances.context("somebody who watched panicked")?);
    }
    Ok(all)
}

/// Asks for `path` again and again, until it is over.
async fn look(
    path: &'static str,
    gateway: SocketAddr,
    from: Instant,
    is_over: watch::Receiver<bool>,
) -> Vec<Glance> {
    sleep_until(from).await;
    let mut client = Client::new(gateway);
    let mut glances = Vec::new();
    while !*is_over.borrow() {
        let at = Instant::now();
        let saw = client.get(path, PATIENCE).await.map_or(Saw::Nothing, |reply| saw(&reply));
        glances.push(Glance { at, waited: at.elapsed(), saw });
        sleep(EVERY).await;
    }
    glances
}

fn saw(reply: &Reply) -> Saw {
    let rungs = reply.degraded.as_deref().unwrap_or_default();
    match reply.status {
        _ if rungs.contains("stale") || rungs.contains("fallback") => Saw::Instead,
        200 => Saw::Answer { retried: rungs.contains("retry") },
        _ => Saw::Nothing,
    }
}

/// What callers saw in the bank's bad minute, and in the quiet time before. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct BadMinuteReport {
    /// How long it was.
    pub(super) length_ms: u64,
    /// Those who read the bank's statement, before.
    pub(super) statements_before: Statements,
    /// And in it.
    pub(super) statements: Statements,
    /// By when the gateway promises an answer to them.
    pub(super) deadline_ms: u64,
    /// Within what nine of ten had the box office's list of events, which needs no bank: before.
    pub(super) events_p90_ms_before: u64,
    /// And in it.
    pub(super) events_p90_ms: u64,
    /// What customers were told of their orders outside of it.
    pub(super) orders_before: Orders,
    /// And in it.
    pub(super) orders: Orders,
    /// How long after it the bank's own statement was seen again; nothing where it was not.
    pub(super) recovered_after_ms: Option<u64>,
    /// What must not be, in words.
    pub(super) broken_promises: Vec<String>,
    /// Whether it was bad enough to prove anything.
    pub(super) is_meaningful: bool,
}

/// What readers of the bank's statement saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Statements {
    /// The bank's own answers, fresh.
    pub(super) answered: u64,
    /// Those of them that came by another try.
    pub(super) retried: u64,
    /// Stale ones, or the fallback.
    pub(super) instead: u64,
    /// Refusals, and questions without any answer.
    pub(super) unanswered: u64,
    /// The longest that anybody waited.
    pub(super) longest_wait_ms: u64,
}

/// What customers were told of their orders, request by request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Orders {
    /// The box office's final word.
    pub(super) answered: u64,
    /// The same again.
    pub(super) replayed: u64,
    /// Nothing was executed: come again.
    pub(super) refused: u64,
    /// Nobody knows.
    pub(super) in_doubt: u64,
    /// Nothing in time, on a network that loses answers.
    pub(super) unanswered: u64,
}

impl From<&Seen> for Orders {
    fn from(seen: &Seen) -> Self {
        Self {
            answered: seen.answered.get(),
            replayed: seen.replayed.get(),
            refused: seen.refused.get(),
            in_doubt: seen.in_doubt.get(),
            unanswered: seen.unanswered.get(),
        }
    }
}

impl Statements {
    fn of<'a>(glances: impl Iterator<Item = &'a Glance>) -> Self {
        let mut found = Self::default();
        for glance in glances {
            match glance.saw {
                Saw::Answer { retried } => {
                    found.answered += 1;
                    found.retried += u64::from(retried);
                }
                Saw::Instead => found.instead += 1,
                Saw::Nothing => found.unanswered += 1,
            }
            found.longest_wait_ms = found.longest_wait_ms.max(milliseconds(glance.waited));
        }
        found
    }
}

impl BadMinuteReport {
    fn new(bad: BadMinute, statements: &[Glance], events: &[Glance], tally: &Tally) -> Self {
        let before = |glance: &&Glance| glance.at < bad.begins;
        let within = |glance: &&Glance| (bad.begins..bad.ends).contains(&glance.at);
        let recovered = statements
            .iter()
            .filter(|glance| glance.at >= bad.ends && matches!(glance.saw, Saw::Answer { .. }))
            .map(|glance| glance.at + glance.waited - bad.ends)
            .min();
        let mut report = Self {
            length_ms: milliseconds(bad.length()),
            statements_before: Statements::of(statements.iter().filter(before)),
            statements: Statements::of(statements.iter().filter(within)),
            deadline_ms: milliseconds(BANK_DEADLINE),
            events_p90_ms_before: p90_ms(events.iter().filter(before)),
            events_p90_ms: p90_ms(events.iter().filter(within)),
            orders_before: Orders::from(&tally.quiet_orders),
            orders: Orders::from(&tally.bad_orders),
            recovered_after_ms: recovered.map(milliseconds),
            broken_promises: Vec::new(),
            is_meaningful: false,
        };
        report.is_meaningful = report.statements_before.answered > 0 && report.statements.instead > 0;
        report.broken_promises = report.judge();
        report
    }

    /// What must not be, and is.
    fn judge(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let longest = self.statements.longest_wait_ms;
        if longest > self.deadline_ms + milliseconds(GRACE + NOISE) {
            broken.push(format!("somebody waited {longest} ms, and {} ms were promised", self.deadline_ms));
        }
        let unanswered = self.statements.unanswered;
        if unanswered > 0 {
            broken.push(format!(
                "{unanswered} readers of the statement got nothing, though there is a fallback"
            ));
        }
        let (before, within) = (self.events_p90_ms_before, self.events_p90_ms);
        if within > before * NEIGHBOUR_TIMES + milliseconds(NEIGHBOUR_MORE) {
            broken.push(format!(
                "the list of events, which needs no bank, took {within} ms instead of {before}"
            ));
        }
        match self.recovered_after_ms {
            Some(after) if after <= milliseconds(RECOVERED_WITHIN) => {}
            Some(after) => broken.push(format!("the bank was back, and its statement only {after} ms later")),
            None => broken.push("the bank was back, and its statement never".to_owned()),
        }
        broken
    }

    /// The rows of the report for people: what, otherwise (before it, or for orders outside of it), in it.
    pub(super) fn rows(&self) -> Vec<(&'static str, String, String)> {
        let (before, within) = (&self.statements_before, &self.statements);
        let (orders_before, orders) = (&self.orders_before, &self.orders);
        let row = |name, before: u64, within: u64| (name, before.to_string(), within.to_string());
        let waits = |name, before: u64, within: u64| (name, format!("{before} ms"), format!("{within} ms"));
        vec![
            row("fresh statements", before.answered, within.answered),
            row("  of these, by another try", before.retried, within.retried),
            row("stale statements, or the fallback", before.instead, within.instead),
            row("no statement (must be 0)", before.unanswered, within.unanswered),
            waits("longest wait for a statement", before.longest_wait_ms, within.longest_wait_ms),
            waits("nine of ten lists of events within", self.events_p90_ms_before, self.events_p90_ms),
            row("orders answered", orders_before.answered, orders.answered),
            row("  answers given again", orders_before.replayed, orders.replayed),
            row("  refused, nothing executed", orders_before.refused, orders.refused),
            row("  in doubt", orders_before.in_doubt, orders.in_doubt),
            row("  no answer on a lossy network", orders_before.unanswered, orders.unanswered),
        ]
    }
}

/// Within what nine of ten had an answer; those who had none do not count.
fn p90_ms<'a>(glances: impl Iterator<Item = &'a Glance>) -> u64 {
    let mut waits: Vec<_> =
        glances.filter(|glance| glance.saw != Saw::Nothing).map(|glance| glance.waited).collect();
    waits.sort();
    let index = (waits.len() * 9 / 10).min(waits.len().saturating_sub(1));
    waits.get(index).copied().map_or(0, milliseconds)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glance(at: Instant, waited_ms: u64, saw: Saw) -> Glance {
        Glance { at, waited: Duration::from_millis(waited_ms), saw }
    }

    /// A bad minute as it should be.
    fn good() -> (BadMinute, Vec<Glance>, Vec<Glance>) {
        let bad = BadMinute::within(Duration::from_secs(20), Instant::now()).expect("there is time for it");
        let answer = Saw::Answer { retried: false };
        let statements = vec![
            glance(bad.quiet_from, 5, answer),
            glance(bad.begins, 400, Saw::Instead),
            glance(bad.begins + EVERY, 1, Saw::Instead),
            glance(bad.ends, 1, Saw::Instead),
            glance(bad.ends + EVERY, 5, answer),
        ];
        let events = vec![glance(bad.quiet_from, 5, answer), glance(bad.begins, 6, answer)];
        (bad, statements, events)
    }

    #[test]
    fn finds_nothing_wrong_where_every_promise_was_kept() {
        let (bad, statements, events) = good();
        let report = BadMinuteReport::new(bad, &statements, &events, &Tally::default());
        assert_eq!(report.broken_promises, Vec::<String>::new());
        assert!(report.is_meaningful);
        assert_eq!((report.statements.instead, report.statements.longest_wait_ms), (2, 400));
        assert_eq!(report.recovered_after_ms, Some(30));
    }

    #[test]
    fn finds_every_promise_that_was_not_kept() {
        let (bad, statements, events) = good();
        let one_more = |glances: &[Glance], one| [glances, &[one]].concat();
        let late = one_more(&statements, glance(bad.begins, 2_000, Saw::Instead));
        let refused = one_more(&statements, glance(bad.begins, 1, Saw::Nothing));
        let answer = Saw::Answer { retried: false };
        let slow = one_more(&events, glance(bad.begins, 200, answer));
        let never = statements[..4].to_vec();
        let at_last = one_more(&never, glance(bad.ends + RECOVERED_WITHIN, 5, answer));
        for (statements, events, words) in [
            (&late, &events, "waited 2000 ms"),
            (&refused, &events, "1 readers"),
            (&statements, &slow, "took 200 ms instead of 5"),
            (&never, &events, "never"),
            (&at_last, &events, "5005 ms later"),
        ] {
            let report = BadMinuteReport::new(bad, statements, events, &Tally::default());
            let [broken] = report.broken_promises.as_slice() else { panic!("{words}: {report:?}") };
            assert!(broken.contains(words), "{broken}");
        }
    }

    #[test]
    fn a_bad_minute_that_nobody_noticed_proves_nothing() {
        let (bad, statements, events) = good();
        let report = BadMinuteReport::new(bad, &statements[..1], &events, &Tally::default());
        assert!(!report.is_meaningful);
    }
}
