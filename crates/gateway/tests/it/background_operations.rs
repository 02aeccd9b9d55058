//! What is done in the background, from the 202 to the result, and what its caller can ask of it meanwhile.

use std::time::Duration;

use serde_json::Value;
use steadfast_gateway::{Gateway, LogTo};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Gate},
        fresh_ledger,
        refusal::Again,
        wire::{Answer, Ask, Line},
    },
    stand::{from_file, loaded},
    upstream::Upstream,
};

const CONFIG: &str = r#"
[upstreams.api]
url = "http://UPSTREAM"
refused = [503]

[[routes]]
path = "/work"
upstream = "api"
async = { mode = "always", base = "1h", cap = "1h" }

[[routes]]
path = "/moved/*"
upstream = "api"
strip_prefix = "/moved"
async = "always"
"#;

/// The gateway, with its upstream, which ends with it.
async fn stand() -> Stand {
    let upstream = Upstream::start(Backend::new()).await;
    let mut stand = from_file(CONFIG, &upstream);
    stand._kept = Box::new((stand._kept, upstream));
    stand
}

fn document(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("no JSON: {}", answer.text()))
}

/// Leaves work; where it can be looked at.
async fn leave(stand: &Stand, ask: &Ask) -> String {
    let answer = stand.ask(ask).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.header("location").expect("a place to look").to_owned()
}

fn get(link: &str) -> Ask {
    Ask::new("GET", link).by("ada")
}

#[tokio::test]
async fn what_was_accepted_is_done_and_its_result_given_to_its_caller() {
    let stand = stand().await;
    stand
        .backend
        .will(Act::answer(201, "made").header("location", "/things/1").header("cache-control", "public"));
    let link = leave(&stand, &Ask::post("/work?x=1").key("k")).await;
    let done = document(&stand.ask(&get(&format!("{link}?wait=20s"))).await);
    assert_eq!((&done["state"], &done["mode"]), (&"completed".into(), &"asynchronous".into()), "{done}");
    assert_eq!(done["result"], format!("{link}/result"));
    assert_eq!(done["attempts"][0]["status"], 201);
    let result = stand.ask(&get(&format!("{link}/result"))).await;
    assert_eq!((result.status, result.text().as_str(), result.is_replay()), (201, "made", true));
    assert_eq!(result.header("location"), Some("/things/1"));
    assert_eq!(result.header("cache-control"), Some("private, no-store"));
    let seen = stand.last_seen();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/work?x=1"));
    assert_eq!((seen.headers.get("authorization"), seen.headers.get("steadfast-attempt")), (None, Some("1")));
    assert!(seen.key().is_some_and(|key| key.starts_with("sf_")));
    let again = stand.ask(&Ask::post("/work?x=1").key("k")).await;
    assert_eq!((again.status, again.text().as_str(), again.is_replay()), (201, "made", true));
    assert_eq!(stand.backend.count(), 1);
}

#[tokio::test]
async fn what_was_kept_is_rewritten_when_it_is_sent() {
    let stand = stand().await;
    leave(&stand, &Ask::post("/moved/orders?a=b")).await;
    stand.backend.reached(1).await;
    assert_eq!(stand.last_seen().target, "/orders?a=b");
    assert_eq!(stand.last_seen().headers.get("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn a_caller_that_waits_gets_the_answer_itself() {
    let stand = stand().await;
    let ask = Ask::post("/work").key("k").header("Prefer", "wait=20");
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.is_replay()), (201, "done 1", false));
    assert!(answer.header("steadfast-operation").is_some());
    assert!(stand.ask(&ask).await.is_replay());
}

#[tokio::test]
async fn nobody_else_learns_of_an_operation_or_calls_it_off() {
    let stand = stand().await;
    let link = leave(&stand, &Ask::post("/work").key("k").header("Steadfast-Delay", "3600")).await;
    for stranger in ["bob", ""] {
        for ask in [
            Ask::new("GET", &link),
            Ask::new("GET", &format!("{link}?wait=5s")),
            Ask::new("GET", &format!("{link}/result")),
            Ask::new("DELETE", &link),
        ] {
            stand.ask(&ask.by(stranger)).await.refused(404, "operation-not-found", Again::Never);
        }
    }
    assert_eq!(document(&stand.ask(&get(&link)).await)["state"], "queued");
    for (method, path) in [("DELETE", format!("{link}/result")), ("POST", link.clone()), ("PUT", link)] {
        stand.ask(&Ask::new(method, &path).by("ada")).await.refused(404, "route-not-found", Again::Never);
    }
}

#[tokio::test]
async fn what_is_not_due_yet_can_be_called_off_and_is_never_sent() {
    let stand = stand().await;
    let ask = Ask::post("/work").key("k").header("Steadfast-Delay", "3600");
    let link = leave(&stand, &ask).await;
    let waits = document(&stand.ask(&get(&link)).await);
    assert_eq!(waits["next_attempt_at"], "2027-01-15T09:00:00Z", "{waits}");
    assert_eq!(
        (&waits["attempts_left"], &waits["gives_up_at"]),
        (&10.into(), &"2027-01-16T09:00:00Z".into())
    );
    let early = stand.ask(&get(&format!("{link}/result"))).await;
    early.refused(409, "operation-in-progress", Again::HelpsAfter);
    assert_eq!(early.header("retry-after"), Some("3600"));
    let off = Ask::new("DELETE", &link).by("ada");
    for _ in 0..2 {
        let answer = stand.ask(&off).await;
        assert_eq!((answer.status, &document(&answer)["state"]), (200, &"cancelled".into()));
    }
    stand.ask(&ask).await.refused(409, "operation-cancelled", Again::Never);
    stand.ask(&get(&format!("{link}/result"))).await.refused(409, "operation-cancelled", Again::Never);
    stand.advance(Duration::from_secs(7200));
    // Whatever is due is done by now.
    let other = stand.ask(&Ask::post("/work").key("other").header("Prefer", "wait=20")).await;
    assert_eq!((other.status, stand.backend.count()), (201, 1));
}

#[tokio::test]
async fn what_is_under_way_decides_whether_it_is_called_off() {
    let stand = stand().await;
    let gate = Gate::closed();
    stand.backend.will(Act::answer(201, "made").held_by(&gate));
    let link = leave(&stand, &Ask::post("/work").key("k")).await;
    stand.backend.reached(1).await;
    let off = Ask::new("DELETE", &link).by("ada");
    let answer = stand.ask(&off).await;
    assert_eq!((answer.status, &document(&answer)["cancel_asked"]), (202, &true.into()), "{}", answer.text());
    gate.open();
    let result = stand.ask(&get(&format!("{link}/result?wait=20s"))).await;
    assert_eq!((result.status, result.text().as_str()), (201, "made"));
    stand.ask(&off).await.refused(409, "operation-finished", Again::Never);
}

#[tokio::test]
async fn what_the_upstream_said_of_a_failed_attempt_is_shown_and_where_it_is_not() {
    let stand = stand().await;
    stand.backend.will(Act::answer(503, "come back tomorrow"));
    let link = leave(&stand, &Ask::post("/work").key("k")).await;
    stand.backend.reached(1).await;
    // The attempt is concluded a moment after its answer came.
    let shown = loop {
        let shown = document(&stand.ask(&get(&link)).await);
        if shown["state"] == "waiting" {
            break shown;
        }
    };
    let attempt = &shown["attempts"][0];
    assert_eq!((&attempt["end"], &attempt["status"]), (&"refused".into(), &503.into()), "{shown}");
    assert_eq!(attempt["excerpt"], "come back tomorrow");
    assert!(shown["next_attempt_at"].is_string());
    assert_eq!(shown["attempts_left"], 9);
    assert!(shown.get("result").is_none());
}

#[tokio::test]
async fn a_wait_for_the_end_of_an_operation_ends_with_its_time() {
    let stand = stand().await;
    let link = leave(&stand, &Ask::post("/work").header("Steadfast-Delay", "3600")).await;
    let shown = document(&stand.ask(&get(&format!("{link}?wait=50ms"))).await);
    assert_eq!(shown["state"], "queued");
    stand.ask(&get(&format!("{link}/result?wait=50ms"))).await.refused(
        409,
        "operation-in-progress",
        Again::HelpsAfter,
    );
}

#[tokio::test]
async fn what_cannot_be_reached_is_left_for_later_with_a_202() {
    let upstream = Upstream::start(Backend::new()).await;
    let config = CONFIG.replace("always", "on_failure").replace("UPSTREAM", "127.0.0.1:1");
    let stand = from_file(&config, &upstream);
    let ask = Ask::post("/work").key("k");
    let link = leave(&stand, &ask).await;
    assert_eq!(leave(&stand, &ask).await, link);
    let shown = document(&stand.ask(&get(&link)).await);
    assert_eq!((&shown["state"], &shown["mode"]), (&"queued".into(), &"asynchronous".into()), "{shown}");
    assert!(
        !shown.to_string().contains("127.0.0.1:1"),
        "where the upstream is, is nobody's business: {shown}"
    );
}

#[tokio::test]
async fn a_gateway_that_is_to_end_lets_nobody_wait() {
    let upstream = Upstream::start(Backend::new()).await;
    let (ledger, clock, _folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway = Gateway::start_with(&loaded(CONFIG, &upstream), log, ledger, clock).expect("it starts");
    let later = Ask::post("/work").header("Steadfast-Delay", "3600");
    let link = later.to(gateway.address()).await.header("location").expect("a place to look").to_owned();
    let mut waiting = Line::to(gateway.address()).await;
    waiting.send(&get(&format!("{link}?wait=60s")).bytes()).await;
    let (answer, open) = tokio::join!(waiting.answer("GET"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gateway.drain(Duration::from_secs(9)).await
    });
    assert_eq!(document(&answer.expect("an answer"))["state"], "queued");
    assert_eq!(open, 0);
}
