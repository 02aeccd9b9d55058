//! What limits promise, by table and for any requests at any times.

use std::{collections::VecDeque, time::Duration};

use proptest::prelude::*;
use steadfast_core::{LimitAlgorithm, LimitDecision, LimitState, Period, Quota};

use LimitAlgorithm::{Concurrency, FixedWindow, LeakyBucket, SlidingWindow, TokenBucket};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// The beginning of a minute, an hour and a day: 2026-11-27T00:00:00Z.
const MIDNIGHT: Duration = Duration::from_secs(1_795_737_600);

fn quota(algorithm: LimitAlgorithm, count: u64, seconds: u64, burst: u64) -> Quota {
    Quota { algorithm, count, period: Period::Time(Duration::from_secs(seconds)), burst }
}

/// Asks, and charges what may go.
fn take(state: &mut LimitState, quota: &Quota, cost: u64, now: Duration) -> LimitDecision {
    let decision = state.ask(quota, cost, Duration::ZERO, now);
    if decision.is_allowed() {
        state.charge(quota, cost, now);
    }
    decision
}

/// How many requests of cost one go at once.
fn at_once(state: &mut LimitState, quota: &Quota, now: Duration) -> usize {
    (0..1_000).take_while(|_| take(state, quota, 1, now).is_allowed()).count()
}

#[test]
fn as_many_go_at_once_as_the_limit_says() {
    for (algorithm, burst, expected) in [
        (TokenBucket, 20, 20),
        (TokenBucket, 100, 100),
        (FixedWindow, 1, 100),
        (SlidingWindow, 1, 100),
        (Concurrency, 1, 100),
    ] {
        let quota = quota(algorithm, 100, 60, burst);
        let mut state = LimitState::new(algorithm);
        assert_eq!(at_once(&mut state, &quota, MIDNIGHT), expected, "{algorithm:?}");
    }
}

#[test]
fn what_a_caller_is_told_step_by_step() {
    // Milliseconds from midnight, cost; remaining and reset in milliseconds if it may go, or remaining and when.
    type Step = (u64, u64, Result<(u64, u64), (u64, Option<u64>)>);
    let cases: [(Quota, &[Step]); 4] = [
        (
            // One in 600 ms, three at once.
            quota(TokenBucket, 100, 60, 3),
            &[
                (0, 1, Ok((2, 600))),
                (0, 2, Ok((0, 1_800))),
                (0, 1, Err((0, Some(600)))),
                (599, 1, Err((0, Some(1)))),
                (600, 1, Ok((0, 1_800))),
                (600, 3, Err((0, Some(1_800)))),
                (600, 4, Err((0, None))),
                (2_400, 3, Ok((0, 1_800))),
            ],
        ),
        (
            quota(FixedWindow, 3, 60, 1),
            &[
                (30_000, 2, Ok((1, 30_000))),
                (59_999, 2, Err((1, Some(1)))),
                (59_999, 1, Ok((0, 1))),
                // A new minute.
                (60_000, 3, Ok((0, 60_000))),
                (60_000, 1, Err((0, Some(60_000)))),
                (60_000, 4, Err((0, None))),
            ],
        ),
        (
            // Slots of a second.
            quota(SlidingWindow, 3, 7, 1),
            &[
                (500, 2, Ok((1, 7_500))),
                (3_000, 1, Ok((0, 8_000))),
                (3_000, 1, Err((0, Some(5_000)))),
                (7_999, 1, Err((0, Some(1)))),
                (8_000, 3, Err((2, Some(3_000)))),
                (8_000, 2, Ok((0, 8_000))),
                (11_000, 1, Ok((0, 8_000))),
                (11_000, 4, Err((0, None))),
            ],
        ),
        (
            quota(Concurrency, 2, 1, 1),
            &[(0, 1, Ok((1, 0))), (0, 1, Ok((0, 0))), (0, 1, Err((0, Some(1_000))))],
        ),
    ];
    for (quota, steps) in cases {
        let mut state = LimitState::new(quota.algorithm);
        for (step, (at, cost, expected)) in steps.iter().enumerate() {
            let told = match take(&mut state, &quota, *cost, MIDNIGHT + MS(*at)) {
                LimitDecision::Allowed { remaining, reset, .. } => Ok((remaining, reset.as_millis() as u64)),
                LimitDecision::Refused { remaining, after } => {
                    Err((remaining, after.map(|after| after.as_millis() as u64)))
                }
            };
            assert_eq!(told, *expected, "{:?}, step {step}", quota.algorithm);
        }
    }
}

#[test]
fn a_cost_of_nothing_asks_whether_anything_is_left_and_the_answer_may_overdraw() {
    for algorithm in [TokenBucket, FixedWindow, SlidingWindow] {
        let quota = quota(algorithm, 100, 60, 100);
        let mut state = LimitState::new(algorithm);
        assert!(take(&mut state, &quota, 0, MIDNIGHT).is_allowed(), "{algorithm:?}");
        state.charge(&quota, 99, MIDNIGHT);
        assert!(take(&mut state, &quota, 0, MIDNIGHT).is_allowed(), "{algorithm:?}");
        state.charge(&quota, 101, MIDNIGHT);
        let LimitDecision::Refused { remaining: 0, after: Some(after) } =
            take(&mut state, &quota, 0, MIDNIGHT)
        else {
            panic!("{algorithm:?}: overdrawn");
        };
        assert!(after > Duration::from_secs(50), "{algorithm:?}: {after:?}");
    }
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    for algorithm in [TokenBucket, FixedWindow, SlidingWindow, Concurrency] {
        let quota = quota(algorithm, 10, 60, 10);
        let mut state = LimitState::new(algorithm);
        assert_eq!(at_once(&mut state, &quota, MIDNIGHT), 10);
        state.give_back(&quota, 1, MIDNIGHT);
        assert_eq!(at_once(&mut state, &quota, MIDNIGHT), 1, "{algorithm:?}");
        // More than was ever taken is not more than all.
        for _ in 0..50 {
            state.give_back(&quota, 1, MIDNIGHT);
        }
        assert_eq!(at_once(&mut state, &quota, MIDNIGHT), 10, "{algorithm:?}");
    }
}

#[test]
fn a_leaky_bucket_lets_each_wait_for_its_turn_and_none_too_long() {
    // One in 100 ms, four may be there.
    let quota = quota(LeakyBucket, 10, 1, 4);
    let mut state = LimitState::new(LeakyBucket);
    let mut waits = Vec::new();
    for _ in 0..4 {
        match state.ask(&quota, 1, MS(5_000), MIDNIGHT) {
            LimitDecision::Allowed { wait, .. } => waits.push(wait.as_millis()),
            refused => panic!("{refused:?}"),
        }
        state.charge(&quota, 1, MIDNIGHT);
    }
    assert_eq!(waits, [0, 100, 200, 300]);
    let full = state.ask(&quota, 1, MS(5_000), MIDNIGHT);
    assert_eq!(full, LimitDecision::Refused { remaining: 0, after: Some(MS(100)) });
    // There is room again, and the wait is longer than the deadline.
    let late = state.ask(&quota, 1, MS(250), MIDNIGHT + MS(100));
    assert_eq!(late, LimitDecision::Refused { remaining: 1, after: Some(MS(50)) });
}

#[test]
fn a_quota_of_a_month_goes_by_the_calendar() {
    let quota = Quota { algorithm: FixedWindow, count: 1_000_000, period: Period::Month, burst: 1 };
    let mut state = LimitState::new(FixedWindow);
    assert!(take(&mut state, &quota, 1_000_000, MIDNIGHT).is_allowed());
    let LimitDecision::Refused { after: Some(after), .. } = take(&mut state, &quota, 1, MIDNIGHT) else {
        panic!("used up");
    };
    // The 27th of November to the 1st of December.
    assert_eq!(after, Duration::from_secs(4 * 86_400));
    assert!(take(&mut state, &quota, 1_000_000, MIDNIGHT + after).is_allowed());
}

#[test]
fn a_changed_quota_goes_on_with_what_was_counted() {
    for algorithm in [TokenBucket, FixedWindow, SlidingWindow, Concurrency] {
        let before = quota(algorithm, 100, 60, 100);
        let mut state = LimitState::new(algorithm);
        assert_eq!(at_once(&mut state, &before, MIDNIGHT), 100);
        let raised = before.times(3.0);
        let mut copy = state;
        assert_eq!(at_once(&mut copy, &raised, MIDNIGHT), 200, "{algorithm:?}");
        // Another period, and somewhat less of it.
        let longer = quota(algorithm, 120, 3_600, 120);
        let mut copy = state;
        let left = at_once(&mut copy, &longer, MIDNIGHT + MS(1));
        assert!((19..=20).contains(&left), "{algorithm:?}: {left}");
        // Counted in another way, it begins anew.
        let other = if algorithm == Concurrency { TokenBucket } else { Concurrency };
        let mut copy = state;
        assert_eq!(at_once(&mut copy, &quota(other, 5, 60, 5), MIDNIGHT), 5);
        // And what was asked in the old way and ends only now changes nothing about it.
        copy.give_back(&before, 1, MIDNIGHT);
        copy.charge(&before, 1, MIDNIGHT);
        assert_eq!(at_once(&mut copy, &quota(other, 5, 60, 5), MIDNIGHT), 0, "{algorithm:?}");
    }
}

#[test]
fn a_state_is_idle_when_it_says_what_a_new_one_would() {
    for algorithm in [TokenBucket, LeakyBucket, FixedWindow, SlidingWindow] {
        let quota = quota(algorithm, 7, 60, 7);
        let mut state = LimitState::new(algorithm);
        for at in [0, 10, 25, 59] {
            let now = MIDNIGHT + Duration::from_secs(at);
            if state.ask(&quota, 2, Duration::MAX, now).is_allowed() {
                state.charge(&quota, 2, now);
            }
        }
        let idle_at = state.idle_at(&quota).expect("in time");
        assert!(idle_at > MIDNIGHT, "{algorithm:?}");
        let mut new = LimitState::new(algorithm);
        assert_eq!(
            state.ask(&quota, 1, Duration::MAX, idle_at),
            new.ask(&quota, 1, Duration::MAX, idle_at),
            "{algorithm:?}"
        );
    }
    let quota = quota(Concurrency, 2, 1, 1);
    let mut state = LimitState::new(Concurrency);
    state.charge(&quota, 1, MIDNIGHT);
    assert_eq!(state.idle_at(&quota), None);
    state.give_back(&quota, 1, MIDNIGHT);
    assert!(state.idle_at(&quota).is_some());
}

#[test]
fn a_clock_that_goes_back_lets_nothing_more_through() {
    for algorithm in [TokenBucket, FixedWindow, SlidingWindow] {
        let quota = quota(algorithm, 10, 60, 10);
        let mut state = LimitState::new(algorithm);
        assert_eq!(at_once(&mut state, &quota, MIDNIGHT), 10);
        assert_eq!(at_once(&mut state, &quota, MIDNIGHT - Duration::from_secs(3_600)), 0, "{algorithm:?}");
    }
}

#[test]
fn odd_rates_and_huge_ones_are_exact() {
    for (count, seconds) in [(7, 60), (999_983, 1), (1_000_000_000_000, 2_592_000), (3, 2_678_400)] {
        let quota = quota(TokenBucket, count, seconds, count);
        let mut state = LimitState::new(TokenBucket);
        assert!(take(&mut state, &quota, count, MIDNIGHT).is_allowed());
        assert!(!take(&mut state, &quota, 1, MIDNIGHT).is_allowed(), "{count}");
        // A period on it is whole, and not before.
        let later = MIDNIGHT + Duration::from_secs(seconds);
        let mut early = state;
        assert!(!take(&mut early, &quota, count, later - Duration::from_nanos(1)).is_allowed(), "{count}");
        assert!(take(&mut state, &quota, count, later).is_allowed(), "{count}");
    }
}

/// Requests at any times, some of them in bursts: milliseconds since the one before, and the cost.
fn requests() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let gap = prop_oneof![3 => Just(0), 2 => 0..50_u64, 1 => 0..3_000_u64];
    proptest::collection::vec((gap, 1..4_u64), 1..300)
}

proptest! {
    /// No stretch of time as long as the period sees more than the count, wherever it begins.
    #[test]
    fn a_sliding_window_is_never_exceeded(
        count in 1..60_u64,
        seconds in 1..5_u64,
        begin in 0..10_000_u64,
        requests in requests(),
    ) {
        let quota = quota(SlidingWindow, count, seconds, 1);
        let mut state = LimitState::new(SlidingWindow);
        let mut now = MIDNIGHT + MS(begin);
        let mut let_through: VecDeque<(Duration, u64)> = VecDeque::new();
        for (gap, cost) in requests {
            now += MS(gap);
            if take(&mut state, &quota, cost, now).is_allowed() {
                let_through.push_back((now, cost));
                while let_through.front().is_some_and(|(at, _)| *at + Duration::from_secs(seconds) <= now) {
                    let_through.pop_front();
                }
                prop_assert!(let_through.iter().map(|(_, cost)| cost).sum::<u64>() <= count);
            }
        }
    }

    /// No stretch of time sees more than the burst and what the rate allows in it.
    #[test]
    fn a_token_bucket_lets_no_more_through_than_rate_and_burst(
        count in 1..200_u64,
        seconds in 1..5_u64,
        burst in 1..50_u64,
        requests in requests(),
    ) {
        let quota = quota(TokenBucket, count, seconds, burst);
        let mut state = LimitState::new(TokenBucket);
        let mut now = MIDNIGHT;
        let mut let_through = Vec::new();
        for (gap, cost) in requests {
            now += MS(gap);
            if take(&mut state, &quota, cost, now).is_allowed() {
                let_through.push((now, cost));
            }
        }
        for (first, (begin, _)) in let_through.iter().enumerate() {
            let mut sum = 0;
            for (end, cost) in &let_through[first..] {
                sum += cost;
                let allowed = u128::from(burst) * 1_000 * u128::from(seconds)
                    + (*end - *begin).as_millis() * u128::from(count);
                prop_assert!(u128::from(sum) * 1_000 * u128::from(seconds) <= allowed);
            }
        }
    }

    /// Whoever comes again when it was told to is let through, and a nanosecond earlier it is not.
    #[test]
    fn nobody_is_told_to_come_too_early_or_too_late(
        algorithm in prop_oneof![Just(TokenBucket), Just(FixedWindow), Just(SlidingWindow)],
        count in 1..60_u64,
        burst in 1..60_u64,
        begin in 0..10_000_u64,
        requests in requests(),
    ) {
        let quota = quota(algorithm, count, 3, burst);
        let mut state = LimitState::new(algorithm);
        let mut now = MIDNIGHT + MS(begin);
        for (gap, cost) in requests {
            now += MS(gap);
            if let LimitDecision::Refused { after, .. } = take(&mut state, &quota, cost, now) {
                prop_assert_eq!(after.is_none(), cost > quota.cost_max());
                let Some(after) = after else { continue };
                prop_assert!(after > Duration::ZERO);
                let mut then = state;
                prop_assert!(!then.ask(&quota, cost, Duration::ZERO, now + after - Duration::from_nanos(1)).is_allowed());
                prop_assert!(then.ask(&quota, cost, Duration::ZERO, now + after).is_allowed());
            }
        }
    }

    /// What is told to be left is left.
    #[test]
    fn as_much_goes_as_was_told_to_be_left(
        algorithm in prop_oneof![Just(TokenBucket), Just(FixedWindow), Just(SlidingWindow), Just(Concurrency)],
        count in 1..60_u64,
        burst in 1..60_u64,
        requests in requests(),
    ) {
        let quota = quota(algorithm, count, 3, burst);
        let mut state = LimitState::new(algorithm);
        let mut now = MIDNIGHT;
        for (gap, cost) in requests {
            now += MS(gap);
            let (LimitDecision::Allowed { remaining, .. } | LimitDecision::Refused { remaining, .. }) =
                take(&mut state, &quota, cost, now);
            let mut copy = state;
            prop_assert_eq!(at_once(&mut copy, &quota, now) as u64, remaining);
        }
    }
}
