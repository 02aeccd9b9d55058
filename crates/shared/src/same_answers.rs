//! The script against the core's arithmetic: the same questions at the same times must be answered alike.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use proptest::{prelude::*, test_runner::TestRunner};
use redis::Script;
use steadfast_core::{LimitAlgorithm, LimitDecision, LimitState, Period, Quota};
use steadfast_layers::LimitedKey;

use crate::{
    ask::{Ask, Question, Verb},
    call::{self, Call},
    connection::Connection,
    location::Location,
    server::Server,
    slot::LimitTag,
};

/// One step of one key's life.
#[derive(Clone, Debug)]
struct Step {
    /// How long after the one before, in microseconds.
    after_us: u64,
    verb: Verb,
    cost: u64,
    wait_max: Duration,
}

fn quotas() -> impl Strategy<Value = Quota> {
    let algorithm = prop_oneof![
        Just(LimitAlgorithm::TokenBucket),
        Just(LimitAlgorithm::LeakyBucket),
        Just(LimitAlgorithm::FixedWindow),
        Just(LimitAlgorithm::SlidingWindow),
    ];
    // Sevenths of a period are whole microseconds: the core counts in nanoseconds and rounds a seventh otherwise.
    let period = prop_oneof![
        3 => (1_u64..200_000).prop_map(|sevenths| Period::Time(Duration::from_micros(7 * sevenths))),
        1 => (1_u64..90).prop_map(|days| Period::Time(Duration::from_secs(7 * 86_400 * days))),
        1 => Just(Period::Month),
    ];
    let count = prop_oneof![4 => 1_u64..20, 1 => 1_u64..100_000, 1 => (1_u64 << 31)..(1 << 33)];
    // Debts stay below what a number of the script holds exactly.
    let burst = prop_oneof![4 => 1_u64..20, 1 => 1_u64..1_000];
    (algorithm, count, period, burst).prop_map(|(algorithm, count, period, burst)| {
        let period = match (algorithm, period) {
            (LimitAlgorithm::SlidingWindow, Period::Month) => Period::Time(Duration::from_secs(28 * 86_400)),
            (_, period) => period,
        };
        Quota { algorithm, count, period, burst }
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after_us = prop_oneof![
        3 => Just(0),
        5 => 0_u64..300_000,
        1 => 0_u64..10_000_000_000_000,
    ];
    let verb = prop_oneof![
        8 => Just(Verb::Take),
        2 => Just(Verb::GiveBack),
        2 => Just(Verb::Charge),
        1 => Just(Verb::Look),
        1 => Just(Verb::Forget),
    ];
    let cost = prop_oneof![2 => Just(0), 12 => Just(1), 4 => 2_u64..6, 1 => 0_u64..10_000];
    let wait_max = prop_oneof![Just(0), 0_u64..1_000_000].prop_map(Duration::from_micros);
    let step = (after_us, verb, cost, wait_max).prop_map(|(after_us, verb, cost, wait_max)| Step {
        after_us,
        verb,
        cost,
        wait_max,
    });
    proptest::collection::vec(step, 1..40)
}

/// What the core says to a step, and how the state is after it.
fn by_the_core(state: &mut LimitState, quota: &Quota, step: &Step, now: Duration) -> Option<LimitDecision> {
    let told = step.verb.is_answered().then(|| state.ask(quota, step.cost, step.wait_max, now));
    match step.verb {
        Verb::Take if told.is_some_and(|told| told.is_allowed()) => {
            state.charge(quota, step.cost, now);
        }
        Verb::Take | Verb::Look => {}
        Verb::Charge => state.charge(quota, step.cost, now),
        Verb::GiveBack => state.give_back(quota, step.cost, now),
        Verb::Forget => *state = LimitState::new(quota.algorithm),
    }
    told
}

/// The same in whole microseconds, rounded up as the script does, and no longer than a hundred years: the core's numbers
/// end before the script's do.
fn in_micros(decision: LimitDecision) -> LimitDecision {
    const MICROS_MAX: u128 = 100 * 365 * 86_400 * 1_000_000;
    let up = |time: Duration| Duration::from_micros(time.as_nanos().div_ceil(1_000).min(MICROS_MAX) as u64);
    match decision {
        LimitDecision::Allowed { remaining, reset, wait } => {
            LimitDecision::Allowed { remaining, reset: up(reset), wait: up(wait) }
        }
        LimitDecision::Refused { remaining, after } => {
            LimitDecision::Refused { remaining, after: after.map(up) }
        }
    }
}

/// Whether they are the same, but for what a double cannot tell: a microsecond, where the core divides nanoseconds and the
/// script microseconds and each rounds up; and of times of many years the last of fourteen digits.
fn are_alike(one: Option<LimitDecision>, other: Option<LimitDecision>) -> bool {
    let near =
        |one: Duration, other: Duration| one.abs_diff(other) <= Duration::from_micros(1) + one.mul_f64(1e-14);
    match (one, other) {
        (
            Some(LimitDecision::Allowed { remaining, reset, wait }),
            Some(LimitDecision::Allowed { remaining: left, reset: by, wait: pause }),
        ) => remaining == left && near(reset, by) && near(wait, pause),
        (
            Some(LimitDecision::Refused { remaining, after }),
            Some(LimitDecision::Refused { remaining: left, after: later }),
        ) => {
            let times = after.zip(later).is_none_or(|(one, other)| near(one, other));
            remaining == left && after.is_some() == later.is_some() && times
        }
        (one, other) => one == other,
    }
}

/// What the script says to a step at this time.
async fn by_the_script(
    connection: &mut Connection,
    key: LimitedKey,
    quota: &Quota,
    step: &Step,
    now: Duration,
) -> Option<LimitDecision> {
    let Step { verb, cost, wait_max, .. } = *step;
    let limit = LimitTag::of("a limit");
    let ask = Ask { limit, key, quota: *quota, cost, wait_max, enforced: true };
    let questions = [Question { verb, asks: [ask].into() }];
    let mut call = Call::default();
    call.push(0, &questions[0], vec![0]);
    let script = Script::new(call::TEXT);
    let time = now.as_micros().to_string();
    let said: Vec<u8> = connection
        .run(&script, call::TEXT, &call.keys, &[&call.text(), time.as_bytes()])
        .await
        .expect("the script runs");
    let said = call.read(&said, &questions).expect("an answer to each");
    said[0].1.first().copied()
}

/// Of a batch, what the core says to one question: all parts are asked, and charged where none refuses.
fn all_or_nothing(
    states: &mut HashMap<LimitedKey, LimitState>,
    question: &Question,
    now: Duration,
) -> Vec<LimitDecision> {
    let mut said = Vec::new();
    for Ask { key, quota, cost, wait_max, .. } in &question.asks {
        let state = states.entry(*key).or_insert_with(|| LimitState::new(quota.algorithm));
        said.push(state.ask(quota, *cost, *wait_max, now));
    }
    if question.verb == Verb::Take && said.iter().all(LimitDecision::is_allowed) {
        for Ask { key, quota, cost, .. } in &question.asks {
            states.entry(*key).and_modify(|state| state.charge(quota, *cost, now));
        }
    }
    said
}

/// Questions of one to five limits each, over so few keys that many are asked for again: numbers enough that the script
/// reads and writes them in several goes.
#[test]
fn a_call_of_many_questions_answers_as_the_core_does_one_after_the_other() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let location = Location::single(&server.url(), None).expect("a URL");
    let patience = Duration::from_secs(10);
    let mut connection =
        runtime.block_on(Connection::open(&location, patience, patience)).expect("a connection");
    let algorithms = [
        LimitAlgorithm::TokenBucket,
        LimitAlgorithm::FixedWindow,
        LimitAlgorithm::LeakyBucket,
        LimitAlgorithm::SlidingWindow,
        LimitAlgorithm::TokenBucket,
    ];
    let ask = |number: u64, part: usize| Ask {
        limit: LimitTag::of("a limit"),
        // One key in three is nobody else's.
        key: LimitedKey {
            subject: if number.is_multiple_of(3) { 1_000 + number } else { number % 7 },
            rest: part as u64,
        },
        quota: Quota {
            algorithm: algorithms[part],
            count: 9 + part as u64,
            period: Period::Time(Duration::from_secs(7)),
            burst: 5,
        },
        cost: 1 + number % 2,
        wait_max: Duration::ZERO,
        enforced: true,
    };
    let mut states = HashMap::new();
    let script = Script::new(call::TEXT);
    let mut refused = 0;
    for round in 0..4_u64 {
        let now = Duration::from_micros(1_780_000_000_000_000 + round * 1_500_000);
        let questions: Vec<_> = (0..200_u64)
            .map(|number| {
                let verb = if number % 11 == 10 { Verb::Look } else { Verb::Take };
                let parts = if number % 2 == 0 { 5 } else { 1 };
                Question { verb, asks: (0..parts).map(|part| ask(number, part)).collect() }
            })
            .collect();
        let mut call = Call::default();
        for (number, question) in questions.iter().enumerate() {
            call.push(number, question, (0..question.asks.len()).collect());
        }
        let time = now.as_micros().to_string();
        let arguments: [&[u8]; 2] = [&call.text(), time.as_bytes()];
        let said: Vec<u8> =
            runtime.block_on(connection.run(&script, call::TEXT, &call.keys, &arguments)).expect("an answer");
        for (number, said) in call.read(&said, &questions).expect("an answer to each") {
            let core = all_or_nothing(&mut states, &questions[number], now);
            refused += core.iter().filter(|decision| !decision.is_allowed()).count();
            for (said, core) in said.into_iter().zip(core) {
                assert!(
                    are_alike(Some(in_micros(said)), Some(in_micros(core))),
                    "round {round}, {number}: {said:?} is not {core:?}"
                );
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn the_script_answers_as_the_core_does() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let location = Location::single(&server.url(), None).expect("a URL");
    let patience = Duration::from_secs(10);
    let connection = runtime.block_on(Connection::open(&location, patience, patience)).expect("a connection");
    let number = AtomicU64::new(0);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let compared = runner.run(&(quotas(), steps(), 0_u64..100_000_000_000_000), |(quota, steps, offset)| {
        let key = LimitedKey { subject: number.fetch_add(1, Ordering::Relaxed), rest: 0 };
        let mut state = LimitState::new(quota.algorithm);
        // Some time from 2026 on.
        let mut now_us = 1_780_000_000_000_000 + offset;
        for (at, step) in steps.iter().enumerate() {
            now_us += step.after_us;
            let now = Duration::from_micros(now_us);
            let core = by_the_core(&mut state, &quota, step, now);
            let mut connection = connection.clone();
            let script = runtime.block_on(by_the_script(&mut connection, key, &quota, step, now));
            let (script, core) = (script.map(in_micros), core.map(in_micros));
            prop_assert!(
                are_alike(script, core),
                "step {} of {:?}: {:?} is not {:?}",
                at,
                quota,
                script,
                core
            );
            // Whatever is kept ends by itself.
            let name = crate::slot::name(LimitTag::of("a limit"), key);
            let ttl: i64 = runtime.block_on(connection.ask(redis::cmd("PTTL").arg(&name))).expect("a number");
            prop_assert!(ttl != -1, "a key without an end");
        }
        Ok(())
    });
    if let Err(error) = compared {
        panic!("{error}");
    }
}
