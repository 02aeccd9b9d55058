//! Questions as a call of the script, and back: numbers of eight bytes, one after the other, which costs the script
//! less than anything that has to be parsed. What many questions have in common, keys and quotas, is said once.
//!
//! In a Cluster a question may have parts in several groups, which are called at once. Each group charges its part where
//! nothing in it refuses, and where another one did, it is given back. So a request that is refused may, for one round
//! trip, be in the way of another one of the same key: too few are let through then, never too many.

use std::{collections::HashMap, iter, time::Duration};

use futures_util::future::join_all;
use redis::{RedisError, RedisResult, Script};
use steadfast_core::{LimitAlgorithm, LimitDecision, Period, Quota};
use steadfast_layers::LimitedKey;

use crate::{
    ask::{Answers, Ask, Question, Verb},
    connection::Connection,
    slot::{self, GROUPS, Group, LimitTag},
};

/// The script.
pub(crate) const TEXT: &str = include_str!("limits.lua");
/// The verb, as in `limits.lua`, that takes from one bucket for which no other question of a call asks.
const TAKE_ALONE: f64 = 5.0;
/// Bytes of what is said of one limit.
const DECISION_BYTES: usize = 4 * 8;
/// The longest time that is written, in microseconds: 140 years, far within what a number holds exactly.
const MICROS_MAX: u128 = 1 << 52;

/// What came of a batch.
pub(crate) struct Carried {
    /// What each question was answered; nothing, where a part of it was not.
    pub(crate) answers: Vec<Option<Answers>>,
    /// What must be given back: parts of questions that were refused elsewhere.
    pub(crate) undo: Vec<Question>,
    /// What went wrong, where some questions were answered and others not.
    pub(crate) failure: Option<RedisError>,
}

/// The parts of a batch that go in one call.
#[derive(Default)]
pub(crate) struct Call {
    pub(crate) keys: Vec<Vec<u8>>,
    /// Their numbers, from one on as the script counts.
    numbers: HashMap<(LimitTag, LimitedKey), usize>,
    /// How many parts ask for each.
    asked: Vec<u32>,
    quotas: Vec<Quota>,
    questions: Vec<u8>,
    /// Where the verb of each question stands that takes from one bucket, and of which key.
    single: Vec<(usize, usize)>,
    /// For each question with parts here, its number and theirs.
    parts: Vec<(usize, Vec<usize>)>,
}

/// Asks all questions at once.
pub(crate) async fn ask(
    connection: &mut Connection,
    script: &Script,
    questions: &[Question],
) -> RedisResult<Carried> {
    match connection {
        Connection::Single(_) => {
            let mut call = Call::default();
            for (number, question) in questions.iter().enumerate() {
                call.push(number, question, (0..question.asks.len()).collect());
            }
            let said = call.make(connection, script).await?;
            let mut answers = vec![None; questions.len()];
            for (number, said) in call.read(&said, questions)? {
                answers[number] = Some(said.into());
            }
            Ok(Carried { answers, undo: Vec::new(), failure: None })
        }
        Connection::Cluster(_) => ask_groups(connection, script, questions).await,
    }
}

async fn ask_groups(
    connection: &Connection,
    script: &Script,
    questions: &[Question],
) -> RedisResult<Carried> {
    let mut calls: Vec<Call> = iter::repeat_with(Call::default).take(GROUPS).collect();
    for (number, question) in questions.iter().enumerate() {
        let mut parts: Vec<_> = question.asks.iter().enumerate().collect();
        parts.sort_by_key(|(_, ask)| Group::of(ask.key.subject));
        for parts in parts.chunk_by(|(_, a), (_, b)| Group::of(a.key.subject) == Group::of(b.key.subject)) {
            let group = Group::of(parts[0].1.key.subject);
            calls[group.index()].push(number, question, parts.iter().map(|(part, _)| *part).collect());
        }
    }
    calls.retain(|call| !call.keys.is_empty());
    let said = join_all(calls.iter().map(|call| {
        let mut connection = connection.clone();
        async move { call.make(&mut connection, script).await }
    }))
    .await;
    let mut told: Vec<Vec<Option<LimitDecision>>> =
        questions.iter().map(|q| vec![None; q.asks.len()]).collect();
    let mut is_lost = vec![false; questions.len()];
    let mut failure = None;
    for (call, said) in calls.iter().zip(said) {
        match said.and_then(|said| call.read(&said, questions)) {
            Ok(said) => {
                for ((number, parts), (_, said)) in call.parts.iter().zip(said) {
                    for (part, decision) in parts.iter().zip(said) {
                        told[*number][*part] = Some(decision);
                    }
                }
            }
            Err(error) => {
                for (number, _) in &call.parts {
                    is_lost[*number] = true;
                }
                failure = Some(error);
            }
        }
    }
    let mut undo = Vec::new();
    let answers = questions.iter().zip(told).zip(is_lost).map(|((question, told), is_lost)| {
        // What was charged of it stays charged: whoever decides now must not let through more for that.
        if is_lost {
            return None;
        }
        let said: Answers = told.into_iter().flatten().collect();
        if question.verb == Verb::Take {
            undo.extend(to_undo(&question.asks, &said));
        }
        Some(said)
    });
    let answers: Vec<_> = answers.collect();
    match failure {
        Some(failure) if answers.iter().all(Option::is_none) => Err(failure),
        failure => Ok(Carried { answers, undo, failure }),
    }
}

/// What groups have charged of a request that another group refused.
fn to_undo(asks: &[Ask], said: &[LimitDecision]) -> Option<Question> {
    let refusing: Vec<_> = asks
        .iter()
        .zip(said)
        .filter(|(ask, decision)| ask.enforced && !decision.is_allowed())
        .map(|(ask, _)| Group::of(ask.key.subject))
        .collect();
    if refusing.is_empty() {
        return None;
    }
    let charged = asks.iter().zip(said).filter(|(ask, decision)| {
        decision.is_allowed() && ask.cost > 0 && !refusing.contains(&Group::of(ask.key.subject))
    });
    let asks: Box<[_]> = charged.map(|(ask, _)| ask.clone()).collect();
    (!asks.is_empty()).then_some(Question { verb: Verb::GiveBack, asks })
}

impl Call {
    pub(crate) fn push(&mut self, number: usize, question: &Question, parts: Vec<usize>) {
        if let [part] = parts[..]
            && question.verb == Verb::Take
            && is_bucket(question.asks[part].quota.algorithm)
        {
            let key = self.key(&question.asks[part]);
            self.single.push((self.questions.len(), key));
        }
        self.say([verb_number(question.verb), parts.len() as f64]);
        for part in &parts {
            let ask = &question.asks[*part];
            let (key, quota) = (self.key(ask), self.quota(ask.quota));
            self.asked[key - 1] += 1;
            let enforced = if ask.enforced { 1.0 } else { 0.0 };
            self.say([key as f64, quota as f64, ask.cost as f64, micros_up(ask.wait_max), enforced]);
        }
        self.parts.push((number, parts));
    }

    fn say<const MANY: usize>(&mut self, numbers: [f64; MANY]) {
        self.questions.extend_from_slice(numbers.map(f64::to_le_bytes).as_flattened());
    }

    /// The number of what is asked for.
    fn key(&mut self, ask: &Ask) -> usize {
        let (keys, asked) = (&mut self.keys, &mut self.asked);
        *self.numbers.entry((ask.limit, ask.key)).or_insert_with(|| {
            keys.push(slot::name(ask.limit, ask.key));
            asked.push(0);
            keys.len()
        })
    }

    /// The number of a quota. There are few: one for each limit, and for each plan or raise.
    fn quota(&mut self, quota: Quota) -> usize {
        if let Some(at) = self.quotas.iter().position(|known| *known == quota) {
            return at + 1;
        }
        self.quotas.push(quota);
        self.quotas.len()
    }

    /// All that is asked, as the script reads it.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(8 + self.quotas.len() * 32 + self.questions.len());
        text.extend((self.quotas.len() as f64).to_le_bytes());
        for quota in &self.quotas {
            let period = match quota.period {
                Period::Month => -1.0,
                Period::Time(_) => micros_up(quota.period.length()).max(1.0),
            };
            let numbers = [algorithm_number(quota.algorithm), quota.count as f64, period, quota.burst as f64];
            text.extend_from_slice(numbers.map(f64::to_le_bytes).as_flattened());
        }
        let questions = text.len();
        text.extend_from_slice(&self.questions);
        for (at, key) in &self.single {
            if self.asked[key - 1] == 1 {
                text[questions + at..][..8].copy_from_slice(&TAKE_ALONE.to_le_bytes());
            }
        }
        text
    }

    async fn make(&self, connection: &mut Connection, script: &Script) -> RedisResult<Vec<u8>> {
        connection.run(script, TEXT, &self.keys, &[&self.text()]).await
    }

    /// What was said to each question, by its number.
    pub(crate) fn read(
        &self,
        said: &[u8],
        questions: &[Question],
    ) -> RedisResult<Vec<(usize, Vec<LimitDecision>)>> {
        let (decisions, rest) = said.as_chunks::<DECISION_BYTES>();
        let mut decisions = decisions.iter().map(decision);
        let mut read = Vec::with_capacity(self.parts.len());
        for (number, parts) in &self.parts {
            let count = if questions[*number].verb.is_answered() { parts.len() } else { 0 };
            read.push((*number, decisions.by_ref().take(count).collect::<Vec<_>>()));
            if read.last().is_some_and(|(_, said)| said.len() < count) {
                return Err(garbled());
            }
        }
        if rest.is_empty() && decisions.next().is_none() { Ok(read) } else { Err(garbled()) }
    }
}

fn decision(said: &[u8; DECISION_BYTES]) -> LimitDecision {
    let number = |at: usize| {
        let bytes = said[at * 8..].first_chunk().expect("there are four numbers");
        f64::from_le_bytes(*bytes)
    };
    // No number is below zero but the one that stands for never.
    let (remaining, time) = (number(1) as u64, number(2));
    let micros = |micros: f64| Duration::from_micros(micros as u64);
    if number(0) > 0.0 {
        LimitDecision::Allowed { remaining, reset: micros(time), wait: micros(number(3)) }
    } else {
        LimitDecision::Refused { remaining, after: (time >= 0.0).then(|| micros(time)) }
    }
}

fn garbled() -> RedisError {
    (redis::ErrorKind::Parse, "the script did not answer what it was asked").into()
}

fn micros_up(time: Duration) -> f64 {
    time.as_nanos().div_ceil(1_000).min(MICROS_MAX) as f64
}

/// As in `limits.lua`.
fn verb_number(verb: Verb) -> f64 {
    match verb {
        Verb::Take => 0.0,
        Verb::Charge => 1.0,
        Verb::GiveBack => 2.0,
        Verb::Look => 3.0,
        Verb::Forget => 4.0,
    }
}

fn is_bucket(algorithm: LimitAlgorithm) -> bool {
    matches!(algorithm, LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket)
}

/// As in `limits.lua`. How many are at once is not counted in the store.
fn algorithm_number(algorithm: LimitAlgorithm) -> f64 {
    match algorithm {
        LimitAlgorithm::TokenBucket => 0.0,
        LimitAlgorithm::LeakyBucket => 1.0,
        LimitAlgorithm::FixedWindow => 2.0,
        LimitAlgorithm::SlidingWindow | LimitAlgorithm::Concurrency => 3.0,
    }
}
