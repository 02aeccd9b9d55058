//! What a config says of caches.

use std::time::Duration;

use steadfast_gateway::config::{after_reload, effective, restart_needed};

use crate::{SMALLEST, read};

fn with(cache: &str) -> String {
    format!("{SMALLEST}cache = {cache}\n")
}

#[test]
fn a_cache_says_what_it_keeps_and_is_written_back() {
    let said = r#"{ ttl = "30s", stale_if_error = "1h", stale_while_revalidate = "5s", key_headers = ["X-Tenant"], ignore_query = ["utm_source"], answer_bytes_max = "2MB", tag_headers = ["X-Tags"], show_tags = false }"#;
    let loaded = read(&with(said)).unwrap_or_else(|errors| panic!("{errors}")).config;
    let policy = loaded.routes[0].cache.clone().expect("a cache");
    assert_eq!(policy.ttl, Some(Duration::from_secs(30)));
    assert_eq!(policy.stale_if_error, Duration::from_secs(3_600));
    assert_eq!(policy.stale_while_revalidate, Duration::from_secs(5));
    assert_eq!(
        (policy.key_headers.as_slice(), policy.tag_headers.as_slice()),
        (&["x-tenant".parse().expect("a name")][..], &["x-tags".parse().expect("a name")][..])
    );
    assert_eq!(policy.ignore_query, ["utm_source"]);
    assert_eq!((policy.answer_bytes_max, policy.show_tags), (2 << 20, false));
    let again = read(&effective(&loaded)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(again, loaded);
    assert_eq!(read(SMALLEST).unwrap_or_else(|errors| panic!("{errors}")).config.routes[0].cache, None);
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    for (cache, what) in [
        (r#"{ answer_bytes_max = "8MB" }"#, "more than a quarter of `cache.memory_max` (16MB)"),
        (r#"{ key_headers = ["Host"] }"#, "the host always tells answers apart"),
        (r#"{ key_headers = ["X-A", "x-a"] }"#, "`x-a` is there twice"),
        (r#"{ tag_headers = ["a b"] }"#, "not the name of a header"),
        (r#"{ ignore_query = ["a=b"] }"#, "not the name of a parameter"),
        (r#"{ tll = "1s" }"#, "tll"),
        (r#"{ ttl = "1500ms" }"#, "in whole seconds"),
    ] {
        // The table comes last: what stands behind it would be in it.
        let text = format!("{}\n[cache]\nmemory_max = \"16MB\"\n", with(cache));
        let errors = read(&text).expect_err("it is refused").to_string();
        assert!(errors.contains(what), "{cache}: {errors}");
    }
    let writes = SMALLEST.replace("idempotency", "methods = [\"POST\"]\ncache = {}\nidempotency");
    let errors = read(&writes).expect_err("it is refused").to_string();
    assert!(errors.contains("`cache` on a route that does not serve GET does nothing"), "{errors}");
}

#[test]
fn the_size_of_the_store_takes_a_restart_and_a_routes_cache_does_not() {
    let load = |text: &str| read(text).unwrap_or_else(|errors| panic!("{errors}")).config;
    let before = load(SMALLEST);
    let after = load(&format!("{}\n[cache]\nmemory_max = \"16MB\"\n", with("{}")));
    assert_eq!(restart_needed(&before, &after), ["cache"]);
    let in_force = after_reload(&before, after);
    assert_eq!(in_force.cache_memory_max, 64 << 20);
    assert!(in_force.routes[0].cache.is_some());
}
