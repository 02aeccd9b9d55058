//! Claims about requests that are too much, too slow or not HTTP.

use std::time::Duration;

use crate::{
    contract::{
        Stand,
        wire::{Ask, Line},
    },
    stand::{config, configured, stand},
    upstream::Upstream,
};

/// The next request is served as if nothing had been.
async fn serves_the_next(stand: &Stand) {
    let before = stand.backend.count();
    assert_eq!(stand.ask(&Ask::post("/orders").key("after it all")).await.status, 201);
    assert_eq!(stand.backend.count(), before + 1);
}

#[tokio::test]
async fn too_many_fields_are_refused() {
    let stand = stand().await;
    let mut ask = Ask::new("GET", "/any");
    for _ in 0..200 {
        ask = ask.header("X-More", "1");
    }
    let answer = stand.ask(&ask).await;
    assert_eq!(answer.status, 431);
    assert_eq!(stand.backend.count(), 0);
    serves_the_next(&stand).await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let stand = stand().await;
    let mut line = Line::to(stand.address).await;
    line.send(b"GET /any HTTP/1.1\r\nX-Long: ").await;
    // It hangs up before all of that is taken.
    while line.try_send(&[b'x'; 16 << 10]).await.is_ok() {}
    serves_the_next(&stand).await;
    let answer = stand.ask(&Ask::new("GET", "/any").header("X-Long", "x".repeat(200 << 10))).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn a_target_without_end_is_refused() {
    let stand = stand().await;
    let answer = stand.ask(&Ask::new("GET", &format!("/{}", "x".repeat(200 << 10)))).await;
    assert!([414, 431].contains(&answer.status), "{}", answer.status);
    assert_eq!(stand.backend.count(), 0);
    serves_the_next(&stand).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let stand = stand().await;
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\n A: b\r\n\r\n",
        b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut line = Line::to(stand.address).await;
        line.send(nonsense).await;
        let text = String::from_utf8_lossy(nonsense);
        if let Some(answer) = line.answer("GET").await {
            assert_eq!(answer.status, 400, "{text}");
        }
        assert!(line.rest().await.is_empty(), "{text}: the connection is closed");
    }
    assert_eq!(stand.backend.count(), 0);
    serves_the_next(&stand).await;
}

#[tokio::test]
async fn connect_is_not_passed_on() {
    let stand = stand().await;
    let mut line = Line::to(stand.address).await;
    line.send(b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n").await;
    let answer = line.answer("GET").await.expect("an answer");
    assert!((400..600).contains(&answer.status), "{}", answer.status);
    assert_eq!(stand.backend.count(), 0);
    serves_the_next(&stand).await;
}

#[tokio::test]
async fn a_head_that_does_not_arrive_is_given_up() {
    let upstream = Upstream::start(crate::contract::backend::Backend::new()).await;
    let mut config = config(upstream.address());
    config.edge.header_timeout = Duration::from_millis(100);
    let stand = configured(config, upstream.backend().clone());
    let mut silent = Line::to(stand.address).await;
    let mut slow = Line::to(stand.address).await;
    slow.send(b"GET /any HTT").await;
    for line in [&mut slow, &mut silent] {
        // It is closed, whether or not something is said first.
        line.rest().await;
    }
    serves_the_next(&stand).await;
}

/// A connection that rests has let its buffers go. Neither a whole request nor a part of one is lost by that.
#[tokio::test]
async fn a_connection_that_rested_goes_on_where_it_was() {
    let upstream = Upstream::start(crate::contract::backend::Backend::new()).await;
    let mut config = config(upstream.address());
    // It is looked at eight times in that time, and rests from one look to the next.
    config.edge.header_timeout = Duration::from_millis(800);
    let stand = configured(config, upstream.backend().clone());
    let rest = Duration::from_millis(250);
    let mut line = Line::to(stand.address).await;
    tokio::time::sleep(rest).await;
    for part in [&b"GET /any HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"POST /orders HTTP/1.1\r\nHost: a\r\nIdempo"]
    {
        line.send(part).await;
        tokio::time::sleep(rest).await;
    }
    assert_eq!(line.answer("GET").await.expect("an answer").status, 201);
    line.send(b"tency-Key: k\r\nAuthorization: Bearer a\r\nContent-Length: 2\r\n\r\n").await;
    tokio::time::sleep(rest).await;
    line.send(b"{}").await;
    assert_eq!(line.answer("POST").await.expect("an answer").status, 201);
    // However often its parts come, a head has only so long.
    for byte in b"GET /any HTTP/1.1\r\nX: " {
        if line.try_send(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(line.rest().await.is_empty());
    assert_eq!(stand.backend.count(), 2);
}

/// Over HTTP/2 a connection is asked to end, and a caller that does not answer is not waited for.
#[tokio::test]
async fn a_quiet_caller_over_http_2_is_closed_whether_it_answers_or_not() {
    let upstream = Upstream::start(crate::contract::backend::Backend::new()).await;
    let mut config = config(upstream.address());
    config.edge.header_timeout = Duration::from_millis(200);
    let stand = configured(config, upstream.backend().clone());
    let mut line = Line::to(stand.address).await;
    // The preface and empty settings; nothing that comes back is acknowledged.
    line.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let ended = tokio::time::timeout(Duration::from_secs(10), line.rest()).await;
    assert!(!ended.expect("it is closed").is_empty(), "its settings and its farewell were sent");
}
