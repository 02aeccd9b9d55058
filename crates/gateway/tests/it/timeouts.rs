//! Claims about the time that each step towards an upstream may take, and about callers that leave.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend, Gate},
        refusal::Again,
        wire::{Ask, Line},
    },
    stand::from_file,
    upstream::Upstream,
};

async fn stand(says: &str) -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(&file(says, "http://UPSTREAM"), &upstream), upstream)
}

fn file(says: &str, url: &str) -> String {
    format!(
        "[upstreams.bank]\nurl = \"{url}\"\n{says}\n\n[[routes]]\npath = \"/*\"\nupstream = \"bank\"\nidempotency = {{}}\n"
    )
}

#[tokio::test]
async fn a_try_that_takes_too_long_makes_room_for_another() {
    let says =
        "timeout = { try = \"100ms\" }\nretry = { base = \"1ms\", cap = \"1ms\" }\nrepeatable_for = \"1h\"";
    let (stand, _upstream) = stand(says).await;
    for ask in [Ask::new("GET", "/any"), Ask::post("/orders").key("k")] {
        let gate = Gate::closed();
        stand.backend.will(Act::answer(200, "too late").held_by(&gate));
        let answer = stand.ask(&ask).await;
        assert_eq!((answer.status, answer.header("steadfast-degraded")), (201, Some("retry")));
        gate.open();
    }
    assert_eq!(stand.backend.count(), 4);
}

#[tokio::test]
async fn a_keyed_try_that_none_may_follow_is_waited_for() {
    let says = "timeout = { try = \"50ms\" }\nretry = {}";
    let (stand, _upstream) = stand(says).await;
    let gate = Gate::closed();
    stand.backend.will(Act::answer(200, "late, but there").held_by(&gate));
    let mut caller = stand.send(&Ask::post("/orders").key("k")).await;
    stand.backend.reached(1).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    gate.open();
    assert_eq!(caller.answer("POST").await.expect("an answer").text(), "late, but there");
}

#[tokio::test]
async fn all_tries_together_end_with_the_total() {
    let says = "timeout = { total = \"300ms\" }\nretry = { attempts = 10, base = \"1ms\", cap = \"1ms\" }";
    let (stand, _upstream) = stand(says).await;
    let gate = Gate::closed();
    stand.backend.will(Act::answer(503, "later"));
    stand.backend.will(Act::answer(200, "too late").held_by(&gate));
    let began = Instant::now();
    stand.ask(&Ask::new("GET", "/any")).await.refused(504, "upstream-answer-lost", Again::Never);
    assert!((Duration::from_millis(300)..Duration::from_secs(2)).contains(&began.elapsed()));
    assert_eq!(stand.backend.count(), 2);
}

#[tokio::test]
async fn an_upstream_that_takes_no_byte_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let unused = Upstream::start(Backend::new()).await;
    let stand = from_file(&file("timeout = { write = \"200ms\" }", &format!("http://{address}")), &unused);
    // More than all buffers on the way hold.
    let large = "x".repeat(9 << 20);
    let ask = Ask::post("/unkeyed").body(&large);
    let mut caller = Line::to(stand.address).await;
    let began = Instant::now();
    // It takes the connection, and reads nothing. The caller may not get rid of all of it.
    let asking = async {
        let _ = caller.try_send(&ask.bytes()).await;
        caller.answer("POST").await
    };
    let (answer, _taken) = tokio::join!(asking, listener.accept());
    answer.expect("an answer").refused(504, "upstream-answer-lost", Again::Never);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_handshake_has_a_time_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let unused = Upstream::start(Backend::new()).await;
    let says = "timeout = { connect = \"20s\", tls = \"100ms\" }";
    let stand = from_file(&file(says, &format!("https://{address}")), &unused);
    let began = Instant::now();
    let ask = Ask::new("GET", "/any");
    let (answer, _silent) = tokio::join!(stand.ask(&ask), listener.accept());
    answer.refused(502, "upstream-unavailable", Again::Helps);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_unkeyed_request_whose_caller_left_is_cancelled_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let unused = Upstream::start(Backend::new()).await;
    for says in ["", "retry = {}"] {
        let stand = from_file(&file(says, &format!("http://{address}")), &unused);
        for ask in [Ask::new("GET", "/any"), Ask::post("/orders")] {
            let caller = stand.send(&ask).await;
            let mut upstream = Line::new(listener.accept().await.expect("a connection").0);
            upstream.head().await.expect("a head");
            drop(caller);
            let left = tokio::time::timeout(Duration::from_secs(5), upstream.rest()).await;
            assert!(left.is_ok(), "its connection to the upstream ends with it");
        }
    }
}

#[tokio::test]
async fn an_upstream_is_told_how_much_time_is_left() {
    let (stand, _upstream) = stand("").await;
    let told = |stand: &Stand, name: &str| stand.last_seen().headers.get(name).map(str::to_owned);
    for ask in [Ask::new("GET", "/any"), Ask::post("/orders").key("k")] {
        stand.ask(&ask).await;
        assert_eq!(told(&stand, "steadfast-timeout"), None, "nothing is made up");
    }
    for ask in [Ask::new("GET", "/any"), Ask::post("/orders").key("l")] {
        stand.ask(&ask.header("Steadfast-Timeout", "20s")).await;
        let ms: u64 = told(&stand, "steadfast-timeout")
            .and_then(|told| told.strip_suffix("ms")?.parse().ok())
            .expect("milliseconds");
        assert!((1..=20_000).contains(&ms), "{ms}");
    }
    // gRPC's own words.
    let ask = Ask::post("/rpc").header("Content-Type", "application/grpc").header("grpc-timeout", "20S");
    stand.ask(&ask).await;
    assert!(told(&stand, "grpc-timeout").expect("it is told").ends_with('m'));
}
