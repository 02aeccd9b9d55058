//! What has changed is forgotten: by a write, or because somebody says so.

use axum::http::Method;
use steadfast_layers::{CachePolicy, Purge};

use super::world::{FRESH, World, get, request};

#[tokio::test(start_paused = true)]
async fn a_write_that_succeeds_puts_what_is_kept_of_its_target_out_of_date() {
    let mut world = World::new(CachePolicy::default());
    for (method, status, fields, forgotten) in [
        (Method::POST, 200, &[][..], true),
        (Method::PUT, 303, &[], true),
        (Method::DELETE, 404, &[], false),
        (Method::PATCH, 500, &[], false),
    ] {
        world.fill(get(), &[FRESH], "one").await;
        let wrote = world.send(request(method.clone(), "/a", &[]));
        world.arrived().await.answer(status, fields, "");
        let got = wrote.await.expect("it does not panic");
        assert_eq!(got.field("cache-status"), "steadfast; fwd=method");
        if forgotten {
            world.fill(get(), &[FRESH], "two").await;
        }
        assert_eq!(world.ask(get()).await.text(200), if forgotten { "two" } else { "one" }, "{method}");
        world.store.purge(&Purge::All);
    }
    for name in ["location", "content-location"] {
        world.fill(get(), &[FRESH], "one").await;
        let wrote = world.send(request(Method::POST, "/list", &[]));
        world.arrived().await.answer(201, &[(name, "http://api.example/a")], "");
        wrote.await.expect("it does not panic");
        world.fill(get(), &[FRESH], "two").await;
        world.store.purge(&Purge::All);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_on_its_way_is_not_kept() {
    let mut world = World::new(CachePolicy::default());
    let asked = world.send(get());
    let slow = world.arrived().await;
    let wrote = world.send(request(Method::POST, "/a", &[]));
    world.arrived().await.answer(200, &[], "");
    wrote.await.expect("it does not panic");
    slow.answer(200, &[FRESH], "before");
    assert_eq!(asked.await.expect("it does not panic").text(200), "before");
    assert_eq!(world.fill(get(), &[FRESH], "after").await.text(200), "after");

    let asked = world.send(request(Method::GET, "/b", &[]));
    let slow = world.arrived().await;
    world.store.purge(&Purge::All);
    slow.answer(200, &[FRESH], "before");
    asked.await.expect("it does not panic");
    world.fill(request(Method::GET, "/b", &[]), &[FRESH], "after").await;
}

#[tokio::test(start_paused = true)]
async fn a_purge_forgets_what_it_names_and_nothing_else() {
    let targets = ["/a?x=1", "/a?x=2", "/b"];
    for (purge, expected) in [
        (Purge::Url("/a?x=1".into()), &["/a?x=1"][..]),
        (Purge::Url("https://API.example/a?x=1".into()), &["/a?x=1"]),
        (Purge::Url("https://other.example/a?x=1".into()), &[]),
        (Purge::Prefix("/a".into()), &["/a?x=1", "/a?x=2"]),
        (Purge::Prefix("http://api.example".into()), &targets),
        (Purge::Prefix("http://api.example/b".into()), &["/b"]),
        (Purge::Prefix("http://other.example/".into()), &[]),
        (Purge::Tag("/b".into()), &["/b"]),
        (Purge::Tag("all".into()), &targets),
        (Purge::Tag("al".into()), &[]),
        (Purge::All, &targets),
    ] {
        let mut world = World::new(CachePolicy { show_tags: false, ..CachePolicy::default() });
        for target in targets {
            let tags = format!("{target} all");
            let first =
                world.fill(request(Method::GET, target, &[]), &[FRESH, ("surrogate-key", &tags)], "x").await;
            assert_eq!(first.field("surrogate-key"), "", "callers do not see tags");
        }
        assert_eq!(world.store.purge(&purge), expected.len() as u64, "{purge:?}");
        for target in targets {
            let asked = world.send(request(Method::GET, target, &[("cache-control", "only-if-cached")]));
            let status = asked.await.expect("it does not panic").status;
            assert_eq!(status, if expected.contains(&target) { 504 } else { 200 }, "{purge:?}: {target}");
        }
    }
}
