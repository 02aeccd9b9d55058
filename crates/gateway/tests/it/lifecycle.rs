//! Claims about versions on their way out, and about preconditions. It is 2027-01-15T08:00:00Z when each begins.

use std::time::Duration;

use steadfast_gateway::{
    Gateway, LogTo, VersionCaller,
    config::{Config, Environment, Overrides, parse},
};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend},
        fresh_ledger,
        refusal::Again,
        wire::{Answer, Ask},
    },
    stand::from_file,
    upstream::{Fault, Upstream},
};

const FILE: &str = r#"
[upstreams.shop]
url = "http://UPSTREAM"

[[routes]]
path = "/v1/*"
upstream = "shop"
cors = { origins = ["https://a.example"] }
idempotency = { required = true }

[routes.lifecycle]
version = "v1"
deprecated = 2026-01-01T00:00:00Z
sunset = "2027-02-01T00:00:00Z"
gone = true
successor = "https://api.example/v2"
docs = "https://docs.example/v1-to-v2"
brownouts = [
    { from = 2027-01-15T09:00:00Z, until = "2027-01-15T10:00:00+00:00" },
    { from = "2027-01-16T00:00:00Z", every = "24h", lasts = "10m" },
]

[[routes]]
path = "/v0"
upstream = "shop"
lifecycle = { version = "v0", deprecated = 2026-01-01T00:00:00Z, sunset = 2026-12-01T00:00:00Z, brownout_status = 410, brownouts = [{ from = 2027-01-15T08:00:00Z, until = 2027-01-15T08:01:00Z }] }

[[routes]]
path = "/v2"
upstream = "shop"

[[routes]]
path = "/seats/*"
upstream = "shop"
require_precondition = true
idempotency = { anonymous = true }
methods = ["GET", "PUT", "PATCH", "POST"]
"#;

const HOUR: Duration = Duration::from_secs(3_600);

async fn stand() -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(FILE, &upstream), upstream)
}

#[track_caller]
fn says_when_it_ends(answer: &Answer) {
    assert_eq!(answer.headers.all("deprecation"), ["@1767225600"], "{}", answer.text());
    assert_eq!(answer.headers.all("sunset"), ["Mon, 01 Feb 2027 00:00:00 GMT"]);
    let links = answer.headers.all("link");
    for link in [
        "<https://docs.example/v1-to-v2>; rel=\"deprecation\"",
        "<https://docs.example/v1-to-v2>; rel=\"sunset\"",
        "<https://api.example/v2>; rel=\"successor-version\"",
    ] {
        assert_eq!(links.iter().filter(|found| **found == link).count(), 1, "{links:?}");
    }
}

#[tokio::test]
async fn every_answer_of_a_deprecated_version_says_so_refusals_and_replays_too() {
    let (stand, upstream) = stand().await;
    upstream.backend().will(
        Act::answer(201, "made")
            .header("Deprecation", "?1")
            .header("Link", "</v1/orders?page=2>; rel=\"next\""),
    );
    let first = stand.ask(&Ask::post("/v1/orders").key("a")).await;
    assert_eq!(first.status, 201);
    says_when_it_ends(&first);
    assert!(first.headers.all("link").contains(&"</v1/orders?page=2>; rel=\"next\""), "the upstream's stay");
    let replay = stand.ask(&Ask::post("/v1/orders").key("a")).await;
    assert!(replay.is_replay());
    says_when_it_ends(&replay);
    for (ask, status) in [
        (Ask::post("/v1/orders"), 400),
        (Ask::post("/v1/orders").key("a").body("another"), 422),
        (Ask::new("GET", "/v1/orders"), 201),
    ] {
        let answer = stand.ask(&ask).await;
        assert_eq!(answer.status, status);
        says_when_it_ends(&answer);
    }
    upstream.will_break(Fault::CloseAfterReading);
    let lost = stand.ask(&Ask::new("DELETE", "/v1/orders/1")).await;
    assert_eq!(lost.status, 502);
    says_when_it_ends(&lost);
    let other = stand.ask(&Ask::post("/v2")).await;
    for name in ["deprecation", "sunset", "link"] {
        assert_eq!(other.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_brownout_refuses_everything_says_until_when_and_ends_by_itself() {
    let (stand, _upstream) = stand().await;
    assert_eq!(stand.ask(&Ask::post("/v1/orders").key("a")).await.status, 201);
    stand.advance(HOUR - Duration::from_secs(1));
    assert_eq!(stand.ask(&Ask::post("/v1/orders").key("b")).await.status, 201);
    stand.advance(Duration::from_secs(1));
    let refused = stand.ask(&Ask::post("/v1/orders").key("c").header("Origin", "https://a.example")).await;
    let document = refused.refused(503, "brownout", Again::HelpsAfter);
    assert_eq!(document["retry_after"], 3_600);
    let detail = document["detail"].as_str().expect("words");
    for said in
        ["2027-01-15T10:00:00Z", "2027-02-01T00:00:00Z", "https://api.example/v2", "https://docs.example/"]
    {
        assert!(detail.contains(said), "{detail}");
    }
    says_when_it_ends(&refused);
    // A page of another origin can read why.
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://a.example"));
    let exposed = refused.header("access-control-expose-headers").expect("what it may read");
    assert!(["deprecation", "sunset", "link"].iter().all(|name| exposed.contains(name)), "{exposed}");
    // Replays and plain reads are refused as well: a brownout is what it will be like.
    stand.ask(&Ask::post("/v1/orders").key("a")).await.refused(503, "brownout", Again::HelpsAfter);
    stand.ask(&Ask::new("GET", "/v1/orders")).await.refused(503, "brownout", Again::HelpsAfter);
    assert_eq!(stand.backend.count(), 2, "nothing was sent");
    assert_eq!(stand.ask(&Ask::post("/v2")).await.status, 201, "other versions go on");
    stand.advance(HOUR);
    assert!(stand.ask(&Ask::post("/v1/orders").key("a")).await.is_replay());
    let fresh = stand.ask(&Ask::post("/v1/orders").key("c")).await;
    assert!(fresh.status == 201 && !fresh.is_replay(), "nothing was claimed for it");
}

#[tokio::test]
async fn a_brownout_that_repeats_comes_again_every_day() {
    let (stand, _upstream) = stand().await;
    let get = Ask::new("GET", "/v1/orders");
    // To 00:05 of the next day.
    stand.advance(HOUR * 16 + Duration::from_secs(300));
    for _ in 0..3 {
        let document = stand.ask(&get).await.refused(503, "brownout", Again::HelpsAfter);
        assert_eq!(document["retry_after"], 300);
        stand.advance(Duration::from_secs(300));
        assert_eq!(stand.ask(&get).await.status, 201);
        stand.advance(HOUR * 24 - Duration::from_secs(300));
    }
}

#[tokio::test]
async fn a_brownout_may_look_like_the_end_and_a_sunset_alone_ends_nothing() {
    let (stand, _upstream) = stand().await;
    let get = Ask::new("GET", "/v0");
    let document = stand.ask(&get).await.refused(410, "brownout", Again::HelpsAfter);
    assert_eq!(document["retry_after"], 60);
    stand.advance(Duration::from_secs(60));
    let served = stand.ask(&get).await;
    assert_eq!((served.status, served.header("sunset")), (201, Some("Tue, 01 Dec 2026 00:00:00 GMT")));
}

#[tokio::test]
async fn what_is_gone_after_its_sunset_is_answered_410_for_good() {
    let (stand, _upstream) = stand().await;
    stand.advance(HOUR * 24 * 17);
    let gone = stand.ask(&Ask::post("/v1/orders").key("a")).await;
    gone.refused(410, "version-gone", Again::Never);
    says_when_it_ends(&gone);
    assert_eq!(stand.backend.count(), 0);
}

fn config(text: &str, upstream: &Upstream) -> Config {
    let text = format!("listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n{text}");
    let text = text.replace("UPSTREAM", &upstream.address().to_string());
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    loaded.unwrap_or_else(|errors| panic!("{errors}")).config
}

#[tokio::test]
async fn who_calls_a_version_is_counted_by_caller_and_goes_on_after_a_reload() {
    let upstream = Upstream::start(Backend::new()).await;
    let (ledger, clock, _folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway =
        Gateway::start_with(&config(FILE, &upstream), log, ledger, clock.clone()).expect("it starts");
    let ask = async |ask: Ask| ask.to(gateway.address()).await.status;
    assert_eq!(ask(Ask::post("/v1/orders").key("a")).await, 201);
    assert_eq!(ask(Ask::new("GET", "/v1/orders").by("ada")).await, 201);
    assert_eq!(ask(Ask::new("GET", "/v1/orders").by("bob")).await, 201);
    assert_eq!(ask(Ask::new("GET", "/v2").by("bob")).await, 201);
    clock.advance(HOUR);
    gateway.reload(&config(FILE, &upstream)).expect("it reloads");
    assert_eq!(ask(Ask::new("GET", "/v1/orders").by("ada")).await, 503);
    assert_eq!(ask(Ask::new("GET", "/v1/orders")).await, 503);
    let usage = gateway.usage();
    let lines: Vec<_> = usage
        .iter()
        .map(|line| {
            let kind = match &line.caller {
                VersionCaller::Principal(_) => "principal",
                VersionCaller::Credential(_) => "credential",
                VersionCaller::Anonymous => "anonymous",
                VersionCaller::Others => "others",
            };
            (&*line.version, kind, line.used.requests, line.used.refused)
        })
        .collect();
    assert_eq!(
        lines,
        [("v1", "credential", 3, 1), ("v1", "credential", 1, 0), ("v1", "anonymous", 1, 1)],
        "versions of which nothing is said are not counted"
    );
    let of_ada = usage[0].used;
    assert_eq!(of_ada.last.since(of_ada.first), HOUR);
    let metrics = gateway.metrics();
    for line in [
        "steadfast_version_requests_total{version=\"v1\"} 5",
        "steadfast_version_browned_out_total{version=\"v1\"} 2",
        "steadfast_version_gone_total{version=\"v1\"} 0",
        "steadfast_version_requests_total{version=\"v0\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("ada"), "no caller's name is a label");
}

#[tokio::test]
async fn a_change_without_a_precondition_is_refused_and_leaves_its_key_free() {
    let (stand, _upstream) = stand().await;
    let change = |method: &'static str| Ask::new(method, "/seats/1").key(method).body("{}");
    for method in ["PUT", "PATCH"] {
        let document = stand.ask(&change(method)).await.refused(428, "precondition-required", Again::Never);
        assert_eq!(document["detail"], format!("The {method} has no If-Match."));
    }
    assert_eq!(stand.backend.count(), 0);
    let made = stand.ask(&change("PUT").header("If-None-Match", "*")).await;
    assert!(made.status == 201 && !made.is_replay());
    let changed = stand.ask(&change("PATCH").header("If-Match", "\"1\"")).await;
    assert!(changed.status == 201 && !changed.is_replay());
    assert_eq!(stand.last_seen().headers.get("if-match"), Some("\"1\""), "the upstream compares it");
    assert_eq!(stand.ask(&Ask::new("GET", "/seats/1")).await.status, 201);
    assert_eq!(stand.ask(&Ask::post("/seats/1")).await.status, 201);
    assert_eq!(stand.ask(&Ask::new("PUT", "/v2").body("{}")).await.status, 201, "where nobody asks for it");
}
