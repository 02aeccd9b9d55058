//! Retries through the whole system: what an upstream is asked when everything fails, and what is executed when answers
//! are lost on their way.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use e2e::{Ask, Caller, Gateway, Office, await_that};
use steadfast_faults::{DropReply, FaultProxy, Goodbye, Plan, When};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway in front of `to`, whose upstream `says` more.
async fn gateway(folder: &Path, to: SocketAddr, says: &str) -> Gateway {
    let config = folder.join("steadfast.toml");
    let ledger = folder.join("ledger.db");
    let text = format!(
        "ledger = \"sqlite:{}\"\n[upstreams.office]\nurl = \"http://{to}\"\n{says}\n\n[[routes]]\npath = \"/*\"\n\
         upstream = \"office\"\nidempotency = {{ anonymous = true }}\n",
        ledger.display()
    );
    std::fs::write(&config, text).expect("the test's folder");
    let mut gateway = Gateway::serve(folder, "gateway", &config);
    gateway.start().await;
    gateway
}

/// Loses the answers of the next exchanges.
fn losing(exchanges: u64) -> Plan {
    let lose = DropReply { then: Goodbye::Close, when: When::next_exchanges(exchanges) };
    Plan { drop_reply: Some(lose), ..Plan::default() }
}

/// Answers every request with 503, and counts them.
async fn failing(listener: TcpListener, asked: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(fail(stream, Arc::clone(&asked)));
    }
}

async fn fail(stream: TcpStream, asked: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        // These requests have no body: an empty line ends them.
        if line == "\r\n" {
            asked.fetch_add(1, Ordering::SeqCst);
            let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
        line.clear();
    }
}

#[tokio::test]
async fn an_upstream_that_fails_for_everybody_sees_at_most_a_quarter_more() {
    const REQUESTS: usize = 1_000;
    let folder = TempDir::new().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let to = listener.local_addr().expect("an address");
    let asked = Arc::new(AtomicUsize::new(0));
    let mut upstream = JoinSet::new();
    upstream.spawn(failing(listener, Arc::clone(&asked)));
    let gateway = gateway(folder.path(), to, "retry = { base = \"10ms\" }").await;
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let mut caller = Caller::new(gateway.addr(), PATIENCE);
        callers.spawn(async move {
            for _ in 0..REQUESTS / 10 {
                assert_eq!(caller.ask(&Ask::get("/any")).await.expect("an answer").status, 503);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.expect("a caller");
    }
    let asked = asked.load(Ordering::SeqCst);
    println!("{asked} for {REQUESTS}");
    assert!(asked > REQUESTS, "some are tried again");
    assert!(asked <= REQUESTS * 5 / 4, "{asked} for {REQUESTS}");
}

#[tokio::test]
async fn a_lost_answer_is_fetched_by_the_gateway_itself_where_the_upstream_takes_a_key_once() {
    let folder = TempDir::new().expect("a folder");
    let mut office = Office::honouring_keys(folder.path());
    office.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
    let says = "retry = { base = \"10ms\" }\nrepeatable_for = \"24h\"";
    let gateway = gateway(folder.path(), proxy.addr(), says).await;
    proxy.set(losing(1)).expect("a plan");
    let answer = Caller::new(gateway.addr(), PATIENCE).ask(&Ask::order("k")).await.expect("an answer");
    assert_eq!((answer.status, answer.header("steadfast-degraded")), (201, Some("retry")), "{answer:?}");
    assert_eq!(office.counts("k").1, 1, "it happened once");
    assert_eq!(office.arrivals().values().sum::<usize>(), 2, "and was asked for twice");
}

#[tokio::test]
async fn a_lost_answer_is_not_asked_for_again_where_the_upstream_forgets_keys() {
    let folder = TempDir::new().expect("a folder");
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
    let gateway = gateway(folder.path(), proxy.addr(), "retry = { base = \"10ms\" }").await;
    proxy.set(losing(1)).expect("a plan");
    let answer = Caller::new(gateway.addr(), PATIENCE).ask(&Ask::order("k")).await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_deref()), (502, Some("outcome-in-doubt")), "{answer:?}");
    assert_eq!(office.counts("k"), (1, 1));
}

#[tokio::test]
async fn a_gateway_that_is_killed_between_two_tries_leaves_doubt_and_no_second_execution() {
    let folder = TempDir::new().expect("a folder");
    let mut office = Office::honouring_keys(folder.path());
    office.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
    let says = "retry = { attempts = 10, base = \"500ms\" }\nrepeatable_for = \"24h\"";
    let mut gateway = gateway(folder.path(), proxy.addr(), says).await;
    proxy.set(losing(10)).expect("a plan");
    let mut caller = Caller::new(gateway.addr(), PATIENCE);
    let mut asking = JoinSet::new();
    asking.spawn(async move { caller.ask(&Ask::order("k")).await });
    await_that("a try is repeated", PATIENCE, async || {
        gateway.errors().contains("a try failed and is repeated").then_some(())
    })
    .await;
    gateway.restart().await;
    let told = asking.join_next().await.expect("a caller").expect("it does not panic");
    assert!(told.is_err(), "nobody was told anything");
    assert_eq!(gateway.state("k").await, "in_doubt");
    assert_eq!(office.counts("k").1, 1);
    // It is known where to go on: the same key brings the answer of what happened once.
    proxy.set(Plan::default()).expect("a plan");
    let answer = Caller::new(gateway.addr(), PATIENCE).ask(&Ask::order("k")).await.expect("an answer");
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(office.counts("k").1, 1);
}
