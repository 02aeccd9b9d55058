//! What a config says of versions' ends, of preconditions and of what is published.

use steadfast_core::{Brownout, Timestamp};
use steadfast_gateway::config::{DocumentPolicy, effective, parse_instant};

use crate::{SMALLEST, read};

fn at(text: &str) -> Timestamp {
    parse_instant(text).unwrap_or_else(|error| panic!("{error}"))
}

fn with(keys: &str) -> String {
    format!("{SMALLEST}{keys}\n")
}

#[test]
fn a_versions_end_is_read_in_either_form_and_written_back() {
    let said = r#"lifecycle = { version = "v1", deprecated = 2026-01-01T00:00:00Z, sunset = "2027-01-01T02:00:00+02:00", gone = true, successor = "https://a.example/v2", docs = "/docs", sunset_docs = "/end", brownout_status = 410, brownouts = [{ from = 2026-11-02 09:00:00Z, until = "2026-11-02T09:10:00Z" }, { from = "2026-12-01T00:00:00Z", every = "24h", lasts = "10m" }] }
require_precondition = true
documented = false"#;
    let loaded = read(&with(said)).unwrap_or_else(|errors| panic!("{errors}")).config;
    let route = &loaded.routes[0];
    assert!(route.require_precondition && !route.documented);
    let policy = route.lifecycle.clone().expect("a lifecycle");
    assert_eq!((&*policy.version, policy.brownout_status, policy.lifecycle.gone), ("v1", 410, true));
    assert_eq!(policy.lifecycle.deprecated, Some(at("2026-01-01T00:00:00Z")));
    assert_eq!(policy.lifecycle.sunset, Some(at("2027-01-01T00:00:00Z")));
    assert_eq!(
        policy.lifecycle.brownouts[0],
        Brownout::Once { from: at("2026-11-02T09:00:00Z"), until: at("2026-11-02T09:10:00Z") }
    );
    assert!(matches!(policy.lifecycle.brownouts[1], Brownout::Repeated { until: None, .. }));
    assert_eq!(policy.successor.as_deref(), Some("https://a.example/v2"));
    let again = read(&effective(&loaded)).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(again, loaded);
}

#[test]
fn where_nothing_is_said_nothing_is_done() {
    let config = read(SMALLEST).unwrap_or_else(|errors| panic!("{errors}")).config;
    let route = &config.routes[0];
    assert_eq!((&route.lifecycle, route.require_precondition, route.documented), (&None, false, true));
    assert_eq!((&config.document, &config.upstreams["bank"].openapi), (&None, &None));
    let config = read(&with("lifecycle = {}")).unwrap_or_else(|errors| panic!("{errors}")).config;
    let policy = config.routes[0].lifecycle.clone().expect("a lifecycle");
    assert_eq!(
        (&*policy.version, policy.brownout_status),
        ("/*", 503),
        "usage is counted under the route's name"
    );
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    const DATES: &str = "deprecated = 2026-01-01T00:00:00Z, sunset = 2027-01-01T00:00:00Z";
    for (lifecycle, what) in [
        ("deprecated = 2026-01-01".to_owned(), "does not say which instant it is"),
        ("deprecated = 2026-01-01T00:00:00".to_owned(), "does not say which instant it is"),
        ("deprecated = \"soon\"".to_owned(), "`soon` is not an instant"),
        ("deprecated = 1767225600".to_owned(), "is a number"),
        ("deprecated = 2026-01-01T00:00:00.5Z".to_owned(), "is not a whole second"),
        (
            "deprecated = 2027-01-01T00:00:00Z, sunset = 2026-01-01T00:00:00Z".to_owned(),
            "before `deprecated`",
        ),
        ("gone = true".to_owned(), "`gone` without `sunset` does nothing"),
        ("docs = \"/docs\"".to_owned(), "`docs` without `deprecated` or `sunset` is said nowhere"),
        ("sunset_docs = \"/docs\"".to_owned(), "`sunset_docs` without `sunset`"),
        ("successor = \"v2\"".to_owned(), "is not a URL, and not a path"),
        ("successor = \"https://me:secret@a.example/\"".to_owned(), "has a user in it"),
        ("version = \"a b\"".to_owned(), "is not a plain name"),
        (format!("{DATES}, brownout_status = 500"), "`brownout_status` cannot be 500"),
        (
            "brownouts = [{ from = 2026-02-01T00:00:00Z, until = 2026-02-02T00:00:00Z }]".to_owned(),
            "not deprecated",
        ),
        (format!("{DATES}, brownouts = [{{ from = 2026-02-01T00:00:00Z }}]"), "does not say when it ends"),
        (
            format!("{DATES}, brownouts = [{{ from = 2026-02-01T00:00:00Z, until = 2026-02-01T00:00:00Z }}]"),
            "ends before it begins",
        ),
        (
            format!("{DATES}, brownouts = [{{ from = 2025-02-01T00:00:00Z, until = 2026-02-01T00:00:00Z }}]"),
            "begins before `deprecated`",
        ),
        (
            format!(
                "{DATES}, gone = true, brownouts = [{{ from = 2027-02-01T00:00:00Z, until = 2028-02-01T00:00:00Z }}]"
            ),
            "begins after `sunset`",
        ),
        (
            format!("{DATES}, brownouts = [{{ from = 2026-02-01T00:00:00Z, every = \"1h\" }}]"),
            "does not say how long it lasts",
        ),
        (
            format!("{DATES}, brownouts = [{{ from = 2026-02-01T00:00:00Z, lasts = \"1h\" }}]"),
            "has `lasts` without `every`",
        ),
        (
            format!(
                "{DATES}, brownouts = [{{ from = 2026-02-01T00:00:00Z, every = \"1h\", lasts = \"1h\" }}]"
            ),
            "lasts until the next one begins",
        ),
    ] {
        let errors = read(&with(&format!("lifecycle = {{ {lifecycle} }}"))).expect_err(&lifecycle);
        let said = errors.to_string();
        assert!(said.contains(what), "{lifecycle}: {said}");
        assert!(!said.contains("me:secret"), "{said}");
    }
    let post = SMALLEST.replace("idempotency = {}", "methods = [\"POST\"]\nrequire_precondition = true");
    let errors = read(&post).expect_err("it is refused").to_string();
    assert!(errors.contains("is for PUT and PATCH, and the route serves neither"), "{errors}");
}

#[test]
fn what_is_published_is_read_and_written_back() {
    let text =
        format!("{SMALLEST}\n[document]\ntitle = \"Shop\"\nversion = \"3\"\ndescription = \"a\\n\\nb\"\n");
    let loaded = read(&text).unwrap_or_else(|errors| panic!("{errors}")).config;
    let expected = DocumentPolicy { title: "Shop".into(), version: "3".into(), description: "a\n\nb".into() };
    assert_eq!(loaded.document, Some(expected));
    assert_eq!(read(&effective(&loaded)).unwrap_or_else(|errors| panic!("{errors}")).config, loaded);
    let short =
        read(&format!("document = {{}}\n{SMALLEST}")).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(short.document, Some(DocumentPolicy::default()));
    let own = SMALLEST.replacen("[[routes]]", "openapi = \"/openapi.json\"\n[[routes]]", 1);
    let loaded = read(&own).unwrap_or_else(|errors| panic!("{errors}")).config;
    assert_eq!(loaded.upstreams["bank"].openapi.as_deref(), Some("/openapi.json"));
    assert_eq!(read(&effective(&loaded)).unwrap_or_else(|errors| panic!("{errors}")).config, loaded);
    for (text, what) in [
        (format!("document = {{ title = \" \" }}\n{SMALLEST}"), "`document.title` is empty"),
        (format!("document = {{ title = \"a\\u0007\" }}\n{SMALLEST}"), "has control characters"),
        (
            format!("document = {{ version = \"{}\" }}\n{SMALLEST}", "x".repeat(201)),
            "`document.version` is too long",
        ),
        (own.replace("/openapi.json", "http://a/openapi.json"), "is not the path of a document"),
        (own.replace("/openapi.json", "/openapi.json?x"), "is not the path of a document"),
    ] {
        let errors = read(&text).expect_err(what).to_string();
        assert!(errors.contains(what), "{errors}");
    }
}
