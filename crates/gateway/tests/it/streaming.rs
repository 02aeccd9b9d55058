//! Claims about bodies that stream through: nothing is held back, and nothing is heaped up.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Gate, Part},
        wire::{Ask, Line},
    },
    stand::{in_front_of, stand},
};

const MEGABYTE: usize = 1 << 20;
/// How much is streamed, and by how much the process may grow meanwhile.
const STREAMED_MB: usize = 100;
const GROWTH_MB_MAX: u64 = 20;

/// A gateway in front of a listener whose connections the test serves itself.
async fn by_hand() -> (Stand, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let stand = in_front_of(listener.local_addr().expect("an address"), Backend::new());
    (stand, listener)
}

async fn accepted(listener: &TcpListener) -> Line {
    Line::new(listener.accept().await.expect("a connection").0)
}

#[tokio::test]
async fn an_upload_arrives_before_its_end_is_sent() {
    for path in ["/unkeyed", "/orders"] {
        let (stand, listener) = by_hand().await;
        let mut caller = Line::to(stand.address).await;
        caller.send(&Ask::post(path).head("Transfer-Encoding: chunked\r\n")).await;
        caller.send_chunk(b"the first").await;
        let mut upstream = accepted(&listener).await;
        let head = upstream.head().await.expect("a head");
        assert_eq!(head.headers.get("transfer-encoding"), Some("chunked"));
        assert_eq!(upstream.chunk().await.expect("a chunk"), b"the first");
        caller.send_chunk(b"the last").await;
        caller.send_chunk(b"").await;
        assert_eq!(upstream.chunk().await.expect("a chunk"), b"the last");
        assert_eq!(upstream.chunk().await.expect("the end"), b"");
        upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(caller.answer("POST").await.expect("an answer").status, 204);
    }
}

#[tokio::test]
async fn a_download_arrives_before_its_end_is_sent() {
    let stand = stand().await;
    let gate = Gate::closed();
    let act = Act::answer(200, "the first");
    stand.backend.will(act.then(Part::Wait(gate.clone())).then(Part::Bytes(b"the last".to_vec())));
    let mut caller = stand.send(&Ask::new("GET", "/any")).await;
    assert_eq!(caller.head().await.expect("a head").status(), 200);
    assert_eq!(caller.chunk().await.expect("a chunk"), b"the first");
    gate.open();
    assert_eq!(caller.chunk().await.expect("a chunk"), b"the last");
    assert_eq!(caller.chunk().await.expect("the end"), b"");
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_ends() {
    let (stand, listener) = by_hand().await;
    let mut caller = Line::to(stand.address).await;
    caller.send(&Ask::post("/unkeyed").head("Content-Length: 1000000\r\n")).await;
    let mut upstream = accepted(&listener).await;
    upstream.head().await.expect("a head");
    upstream.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
    let answer = caller.answer("POST").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[tokio::test]
async fn a_download_that_breaks_off_breaks_off_for_the_caller() {
    let stand = stand().await;
    stand.backend.will(Act::answer(200, "half of it").then(Part::Cut));
    let mut caller = stand.send(&Ask::new("GET", "/any")).await;
    let whole = caller.answer("GET").await.is_some_and(|answer| answer.whole);
    assert!(!whole, "a half must not look whole");
    assert_eq!(stand.ask(&Ask::new("GET", "/any")).await.status, 201);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_not_executed() {
    let stand = stand().await;
    for framing in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut caller = Line::to(stand.address).await;
        caller.send(&Ask::post("/unkeyed").head(framing)).await;
        caller.send_chunk(b"half").await;
        caller.finish().await;
        caller.rest().await;
    }
    // The upstream saw two beginnings, and executes only what came whole.
    assert_eq!(stand.ask(&Ask::post("/unkeyed")).await.text(), "done 1");
}

#[tokio::test]
async fn a_caller_that_leaves_a_download_leaves_nothing_behind() {
    let (stand, listener) = by_hand().await;
    let mut caller = Line::to(stand.address).await;
    caller.send(&Ask::new("GET", "/any").bytes()).await;
    let mut upstream = accepted(&listener).await;
    upstream.head().await.expect("a head");
    upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
    assert_eq!(caller.head().await.expect("a head").status(), 200);
    drop(caller);
    // Sooner or later nobody takes it any more.
    while upstream.try_send(&vec![0; MEGABYTE]).await.is_ok() {}
}

/// How many megabytes of memory this process has.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    let kilobytes: u64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes / 1024
}

async fn pour(mut stream: TcpStream) {
    let piece = vec![b'x'; MEGABYTE];
    for _ in 0..STREAMED_MB {
        stream.write_all(&piece).await.expect("it is taken");
    }
}

#[tokio::test]
async fn a_large_body_streams_through_in_little_memory_both_ways() {
    let (stand, listener) = by_hand().await;
    let length = STREAMED_MB * MEGABYTE;
    let head = format!("POST /unkeyed HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
    let before = resident_mb();
    let mut caller = TcpStream::connect(stand.address).await.expect("a connection");
    caller.write_all(head.as_bytes()).await.expect("it is taken");
    let mut upstream = accepted(&listener).await;
    upstream.head().await.expect("a head");
    let (mut answers, uploads) = (caller, upstream.stream);
    let (mut back, mut up) = uploads.into_split();
    let (mut reading, mut writing) = answers.split();
    let mut buffer = vec![0; MEGABYTE];
    let upload = async {
        let piece = vec![b'x'; MEGABYTE];
        for _ in 0..STREAMED_MB {
            writing.write_all(&piece).await.expect("it is taken");
        }
    };
    let arriving = async {
        let mut arrived = 0;
        while arrived < length {
            arrived += back.read(&mut buffer).await.expect("it comes");
        }
    };
    tokio::join!(upload, arriving);
    let halfway = resident_mb();
    up.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        .await
        .expect("it is taken");
    let up = up.reunite(back).expect("two halves of one");
    let mut pouring = JoinSet::new();
    pouring.spawn(pour(up));
    let mut arrived = 0;
    let mut buffer = vec![0; MEGABYTE];
    while arrived < length {
        let read = reading.read(&mut buffer).await.expect("it comes");
        assert!(read > 0, "it breaks off after {arrived}");
        arrived += read;
    }
    let after = resident_mb();
    let grown = halfway.max(after).saturating_sub(before);
    assert!(grown < GROWTH_MB_MAX, "grew by {grown} MB");
}
