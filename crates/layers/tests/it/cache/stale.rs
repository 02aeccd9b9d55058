//! Stale answers are given where that is allowed, and only there.

use std::time::Duration;

use steadfast_layers::{CacheOutcome, CachePolicy};

use super::world::{FRESH, World, get, settle, within};

const SECOND: Duration = Duration::from_secs(1);

fn lenient() -> CachePolicy {
    CachePolicy { stale_if_error: 60 * SECOND, ..CachePolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_given_while_one_request_brings_it_up_to_date() {
    let mut world = World::new(CachePolicy::default());
    let fields = [("cache-control", "max-age=1, stale-while-revalidate=10"), ("etag", "\"1\"")];
    world.fill(get(), &fields, "one").await;
    world.pass(5 * SECOND).await;
    for _ in 0..10 {
        let stale = world.ask(get()).await;
        assert_eq!((stale.text(200), stale.outcome), ("one", Some(CacheOutcome::Stale)));
        assert_eq!(stale.field("cache-status"), "steadfast; hit; ttl=-4");
        assert_eq!(stale.field("steadfast-degraded"), "", "nothing went wrong");
    }
    let only = world.arrived().await;
    assert_eq!(only.headers["if-none-match"], "\"1\"");
    world.quiet().await;
    only.answer(200, &fields, "two");
    settle().await;
    let fresh = world.ask(get()).await;
    assert_eq!((fresh.text(200), fresh.outcome), ("two", Some(CacheOutcome::Hit)));
    // After its time it is not given any more.
    world.pass(11 * SECOND).await;
    world.fill(get(), &fields, "three").await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_answered_with_what_is_stale_and_said_so() {
    let mut world = World::new(lenient());
    world.fill(get(), &[FRESH], "one").await;
    world.pass(70 * SECOND).await;
    for status in [0, 500, 502, 503, 504] {
        let asked = world.send(get());
        let arrived = world.arrived().await;
        match status {
            0 => arrived.fail(),
            status => arrived.answer(status, &[], "sorry"),
        }
        let got = asked.await.expect("it does not panic");
        assert_eq!((got.text(200), got.field("steadfast-degraded")), ("one", "stale"));
        let status = if status == 0 { String::new() } else { format!("fwd-status={status}; ") };
        let expected = format!("steadfast; fwd=stale; {status}ttl=-10; detail=stale-if-error");
        assert_eq!(got.field("cache-status"), expected);
    }
    // What is an answer is given: a 404 says that it is gone.
    let asked = world.send(get());
    world.arrived().await.answer(404, &[], "gone");
    assert_eq!(asked.await.expect("it does not panic").text(404), "gone");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_about_to_pass_is_a_failure_and_the_request_goes_on_for_the_next_ones() {
    let mut world = World::new(lenient());
    world.fill(get(), &[FRESH], "one").await;
    world.pass(61 * SECOND).await;
    let asked = world.send(within(get(), SECOND));
    let slow = world.arrived().await;
    settle().await;
    world.pass(Duration::from_millis(989)).await;
    settle().await;
    assert!(!asked.is_finished());
    world.pass(Duration::from_millis(2)).await;
    let got = asked.await.expect("it does not panic");
    assert_eq!((got.text(200), got.field("steadfast-degraded")), ("one", "stale"));
    slow.answer(200, &[FRESH], "two");
    settle().await;
    assert_eq!(world.ask(get()).await.text(200), "two");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_forbids_it_is_never_given_stale() {
    for words in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=60"] {
        let policy = CachePolicy { stale_while_revalidate: 60 * SECOND, ..lenient() };
        let mut world = World::new(policy);
        world.fill(get(), &[("cache-control", &format!("max-age=60, {words}"))], "one").await;
        world.pass(61 * SECOND).await;
        let asked = world.send(get());
        world.arrived().await.answer(503, &[], "sorry");
        assert_eq!(asked.await.expect("it does not panic").text(503), "sorry", "{words}");
    }
    // Beside `s-maxage` the answer may allow it itself.
    let mut world = World::new(CachePolicy::default());
    world.fill(get(), &[("cache-control", "s-maxage=60, stale-if-error=60")], "one").await;
    world.pass(61 * SECOND).await;
    let asked = world.send(get());
    world.arrived().await.answer(503, &[], "sorry");
    assert_eq!(asked.await.expect("it does not panic").text(200), "one");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_too_old_one_day() {
    let mut world = World::new(lenient());
    world.fill(get(), &[FRESH], "one").await;
    world.pass(120 * SECOND).await;
    let asked = world.send(get());
    world.arrived().await.answer(503, &[], "sorry");
    assert_eq!(asked.await.expect("it does not panic").text(503), "sorry");
}
