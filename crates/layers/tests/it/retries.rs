//! Claims about tries: what is repeated and what never is, when, how often, and what is said of it.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderValue, Method, Request};
use bytes::Bytes;
use steadfast_core::{
    AnswerPolicy, Backoff, Code, Fence, NotSentCause, Reading, RetryBudgetPolicy, Timestamp, UnknownCause,
};
use steadfast_layers::{
    AttemptFailed, Deadline, OperationContext, Repeatable, RequestBody, RetryLayer, RetryPolicy, Retrying,
    SendBy, SharedRetryBudget, Tries, UpstreamTally,
};
use steadfast_ledger::Clock;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::scripted::{Asked, Ended, Scripted, answer, lost, not_sent, with};

/// Any operation.
const OPERATION: &str = "op_00000000000000000000000000";

const SECOND: Duration = Duration::from_secs(1);

/// A retried service, and what the test holds of it.
struct Stand {
    service: Scripted,
    retrying: Option<Retrying>,
    tally: Arc<UpstreamTally>,
    clock: Clock,
    began: Instant,
}

fn stand() -> Stand {
    let policy = RetryPolicy {
        backoff: Backoff { base: SECOND, cap: 4 * SECOND },
        methods: vec![Method::PUT],
        ..RetryPolicy::default()
    };
    let tally = Arc::new(UpstreamTally::default());
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let budget = || Arc::new(SharedRetryBudget::new(policy.budget));
    let retrying = Retrying {
        route: "/orders".into(),
        upstream: "bank".into(),
        answers: AnswerPolicy::default(),
        try_timeout: None,
        total_timeout: 30 * SECOND,
        several_endpoints: false,
        route_budget: budget(),
        upstream_budget: budget(),
        tally: Arc::clone(&tally),
        clock: clock.clone(),
        policy,
    };
    Stand { service: Scripted::default(), retrying: Some(retrying), tally, clock, began: Instant::now() }
}

impl Stand {
    fn with(mut self, change: impl FnOnce(&mut Retrying)) -> Self {
        change(self.retrying.as_mut().expect("not asked yet"));
        self
    }

    /// What asks; all that it asks spends from the same budgets.
    fn asking(&mut self) -> impl FnMut(Asked) -> <Layered as Service<Asked>>::Future + use<> {
        let mut layered = RetryLayer::new(self.retrying.take()).layer(self.service.clone());
        move |asked| layered.call(asked)
    }

    async fn ask(&mut self, asked: Asked) -> Ended {
        self.asking()(asked).await
    }
}

type Layered = steadfast_layers::RetryService<Scripted>;

fn request(method: Method) -> Asked {
    let mut request = Request::new(RequestBody::from(Bytes::from_static(b"a body")));
    *request.method_mut() = method;
    request
}

/// A POST that a claim stands for.
fn keyed(stand: &Stand, after_doubt: bool) -> Asked {
    let mut asked = request(Method::POST);
    asked.extensions_mut().insert(SendBy(stand.clock.boot().after(20 * SECOND)));
    asked.extensions_mut().insert(OperationContext {
        operation: OPERATION.parse().expect("an id"),
        fence: Fence::from_bytes([7; 16]),
        attempt: 1,
        after_doubt,
    });
    asked
}

/// The same where its upstream remembers its key for long enough.
fn repeatable(stand: &Stand) -> Asked {
    let mut asked = keyed(stand, false);
    asked.extensions_mut().insert(Repeatable);
    asked
}

fn status(ended: &Ended) -> u16 {
    ended.as_ref().expect("an answer").status().as_u16()
}

fn reading(ended: &Ended) -> Option<Reading> {
    ended.as_ref().expect("an answer").extensions().get().copied()
}

#[tokio::test(start_paused = true)]
async fn a_safe_request_is_tried_again_and_the_answer_says_so() {
    for failed in [answer(503), answer(500), answer(408), lost(), not_sent(NotSentCause::ConnectFailed)] {
        let mut stand = stand();
        stand.service.will(failed);
        let ended = stand.ask(request(Method::GET)).await;
        assert_eq!(status(&ended), 200);
        let answer = ended.expect("an answer");
        assert_eq!(answer.headers()["steadfast-degraded"], "retry");
        assert_eq!(answer.extensions().get(), Some(&Tries(2)));
        let seen = stand.service.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].headers.get("steadfast-attempt"), None);
        assert_eq!(seen[1].headers["steadfast-attempt"], "2");
        assert!(stand.began.elapsed() <= SECOND, "{:?}", stand.began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_try_that_succeeds_is_left_as_it_is() {
    let mut stand = stand();
    let answer = stand.ask(request(Method::GET)).await.expect("an answer");
    assert_eq!(answer.headers().len(), 0);
    assert_eq!(answer.extensions().get::<Tries>(), None);
    assert_eq!(stand.service.seen()[0].headers.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_executed_is_not_sent_twice() {
    for failed in [answer(503), answer(408), lost()] {
        for method in [Method::POST, Method::PATCH, Method::DELETE] {
            let mut stand = stand();
            stand.service.will(failed.as_ref().map(|_| ()).map_or(lost(), |()| answer(503)));
            let _ = stand.ask(request(method)).await;
            assert_eq!(stand.service.count(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn methods_that_the_upstream_repeats_safely_are_repeated() {
    let mut stand = stand();
    stand.service.will(lost());
    assert_eq!(status(&stand.ask(request(Method::PUT)).await), 200);
    assert_eq!(stand.service.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_executed_is_sent_again_whatever_its_method() {
    for failed in [
        not_sent(NotSentCause::ConnectFailed),
        not_sent(NotSentCause::StreamRefused),
        answer(429),
        answer(425),
    ] {
        let mut stand = stand();
        stand.service.will(failed);
        assert_eq!(status(&stand.ask(request(Method::POST)).await), 200);
        assert_eq!(stand.service.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_policy_held_back_is_not_tried_again() {
    let held =
        || Err(AttemptFailed::HeldBack { code: Code::CircuitOpen, retry_after: None, detail: "Open." });
    let causes = [NotSentCause::DeadlinePassed, NotSentCause::SendByPassed, NotSentCause::HeldBack];
    for failed in causes.map(not_sent).into_iter().chain([held()]) {
        let mut stand = stand();
        stand.service.will(failed);
        assert!(stand.ask(request(Method::GET)).await.is_err());
        assert_eq!(stand.service.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_as_it_is_is_not_tried_again() {
    for status in [200, 301, 400, 404, 409, 422, 501, 505] {
        let mut stand = stand();
        stand.service.will(answer(status));
        let ended = stand.ask(request(Method::GET)).await;
        assert_eq!((ended.expect("an answer").status().as_u16(), stand.service.count()), (status, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_on_the_answer_goes_before_its_status() {
    for (reading, status, tries) in
        [(Reading::Completed, 503, 1), (Reading::Refused, 200, 2), (Reading::Unknown, 200, 2)]
    {
        let mut stand = stand();
        let mut first = answer(status);
        first.as_mut().expect("an answer").extensions_mut().insert(reading);
        stand.service.will(first);
        let _ = stand.ask(request(Method::GET)).await;
        assert_eq!(stand.service.count(), tries, "{reading:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_last_try_the_answer_is_the_upstreams_own() {
    let mut stand = stand();
    (0..4).for_each(|_| stand.service.will(answer(503)));
    let answer = stand.ask(request(Method::GET)).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), stand.service.count()), (503, 3));
    assert_eq!(answer.headers()["steadfast-degraded"], "retry");
    assert_eq!(stand.tally.retries_unknown.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_is_left_alone_for_as_long_as_it_asks() {
    let mut stand = stand();
    stand.service.will(with(429, &[("retry-after", "7")]));
    assert_eq!(status(&stand.ask(request(Method::POST)).await), 200);
    let waited = stand.began.elapsed();
    assert!((7 * SECOND..=8 * SECOND).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_that_cannot_end_in_time() {
    // Retry-After beyond the deadline.
    let mut stand = stand();
    stand.service.will(with(503, &[("retry-after", "7")]));
    let mut asked = request(Method::GET);
    asked.extensions_mut().insert(Deadline(Instant::now() + 5 * SECOND));
    let ended = stand.ask(asked).await;
    assert_eq!((status(&ended), stand.service.count(), stand.began.elapsed()), (503, 1, Duration::ZERO));
    // Without a deadline, beyond the time for all tries.
    let mut stand = self::stand();
    stand.service.will(with(503, &[("retry-after", "31")]));
    assert_eq!(status(&stand.ask(request(Method::GET)).await), 503);
    // The deadline came while the first was tried.
    let mut stand = self::stand();
    stand.service.will_after(5 * SECOND, lost());
    let mut asked = request(Method::GET);
    asked.extensions_mut().insert(Deadline(Instant::now() + 5 * SECOND));
    assert!(stand.ask(asked).await.is_err());
    assert_eq!(stand.service.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_tries_together_take_no_longer_than_the_total() {
    let mut stand = stand().with(|retrying| retrying.total_timeout = 10 * SECOND);
    stand.service.will_after(4 * SECOND, lost());
    stand.service.will_after(3600 * SECOND, answer(200));
    let ended = stand.ask(request(Method::GET)).await;
    assert!(matches!(ended, Err(AttemptFailed::Lost { cause: UnknownCause::Timeout, .. })), "{ended:?}");
    let took = stand.began.elapsed();
    assert!((10 * SECOND..10 * SECOND + Duration::from_millis(5)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_repeats_itself_is_not_helped_to_more() {
    let says = [
        ("steadfast-attempt", "2"),
        ("x-retry-attempt", "1"),
        ("x-envoy-attempt-count", "2"),
        ("grpc-previous-rpc-attempts", "1"),
        ("x-stainless-retry-count", "1"),
        ("amz-sdk-request", "attempt=2; max=4"),
    ];
    for (name, value) in says {
        let mut stand = stand();
        stand.service.will(answer(503));
        let mut asked = request(Method::GET);
        asked.headers_mut().insert(name, HeaderValue::from_static(value));
        assert_eq!(status(&stand.ask(asked).await), 503, "{name}");
        assert_eq!(stand.service.seen()[0].headers[name], value, "it goes on as it came");
        assert_eq!(stand.service.count(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_fails_for_everybody_sees_little_more_than_it_was_asked() {
    let mut stand = stand();
    (0..2_000).for_each(|_| stand.service.will(answer(503)));
    let mut ask = stand.asking();
    for _ in 0..500 {
        assert_eq!(status(&ask(request(Method::GET)).await), 503);
    }
    // The pauses take more than ten seconds in all, so the minimum of one a second counts as well.
    let seconds = stand.began.elapsed().as_secs() as usize;
    assert!(stand.service.count() <= 500 + 100 + 10 + seconds, "{} in {seconds} s", stand.service.count());
    assert!(stand.tally.retry_budget_exhausted.get() > 0);
}

#[tokio::test(start_paused = true)]
async fn there_must_be_one_left_in_both_budgets() {
    let spent = || Arc::new(SharedRetryBudget::new(RetryBudgetPolicy { percent: 0, per_second_min: 0 }));
    for route in [true, false] {
        let mut stand = stand().with(|retrying| {
            *(if route { &mut retrying.route_budget } else { &mut retrying.upstream_budget }) = spent();
        });
        stand.service.will(answer(503));
        assert_eq!(status(&stand.ask(request(Method::GET)).await), 503);
        assert_eq!((stand.service.count(), stand.tally.retry_budget_exhausted.get()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_in_shadow_mode_is_counted_and_keeps_nothing_back() {
    let mut stand = stand().with(|retrying| {
        retrying.policy.is_shadow = true;
        retrying.route_budget =
            Arc::new(SharedRetryBudget::new(RetryBudgetPolicy { percent: 0, per_second_min: 0 }));
    });
    stand.service.will(answer(503));
    assert_eq!(status(&stand.ask(request(Method::GET)).await), 200);
    let tally = &stand.tally;
    assert_eq!((tally.retry_budget_exhausted.get(), tally.retry_budget_would_exhaust.get()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn one_try_is_none_again() {
    let mut stand = stand().with(|retrying| retrying.policy.attempts = 1);
    stand.service.will(answer(503));
    assert_eq!(status(&stand.ask(request(Method::GET)).await), 503);
    assert_eq!(stand.service.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_request_is_sent_twice_only_where_the_upstream_takes_its_key_once() {
    let mut stand = stand();
    stand.service.will(lost());
    let asked = keyed(&stand, false);
    assert!(matches!(stand.ask(asked).await, Err(AttemptFailed::Lost { .. })));
    assert_eq!(stand.service.count(), 1);
    let mut stand = self::stand();
    stand.service.will(lost());
    let asked = repeatable(&stand);
    assert_eq!(status(&stand.ask(asked).await), 200);
    assert_eq!(stand.service.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn doubt_is_not_undone_by_a_later_try_of_the_same_attempt() {
    // Not sent.
    let mut stand = stand();
    stand.service.will(lost());
    (0..2).for_each(|_| stand.service.will(not_sent(NotSentCause::ConnectFailed)));
    let asked = repeatable(&stand);
    let ended = stand.ask(asked).await;
    assert!(
        matches!(ended, Err(AttemptFailed::Lost { cause: UnknownCause::ConnectionLost, .. })),
        "{ended:?}"
    );
    // Held back.
    let mut stand = self::stand();
    stand.service.will(answer(503));
    let detail = "Open.";
    stand.service.will(Err(AttemptFailed::HeldBack { code: Code::CircuitOpen, retry_after: None, detail }));
    let asked = repeatable(&stand);
    let ended = stand.ask(asked).await;
    assert!(matches!(ended, Err(AttemptFailed::Lost { cause: UnknownCause::Inconclusive, .. })), "{ended:?}");
    // Refused, and a 409 by which an upstream says that the first still runs.
    for status in [429, 409] {
        let mut stand = self::stand();
        stand.service.will(lost());
        (0..2).for_each(|_| stand.service.will(answer(status)));
        let asked = repeatable(&stand);
        let ended = stand.ask(asked).await;
        assert_eq!((self::status(&ended), reading(&ended)), (status, Some(Reading::Unknown)));
        assert_eq!(stand.service.count(), 3, "{status}");
    }
    // What is final ends it.
    let mut stand = self::stand();
    stand.service.will(lost());
    stand.service.will(answer(422));
    let asked = repeatable(&stand);
    let ended = stand.ask(asked).await;
    assert_eq!((status(&ended), reading(&ended)), (422, None));
}

#[tokio::test(start_paused = true)]
async fn a_409_without_doubt_is_final() {
    let mut stand = stand();
    stand.service.will(answer(409));
    let asked = repeatable(&stand);
    let ended = stand.ask(asked).await;
    assert_eq!((status(&ended), stand.service.count()), (409, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_after_doubt_is_repeated_only_where_it_was_not_executed() {
    for (failed, tries) in
        [(not_sent(NotSentCause::ConnectFailed), 2), (answer(429), 2), (lost(), 1), (answer(409), 1)]
    {
        let mut stand = stand();
        stand.service.will(failed);
        let asked = keyed(&stand, true);
        let _ = stand.ask(asked).await;
        assert_eq!(stand.service.count(), tries);
    }
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_after_the_claims_time_to_send() {
    let mut stand = stand();
    stand.service.will(not_sent(NotSentCause::ConnectFailed));
    let asked = keyed(&stand, false);
    let clock = stand.clock.clone();
    let asking = stand.ask(asked);
    let passing = async { clock.advance(20 * SECOND) };
    let (ended, ()) = tokio::join!(asking, passing);
    assert!(
        matches!(ended, Err(AttemptFailed::NotSent { cause: NotSentCause::SendByPassed, .. })),
        "{ended:?}"
    );
    assert_eq!(stand.service.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_keyed_try_is_given_up_only_where_another_may_follow() {
    let hasty = || stand().with(|retrying| retrying.try_timeout = Some(2 * SECOND));
    let late = 10 * SECOND;
    let mut stand = hasty();
    stand.service.will_after(late, answer(201));
    let asked = repeatable(&stand);
    assert_eq!(status(&stand.ask(asked).await), 200);
    let second = stand.service.seen()[1].at - stand.began;
    assert!((2 * SECOND..=3 * SECOND).contains(&second), "{second:?}");
    // Not repeatable, or nothing left in the budget: its late answer is waited for.
    let mut stand = hasty();
    stand.service.will_after(late, answer(201));
    let asked = keyed(&stand, false);
    assert_eq!(status(&stand.ask(asked).await), 201);
    let none = || Arc::new(SharedRetryBudget::new(RetryBudgetPolicy { percent: 0, per_second_min: 0 }));
    let mut stand = hasty().with(|retrying| retrying.route_budget = none());
    stand.service.will_after(late, answer(201));
    let asked = repeatable(&stand);
    assert_eq!(status(&stand.ask(asked).await), 201);
    assert_eq!(stand.service.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_are_spread_and_grow() {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let mut stand = stand();
        (0..2).for_each(|_| stand.service.will(answer(503)));
        let _ = stand.ask(request(Method::GET)).await;
        let seen = stand.service.seen();
        first.push(seen[1].at - seen[0].at);
        second.push(seen[2].at - seen[1].at);
    }
    // Paused time goes on in milliseconds.
    assert!(first.iter().all(|pause| *pause <= SECOND + Duration::from_millis(1)));
    assert!(second.iter().all(|pause| *pause <= 2 * SECOND + Duration::from_millis(1)));
    let spread = |pauses: &[Duration], below: Duration| pauses.iter().filter(|pause| **pause < below).count();
    assert!((40..160).contains(&spread(&first, SECOND / 2)));
    assert!((40..160).contains(&spread(&second, SECOND)));
}
