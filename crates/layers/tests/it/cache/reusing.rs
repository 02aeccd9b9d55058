//! Answers are given again while they are fresh, to whom they are for.

use std::time::Duration;

use axum::http::Method;
use bytes::Bytes;
use steadfast_layers::{CacheOutcome, CachePolicy, CacheStore};

use super::world::{FRESH, World, get, get_with, request, settle};

#[tokio::test(start_paused = true)]
async fn a_fresh_answer_is_given_again_with_its_age_until_it_is_stale() {
    let mut world = World::new(CachePolicy::default());
    let first = world.fill(get(), &[FRESH, ("x-a", "1"), ("age", "5")], "one").await;
    assert_eq!((first.text(200), first.field("cache-status")), ("one", "steadfast; fwd=uri-miss; stored"));
    world.pass(Duration::from_secs(10)).await;
    let hit = world.ask(get()).await;
    assert_eq!((hit.text(200), hit.field("x-a"), hit.field("age")), ("one", "1", "15"));
    assert_eq!(hit.field("cache-status"), "steadfast; hit; ttl=45");
    assert_eq!(hit.outcome, Some(CacheOutcome::Hit));
    assert_eq!(hit.field("date"), "Wed, 01 Jan 2020 00:00:00 GMT");
    world.pass(Duration::from_secs(45)).await;
    assert_eq!(world.fill(get(), &[FRESH], "two").await.text(200), "two");
    assert_eq!(world.tally.cache_hits.get(), 1);
    assert_eq!(world.tally.cache_stored.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_of_caches_is_not_kept_unless_the_route_gives_it_a_time() {
    let mut world = World::new(CachePolicy::default());
    world.fill(get(), &[], "one").await;
    world.fill(get(), &[], "two").await;
    let policy = CachePolicy { ttl: Some(Duration::from_secs(5)), ..CachePolicy::default() };
    let mut world = World::new(policy);
    world.fill(get(), &[], "one").await;
    assert_eq!(world.ask(get()).await.text(200), "one");
    world.pass(Duration::from_secs(5)).await;
    world.fill(get(), &[], "two").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_validated_when_it_is_stale_and_brought_up_to_date() {
    let mut world = World::new(CachePolicy::default());
    world.fill(get(), &[FRESH, ("etag", "\"1\""), ("x-a", "1")], "one").await;
    world.pass(Duration::from_secs(60)).await;
    // The caller's own condition is answered from what is kept.
    let asked = world.send(get_with("if-none-match", "\"0\""));
    let arrived = world.arrived().await;
    assert_eq!(arrived.headers["if-none-match"], "\"1\"");
    arrived.answer(304, &[("cache-control", "max-age=9"), ("x-a", "2"), ("content-length", "0")], "");
    let got = asked.await.expect("it does not panic");
    assert_eq!((got.text(200), got.field("x-a")), ("one", "2"));
    assert_eq!(got.field("cache-status"), "steadfast; fwd=stale; fwd-status=304; stored");
    world.pass(Duration::from_secs(8)).await;
    let hit = world.ask(get()).await;
    assert_eq!((hit.text(200), hit.field("x-a"), hit.field("age")), ("one", "2", "8"));
    assert_eq!(world.ask(get_with("if-none-match", "W/\"1\"")).await.text(304), "");
}

#[tokio::test(start_paused = true)]
async fn heads_and_ranges_are_answered_from_the_whole_and_never_taken_for_it() {
    let mut world = World::new(CachePolicy::default());
    let head = || request(Method::HEAD, "/a", &[]);
    let asked = world.send(head());
    world.arrived().await.answer(200, &[FRESH], "");
    assert_eq!(asked.await.expect("it does not panic").text(200), "");
    let asked = world.send(get_with("range", "bytes=0-1"));
    world.arrived().await.answer(206, &[FRESH, ("content-range", "bytes 0-1/6")], "wh");
    assert_eq!(asked.await.expect("it does not panic").text(206), "wh");
    // Neither was kept as the answer to a GET.
    world.fill(get(), &[FRESH], "whole!").await;
    let head = world.ask(head()).await;
    assert_eq!((head.text(200), head.field("content-length")), ("", "6"));
    let part = world.ask(get_with("range", "bytes=1-2")).await;
    assert_eq!((part.text(206), part.field("content-range")), ("ho", "bytes 1-2/6"));
    let none = world.ask(get_with("range", "bytes=6-")).await;
    assert_eq!((none.text(416), none.field("content-range")), ("", "bytes */6"));
    assert_eq!(world.ask(get()).await.text(200), "whole!");
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_asks_of_caches_is_done() {
    let mut world = World::new(CachePolicy::default());
    let none = world.ask(get_with("cache-control", "only-if-cached")).await;
    assert!(none.text(504).contains("not-cached"));
    world.fill(get(), &[FRESH], "one").await;
    world.pass(Duration::from_secs(30)).await;
    for wish in ["no-cache", "max-age=10", "min-fresh=31"] {
        let asked = world.send(get_with("cache-control", wish));
        world.arrived().await.answer(200, &[("cache-control", "no-store")], "asked");
        assert_eq!(asked.await.expect("it does not panic").text(200), "asked", "{wish}");
        world.fill(get(), &[FRESH], "one").await;
        world.pass(Duration::from_secs(30)).await;
    }
    for wish in ["max-age=31", "min-fresh=30", "only-if-cached", "no-store"] {
        assert_eq!(world.ask(get_with("cache-control", wish)).await.text(200), "one", "{wish}");
    }
    world.pass(Duration::from_secs(40)).await;
    assert_eq!(world.ask(get_with("cache-control", "max-stale=10")).await.text(200), "one");
    world.fill(get_with("cache-control", "max-stale=9"), &[FRESH], "two").await;
}

#[tokio::test(start_paused = true)]
async fn each_variant_is_for_the_requests_that_ask_like_its_own() {
    let mut world = World::new(CachePolicy::default());
    let vary = ("vary", "accept-encoding");
    world.fill(get_with("accept-encoding", "gzip"), &[FRESH, vary], "zipped").await;
    world.fill(get_with("accept-encoding", "br"), &[FRESH, vary], "brotli").await;
    assert_eq!(world.ask(get_with("accept-encoding", "gzip")).await.text(200), "zipped");
    assert_eq!(world.ask(get_with("accept-encoding", "br")).await.text(200), "brotli");
    let plain = world.fill(get(), &[FRESH, vary], "plain").await;
    assert_eq!(plain.field("cache-status"), "steadfast; fwd=vary-miss; stored");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_or_breaks_off_streams_to_its_caller_and_is_not_kept() {
    let policy = CachePolicy { answer_bytes_max: 8, ..CachePolicy::default() };
    let mut world = World::new(policy);
    let asked = world.send(get());
    let chunks = world.arrived().await.begin(&[FRESH]);
    for chunk in ["01234", "56789"] {
        chunks.send(Ok(Bytes::from_static(chunk.as_bytes()))).expect("somebody reads");
        settle().await;
    }
    drop(chunks);
    assert_eq!(asked.await.expect("it does not panic").text(200), "0123456789");
    let asked = world.send(get());
    let chunks = world.arrived().await.begin(&[FRESH]);
    chunks.send(Ok(Bytes::from_static(b"01"))).expect("somebody reads");
    chunks.send(Err("reset")).expect("somebody reads");
    assert_eq!(asked.await.expect("it does not panic").body, Err("reset"));
    let asked = world.send(get());
    let chunks = world.arrived().await.begin(&[FRESH]);
    chunks.send(Ok(Bytes::from_static(b"01234567"))).expect("somebody reads");
    drop(chunks);
    assert_eq!(asked.await.expect("it does not panic").text(200), "01234567");
    assert_eq!(world.ask(get()).await.text(200), "01234567");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_stays_within_its_bytes_whatever_comes() {
    let store = CacheStore::new(256 << 10);
    let mut world = World::with_store(CachePolicy::default(), store);
    let body = "x".repeat(4_000);
    for number in 0..500 {
        world.fill(request(Method::GET, &format!("/{number}"), &[]), &[FRESH], &body).await;
        let stats = world.store.stats();
        assert!(stats.bytes <= stats.bytes_max, "{stats:?}");
    }
    let stats = world.store.stats();
    assert!(stats.bytes > stats.bytes_max / 2 && stats.targets > 20, "{stats:?}");
}
