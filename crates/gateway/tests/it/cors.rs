//! Claims about pages of other origins. Each upstream's path tells which route a request took.

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Gate},
        refusal::Again,
        wire::{Answer, Ask},
    },
    stand::from_file,
    upstream::{Fault, Upstream},
};

const FILE: &str = r#"
[upstreams.pay]
url = "http://UPSTREAM/pay"
[upstreams.other]
url = "http://UPSTREAM/other"
[upstreams.nowhere]
url = "http://127.0.0.1:9"

[[routes]]
path = "/payments"
methods = ["POST"]
upstream = "pay"
deadline = "10s"
idempotency = { required = true }
cors = { origins = ["https://app.example", "https://*.example"], expose = ["X-Total"], credentials = true, max_age = "1h" }

[[routes]]
path = "/payments"
name = "payments-2"
methods = ["POST"]
headers = { x-version = "2" }
upstream = "pay"
cors = { origins = ["https://beta.example"] }

[[routes]]
path = "/public/*"
upstream = "other"
cors = { origins = ["*"] }

[[routes]]
path = "/public/private"
methods = ["PUT"]
upstream = "pay"

[[routes]]
path = "/down"
upstream = "nowhere"
cors = { origins = ["https://app.example"] }

[[routes]]
path = "/plain/*"
upstream = "other"
"#;

const APP: &str = "https://app.example";

async fn stand() -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(FILE, &upstream), upstream)
}

fn preflight(target: &str, origin: &str, method: &str) -> Ask {
    Ask::new("OPTIONS", target).header("Origin", origin).header("Access-Control-Request-Method", method)
}

/// What a browser goes by: origin, credentials.
fn allowed(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("access-control-allow-origin"), answer.header("access-control-allow-credentials"))
}

/// Held to being readable by a page of `origin`, and to being kept apart from those for others.
#[track_caller]
fn readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.headers.all("access-control-allow-origin"), [origin], "{}", answer.text());
    let exposed = answer.header("access-control-expose-headers").expect("something is exposed");
    for name in [
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "idempotent-replayed",
        "steadfast-operation",
        "x-request-id",
    ] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{name} in {exposed}");
    }
    assert!(answer.headers.all("vary").iter().any(|vary| vary.contains("origin")), "Vary: Origin");
}

#[tokio::test]
async fn a_preflight_is_answered_here_for_the_route_of_the_request_that_it_announces() {
    let (stand, _upstream) = stand().await;
    let ask = preflight("/payments", "https://a.example", "POST")
        .header("Access-Control-Request-Headers", "content-type,idempotency-key");
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    assert_eq!(allowed(&answer), (Some("https://a.example"), Some("true")));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type,idempotency-key"));
    assert_eq!(answer.header("access-control-max-age"), Some("3600"));
    assert!(answer.header("vary").is_some_and(|vary| vary.contains("access-control-request-method")));
    assert!(answer.header("x-request-id").is_some());
    let answer = stand.ask(&preflight("/payments", "https://evil.org", "POST")).await;
    assert_eq!((answer.status, allowed(&answer)), (204, (None, None)));
    let answer = stand.ask(&preflight("/public/x", "https://any.org", "DELETE")).await;
    assert_eq!((answer.status, allowed(&answer)), (204, (Some("*"), None)));
    assert_eq!(answer.header("access-control-allow-methods"), Some("DELETE"));
    assert_eq!(stand.backend.count(), 0, "nothing of this goes upstream");
}

#[tokio::test]
async fn a_preflight_names_headers_by_which_its_request_will_be_routed() {
    let (stand, _upstream) = stand().await;
    let beta = preflight("/payments", "https://beta.example", "POST");
    let answer = stand.ask(&beta).await;
    assert_eq!(
        allowed(&answer),
        (Some("https://beta.example"), Some("true")),
        "the route without the header"
    );
    let answer = stand.ask(&beta.header("Access-Control-Request-Headers", "a, X-Version")).await;
    assert_eq!(allowed(&answer), (Some("https://beta.example"), None), "the route with the header");
    let ask = preflight("/payments", APP, "POST").header("Access-Control-Request-Headers", "x-version");
    assert_eq!(allowed(&stand.ask(&ask).await), (None, None));
}

#[tokio::test]
async fn a_preflight_for_a_method_that_nothing_serves_is_refused() {
    let (stand, _upstream) = stand().await;
    let answer = stand.ask(&preflight("/payments", APP, "DELETE")).await;
    answer.refused(405, "method-not-allowed", Again::Never);
    assert_eq!(allowed(&answer), (None, None));
}

#[tokio::test]
async fn no_route_answers_a_preflight_for_another_one() {
    let (stand, _upstream) = stand().await;
    // PUT here is a route's that has no `cors`, though OPTIONS would be a route's that has.
    let answer = stand.ask(&preflight("/public/private", APP, "PUT")).await;
    assert_eq!((answer.status, allowed(&answer)), (201, (None, None)));
    assert_eq!(stand.last_seen().target, "/pay/public/private");
    let answer = stand.ask(&preflight("/public/private", APP, "GET")).await;
    assert_eq!((answer.status, allowed(&answer)), (204, (Some("*"), None)));
}

#[tokio::test]
async fn every_answer_is_shown_to_an_allowed_page_whoever_gave_it() {
    let (stand, upstream) = stand().await;
    let pay = |key: &str| Ask::post("/payments").key(key).header("Origin", APP);
    // The upstream's own, whose word on this is replaced.
    stand.backend.will(
        Act::answer(201, "paid")
            .header("Access-Control-Allow-Origin", "https://evil.org")
            .header("Access-Control-Expose-Headers", "*")
            .header("Access-Control-Allow-Credentials", "false")
            .header("Vary", "Accept-Encoding"),
    );
    let answer = stand.ask(&pay("1")).await;
    readable(&answer, APP);
    assert_eq!((answer.status, allowed(&answer).1), (201, Some("true")));
    assert!(answer.header("access-control-expose-headers").is_some_and(|list| list.ends_with(", x-total")));
    assert_eq!(answer.headers.all("vary"), ["Accept-Encoding", "origin"]);
    // A replay, to a page of another origin than the first.
    let answer = stand.ask(&Ask::post("/payments").key("1").header("Origin", "https://b.example")).await;
    assert!(answer.is_replay());
    readable(&answer, "https://b.example");
    // Refusals: of a request without a key, of one whose answer was lost, of what is in doubt.
    let answer = stand.ask(&Ask::post("/payments").header("Origin", APP)).await;
    answer.refused(400, "idempotency-key-missing", Again::Never);
    readable(&answer, APP);
    upstream.will_break(Fault::CloseAfterReading);
    let answer = stand.ask(&pay("2")).await;
    assert_eq!(answer.status, 502);
    readable(&answer, APP);
    let answer = stand.ask(&pay("2")).await;
    answer.refused(409, "outcome-in-doubt", Again::Never);
    readable(&answer, APP);
    // Of an unkeyed request that reached nobody.
    let answer = stand.ask(&Ask::new("GET", "/down").header("Origin", APP)).await;
    answer.refused(502, "upstream-unavailable", Again::Helps);
    readable(&answer, APP);
}

#[tokio::test]
async fn the_answer_to_a_deadline_is_shown_as_well() {
    let (stand, _upstream) = stand().await;
    let gate = Gate::closed();
    stand.backend.will(Act::answer(200, "late").held_by(&gate));
    let ask = Ask::new("GET", "/public/x").header("Origin", APP).header("Steadfast-Timeout", "50ms");
    let answer = stand.ask(&ask).await;
    answer.refused(504, "deadline-exceeded", Again::Helps);
    assert_eq!(allowed(&answer), (Some("*"), None));
    gate.open();
}

#[tokio::test]
async fn another_origin_is_shown_nothing_and_its_answer_is_kept_apart() {
    let (stand, _upstream) = stand().await;
    for ask in [
        Ask::post("/payments").key("1"),
        Ask::post("/payments").key("2").header("Origin", "https://evil.org"),
    ] {
        stand.backend.will(Act::answer(201, "paid").header("Access-Control-Allow-Origin", "*"));
        let answer = stand.ask(&ask).await;
        assert_eq!((answer.status, allowed(&answer)), (201, (None, None)));
        assert_eq!(answer.header("vary"), Some("origin"));
    }
}

#[tokio::test]
async fn a_route_without_cors_leaves_it_all_to_the_upstream() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(
        Act::answer(204, "")
            .header("Access-Control-Allow-Origin", "https://theirs.org")
            .header("Access-Control-Allow-Methods", "PATCH"),
    );
    let answer = stand.ask(&preflight("/plain/x", "https://theirs.org", "PATCH")).await;
    assert_eq!((answer.status, allowed(&answer)), (204, (Some("https://theirs.org"), None)));
    assert_eq!(answer.header("access-control-allow-methods"), Some("PATCH"));
    let seen = stand.last_seen();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("OPTIONS", "/other/plain/x"));
    assert_eq!(seen.headers.get("access-control-request-method"), Some("PATCH"));
    stand.backend.will(Act::answer(200, "x").header("Access-Control-Allow-Origin", "https://theirs.org"));
    let answer = stand.ask(&Ask::new("GET", "/plain/x").header("Origin", APP)).await;
    assert_eq!(allowed(&answer), (Some("https://theirs.org"), None));
    assert_eq!((answer.header("vary"), answer.header("access-control-expose-headers")), (None, None));
}

#[tokio::test]
async fn an_options_request_that_is_no_preflight_goes_to_the_upstream() {
    let (stand, _upstream) = stand().await;
    for ask in [
        Ask::new("OPTIONS", "/public/x"),
        Ask::new("OPTIONS", "/public/x").header("Origin", APP),
        Ask::new("OPTIONS", "/public/x").header("Access-Control-Request-Method", "GET"),
    ] {
        let answer = stand.ask(&ask).await;
        assert_eq!((answer.status, allowed(&answer)), (201, (Some("*"), None)));
        assert_eq!(stand.last_seen().method, "OPTIONS");
    }
    assert_eq!(stand.backend.count(), 3);
}
