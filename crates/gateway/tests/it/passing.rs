//! Claims about messages that the gateway only passes on.

use crate::{
    contract::{
        backend::Act,
        wire::{Ask, Line},
    },
    stand::{stand, with_upstream},
};

#[tokio::test]
async fn an_answer_to_head_has_the_length_and_no_body() {
    let stand = stand().await;
    stand.backend.will(Act::answer(200, "twelve bytes"));
    let mut line = Line::to(stand.address).await;
    for _ in 0..2 {
        line.send(&Ask::new("HEAD", "/any").bytes()).await;
        let answer = line.answer("HEAD").await.expect("an answer");
        assert!(answer.header("content-length").is_some());
        assert!(answer.body.is_empty());
    }
    assert_eq!(stand.last_seen().method, "HEAD");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let stand = stand().await;
    let mut line = Line::to(stand.address).await;
    for status in [204, 304, 200] {
        stand.backend.will(Act::answer(status, "").header("ETag", "\"1\""));
        line.send(&Ask::new("GET", "/any").bytes()).await;
        let answer = line.answer("GET").await.expect("an answer");
        assert_eq!((answer.status, answer.header("etag")), (status, Some("\"1\"")));
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests_of_all_kinds_both_ways() {
    let (stand, upstream) = with_upstream().await;
    let mut line = Line::to(stand.address).await;
    for number in 0..20 {
        let ask = match number % 4 {
            0 => Ask::new("GET", "/any"),
            1 => Ask::post("/orders"),
            2 => Ask::post("/orders").key("k"),
            _ => Ask::post("/required"),
        };
        line.send(&ask.bytes()).await;
        let answer = line.answer("POST").await.expect("an answer");
        assert_eq!(answer.status, if number % 4 == 3 { 400 } else { 201 });
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let stand = stand().await;
    let mut line = Line::to(stand.address).await;
    let asks = [
        Ask::new("GET", "/1"),
        Ask::post("/orders").key("k"),
        Ask::post("/orders").key("k"),
        Ask::new("GET", "/3"),
    ];
    line.send(&asks.iter().flat_map(Ask::bytes).collect::<Vec<u8>>()).await;
    let mut texts = Vec::new();
    for _ in &asks {
        texts.push(line.answer("GET").await.expect("an answer").text());
    }
    assert_eq!(texts, ["done 1", "done 2", "done 2", "done 3"]);
}

#[tokio::test]
async fn a_caller_that_wants_the_connection_closed_gets_that() {
    let stand = stand().await;
    for ask in [Ask::new("GET", "/any"), Ask::post("/orders").key("k"), Ask::post("/required")] {
        let mut line = Line::to(stand.address).await;
        line.send(&ask.header("Connection", "close").bytes()).await;
        let answer = line.answer("GET").await.expect("an answer");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(line.rest().await.is_empty());
    }
    assert!(stand.backend.seen().iter().all(|seen| seen.headers.get("connection").is_none()));
}

#[tokio::test]
async fn fields_of_one_connection_stay_on_it() {
    let stand = stand().await;
    for ask in [Ask::new("GET", "/any"), Ask::post("/orders").key("k")] {
        let hops = ask
            .header("Connection", "keep-alive, X-Hop")
            .header("X-Hop", "1")
            .header("Keep-Alive", "timeout=5")
            .header("TE", "trailers")
            .header("Upgrade", "websocket")
            .header("Proxy-Authorization", "Basic x");
        stand.backend.will(
            Act::answer(200, "x")
                .header("Connection", "X-Back")
                .header("X-Back", "1")
                .header("Keep-Alive", "timeout=5"),
        );
        let answer = stand.ask(&hops).await;
        assert_eq!((answer.header("x-back"), answer.header("keep-alive")), (None, None));
        let seen = stand.last_seen();
        for name in ["x-hop", "keep-alive", "upgrade", "proxy-authorization"] {
            assert_eq!(seen.headers.get(name), None, "{name}");
        }
        // Trailers are understood here too, and that is said anew.
        assert_eq!((seen.headers.get("te"), seen.headers.get("connection")), (Some("trailers"), Some("te")));
        assert_eq!(seen.headers.get("host"), Some("test"));
    }
}

#[tokio::test]
async fn a_caller_cannot_take_away_what_the_upstream_is_told() {
    let stand = stand().await;
    let told = ["x-forwarded-for", "x-forwarded-proto", "x-request-id", "via"];
    let ask = Ask::new("GET", "/any").header("Connection", told.join(", ")).header("X-Request-Id", "mine");
    let answer = stand.ask(&ask).await;
    let seen = stand.last_seen();
    for name in told {
        assert!(seen.headers.get(name).is_some(), "{name}");
    }
    assert_eq!(seen.headers.get("x-request-id"), answer.header("x-request-id"));
    assert_ne!(answer.header("x-request-id"), Some("mine"));
    // A key that is the connection's alone is none.
    let answer = stand.ask(&Ask::post("/required").key("k").header("Connection", "Idempotency-Key")).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn an_old_client_is_served() {
    let stand = stand().await;
    let mut line = Line::to(stand.address).await;
    line.send(b"GET /any HTTP/1.0\r\n\r\n").await;
    let answer = line.answer("GET").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (201, "done 1"));
    assert!(line.rest().await.is_empty(), "and its connection is closed");
    assert!(stand.last_seen().headers.get("host").is_some());
}

#[tokio::test]
async fn an_absolute_target_names_the_same_operation() {
    let stand = stand().await;
    assert_eq!(stand.ask(&Ask::post("/orders").key("k")).await.status, 201);
    assert!(stand.ask(&Ask::post("http://test/orders").key("k")).await.is_replay());
    assert_eq!(stand.ask(&Ask::new("GET", "http://test/any?q")).await.status, 201);
    assert_eq!(stand.last_seen().target, "/any?q");
}

#[tokio::test]
async fn a_length_on_an_answer_that_has_no_body_confuses_nobody() {
    let (stand, upstream) = with_upstream().await;
    for (number, status) in [304, 204].into_iter().enumerate() {
        for ask in [Ask::new("GET", "/any"), Ask::post("/orders").key(&number.to_string())] {
            let mut line = Line::to(stand.address).await;
            stand.backend.will(Act::answer(status, "").header("Content-Length", "10"));
            line.send(&ask.bytes()).await;
            let answer = line.answer("GET").await.expect("an answer");
            assert_eq!(answer.status, status);
            line.send(&ask.bytes()).await;
            let next = line.answer("GET").await.expect("the next answer");
            assert!(next.status == 201 || next.is_replay(), "{status}: {}", next.status);
        }
    }
    drop(upstream);
}
