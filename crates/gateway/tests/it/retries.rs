//! Claims about tries as callers and upstreams see them.

use tokio::net::TcpListener;

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Part},
        refusal::Again,
        wire::Ask,
    },
    stand::{from_file, with_upstream},
    upstream::{Fault, Upstream},
};

/// A gateway whose upstream `says` more, in front of an upstream.
async fn retrying(says: &str) -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    let text = format!(
        r#"
        [upstreams.bank]
        url = "http://UPSTREAM"
        {says}

        [[routes]]
        path = "/*"
        upstream = "bank"
        idempotency = {{}}

        [[routes]]
        path = "/once/*"
        upstream = "bank"
        retry = {{ attempts = 1 }}
        "#
    );
    (from_file(&text, &upstream), upstream)
}

const QUICK: &str = "retry = { base = \"1ms\", cap = \"1ms\" }";
const REPEATABLE: &str = "retry = { base = \"1ms\", cap = \"1ms\" }\nrepeatable_for = \"1h\"";

#[tokio::test]
async fn a_get_is_tried_again_and_its_caller_sees_the_answer_and_that_it_was() {
    for fault in [Fault::CloseAfterReading, Fault::CloseAfterHead, Fault::HalfHead, Fault::Nonsense] {
        let (stand, upstream) = retrying(QUICK).await;
        upstream.will_break(fault);
        stand.backend.will(Act::answer(503, "later"));
        let answer = stand.ask(&Ask::new("GET", "/any")).await;
        assert_eq!((answer.status, answer.header("steadfast-degraded")), (201, Some("retry")), "{fault:?}");
        let seen = stand.backend.seen();
        let attempts: Vec<_> = seen.iter().map(|seen| seen.headers.get("steadfast-attempt")).collect();
        // What was closed after its head did not come as far as the backend.
        assert_eq!(attempts.last(), Some(&Some("3")), "{fault:?}");
    }
}

#[tokio::test]
async fn without_a_policy_and_where_a_route_turns_it_off_nothing_is_tried_again() {
    let (stand, upstream) = with_upstream().await;
    upstream.will_break(Fault::CloseAfterReading);
    stand.ask(&Ask::new("GET", "/any")).await.refused(502, "upstream-answer-lost", Again::Never);
    let (stand, upstream) = retrying(QUICK).await;
    upstream.will_break(Fault::CloseAfterReading);
    assert_eq!(stand.ask(&Ask::new("GET", "/once/any")).await.status, 502);
    assert_eq!(stand.backend.count(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_sent_twice() {
    let (stand, upstream) = retrying(QUICK).await;
    upstream.will_break(Fault::CloseAfterReading);
    assert_eq!(stand.ask(&Ask::post("/orders")).await.status, 502);
    assert_eq!(stand.backend.count(), 1);
    upstream.will_break(Fault::CloseAfterReading);
    stand.ask(&Ask::post("/orders").key("k")).await.refused(502, "outcome-in-doubt", Again::Never);
    assert_eq!(stand.backend.count(), 2);
}

#[tokio::test]
async fn a_keyed_write_is_sent_again_with_its_key_where_the_upstream_takes_it_once() {
    let (stand, upstream) = retrying(REPEATABLE).await;
    upstream.will_break(Fault::CloseAfterReading);
    let ask = Ask::post("/orders").key("k");
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.status, answer.header("steadfast-degraded")), (201, Some("retry")));
    let seen = stand.backend.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].key().is_some());
    assert_eq!((seen[0].key(), &seen[0].body), (seen[1].key(), &seen[1].body));
    // A replay is no retry.
    let replay = stand.ask(&ask).await;
    assert_eq!((replay.is_replay(), replay.header("steadfast-degraded")), (true, None));
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_releases_nothing() {
    let (stand, upstream) = retrying(REPEATABLE).await;
    upstream.will_break(Fault::CloseAfterReading);
    (0..2).for_each(|_| stand.backend.will(Act::answer(429, "not now")));
    let ask = Ask::post("/orders").key("k");
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.status, answer.header("steadfast-outcome")), (429, Some("in-doubt")));
    // Another request under its key is another one, not a fresh execution.
    stand.ask(&ask.body("changed")).await.refused(422, "idempotency-key-reused", Again::Never);
}

#[tokio::test]
async fn a_write_that_was_refused_is_tried_again() {
    let (stand, _upstream) = retrying(QUICK).await;
    // What streams through is gone once it was sent, so without a key only what has no body.
    for ask in [Ask::post("/orders").body(""), Ask::post("/orders").key("k")] {
        stand.backend.will(Act::answer(429, "not now").header("Retry-After", "0"));
        let answer = stand.ask(&ask).await;
        assert_eq!((answer.status, answer.header("steadfast-degraded")), (201, Some("retry")));
    }
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_tried_as_often_as_was_said() {
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = gone.local_addr().expect("an address");
    drop(gone);
    let upstream = Upstream::start(Backend::new()).await;
    let text = format!(
        "[upstreams.bank]\nurl = \"http://{address}\"\n{QUICK}\n[[routes]]\npath = \"/*\"\nupstream = \"bank\""
    );
    let stand = from_file(&text, &upstream);
    stand.ask(&Ask::post("/orders")).await.refused(502, "upstream-unavailable", Again::Helps);
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_first_event_is_not_asked_for_again() {
    let (stand, _upstream) = retrying(QUICK).await;
    let act = Act::answer(200, "data: 1\n\n").header("Content-Type", "text/event-stream");
    stand.backend.will(act.then(Part::Cut));
    let mut caller = stand.send(&Ask::new("GET", "/events")).await;
    assert_eq!(caller.head().await.expect("a head").status(), 200);
    assert_eq!(caller.chunk().await.expect("an event"), b"data: 1\n\n", "what came before the break arrives");
    assert!(caller.chunk().await.is_err(), "it breaks off");
    assert_eq!(stand.backend.count(), 1);
}

#[tokio::test]
async fn an_answer_that_is_thrown_away_leaves_its_connection_usable() {
    let (stand, upstream) = retrying(QUICK).await;
    for _ in 0..5 {
        stand.backend.will(Act::answer(503, "later"));
        assert_eq!(stand.ask(&Ask::new("GET", "/any")).await.status, 201);
    }
    assert_eq!((stand.backend.count(), upstream.connections()), (10, 1));
}

#[tokio::test]
async fn a_caller_that_repeats_itself_is_not_helped_to_more() {
    let (stand, _upstream) = retrying(QUICK).await;
    stand.backend.will(Act::answer(503, "later"));
    let ask = Ask::new("GET", "/any").header("X-Stainless-Retry-Count", "1");
    assert_eq!(stand.ask(&ask).await.status, 503);
    assert_eq!(stand.backend.count(), 1);
}
