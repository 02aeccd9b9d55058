//! What a config says of doing requests in the background.

use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use steadfast_core::Backoff;
use steadfast_gateway::config::effective;
use steadfast_layers::{BackgroundMode, BackgroundPolicy, Ordering, OrderingKey};
use steadfast_ledger::{Keys, LaneTrouble, Priority};

use crate::{SMALLEST, read};

/// The policy of the smallest config's route with this in it.
fn background(lines: &str) -> BackgroundPolicy {
    // Without `idempotency` its defaults hold.
    let smallest = SMALLEST.replace("idempotency = {}\n", "");
    let loaded = read(&format!("{smallest}{lines}\n")).unwrap_or_else(|errors| panic!("{errors}"));
    // What is written back reads as the same.
    let again = read(&effective(&loaded.config)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(again.config.routes, loaded.config.routes);
    let policy = loaded.config.routes[0].idempotency.clone().expect("operations");
    policy.background.expect("a background")
}

fn error(lines: &str) -> String {
    let smallest = SMALLEST.replace("idempotency = {}\n", "");
    read(&format!("{smallest}{lines}\n")).expect_err("it is wrong").to_string()
}

#[test]
fn a_word_is_enough_and_stands_for_a_table_with_the_defaults() {
    for (word, mode) in [
        ("always", BackgroundMode::Always),
        ("allowed", BackgroundMode::Allowed),
        ("on_failure", BackgroundMode::OnFailure),
    ] {
        let expected = BackgroundPolicy::new(mode);
        assert_eq!(background(&format!("async = \"{word}\"")), expected);
        assert_eq!(background(&format!("async = {{ mode = \"{word}\" }}")), expected);
    }
}

#[test]
fn everything_can_be_said() {
    let policy = background(
        "async = { mode = \"always\", attempts = 3, max_age = \"2h\", base = \"20ms\", cap = \"500ms\", \
         concurrency = 4, max_delay = \"30d\", priority = -5, ordering = { field = \"account.id\" }, \
         order_trouble = \"passes\", max_body = \"64KB\", max_wait = \"10s\" }",
    );
    let expected = BackgroundPolicy {
        tries_max: 3,
        age_max: Duration::from_secs(7_200),
        backoff: Backoff { base: Duration::from_millis(20), cap: Duration::from_millis(500) },
        concurrency: 4,
        delay_max: Duration::from_secs(30 * 86_400),
        priority: Priority(-5),
        ordering: Some(Ordering {
            by: OrderingKey::Field("account.id".into()),
            trouble: LaneTrouble::Passes,
        }),
        request_bytes_max: 64 << 10,
        wait_max: Duration::from_secs(10),
        ..BackgroundPolicy::new(BackgroundMode::Always)
    };
    assert_eq!(policy, expected);
    let policy = background("async = { mode = \"allowed\", ordering = { header = \"X-Account\" } }");
    let ordering = policy.ordering.expect("an order");
    assert_eq!(ordering.by, OrderingKey::Header("x-account".parse().expect("a name")));
    assert_eq!(ordering.trouble, LaneTrouble::Blocks);
}

#[test]
fn pauses_stay_in_step() {
    let backoff = |more: &str| background(&format!("async = {{ mode = \"always\", {more} }}")).backoff;
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    assert_eq!(backoff("base = \"1h\""), Backoff { base: hour, cap: hour });
    assert_eq!(backoff("cap = \"100ms\"").base, Duration::from_millis(100));
    assert_eq!(backoff("base = \"1m\", cap = \"1h\""), Backoff { base: minute, cap: hour });
}

#[test]
fn what_contradicts_itself_is_said_so() {
    for (lines, said) in [
        ("async = \"sometimes\"", "`routes.async.mode` cannot be \"sometimes\""),
        ("async = \"alway\"", "did you mean \"always\"?"),
        ("async = true", "`routes.async` is true or false"),
        ("async = {}", "`routes.async` has no `mode`"),
        ("async = { mode = \"always\", attempt = 3 }", "did you mean `attempts`?"),
        ("async = { mode = \"always\", attempts = 0 }", "`routes.async.attempts` is out of bounds"),
        ("async = { mode = \"always\", max_body = \"1GB\" }", "16MB is the most"),
        (
            "async = { mode = \"always\", base = \"2s\", cap = \"1s\" }",
            "`async.cap` is shorter than `async.base`",
        ),
        (
            "async = { mode = \"always\", order_trouble = \"passes\" }",
            "without `async.ordering` does nothing",
        ),
        (
            "async = { mode = \"always\", ordering = { header = \"a b\" } }",
            "`a b` is not the name of a header",
        ),
        ("async = { mode = \"always\", ordering = { field = \"a..b\" } }", "`a..b` is not a path of fields"),
        (
            "async = { mode = \"always\", keep_credentials = [\"Authorization\"] }",
            "would write credentials into a ledger that is not encrypted",
        ),
        (
            "async = { mode = \"always\", keep_credentials = [\"Accept\"] }",
            "`accept` is kept anyway: it carries no credential",
        ),
        (
            "async = \"always\"\nidempotency.on_ledger_loss = \"forward\"",
            "cannot be promised without the ledger",
        ),
        ("async = \"always\"\nmethods = [\"GET\"]", "on a route that serves only safe methods does nothing"),
    ] {
        let error = error(lines);
        assert!(error.contains(said), "{lines}\n{error}");
    }
}

#[test]
fn credentials_are_kept_where_the_ledger_is_encrypted() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys");
    std::fs::write(&file, Keys::new_line().expect("a key")).expect("a file");
    let lines = "async = { mode = \"always\", keep_credentials = [\"authorization\", \"Cookie\"] }";
    let encrypted = format!("{SMALLEST}{lines}\n\n[encryption]\nkey_file = \"{}\"\n", file.display());
    let loaded = read(&encrypted).unwrap_or_else(|errors| panic!("{errors}"));
    let policy = loaded.config.routes[0].idempotency.clone().and_then(|policy| policy.background);
    let kept = policy.expect("a background").kept_credentials;
    assert_eq!(kept, [AUTHORIZATION, COOKIE]);
}
