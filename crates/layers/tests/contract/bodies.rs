//! Claims about request bodies: how large, how whole, how framed.

use super::{
    Stand,
    refusal::Again,
    routes::BODY_BYTES_MAX,
    wire::{Ask, Line},
};

pub(crate) async fn a_body_declared_too_large_is_refused(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    // Not a byte of it needs to come.
    let declared = format!("Content-Length: {}\r\n", BODY_BYTES_MAX + 1);
    line.send(&Ask::post("/orders").key("k").head(&declared)).await;
    let answer = line.answer("POST").await.expect("an answer");
    answer.refused(413, "body-too-large", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn a_body_that_turns_out_too_large_is_refused(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    line.send(&Ask::post("/orders").key("k").head("Transfer-Encoding: chunked\r\n")).await;
    line.send_chunk(&vec![0; BODY_BYTES_MAX]).await;
    line.send_chunk(b"x").await;
    let answer = line.answer("POST").await.expect("an answer");
    answer.refused(413, "body-too-large", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn a_body_of_exactly_the_limit_is_accepted(stand: Stand) {
    let body = vec![b'x'; BODY_BYTES_MAX];
    assert_eq!(stand.ask(&Ask::post("/orders").key("1").body(&body)).await.status, 201);
    assert_eq!(stand.last_seen().body, body);
    let mut line = Line::to(stand.address).await;
    line.send(&Ask::post("/orders").key("2").head("Transfer-Encoding: chunked\r\n")).await;
    line.send_chunk(&body).await;
    line.send_chunk(b"").await;
    assert_eq!(line.answer("POST").await.expect("an answer").status, 201);
    assert_eq!(stand.last_seen().body, body);
}

pub(crate) async fn a_truncated_request_executes_nothing_and_leaves_the_key_free(stand: Stand) {
    for framing in ["Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut line = Line::to(stand.address).await;
        line.send(&Ask::post("/orders").key("k").head(framing)).await;
        line.send(b"5\r\nhe").await;
        line.finish().await;
        // Who hung up may not be told, but where it is, it is told so.
        if let Some(answer) = line.answer("POST").await {
            answer.refused(400, "body-invalid", Again::Never);
        }
        assert_eq!(stand.backend.count(), 0);
    }
    assert_eq!(stand.ask(&Ask::post("/orders").key("k")).await.text(), "done 1");
}

pub(crate) async fn a_broken_chunk_executes_nothing(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    line.send(&Ask::post("/orders").key("k").head("Transfer-Encoding: chunked\r\n")).await;
    line.send(b"no number\r\n").await;
    let answer = line.answer("POST").await.expect("an answer");
    answer.refused(400, "body-invalid", Again::Never);
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn a_body_that_stops_arriving_is_given_up(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    line.send(&Ask::post("/impatient").key("k").head("Content-Length: 10\r\n")).await;
    line.send(b"half").await;
    let answer = line.answer("POST").await.expect("an answer");
    // Nothing was executed: the same request, sent whole, will succeed.
    let document = answer.refused(408, "body-invalid", Again::Helps);
    assert!(document["detail"].is_string());
    assert_eq!(stand.backend.count(), 0);
    assert_eq!(stand.ask(&Ask::post("/impatient").key("k")).await.status, 201);
}

pub(crate) async fn how_a_body_was_framed_makes_no_difference(stand: Stand) {
    let ask = Ask::post("/orders").key("k").body("hello");
    assert_eq!(stand.ask(&ask).await.status, 201);
    let mut line = Line::to(stand.address).await;
    line.send(&ask.head("Transfer-Encoding: chunked\r\n")).await;
    for piece in [&b"he"[..], b"llo", b""] {
        line.send_chunk(piece).await;
    }
    assert!(line.answer("POST").await.expect("an answer").is_replay());
}

pub(crate) async fn a_caller_that_asks_first_is_told_to_go_on(stand: Stand) {
    let mut line = Line::to(stand.address).await;
    let ask = Ask::post("/orders").key("k").header("Expect", "100-continue");
    line.send(&ask.head("Content-Length: 5\r\n")).await;
    assert_eq!(line.head().await.expect("a head").status(), 100);
    line.send(b"hello").await;
    assert_eq!(line.answer("POST").await.expect("an answer").status, 201);
    let seen = stand.last_seen();
    assert_eq!((seen.body.as_slice(), seen.headers.get("expect")), (&b"hello"[..], None));
    // One that would be refused anyway is not told to send it first.
    let mut line = Line::to(stand.address).await;
    line.send(&ask.head(&format!("Content-Length: {}\r\n", BODY_BYTES_MAX + 1))).await;
    assert_eq!(line.head().await.expect("a head").status(), 413);
}
