//! The control API, spoken to in plain HTTP as a script would.

use std::sync::Arc;

use serde_json::{Value, json};
use steadfast_faults::{FaultProxy, Plan, control};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Ending, Upstream, connect, echoed, proxy, read_to_end, within};

struct Desk {
    proxy: Arc<FaultProxy>,
    server: control::ControlServer,
    _upstream: Upstream,
}

struct Reply {
    status: u16,
    head: String,
    body: Value,
}

impl Desk {
    async fn open() -> Desk {
        let upstream = Upstream::echo().await;
        let proxy = Arc::new(proxy(upstream.addr, Plan { seed: Some(5), ..Plan::default() }));
        let server = control::serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&proxy)).await.unwrap();
        Desk { proxy, server, _upstream: upstream }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        self.ask_with(method, path, body, "").await
    }

    async fn ask_with(&self, method: &str, path: &str, body: &str, headers: &str) -> Reply {
        let mut stream = TcpStream::connect(self.server.addr()).await.unwrap();
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: faults\r\nconnection: close\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        within(stream.read_to_string(&mut reply)).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let reply = Reply { status, head: head.to_lowercase(), body: serde_json::from_str(body).unwrap() };
        if status >= 400 {
            assert!(reply.head.contains("content-type: application/problem+json"), "{}", reply.head);
            assert_eq!(reply.body["status"], status);
        }
        reply
    }
}

#[tokio::test]
async fn a_plan_is_put_and_read_back() {
    let desk = Desk::open().await;
    assert_eq!(desk.ask("GET", "/plan", "").await.body, json!({ "seed": 5 }));
    let put = desk.ask("PUT", "/plan", include_str!("../../plan.example.json")).await;
    assert_eq!((put.status, &put.body["seed"]), (200, &json!(7)));
    assert_eq!(desk.ask("GET", "/plan", "").await.body, put.body);
    assert_eq!(desk.proxy.seed(), 7);
}

#[tokio::test]
async fn a_plan_that_was_put_strikes() {
    let desk = Desk::open().await;
    let plan = json!({ "drop_reply": { "then": "reset", "when": { "scope": "exchange", "times": 1 } } });
    assert_eq!(desk.ask("PUT", "/plan", &plan.to_string()).await.status, 200);
    let mut client = connect(&desk.proxy).await;
    client.write_all(b"hello").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (vec![], Ending::Rst));
    let stats = desk.ask("GET", "/stats", "").await.body;
    assert_eq!(stats["faults"]["replies_dropped"], 1);
    assert_eq!(stats["toward_upstream"]["forwarded_bytes"], 5);
    assert_eq!(stats["connections"]["accepted"], 1);
}

#[tokio::test]
async fn a_bad_plan_is_refused_in_plain_words_and_the_old_one_stays() {
    let desk = Desk::open().await;
    for (body, said) in [
        (r#"{"drop_reply": {"when": {"probability": 2}}}"#, "drop_reply.when.probability is 2"),
        (r#"{"drop_replies": {}}"#, "unknown field `drop_replies`"),
        (r#"{"drop_reply": {"then": "explode"}}"#, "unknown variant `explode`"),
        ("{", "EOF"),
        ("", "EOF"),
    ] {
        let reply = desk.ask("PUT", "/plan", body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.body["detail"].as_str().unwrap().contains(said), "{body}: {}", reply.body);
    }
    assert_eq!(desk.proxy.plan(), Plan { seed: Some(5), ..Plan::default() });
}

#[tokio::test]
async fn connections_are_severed_over_http() {
    let desk = Desk::open().await;
    let mut client = connect(&desk.proxy).await;
    echoed(&mut client, b"hello").await;
    assert_eq!(desk.ask("POST", "/sever", "").await.body, json!({ "severed": 1 }));
    assert_eq!(read_to_end(&mut client).await, (vec![], Ending::Rst));
}

#[tokio::test]
async fn the_listener_is_closed_and_opened_over_http() {
    let desk = Desk::open().await;
    assert_eq!(desk.ask("POST", "/listener", r#"{"open": false}"#).await.body, json!({ "open": false }));
    assert!(TcpStream::connect(desk.proxy.addr()).await.is_err());
    assert_eq!(desk.ask("POST", "/listener", r#"{"open": true}"#).await.body, json!({ "open": true }));
    assert_eq!(echoed(&mut connect(&desk.proxy).await, b"hello").await, b"hello");
    assert_eq!(desk.ask("POST", "/listener", r#"{"opened": true}"#).await.status, 400);
}

#[tokio::test]
async fn directions_are_held_and_released_over_http() {
    let desk = Desk::open().await;
    let held = desk.ask("POST", "/hold", r#"{"toward_client": true}"#).await.body;
    assert_eq!(held, json!({ "toward_upstream": false, "toward_client": true }));
    let mut client = connect(&desk.proxy).await;
    client.write_all(b"hello").await.unwrap();
    within(desk.proxy.wait_for(|stats| stats.toward_client.received_bytes == 5)).await;
    assert_eq!(desk.proxy.stats().toward_client.forwarded_bytes, 0);
    desk.ask("POST", "/hold", r#"{"toward_client": false}"#).await;
    within(client.read_exact(&mut [0; 5])).await.unwrap();
}

#[tokio::test]
async fn what_is_not_offered_is_refused() {
    let desk = Desk::open().await;
    assert_eq!(desk.ask("GET", "/", "").await.status, 404);
    for (method, path, allow) in [
        ("POST", "/plan", "allow: get, put"),
        ("DELETE", "/stats", "allow: get"),
        ("GET", "/sever", "allow: post"),
        ("GET", "/listener", "allow: post"),
    ] {
        let reply = desk.ask(method, path, "").await;
        assert_eq!(reply.status, 405, "{method} {path}");
        assert!(reply.head.contains(allow), "{}", reply.head);
    }
    let long = format!("{{{}}}", " ".repeat(65 * 1024));
    assert_eq!(desk.ask("PUT", "/plan", &long).await.status, 413);
    let from_page = desk.ask_with("POST", "/sever", "", "origin: https://example.com\r\n").await;
    assert_eq!(from_page.status, 403);
}

#[tokio::test]
async fn dropping_the_server_stops_control_but_not_the_proxy() {
    let desk = Desk::open().await;
    let addr = desk.server.addr();
    drop(desk.server);
    within(async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(echoed(&mut connect(&desk.proxy).await, b"hello").await, b"hello");
}
