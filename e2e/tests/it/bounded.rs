//! An upstream in every kind of trouble costs its callers a known time, and the callers of its neighbour nothing.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use e2e::{Answer, Ask, Caller, Gateway, NoAnswer, Office, Step, Wayward, await_that, within};
use steadfast_faults::{FaultProxy, Faults, Hang, Latency, Plan, Refuse, Reset, Slow, Truncate, When};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(20);
/// By when the routes to the troubled upstream promise an answer.
const DEADLINE: Duration = Duration::from_millis(500);
/// How much later it may be there.
const GRACE: Duration = Duration::from_millis(50);
/// How much more a single answer may be late where other tests take the processor; the median may not.
const NOISE: Duration = Duration::from_millis(400);
/// Callers of each kind.
const CALLERS: usize = 5;

/// The gateway between callers and two upstreams: one in trouble, one well.
struct Town {
    gateway: Gateway,
    _folder: TempDir,
}

impl Town {
    async fn with(troubled: SocketAddr, well: SocketAddr, more: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config: PathBuf = folder.path().join("steadfast.toml");
        let text = format!(
            r#"ledger = "sqlite:{}"
[upstreams.troubled]
url = "http://{troubled}"
timeout = {{ connect = "400ms", first_byte = "2s", between_bytes = "400ms", total = "3s", late = "1s" }}
[upstreams.well]
url = "http://{well}"

[[routes]]
path = "/*"
upstream = "troubled"
deadline = "500ms"
idempotency = {{ anonymous = true }}

[[routes]]
path = "/shop/*"
strip_prefix = "/shop"
upstream = "troubled"
deadline = "500ms"
fallback = {{ body = '{{"events":[]}}' }}

[[routes]]
path = "/well/*"
strip_prefix = "/well"
upstream = "well"
{more}
"#,
            folder.path().join("ledger.db").display()
        );
        std::fs::write(&config, text).expect("the test's folder");
        let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
        gateway.start().await;
        Self { gateway, _folder: folder }
    }

    async fn ask(&self, ask: &Ask) -> (Result<Answer, NoAnswer>, Duration) {
        let began = Instant::now();
        let answer = Caller::new(self.gateway.addr(), PATIENCE).ask(ask).await;
        (answer, began.elapsed())
    }

    /// Asks for the same thing so many times at once, `make` saying under which name.
    async fn crowd(&self, make: impl Fn(usize) -> Ask) -> Vec<(Result<Answer, NoAnswer>, Duration)> {
        let asks: Vec<Ask> = (0..CALLERS).map(make).collect();
        let mut told = Vec::new();
        let mut asking: Vec<_> = asks.iter().map(|ask| Box::pin(self.ask(ask))).collect();
        while !asking.is_empty() {
            let (answer, index) = first_of(&mut asking).await;
            drop(asking.swap_remove(index));
            told.push(answer);
        }
        told
    }

    async fn metrics(&self) -> String {
        let metrics = self.gateway.ask_admin(&Ask::get("/metrics")).await.expect("metrics");
        String::from_utf8_lossy(&metrics.body).into_owned()
    }

    async fn counted(&self, metric: &str) -> u64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {metric} in {metrics}")).parse().expect("a number")
    }

    /// Everything that a request holds is given back.
    async fn is_quiet(&self) {
        await_that("no request is under way", PATIENCE, async || {
            (self.counted("http_server_active_requests").await == 0).then_some(())
        })
        .await;
        self.gateway.idle(PATIENCE).await;
    }
}

/// Whichever of these is ready first, and its place.
async fn first_of<F: Future + Unpin>(all: &mut [F]) -> (F::Output, usize) {
    std::future::poll_fn(|context| {
        for (index, one) in all.iter_mut().enumerate() {
            if let std::task::Poll::Ready(output) = std::pin::Pin::new(one).poll(context) {
                return std::task::Poll::Ready((output, index));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Held to the time that was promised.
#[track_caller]
fn in_time(trouble: &str, told: &[(Result<Answer, NoAnswer>, Duration)]) {
    let mut waits: Vec<Duration> = told.iter().map(|(_, wait)| *wait).collect();
    waits.sort();
    assert!(waits[CALLERS / 2] <= DEADLINE + GRACE, "{trouble}: {waits:?}");
    assert!(waits[CALLERS - 1] <= DEADLINE + GRACE + NOISE, "{trouble}: {waits:?}");
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code().unwrap_or_default())
}

/// What one kind of trouble comes to.
struct Trouble {
    name: &'static str,
    plan: Plan,
    /// What a request without a key is told.
    unkeyed: (u16, &'static str),
    /// What one with a key is told.
    keyed: (u16, &'static str),
}

fn answers(faults: Faults) -> Plan {
    Plan { toward_client: faults, ..Plan::default() }
}

fn troubles() -> Vec<Trouble> {
    let always = When::every_exchange();
    let late = (504, "deadline-exceeded");
    let (lost, doubt) = ((502, "upstream-answer-lost"), (502, "outcome-in-doubt"));
    let trouble = |name, plan, unkeyed, keyed| Trouble { name, plan, unkeyed, keyed };
    vec![
        trouble(
            "hangs before the head",
            answers(Faults { hang: Some(Hang { when: always }), ..Faults::default() }),
            late,
            (504, "outcome-in-doubt"),
        ),
        trouble(
            "takes no request",
            Plan {
                toward_upstream: Faults { hang: Some(Hang { when: always }), ..Faults::default() },
                ..Plan::default()
            },
            late,
            (504, "outcome-in-doubt"),
        ),
        trouble(
            "dribbles its head",
            answers(Faults {
                slow: Some(Slow { chunk_bytes: 1, every_ms: 50, when: always }),
                ..Faults::default()
            }),
            late,
            (504, "outcome-in-doubt"),
        ),
        trouble(
            "is slow",
            answers(Faults {
                latency: Some(Latency { fixed_ms: 1_500, jitter_ms: 0, when: always }),
                ..Faults::default()
            }),
            late,
            (504, "outcome-in-doubt"),
        ),
        trouble(
            "resets before the head",
            answers(Faults { reset: Some(Reset { after_bytes: 0, when: always }), ..Faults::default() }),
            lost,
            doubt,
        ),
        trouble(
            "resets in the head",
            answers(Faults { reset: Some(Reset { after_bytes: 20, when: always }), ..Faults::default() }),
            lost,
            doubt,
        ),
        trouble(
            "closes in the head",
            answers(Faults {
                truncate: Some(Truncate { after_bytes: 20, when: always }),
                ..Faults::default()
            }),
            lost,
            doubt,
        ),
        trouble(
            "closes without a word",
            answers(Faults {
                truncate: Some(Truncate { after_bytes: 0, when: always }),
                ..Faults::default()
            }),
            lost,
            doubt,
        ),
    ]
}

#[tokio::test]
async fn trouble_behind_the_gateway_costs_a_known_time_and_the_neighbour_nothing() {
    let folder = TempDir::new().expect("a folder");
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
    println!("seed {}", proxy.seed());
    let town = Town::with(proxy.addr(), office.addr(), "").await;
    for (number, trouble) in troubles().into_iter().enumerate() {
        let name = trouble.name;
        proxy.set(trouble.plan).expect("a plan");
        let order = |caller| Ask::order(&format!("order-{number}-{caller}"));
        let (reads, orders, shop, well) = tokio::join!(
            town.crowd(|_| Ask::get("/events")),
            town.crowd(order),
            town.crowd(|_| Ask::get("/shop/events")),
            town.crowd(|_| Ask::get("/well/events")),
        );
        for (told, expected) in [(&reads, trouble.unkeyed), (&orders, trouble.keyed)] {
            in_time(name, told);
            for (answer, _) in told {
                let answer = answer.as_ref().unwrap_or_else(|lost| panic!("{name}: {lost:?}"));
                assert_eq!(code(answer), (expected.0, expected.1.to_owned()), "{name}");
                assert_eq!(answer.header("steadfast-degraded"), None, "{name}");
            }
        }
        in_time(name, &shop);
        for (answer, _) in &shop {
            let answer = answer.as_ref().unwrap_or_else(|lost| panic!("{name}: {lost:?}"));
            let reason = format!("fallback;for={}", trouble.unkeyed.1);
            assert_eq!((answer.status, answer.header("steadfast-degraded")), (200, Some(&*reason)), "{name}");
            assert_eq!(&*answer.body, br#"{"events":[]}"#, "{name}");
        }
        let mut waits: Vec<_> = well.iter().map(|(_, wait)| *wait).collect();
        waits.sort();
        assert!(waits[CALLERS / 2] < DEADLINE / 2, "{name}: the neighbour took {waits:?}");
        for (answer, _) in &well {
            assert_eq!(answer.as_ref().map(|answer| answer.status), Ok(200), "{name}");
        }
        // It is over, and what was held is given back.
        proxy.set(Plan::default()).expect("a plan");
        proxy.sever();
        let (answer, _) = town.ask(&Ask::get("/shop/events")).await;
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.header("steadfast-degraded")), (200, None), "{name}");
        town.is_quiet().await;
    }
    // What was sent once was executed at most once, whatever became of its answer.
    for (key, effects) in office.effects() {
        assert!(effects.len() <= 1, "{key} took effect {} times", effects.len());
    }
    let troubles = troubles().len() as u64;
    let fallbacks = town.counted("steadfast_route_fallbacks_total{http_route=\"/shop/*\"}").await;
    assert_eq!(fallbacks, troubles * CALLERS as u64);
    let log = town.gateway.output();
    assert!(log.contains(r#""degraded":"fallback;for=deadline-exceeded""#), "{log}");
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_told_at_once_and_used_again_when_it_is_back() {
    let folder = TempDir::new().expect("a folder");
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).expect("a proxy");
    let town = Town::with(proxy.addr(), office.addr(), "").await;
    assert_eq!(town.ask(&Ask::get("/events")).await.0.expect("an answer").status, 200);
    proxy.close_listener().await.expect("it closes");
    proxy.sever();
    within(PATIENCE, proxy.wait_for(|stats| stats.connections.open == 0)).await;
    for (ask, status) in [(Ask::get("/events"), 502), (Ask::order("gone"), 502)] {
        let (answer, wait) = town.ask(&ask).await;
        assert_eq!(code(&answer.expect("an answer")), (status, "upstream-unavailable".to_owned()));
        assert!(wait < DEADLINE, "{wait:?}");
    }
    let (answer, _) = town.ask(&Ask::get("/shop/events")).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.header("steadfast-degraded"), Some("fallback;for=upstream-unavailable"));
    proxy.reopen().await.expect("it opens");
    let (answer, _) = town.ask(&Ask::order("gone")).await;
    assert_eq!(answer.expect("an answer").status, 201);
    assert_eq!(office.counts("gone"), (1, 1));
    // One that takes connections and throws them away is no better; what was sent to it is not known.
    proxy.sever();
    within(PATIENCE, proxy.wait_for(|stats| stats.connections.open == 0)).await;
    proxy.set(Plan { refuse: Some(Refuse { when: When::default() }), ..Plan::default() }).expect("a plan");
    let told = town.crowd(|_| Ask::get("/events")).await;
    in_time("accepts and closes", &told);
    for (answer, _) in told {
        let code = answer.expect("an answer").code().unwrap_or_default();
        assert!(["upstream-unavailable", "upstream-answer-lost"].contains(&&*code), "{code}");
    }
    town.is_quiet().await;
}

const LIES: [(&str, &[Step], &str); 5] = [
    (
        "two lengths",
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\ntrue!"), Step::Close],
        "lost",
    ),
    (
        "a negative length",
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\ntrue"), Step::Close],
        "lost",
    ),
    (
        "a length that is none",
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 4x\r\n\r\ntrue"), Step::Close],
        "lost",
    ),
    (
        "too long a length",
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ntrue"), Step::Close],
        "cut",
    ),
    (
        "too short a length",
        &[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue, and more")],
        "whole",
    ),
];

#[tokio::test]
async fn a_length_that_is_a_lie_is_nobody_elses_answer() {
    let (wayward, well) = (Wayward::start().await, Wayward::start().await);
    let town = Town::with(wayward.addr(), well.addr(), "").await;
    for (number, (lie, steps, expected)) in LIES.into_iter().enumerate() {
        wayward.will(steps);
        let (unkeyed, _) = town.ask(&Ask::get("/a")).await;
        let (keyed, _) = town.ask(&Ask::order(&format!("lie-{number}"))).await;
        let keyed = keyed.unwrap_or_else(|lost| panic!("{lie}: {lost:?}"));
        match expected {
            "lost" => {
                let unkeyed = unkeyed.unwrap_or_else(|lost| panic!("{lie}: {lost:?}"));
                assert_eq!(code(&unkeyed), (502, "upstream-answer-lost".to_owned()), "{lie}");
                assert_eq!(code(&keyed), (502, "outcome-in-doubt".to_owned()), "{lie}");
            }
            "cut" => {
                assert!(matches!(unkeyed, Err(NoAnswer::Cut(_))), "{lie}: {unkeyed:?}");
                assert_eq!(code(&keyed), (502, "replay-unavailable".to_owned()), "{lie}");
            }
            _ => {
                for answer in [unkeyed.unwrap_or_else(|lost| panic!("{lie}: {lost:?}")), keyed] {
                    assert_eq!((answer.status, &*answer.body), (200, &b"true"[..]), "{lie}");
                }
            }
        }
        // What was said too much is not taken for the beginning of the next answer.
        wayward.will(&[Step::Say("HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nown")]);
        let (answer, _) = town.ask(&Ask::get("/a")).await;
        let answer = answer.unwrap_or_else(|lost| panic!("{lie}: {lost:?}"));
        assert_eq!((answer.status, &*answer.body), (201, &b"own"[..]), "{lie}");
        town.is_quiet().await;
    }
}

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Everything that comes for a GET until the connection ends.
async fn everything(gateway: SocketAddr, path: &str) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(gateway).await.expect("the gateway listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the gateway takes it");
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = within(PATIENCE, stream.read_to_end(&mut bytes)).await;
    (String::from_utf8_lossy(&bytes).into_owned(), began.elapsed())
}

#[tokio::test]
async fn a_stream_lives_as_long_as_it_speaks_and_is_never_begun_again() {
    let (wayward, well) = (Wayward::start().await, Wayward::start().await);
    let town = Town::with(wayward.addr(), well.addr(), "").await;
    let pause = Step::Pause(Duration::from_millis(200));
    let event = |text| Step::Say(text);
    // Longer than the deadline in all, and shorter between two events than may be.
    wayward.will(&[
        Step::Say(EVENTS),
        event("8\r\ndata: 1\n\r\n"),
        pause,
        event("8\r\ndata: 2\n\r\n"),
        pause,
        event("8\r\ndata: 3\n\r\n"),
        pause,
        pause_of(100),
        event("8\r\ndata: 4\n\r\n0\r\n\r\n"),
    ]);
    for path in ["/stream", "/shop/stream"] {
        let (text, took) = everything(town.gateway.addr(), path).await;
        assert!(took > DEADLINE, "{took:?}");
        for part in ["data: 1", "data: 2", "data: 3", "data: 4", "0\r\n\r\n"] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        // Its connection waits for the next by now, which would open another one otherwise.
        town.is_quiet().await;
    }
    assert_eq!(wayward.asked(), 2);
    // One that stalls, and one that breaks: what came before is delivered, and nothing is asked a second time.
    for last in [Step::Hang, Step::Close] {
        let asked = wayward.asked();
        wayward.will(&[
            Step::Say(EVENTS),
            event("8\r\ndata: 1\n\r\n"),
            pause,
            event("8\r\ndata: 2\n\r\n"),
            last,
        ]);
        for path in ["/stream", "/shop/stream"] {
            let (text, took) = everything(town.gateway.addr(), path).await;
            assert!(text.contains("data: 1") && text.contains("data: 2"), "{text}");
            assert!(!text.contains("\r\n0\r\n") && !text.contains("steadfast-degraded"), "{text}");
            assert!(took < Duration::from_secs(2), "{took:?}");
            town.is_quiet().await;
        }
        assert_eq!(wayward.asked(), asked + 2, "{last:?}");
    }
    town.is_quiet().await;
    await_that("its connections are closed", PATIENCE, async || (wayward.open() == 0).then_some(())).await;
}

fn pause_of(milliseconds: u64) -> Step {
    Step::Pause(Duration::from_millis(milliseconds))
}

#[tokio::test]
async fn a_body_that_dribbles_arrives_whole_and_one_that_stalls_is_cut() {
    let (wayward, well) = (Wayward::start().await, Wayward::start().await);
    let town = Town::with(wayward.addr(), well.addr(), "").await;
    let head = Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    let (byte, pause) = (Step::Say("x"), pause_of(150));
    wayward.will(&[head, pause, byte, pause, byte, pause, byte, pause, byte]);
    let (text, took) = everything(town.gateway.addr(), "/slow").await;
    assert!(text.ends_with("xxxx") && took > DEADLINE, "{took:?}: {text}");
    wayward.will(&[head, byte, byte, Step::Hang]);
    let (text, took) = everything(town.gateway.addr(), "/slow").await;
    assert!(text.ends_with("\r\nxx"), "{text}");
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(2), "{took:?}");
    town.is_quiet().await;
}

/// Three failures in a row open it. It stays open for long enough that nothing here takes as long.
const CIRCUIT: &str = r#"
[upstreams.troubled.circuit]
consecutive = 3
open_for = "3s"
open_for_max = "3s"
probes = 1
"#;

#[tokio::test]
async fn an_upstream_that_refuses_for_a_while_walks_down_the_ladder_and_up_again() {
    let (wayward, well) = (Wayward::start().await, Wayward::start().await);
    let town = Town::with(wayward.addr(), well.addr(), CIRCUIT).await;
    let rung = async || {
        let (answer, _) = town.ask(&Ask::get("/shop/events")).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("steadfast-degraded").unwrap_or("none").to_owned()
    };
    assert_eq!(rung().await, "none");
    wayward.will(&[Step::Say("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")]);
    for _ in 0..3 {
        assert_eq!(rung().await, "fallback;for=503");
    }
    // Nothing reaches it any more, and whoever cannot have a fallback is told so at once.
    let asked = wayward.asked();
    assert_eq!(rung().await, "fallback;for=circuit-open");
    for ask in [Ask::get("/events"), Ask::post("/shop/orders", "{}"), Ask::order("refused")] {
        let (answer, wait) = town.ask(&ask).await;
        let answer = answer.expect("an answer");
        assert_eq!(code(&answer), (503, "circuit-open".to_owned()));
        assert!(answer.header("retry-after").is_some() && answer.says_retry(), "{answer:?}");
        assert_eq!(answer.header("steadfast-degraded"), None);
        assert!(wait < DEADLINE / 2, "{wait:?}");
    }
    assert_eq!(rung().await, "fallback;for=circuit-open");
    assert_eq!(wayward.asked(), asked);
    assert_eq!(town.counted("steadfast_circuits_open{upstream=\"troubled\"}").await, 1);
    // It is still refusing when it is asked once more, and it is left alone again.
    await_that("it is asked once more", PATIENCE, async || {
        (rung().await == "fallback;for=503").then_some(())
    })
    .await;
    assert_eq!(wayward.asked(), asked + 1);
    assert_eq!(rung().await, "fallback;for=circuit-open");
    wayward.will(&[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")]);
    await_that("it is itself again", PATIENCE, async || (rung().await == "none").then_some(())).await;
    assert_eq!(town.counted("steadfast_circuits_open{upstream=\"troubled\"}").await, 0);
    // The key that was refused was not used up.
    let (answer, _) = town.ask(&Ask::order("refused")).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.is_replay()), (200, false), "{answer:?}");
    town.is_quiet().await;
}

/// Every rung, on a route of its own.
const LADDER: &str = r#"
[upstreams.troubled.circuit]
consecutive = 5
open_for = "4s"
open_for_max = "4s"
probes = 1

[[routes]]
path = "/ladder/*"
strip_prefix = "/ladder"
upstream = "troubled"
deadline = "2s"
retry = { attempts = 2, base = "1ms", cap = "1ms" }
cache = {}
fallback = { body = "closed" }
"#;

#[tokio::test]
async fn every_rung_of_the_ladder_is_taken_in_its_turn_and_told() {
    let (wayward, well) = (Wayward::start().await, Wayward::start().await);
    let town = Town::with(wayward.addr(), well.addr(), LADDER).await;
    let rung = async |path: &str| {
        let (answer, _) = town.ask(&Ask::get(path)).await;
        let answer = answer.expect("an answer");
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        (answer.header("steadfast-degraded").unwrap_or("none").to_owned(), body)
    };
    let told = |rung: &str, body: &str| (rung.to_owned(), body.to_owned());
    let busy = [Step::Say("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")];
    // Stale at once, and good for two seconds of trouble.
    let fine = [Step::Say(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=0, stale-if-error=2\r\nContent-Length: 4\r\n\r\nfine",
    )];
    wayward.will(&fine);
    assert_eq!(rung("/ladder/a").await, told("none", "fine"));
    wayward.will_once(&busy);
    assert_eq!(rung("/ladder/a").await, told("retry", "fine"));
    wayward.will(&busy);
    let (stale, body) = rung("/ladder/a").await;
    assert!(stale.contains("stale") && body == "fine", "{stale}: {body}");
    // Of this one nothing is kept.
    let (fallback, body) = rung("/ladder/b").await;
    assert!(fallback.contains("fallback;for=") && body == "closed", "{fallback}: {body}");
    await_that("the circuit opens", PATIENCE, async || {
        rung("/ladder/b").await.0.contains("fallback;for=circuit-open").then_some(())
    })
    .await;
    let (refused, _) = town.ask(&Ask::post("/ladder/orders", "{}")).await;
    assert_eq!(code(&refused.expect("an answer")), (503, "circuit-open".to_owned()));
    await_that("what was kept is too old", PATIENCE, async || {
        let (rung, body) = rung("/ladder/a").await;
        assert!(rung.contains("stale") || rung.contains("fallback"), "{rung}");
        (rung.contains("fallback") && body == "closed").then_some(())
    })
    .await;
    wayward.will(&fine);
    await_that("it is itself again", PATIENCE, async || {
        (rung("/ladder/a").await == told("none", "fine")).then_some(())
    })
    .await;
    for counter in ["degraded", "degraded_by_retry", "degraded_by_stale", "fallbacks"] {
        let counter = format!("steadfast_route_{counter}_total{{http_route=\"/ladder/*\"}}");
        assert!(town.counted(&counter).await > 0, "{counter}");
    }
    town.is_quiet().await;
}
