//! Requests for the same thing at the same time become one.

use std::time::Duration;

use bytes::Bytes;
use steadfast_layers::{CacheOutcome, CachePolicy};

use super::world::{FRESH, World, get, get_with, settle, within};

#[tokio::test(start_paused = true)]
async fn many_at_once_are_one_request_to_the_upstream() {
    let mut world = World::new(CachePolicy::default());
    let asked: Vec<_> = (0..200).map(|_| world.send(get())).collect();
    let only = world.arrived().await;
    world.quiet().await;
    only.answer(200, &[FRESH], "one");
    let mut collapsed = 0;
    for asked in asked {
        let got = asked.await.expect("it does not panic");
        assert_eq!(got.text(200), "one");
        if got.outcome == Some(CacheOutcome::Collapsed) {
            collapsed += 1;
            assert_eq!(got.field("cache-status"), "steadfast; fwd=uri-miss; collapsed; ttl=60");
        }
    }
    assert_eq!((collapsed, world.tally.cache_collapsed.get()), (199, 199));
    world.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_first_caller_leaves_another_one_asks_in_its_place() {
    let mut world = World::new(CachePolicy::default());
    let first = world.send(get());
    let left = world.arrived().await;
    let others: Vec<_> = (0..5).map(|_| world.send(get())).collect();
    world.quiet().await;
    first.abort();
    let second = world.arrived().await;
    drop(left);
    world.quiet().await;
    second.answer(200, &[FRESH], "one");
    for other in others {
        assert_eq!(other.await.expect("it does not panic").text(200), "one");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_one_caller_sends_the_others_on_their_own_and_the_next_ones_at_once() {
    let mut world = World::new(CachePolicy::default());
    let asked: Vec<_> = (0..3).map(|_| world.send(get())).collect();
    let first = world.arrived().await;
    world.quiet().await;
    first.answer(200, &[("cache-control", "private")], "mine");
    for _ in 0..2 {
        world.arrived().await.answer(200, &[("cache-control", "private")], "mine");
    }
    for asked in asked {
        assert_eq!(asked.await.expect("it does not panic").outcome, Some(CacheOutcome::Miss));
    }
    let _next = [world.send(get()), world.send(get())];
    let _both = [world.arrived().await, world.arrived().await];
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_its_callers_own_and_the_others_ask_for_themselves() {
    let mut world = World::new(CachePolicy::default());
    let asked: Vec<_> = (0..2).map(|_| world.send(get())).collect();
    world.arrived().await.fail();
    world.arrived().await.answer(200, &[FRESH], "one");
    let mut statuses = Vec::new();
    for asked in asked {
        statuses.push(asked.await.expect("it does not panic").status);
    }
    assert_eq!(statuses, [0, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_holds_nobody_up_for_long() {
    let mut world = World::new(CachePolicy::default());
    let _first = world.send(get());
    let chunks = world.arrived().await.begin(&[FRESH]);
    chunks.send(Ok(Bytes::from_static(b"on"))).expect("somebody reads");
    let second = world.send(get());
    world.quiet().await;
    tokio::time::advance(Duration::from_millis(1_001)).await;
    world.arrived().await.answer(200, &[FRESH], "one");
    assert_eq!(second.await.expect("it does not panic").text(200), "one");
    assert_eq!(world.ask(get()).await.text(200), "one");
    drop(chunks);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_its_deadline() {
    let mut world = World::new(CachePolicy::default());
    let _first = world.send(get());
    let _hangs = world.arrived().await;
    let _second = world.send(within(get(), Duration::from_millis(100)));
    world.quiet().await;
    tokio::time::advance(Duration::from_millis(91)).await;
    // What becomes of it is the deadline's to say.
    let _on_its_own = world.arrived().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_not_answered_alike_do_not_wait_for_each_other() {
    let mut world = World::new(CachePolicy::default());
    let _first = world.send(get());
    let _arrived = world.arrived().await;
    for (name, value) in [
        ("authorization", "Bearer a"),
        ("range", "bytes=0-1"),
        ("cache-control", "no-store"),
        ("if-none-match", "\"a\""),
    ] {
        let _asked = world.send(get_with(name, value));
        assert!(world.arrived().await.headers.contains_key(name));
    }
    // Another variant waits, and finds that the answer is not for it.
    let other = world.send(get_with("accept-language", "de"));
    settle().await;
    _arrived.answer(200, &[FRESH, ("vary", "accept-language")], "en");
    world.arrived().await.answer(200, &[FRESH, ("vary", "accept-language")], "de");
    assert_eq!(other.await.expect("it does not panic").text(200), "de");
}
