//! Claims about what safe requests are answered where their upstream brings nothing. Each upstream's path tells which
//! one a request went to.

use std::time::{Duration, Instant};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Gate},
        wire::{Answer, Ask},
    },
    stand::from_file,
    upstream::{Fault, Upstream},
};

const FILE: &str = r#"
[upstreams.main]
url = "http://UPSTREAM/main"
completed = [502]
timeout = { first_byte = "200ms" }
[upstreams.backup]
url = "http://UPSTREAM/backup"
[upstreams.nowhere]
url = "http://127.0.0.1:9"

[[routes]]
path = "/items/*"
upstream = "main"
deadline = "5s"
fallback = { status = 203, body = '{"items":[]}', headers = { x-from = "fallback" } }
answer_headers = { set = { x-route = "items" } }
cors = { origins = ["https://app.example"] }

[[routes]]
path = "/down"
upstream = "nowhere"
fallback = { body = "closed", headers = { cache-control = "max-age=5", content-type = "text/html" } }

[[routes]]
path = "/backed/*"
upstream = "main"
strip_prefix = "/backed"
fallback = { upstream = "backup" }

[[routes]]
path = "/late/*"
upstream = "main"
deadline = "100ms"
fallback = { body = "later" }

[[routes]]
path = "/hopeless"
upstream = "main"
fallback = { upstream = "nowhere" }

[[routes]]
path = "/plain"
upstream = "main"
"#;

async fn stand() -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(FILE, &upstream), upstream)
}

fn told(answer: &Answer) -> (u16, Option<&str>, String) {
    (answer.status, answer.header("steadfast-degraded"), answer.text())
}

fn get(target: &str) -> Ask {
    Ask::new("GET", target)
}

#[tokio::test]
async fn a_healthy_upstream_is_not_spoken_for() {
    let (stand, _upstream) = stand().await;
    for target in ["/items/1", "/backed/1"] {
        let answer = stand.ask(&get(target)).await;
        assert_eq!((answer.status, answer.header("steadfast-degraded")), (201, None));
        assert_eq!(answer.header("cache-control"), None);
    }
}

/// What the route `/items/*` states.
fn stated(reason: &str) -> (u16, Option<&str>, String) {
    (203, Some(reason), r#"{"items":[]}"#.to_owned())
}

#[tokio::test]
async fn a_stated_answer_stands_in_for_every_way_to_bring_none() {
    let (stand, upstream) = stand().await;
    for status in [500, 503, 504] {
        stand.backend.will(Act::answer(status, "broken"));
        let answer = stand.ask(&get("/items/1")).await;
        let reason = format!("fallback;for={status}");
        assert_eq!(told(&answer), stated(&reason));
    }
    for fault in [Fault::CloseAfterReading, Fault::HalfHead, Fault::Nonsense] {
        upstream.will_break(fault);
        let answer = stand.ask(&get("/items/1")).await;
        assert_eq!(told(&answer), stated("fallback;for=upstream-answer-lost"), "{fault:?}");
    }
    let gate = Gate::closed();
    stand.backend.will(Act::answer(200, "late").held_by(&gate));
    let answer = stand.ask(&get("/items/1").header("Origin", "https://app.example")).await;
    assert_eq!(told(&answer), stated("fallback;for=upstream-answer-lost"));
    // It is an answer of its route like any other.
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-from", "fallback"),
        ("x-route", "items"),
        ("access-control-allow-origin", "https://app.example"),
        ("content-length", "12"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    assert!(exposed.contains("steadfast-degraded"), "{exposed}");
    gate.open();
    let answer = stand.ask(&get("/down")).await;
    assert_eq!(told(&answer), (200, Some("fallback;for=upstream-unavailable"), "closed".into()));
    assert_eq!(answer.header("cache-control"), Some("max-age=5"));
    assert_eq!(answer.header("content-type"), Some("text/html"));
}

#[tokio::test]
async fn at_the_deadline_the_stated_answer_is_there() {
    let (stand, _upstream) = stand().await;
    let gate = Gate::closed();
    stand.backend.will(Act::answer(200, "late").held_by(&gate));
    let began = Instant::now();
    let answer = stand.ask(&get("/late/1")).await;
    assert_eq!(told(&answer), (200, Some("fallback;for=deadline-exceeded"), "later".into()));
    assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
    gate.open();
}

#[tokio::test]
async fn what_the_upstream_means_is_passed_on() {
    let (stand, _upstream) = stand().await;
    for status in [502, 501, 404, 429, 410] {
        stand.backend.will(Act::answer(status, "mine"));
        assert_eq!(told(&stand.ask(&get("/items/1")).await), (status, None, "mine".into()));
    }
}

#[tokio::test]
async fn a_write_is_never_answered_with_a_fallback() {
    let (stand, upstream) = stand().await;
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        stand.backend.will(Act::answer(503, "broken"));
        let answer = stand.ask(&Ask::post("/items/1").method(method)).await;
        assert_eq!(told(&answer), (503, None, "broken".into()), "{method}");
        upstream.will_break(Fault::CloseAfterReading);
        let answer = stand.ask(&Ask::post("/backed/1").method(method)).await;
        assert_eq!((answer.status, answer.header("steadfast-degraded")), (502, None), "{method}");
    }
}

#[tokio::test]
async fn a_head_is_told_what_a_get_would_be() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(Act::answer(503, ""));
    let answer = stand.ask(&Ask::new("HEAD", "/items/1")).await;
    assert_eq!((answer.status, answer.header("content-length")), (203, Some("12")));
    assert_eq!(answer.body, b"");
}

#[tokio::test]
async fn another_upstream_is_asked_as_the_first_one_was() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(Act::answer(503, "broken"));
    stand.backend.will(Act::answer(200, "backed").header("x-own", "1"));
    let answer = stand.ask(&get("/backed/1?page=2").header("X-Mine", "2")).await;
    assert_eq!(told(&answer), (200, Some("fallback;for=503"), "backed".into()));
    assert_eq!((answer.header("x-own"), answer.header("cache-control")), (Some("1"), Some("no-store")));
    let seen = stand.backend.seen();
    let targets: Vec<_> = seen.iter().map(|seen| &*seen.target).collect();
    assert_eq!(targets, ["/main/1?page=2", "/backup/1?page=2"]);
    assert_eq!(seen[1].headers.get("x-mine"), Some("2"));
    assert_eq!(seen[0].headers.get("x-request-id"), seen[1].headers.get("x-request-id"));
}

#[tokio::test]
async fn where_nobody_answers_the_first_refusal_stands() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(Act::answer(503, "broken"));
    assert_eq!(told(&stand.ask(&get("/hopeless")).await), (503, None, "broken".into()));
    for status in [503, 500] {
        stand.backend.will(Act::answer(status, "first"));
        stand.backend.will(Act::answer(500, "second"));
        assert_eq!(told(&stand.ask(&get("/backed/1")).await), (status, None, "first".into()));
    }
}

#[tokio::test]
async fn a_get_with_a_body_is_not_asked_a_second_time() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(Act::answer(503, "broken"));
    let answer = stand.ask(&get("/backed/1").body("{}")).await;
    assert_eq!(told(&answer), (503, None, "broken".into()));
    assert_eq!(stand.backend.count(), 1);
}
