//! What is one caller's is given to nobody else, and nobody decides what others get.

use axum::http::{HeaderName, Method};
use steadfast_layers::CachePolicy;

use super::world::{FRESH, World, get, get_with, request};

#[tokio::test(start_paused = true)]
async fn answers_to_a_credential_are_shared_only_where_they_say_so() {
    let policy = CachePolicy {
        credential_headers: vec![
            HeaderName::from_static("authorization"),
            HeaderName::from_static("x-api-key"),
        ],
        ..CachePolicy::default()
    };
    for credential in ["authorization", "x-api-key"] {
        let mut world = World::new(policy.clone());
        world.fill(get_with(credential, "ada"), &[FRESH], "ada's").await;
        world.fill(get_with(credential, "bob"), &[FRESH], "bob's").await;
        let anybodys = world.fill(get(), &[FRESH], "anybody's").await;
        assert_eq!(anybodys.text(200), "anybody's");
        // What was fetched without a credential may not be what somebody with one sees.
        world.fill(get_with(credential, "ada"), &[FRESH], "ada's").await;
        assert_eq!(world.ask(get()).await.text(200), "anybody's");
    }
    let mut world = World::new(policy);
    let public = ("cache-control", "public, max-age=60");
    world.fill(get_with("authorization", "ada"), &[public], "all's").await;
    assert_eq!(world.ask(get_with("authorization", "bob")).await.text(200), "all's");
    assert_eq!(world.ask(get()).await.text(200), "all's");
}

#[tokio::test(start_paused = true)]
async fn a_cookie_that_is_set_is_given_to_one_caller_unless_the_answer_is_public() {
    let mut world = World::new(CachePolicy::default());
    let cookie = ("set-cookie", "session=1");
    let first = world.fill(get(), &[FRESH, cookie], "one").await;
    assert_eq!(first.field("set-cookie"), "session=1");
    world.fill(get(), &[("cache-control", "public, max-age=60"), cookie], "two").await;
    assert_eq!(world.ask(get()).await.field("set-cookie"), "session=1");
}

#[tokio::test(start_paused = true)]
async fn hosts_queries_and_methods_are_never_mixed_up() {
    let mut world = World::new(CachePolicy::default());
    world.fill(get(), &[FRESH], "one").await;
    world.fill(get_with("host", "evil.example"), &[FRESH], "evil").await;
    world.fill(request(Method::GET, "/a?x=1", &[]), &[FRESH], "queried").await;
    let asked = world.send(request(Method::OPTIONS, "/a", &[]));
    let options = world.arrived().await;
    assert_eq!(options.method, Method::OPTIONS);
    options.answer(200, &[FRESH], "options");
    assert_eq!(asked.await.expect("it does not panic").text(200), "options");
    assert_eq!(world.ask(get()).await.text(200), "one");
    assert_eq!(world.ask(get_with("host", "API.example")).await.text(200), "one");
}

#[tokio::test(start_paused = true)]
async fn a_field_that_the_route_names_tells_answers_apart_though_the_upstream_does_not_say_so() {
    let name = HeaderName::from_static("x-forwarded-host");
    let policy = CachePolicy { key_headers: vec![name], ..CachePolicy::default() };
    let mut world = World::new(policy);
    world.fill(get_with("x-forwarded-host", "evil.example"), &[FRESH], "evil").await;
    world.fill(get(), &[FRESH], "one").await;
    assert_eq!(world.ask(get()).await.text(200), "one");
    assert_eq!(world.ask(get_with("x-forwarded-host", "evil.example")).await.text(200), "evil");
}

#[tokio::test(start_paused = true)]
async fn fields_that_are_not_for_all_are_not_kept() {
    let mut world = World::new(CachePolicy::default());
    let fields =
        [("cache-control", "max-age=60, private=\"x-a\", no-cache=\"x-b\""), ("x-a", "1"), ("x-b", "2")];
    let first = world.fill(get(), &fields, "one").await;
    assert_eq!((first.field("x-a"), first.field("x-b")), ("1", "2"));
    let hit = world.ask(get()).await;
    assert_eq!((hit.text(200), hit.field("x-a"), hit.field("x-b")), ("one", "", ""));
}
