//! Claims about requests that two servers might read differently. Whatever such a request is taken for, the
//! upstream gets what the gateway answers for, and nothing else.

use std::time::{Duration, Instant};

use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use crate::{
    contract::{
        backend::{Backend, Seen},
        wire::{Ask, Line},
    },
    smuggling_cases::{Case, cases},
    stand::{in_front_of, with_upstream},
    upstream::Upstream,
};

/// How many gateways try the cases at the same time.
const LANES: usize = 8;
/// How long nothing must have come for the answers to count as all there.
const QUIET: Duration = Duration::from_millis(80);
/// How long an answer may take that the upstream has given.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many cases there are in the version that is depended on.
const CASES: usize = 159;

/// What follows the head: for a reader that takes the head to be without a body, the second request.
const TAILS: [&str; 3] = [
    "",
    "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: test\r\nX-Rest: ",
];

/// The statuses in what came back.
fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    // Answers of the upstream are known by their bodies, which are short and have no line of this kind.
    text.match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| text.get(at + 9..at + 12).and_then(|status| status.parse().ok()))
        .collect()
}

/// How many of them came from the upstream.
fn executed(bytes: &[u8]) -> usize {
    statuses(bytes).iter().filter(|status| **status == 201).count()
}

/// What came back, and what went upstream since `before`, once everything is at rest.
async fn settled(line: &mut Line, backend: &Backend, before: usize) -> (Vec<u8>, Vec<Seen>) {
    let mut answered = line.until_quiet(QUIET).await;
    let began = Instant::now();
    while backend.count() - before > executed(&answered) && began.elapsed() < PATIENCE {
        answered.extend(line.until_quiet(QUIET).await);
    }
    let seen = backend.seen().split_off(before);
    (answered, seen)
}

/// Whether a server that reads strictly could take it for another request than the gateway did.
fn is_unambiguous(seen: &Seen) -> bool {
    let lengths = seen.headers.all("content-length");
    let codings = seen.headers.all("transfer-encoding");
    let framed_once = lengths.len() + codings.len() <= 1;
    let plain = |text: &str| text.bytes().all(|byte| byte >= 0x20 && byte != 0x7f);
    framed_once
        && lengths.iter().all(|length| length.bytes().all(|byte| byte.is_ascii_digit()))
        && codings.iter().all(|coding| *coding == "chunked")
        && plain(&seen.target)
        && !seen.target.contains(' ')
        && seen.headers.0.iter().all(|(name, value)| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
                && value.bytes().all(|byte| byte >= 0x20 || byte == b'\t')
        })
}

/// Tries a case; what is wrong with how it went.
async fn attempt(
    case: &Case,
    tail: &str,
    address: std::net::SocketAddr,
    backend: &Backend,
) -> Result<(), String> {
    let before = backend.count();
    let mut line = Line::to(address).await;
    let bytes = [case.head.as_slice(), tail.as_bytes()].concat();
    // It may hang up while it is still being told.
    let _ = line.try_send(&bytes).await;
    let (answered, seen) = settled(&mut line, backend, before).await;
    // Nothing that is still under way may count for the next case.
    line.finish().await;
    line.rest().await;
    let statuses = statuses(&answered);
    let from_upstream = executed(&answered);
    let failed = |what: &str| {
        Err(format!("{} ({}), tail {tail:?}: {what}: {statuses:?} {seen:#?}", case.name, case.tier))
    };
    if seen.len() > from_upstream {
        return failed("the upstream got more requests than were answered");
    }
    if !seen.iter().all(is_unambiguous) {
        return failed("the upstream got a request that may be read in two ways");
    }
    if let Some(other) =
        statuses.iter().find(|status| ![201, 400, 404, 405, 408, 413, 431, 501, 505].contains(*status))
    {
        return failed(&format!("{other} is not an answer by contract"));
    }
    if case.tier == "Severe" && !seen.is_empty() {
        return failed("a severe case went upstream");
    }
    let next = Ask::new("GET", "/next").to(address).await;
    if next.status != 201 || backend.seen().last().is_none_or(|seen| seen.target != "/next") {
        return failed("the next request was not served");
    }
    Ok(())
}

#[tokio::test]
async fn no_known_trick_smuggles_a_request_upstream() {
    let cases = cases();
    assert_eq!(cases.len(), CASES, "cases were read");
    let mut lanes: JoinSet<Vec<String>> = JoinSet::new();
    for lane in 0..LANES {
        let cases: Vec<Case> = cases.iter().skip(lane).step_by(LANES).cloned().collect();
        lanes.spawn(async move {
            let upstream = Upstream::start(Backend::new()).await;
            let stand = in_front_of(upstream.address(), upstream.backend().clone());
            let mut failures = Vec::new();
            for case in &cases {
                for tail in TAILS {
                    failures.extend(attempt(case, tail, stand.address, &stand.backend).await.err());
                }
            }
            failures
        });
    }
    let failures = lanes.join_all().await.concat();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test]
async fn a_compliant_case_is_served() {
    let (stand, _upstream) = with_upstream().await;
    let mut served = 0;
    // A request without a target is not HTTP/1.1, however harmless.
    let harmless = |case: &&Case| case.tier == "Compliant" && case.is_bodiless() && case.name != "Empty URI";
    for case in cases().iter().filter(harmless) {
        let mut line = Line::to(stand.address).await;
        line.send(&case.head).await;
        let answer = line.answer("GET").await.expect("an answer");
        assert_eq!(answer.status, 201, "{}", case.name);
        served += 1;
    }
    assert!(served > 5, "{served} cases");
}

#[tokio::test]
async fn a_keyed_request_with_two_framings_executes_nothing_or_exactly_what_was_answered() {
    let (stand, _upstream) = with_upstream().await;
    for (number, framing) in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let before = stand.backend.count();
        let mut line = Line::to(stand.address).await;
        line.send(&Ask::post("/orders").key(&number.to_string()).head(framing)).await;
        let _ = line.try_send(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let (answered, seen) = settled(&mut line, &stand.backend, before).await;
        assert_eq!(seen.len(), executed(&answered), "{framing}");
        assert!(seen.iter().all(is_unambiguous), "{framing}: {seen:#?}");
    }
}

#[tokio::test]
async fn an_answer_with_two_framings_does_not_split_into_two() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let stand = in_front_of(listener.local_addr().expect("an address"), Backend::new());
    const SECOND: &str = "HTTP/1.1 299 Smuggled\r\nContent-Length: 0\r\n\r\n";
    let chunked = format!("5\r\nhello\r\n{:x}\r\n{SECOND}\r\n0\r\n\r\n", SECOND.len());
    for (number, head) in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 500\r\n",
        "Content-Length: 5, 500\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        for ask in [Ask::new("GET", "/any"), Ask::post("/orders").key(&number.to_string())] {
            let mut caller = stand.send(&ask).await;
            let accepted = timeout(PATIENCE, listener.accept()).await.expect("it is asked");
            let mut upstream = Line::new(accepted.expect("a connection").0);
            upstream.head().await.expect("a head");
            upstream.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n{chunked}").as_bytes()).await;
            upstream.finish().await;
            if let Some(answer) = caller.answer("GET").await {
                assert_ne!(answer.status, 299, "{head}");
            }
            // The line must be at rest, or closed: nothing stands there for the next request to take as its answer.
            let rest = caller.until_quiet(QUIET).await;
            assert!(rest.is_empty(), "{head}: {}", String::from_utf8_lossy(&rest));
        }
    }
}
