//! Claims about what is published of the routes, and about upstreams' own documents. `UPDATE_GOLDEN=1` writes the golden
//! files, which `e2e` has judged by a validator of OpenAPI.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Part},
        refusal::Again,
        wire::Ask,
    },
    stand::from_file,
    upstream::{Fault, Upstream},
};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/document").join(name)
}

fn matches_golden(name: &str, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden(name), actual).expect("the golden file is written");
    }
    let known = fs::read_to_string(golden(name)).unwrap_or_default();
    assert!(known == actual, "{name} differs: run again with UPDATE_GOLDEN=1");
}

async fn stand(text: &str) -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(text, &upstream), upstream)
}

#[tokio::test]
async fn what_callers_should_know_is_published_for_programs_and_for_people() {
    let text = fs::read_to_string(golden("steadfast.toml")).expect("the config");
    let (stand, _upstream) = stand(&text).await;
    let document = stand.ask(&Ask::new("GET", "/.steadfast/openapi.json")).await;
    assert_eq!((document.status, document.header("content-type")), (200, Some("application/json")));
    matches_golden("openapi.json", &format!("{}\n", document.text()));
    let page = stand.ask(&Ask::new("GET", "/.steadfast/api")).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    matches_golden("api.html", &page.text());
    for text in [document.text(), page.text()] {
        for secret in ["secret-bank", "127.0.0.1", "hidden-value", "internal"] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
    let head = stand.ask(&Ask::new("HEAD", "/.steadfast/openapi.json")).await;
    assert_eq!(head.status, 200);
    stand.ask(&Ask::post("/.steadfast/api")).await.refused(404, "route-not-found", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

#[tokio::test]
async fn the_order_of_routes_in_the_config_changes_nothing() {
    let text = fs::read_to_string(golden("steadfast.toml")).expect("the config");
    let (head, routes) = text.split_once("[[routes]]").expect("routes");
    let mut routes: Vec<&str> = routes.split("[[routes]]").collect();
    routes.reverse();
    let turned: String = routes.iter().map(|route| format!("[[routes]]{route}\n")).collect();
    let (as_it_is, _upstream) = stand(&text).await;
    let (turned_round, _upstream) = stand(&format!("{head}{turned}")).await;
    for path in ["/.steadfast/openapi.json", "/.steadfast/api"] {
        let ask = Ask::new("GET", path);
        assert!(as_it_is.ask(&ask).await.body == turned_round.ask(&ask).await.body, "{path}");
    }
}

#[tokio::test]
async fn nothing_is_published_unless_the_config_says_so() {
    let (stand, _upstream) = stand(
        "[upstreams.shop]\nurl = \"http://UPSTREAM\"\n[[routes]]\npath = \"/*\"\nupstream = \"shop\"\n",
    )
    .await;
    for path in ["/.steadfast/openapi.json", "/.steadfast/api"] {
        stand.ask(&Ask::new("GET", path)).await.refused(404, "route-not-found", Again::Never);
    }
}

const ANNOTATED: &str = r#"
[upstreams.shop]
url = "http://UPSTREAM"
openapi = "/openapi.json"

[[routes]]
path = "/api/*"
upstream = "shop"
strip_prefix = "/api"

[[routes]]
path = "/api/orders"
upstream = "shop"
strip_prefix = "/api"
methods = ["POST"]
idempotency = { required = true }

[[routes]]
path = "/api/hidden"
upstream = "shop"
strip_prefix = "/api"
documented = false
"#;

/// What an upstream says of itself.
fn own() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Shop", "version": "1" },
        "paths": {
            "/orders": {
                "get": { "summary": "All orders", "responses": { "200": { "description": "Here they are." } } },
                "post": { "summary": "A new order", "responses": { "201": { "description": "It is made." } } },
            },
        },
    })
}

fn document(body: &[u8]) -> Act {
    Act::answer(200, body).header("Content-Type", "application/json").header("ETag", "\"own\"")
}

#[tokio::test]
async fn an_upstreams_own_document_is_given_with_what_the_gateway_adds() {
    let (stand, upstream) = stand(ANNOTATED).await;
    let bytes = own().to_string().into_bytes();
    upstream.backend().will(document(&bytes));
    let ask = Ask::new("GET", "/api/openapi.json")
        .header("Accept-Encoding", "gzip")
        .header("If-None-Match", "\"own\"")
        .header("Range", "bytes=0-1");
    let given = stand.ask(&ask).await;
    let seen = stand.last_seen();
    assert_eq!(
        (seen.target.as_str(), seen.headers.get("accept-encoding")),
        ("/openapi.json", Some("identity"))
    );
    assert_eq!((seen.headers.get("if-none-match"), seen.headers.get("range")), (None, None));
    assert_eq!((given.status, given.header("etag")), (200, None), "it is the mark of other bytes");
    assert_eq!(given.header("content-length"), Some(given.body.len().to_string().as_str()));
    let found: Value = serde_json::from_slice(&given.body).expect("JSON");
    matches_golden("annotated.json", &format!("{}\n", serde_json::to_string_pretty(&found).expect("JSON")));
    let post = &found["paths"]["/orders"]["post"];
    assert_eq!(post["parameters"][0]["name"], "Idempotency-Key");
    assert_eq!(post["responses"]["201"]["description"], "It is made.");
    assert_eq!(post["x-steadfast"]["idempotency"]["required"], true);
    assert!(found["paths"]["/orders"]["get"]["x-steadfast"]["idempotency"].is_null());
    // Every answer is asked for, and the same becomes the same.
    upstream.backend().will(document(&bytes));
    assert_eq!(stand.ask(&ask).await.body, given.body);
    let mut other = own();
    other["info"]["title"] = "Another".into();
    upstream.backend().will(document(other.to_string().as_bytes()));
    let changed: Value = serde_json::from_slice(&stand.ask(&ask).await.body).expect("JSON");
    assert_eq!(changed["info"]["title"], "Another");
    // A length that is not known is not said.
    upstream.backend().will(document(&bytes));
    let head = stand.ask(&Ask::new("HEAD", "/api/openapi.json")).await;
    assert_eq!((head.status, head.header("content-length"), head.header("etag")), (200, None, None));
}

#[tokio::test]
async fn what_cannot_be_added_to_is_passed_on_as_it_came() {
    let (stand, upstream) = stand(ANNOTATED).await;
    let ask = Ask::new("GET", "/api/openapi.json");
    let large = format!("{{\"openapi\":\"3.1.0\",\"x\":\"{}\"}}", "x".repeat(5 << 20));
    let nothing_known = r#"{"openapi":"3.1.0","paths":{"/elsewhere/{id}/x":{"x-post":{}}}}"#;
    for body in ["not JSON", "", r#"{"swagger":"2.0"}"#, nothing_known, &large] {
        upstream.backend().will(document(body.as_bytes()));
        let given = stand.ask(&ask).await;
        assert_eq!((given.status, given.header("etag")), (200, Some("\"own\"")));
        assert!(given.body == body.as_bytes(), "{} bytes became {}", body.len(), given.body.len());
    }
    // In pieces, and too large.
    upstream
        .backend()
        .will(document(b"{").then(Part::Bytes(large.clone().into_bytes())).then(Part::Bytes(b"}".to_vec())));
    assert!(stand.ask(&ask).await.body == format!("{{{large}}}").into_bytes());
    for act in [
        document(own().to_string().as_bytes()).header("Content-Encoding", "br"),
        Act::answer(404, own().to_string()).header("ETag", "\"own\""),
    ] {
        let status = act.status;
        upstream.backend().will(act);
        let given = stand.ask(&ask).await;
        assert_eq!((given.status, given.header("etag")), (status, Some("\"own\"")));
        assert_eq!(given.body, own().to_string().into_bytes());
    }
    // A part of it is not given for the whole.
    upstream.backend().will(document(b"{\"openapi\":").then(Part::Cut));
    stand.ask(&ask).await.refused(502, "upstream-answer-lost", Again::Never);
    upstream.will_break(Fault::CloseAfterReading);
    assert_eq!(stand.ask(&ask).await.status, 502);
    // Other paths, and other methods, are none of its business.
    upstream.backend().will(document(own().to_string().as_bytes()));
    assert_eq!(stand.ask(&Ask::new("GET", "/api/openapi.json/x")).await.body, own().to_string().into_bytes());
    upstream.backend().will(document(own().to_string().as_bytes()));
    assert_eq!(stand.ask(&Ask::new("PUT", "/api/openapi.json")).await.body, own().to_string().into_bytes());
}
