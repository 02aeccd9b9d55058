//! Claims about what is left for later. Most of it is due in an hour, so that nobody does it meanwhile.

use std::time::{Duration, Instant};

use steadfast_core::{OperationId, StateName};
use steadfast_ledger::{Backlog, KeptWork, LaneTrouble, LedgerError, Operations};

use super::{
    Stand,
    backend::Act,
    refusal::Again,
    routes::KEPT_BYTES_MAX,
    wire::{Answer, Ask, Line},
};

/// A request that is due in an hour.
fn in_an_hour(target: &str) -> Ask {
    Ask::post(target).header("Steadfast-Delay", "3600")
}

impl Answer {
    /// Holds it to being the 202 of an operation that is not over; which one.
    #[track_caller]
    fn accepted(&self) -> OperationId {
        assert_eq!(self.status, 202, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(!self.is_replay());
        let link = self.operation_link();
        assert_eq!(self.header("location"), Some(&*link));
        let after = self.header("retry-after").and_then(|text| text.parse::<u64>().ok());
        assert!(after.is_some_and(|seconds| seconds > 0), "{after:?}");
        self.header("steadfast-operation").and_then(|id| id.parse().ok()).expect("an operation")
    }
}

async fn kept(stand: &Stand, operation: OperationId) -> KeptWork {
    let kept = stand.ledger.kept_work(operation).await.expect("it can be read");
    kept.expect("it is kept")
}

pub(crate) async fn what_is_left_is_kept_and_its_caller_told_where_to_look(stand: Stand) {
    let answer = stand.ask(&in_an_hour("/later?fast=1").key("k")).await;
    let operation = answer.accepted();
    assert_eq!(answer.header("retry-after"), Some("3600"));
    assert_eq!(answer.header("preference-applied"), None);
    let told: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(told["state"], "queued");
    assert_eq!(told["next_attempt_at"], "2027-01-15T09:00:00Z");
    let kept = kept(&stand, operation).await;
    assert_eq!((&*kept.request.target, &*kept.request.body), ("/later?fast=1", &b"{\"seat\":1}"[..]));
    let due_in = kept.due_at.expect("it is due").since(stand.clock.wall());
    assert_eq!(due_in, Duration::from_secs(3600));
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn a_duplicate_of_what_is_left_is_told_the_same(stand: Stand) {
    for path in ["/later", "/rather", "/otherwise"] {
        let operation = stand.ask(&in_an_hour(path).key("k")).await.accepted();
        for again in [Ask::post(path).key("k"), in_an_hour(path).key("k"), Ask::post(path).key("k").by("bob")]
        {
            assert_eq!(stand.ask(&again).await.accepted(), operation, "{path}");
        }
        let changed = stand.ask(&Ask::post(path).key("k").body("{}")).await;
        changed.refused(422, "idempotency-key-reused", Again::Never);
    }
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn what_is_left_without_a_key_is_an_operation_of_its_own(stand: Stand) {
    let ask = in_an_hour("/later");
    let first = stand.ask(&ask).await;
    assert_eq!(first.header("steadfast-key-source"), Some("generated"));
    assert_ne!(first.accepted(), stand.ask(&ask).await.accepted());
    let key = kept(&stand, first.accepted()).await.request.headers;
    let key = key.iter().find(|(name, _)| *name == "idempotency-key").expect("a key");
    assert!(key.1.starts_with(b"sf_"), "{key:?}");
}

pub(crate) async fn within_a_window_the_same_work_is_left_once(stand: Stand) {
    let ask = in_an_hour("/later-window");
    let first = stand.ask(&ask).await;
    let operation = first.accepted();
    assert_eq!(first.header("steadfast-key-source"), Some("window"));
    assert_eq!(stand.ask(&ask).await.accepted(), operation);
    assert_ne!(stand.ask(&ask.clone().by("bob")).await.accepted(), operation);
    // The window's key comes back for another operation: what goes upstream is made of this one when it is sent.
    let kept = kept(&stand, operation).await.request.headers;
    assert!(kept.iter().all(|(name, _)| name != "idempotency-key"));
}

pub(crate) async fn nobody_leaves_work_unless_the_route_says_so(stand: Stand) {
    for path in ["/later", "/rather", "/otherwise"] {
        for ask in [in_an_hour(path).by(""), in_an_hour(path).by("").key("k")] {
            stand.ask(&ask).await.refused(401, "unauthenticated", Again::Never);
        }
    }
    // What it would get without the background it gets with it.
    assert_eq!(stand.ask(&Ask::post("/otherwise").by("")).await.status, 201);
    stand.backend.will(Act::answer(429, "later"));
    assert_eq!(stand.ask(&Ask::post("/otherwise").by("")).await.status, 429);
}

pub(crate) async fn a_caller_may_prefer_to_be_answered_later(stand: Stand) {
    assert_eq!(stand.ask(&Ask::post("/rather").key("now")).await.text(), "done 1");
    assert_eq!(stand.ask(&Ask::post("/rather").header("Prefer", "return=minimal")).await.text(), "done 2");
    let rather = in_an_hour("/rather").header("Prefer", "foo").header("Prefer", "Respond-Async; a=b, wait=0");
    let answer = stand.ask(&rather).await;
    answer.accepted();
    assert_eq!(answer.header("preference-applied"), Some("respond-async, wait=0"));
    // Of a route without a background nobody hears.
    let answer = stand.ask(&Ask::post("/orders").header("Prefer", "respond-async")).await;
    assert_eq!((answer.status, stand.backend.count()), (201, 3));
}

pub(crate) async fn what_is_said_of_when_must_be_clear(stand: Stand) {
    for path in ["/later", "/rather", "/otherwise"] {
        for (name, value) in [
            ("Steadfast-Delay", "soon"),
            ("Steadfast-Delay", "-1"),
            ("Steadfast-Delay", "604801"),
            ("Steadfast-Run-At", "tomorrow"),
            ("Steadfast-Run-At", "2100-01-01T00:00:00Z"),
        ] {
            let answer = stand.ask(&Ask::post(path).key("k").header(name, value)).await;
            answer.refused(400, "background-header-invalid", Again::Never);
        }
        let both = in_an_hour(path).header("Steadfast-Run-At", "2027-01-15T09:00:00Z");
        stand.ask(&both).await.refused(400, "background-header-invalid", Again::Never);
    }
    let at = Ask::post("/rather").header("Steadfast-Run-At", "2027-01-15T11:00:00+02:00");
    let operation = stand.ask(&at).await.accepted();
    let due_in = kept(&stand, operation).await.due_at.expect("it is due").since(stand.clock.wall());
    assert_eq!(due_in, Duration::from_secs(3600));
    assert_eq!(stand.backend.count(), 0);
    let passed = stand.ask(&Ask::post("/orders").key("k").header("Steadfast-Delay", "soon")).await;
    assert_eq!((passed.status, stand.last_seen().headers.get("steadfast-delay")), (201, Some("soon")));
}

pub(crate) async fn a_kept_request_has_no_credential_and_nothing_of_its_connection(stand: Stand) {
    let ask = in_an_hour("/later")
        .key("\"k\"")
        .header("Cookie", "session=1")
        .header("Proxy-Authorization", "Basic x")
        .header("Prefer", "wait=0")
        .header("Connection", "close, X-Hop")
        .header("X-Hop", "1")
        .header("TE", "trailers")
        .header("Steadfast-Timeout", "9s")
        .header("X-Trace", "a")
        .header("X-Trace", "b")
        .header("Content-Type", "application/json");
    let operation = stand.ask(&ask).await.accepted();
    let kept = kept(&stand, operation).await.request.headers;
    let get = |wanted: &str| {
        let values = kept.iter().filter(|(name, _)| *name == wanted);
        values.map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect::<Vec<_>>()
    };
    for gone in [
        "authorization",
        "cookie",
        "proxy-authorization",
        "prefer",
        "connection",
        "x-hop",
        "te",
        "content-length",
        "steadfast-timeout",
        "steadfast-delay",
    ] {
        assert_eq!(get(gone), [""; 0], "{gone}");
    }
    assert_eq!(get("x-trace"), ["a", "b"]);
    assert_eq!(get("content-type"), ["application/json"]);
    assert_eq!(get("host"), ["test"]);
    // Its caller's own key goes only where its credential does.
    let key = get("idempotency-key");
    assert!(key.len() == 1 && key[0].starts_with("sf_"), "{key:?}");
    let open = in_an_hour("/later-open").key("k").by("");
    let operation = stand.ask(&open).await.accepted();
    let headers = stand.ledger.kept_work(operation).await.expect("read").expect("kept").request.headers;
    assert!(headers.iter().any(|(name, value)| name == "idempotency-key" && &*value == b"k"));
    let trusted = in_an_hour("/later-trusted").key("k");
    let operation = stand.ask(&trusted).await.accepted();
    let headers = stand.ledger.kept_work(operation).await.expect("read").expect("kept").request.headers;
    assert!(headers.iter().any(|(name, value)| name == "authorization" && &*value == b"Bearer ada"));
    assert!(headers.iter().any(|(name, value)| name == "idempotency-key" && &*value == b"k"));
}

pub(crate) async fn a_body_too_large_to_be_kept_is_refused(stand: Stand) {
    let exact = in_an_hour("/later").body("x".repeat(KEPT_BYTES_MAX));
    stand.ask(&exact).await.accepted();
    let larger = "x".repeat(KEPT_BYTES_MAX + 1);
    let answer = stand.ask(&in_an_hour("/later").body(&larger)).await;
    answer.refused(413, "body-too-large", Again::Never);
    // What was not to be left for later may be as large as any.
    assert_eq!(stand.ask(&Ask::post("/rather").body(&larger)).await.status, 201);
    stand.backend.will(Act::answer(429, "busy"));
    let answer = stand.ask(&Ask::post("/otherwise").key("k").body(&larger)).await;
    assert_eq!((answer.status, answer.text().as_str()), (429, "busy"));
}

pub(crate) async fn a_lost_ledger_promises_nothing(stand: Stand) {
    let lost = LedgerError::Unreachable("a test says so".into());
    stand.ledger.fail_claims(Some(lost));
    let answer = stand.ask(&Ask::post("/later").key("k")).await;
    answer.refused(503, "ledger-unavailable", Again::HelpsAfter);
    assert!(!answer.text().contains("a test says so"), "what went wrong is for the log");
    // Nobody could find out whether it was kept after all.
    stand.ask(&Ask::post("/later")).await.refused(503, "ledger-unavailable", Again::Never);
    stand.ledger.fail_claims(Some(LedgerError::Overloaded { open_max: 1 }));
    for ask in [Ask::post("/later").key("k"), Ask::post("/later")] {
        stand.ask(&ask).await.refused(503, "temporary-reduced-capacity", Again::HelpsAfter);
    }
    assert_eq!(stand.backend.count(), 0);
    stand.ledger.fail_claims(None);
    stand.ask(&in_an_hour("/later").key("k")).await.accepted();
}

pub(crate) async fn what_could_not_be_done_at_once_is_left_instead(stand: Stand) {
    stand.backend.will(Act::answer(429, "busy"));
    let ask = Ask::post("/otherwise").key("k");
    let answer = stand.ask(&ask).await;
    let operation = answer.accepted();
    assert_eq!(answer.header("preference-applied"), None);
    assert_eq!(stand.ask(&ask).await.accepted(), operation);
    let kept = kept(&stand, operation).await;
    assert_eq!((&*kept.request.target, &*kept.request.body), ("/otherwise", &b"{\"seat\":1}"[..]));
    assert_eq!(stand.backend.count(), 1);
    // A request without a key is left as well.
    stand.backend.will(Act::answer(429, "busy").header("retry-after", "5400"));
    let answer = stand.ask(&Ask::post("/otherwise")).await;
    answer.accepted();
    assert_eq!(answer.header("retry-after"), Some("5400"));
}

pub(crate) async fn what_may_have_been_done_is_never_left_instead(stand: Stand) {
    assert_eq!(stand.ask(&Ask::post("/otherwise").key("done")).await.text(), "done 1");
    assert!(stand.ask(&Ask::post("/otherwise").key("done")).await.is_replay());
    stand.backend.will(Act::answer(500, "broken"));
    let ask = Ask::post("/otherwise").key("k");
    let answer = stand.ask(&ask).await;
    assert_eq!((answer.status, answer.header("steadfast-outcome")), (500, Some("in-doubt")));
    stand.ask(&ask).await.refused(409, "outcome-in-doubt", Again::Never);
    stand.backend.will(Act::answer(400, "wrong"));
    assert_eq!(stand.ask(&Ask::post("/otherwise").key("wrong")).await.status, 400);
    assert_eq!(stand.backend.count(), 3);
}

pub(crate) async fn a_wait_that_ends_before_the_work_does_is_a_202(stand: Stand) {
    let began = Instant::now();
    let answer = stand.ask(&in_an_hour("/later").header("Prefer", "wait=1")).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "it waited");
    answer.accepted();
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    let began = Instant::now();
    let hurried = in_an_hour("/later").header("Prefer", "wait=9").header("Steadfast-Timeout", "150ms");
    stand.ask(&hurried).await.accepted();
    // The route lets nobody wait longer than two seconds.
    let answer = stand.ask(&in_an_hour("/later").header("Prefer", "wait=9")).await;
    answer.accepted();
    assert_eq!(answer.header("preference-applied"), Some("wait=2"));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

pub(crate) async fn what_comes_after_its_deadline_is_not_left(stand: Stand) {
    let ask = in_an_hour("/later").key("k");
    let mut line = Line::to(stand.address).await;
    line.send(&ask.clone().header("Steadfast-Timeout", "50ms").head("Content-Length: 10\r\n")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    line.send(b"{\"seat\":1}").await;
    line.answer("POST").await.expect("an answer").refused(504, "deadline-exceeded", Again::Helps);
    let first = stand.ask(&ask).await;
    first.accepted();
    assert_eq!(stand.backend.count(), 0);
}

pub(crate) async fn what_ends_while_its_caller_waits_is_told_at_once(stand: Stand) {
    let ask = in_an_hour("/later").key("k").header("Prefer", "wait=9");
    let operation = stand.ask(&in_an_hour("/later").key("k")).await.accepted();
    let mut waiting = stand.send(&ask).await;
    // What was left first, the duplicate, and the duplicate after it subscribed.
    stand.ledger.accepts_asked(3).await;
    stand.ledger.cancel(operation).await.expect("it is called off");
    let answer = waiting.answer("POST").await.expect("an answer");
    answer.refused(409, "operation-cancelled", Again::Never);
    let record = stand.ledger.operation(operation).await.expect("it can be read").expect("it is there");
    assert_eq!(record.state, StateName::Cancelled);
}

pub(crate) async fn what_has_an_ordering_key_in_common_goes_in_one_lane(stand: Stand) {
    let lane = async |account: &str| {
        let operation = stand.ask(&in_an_hour("/later").header("X-Account", account)).await.accepted();
        kept(&stand, operation).await.lane
    };
    let (one, again, other, none) = (lane("a").await, lane(" a ").await, lane("b").await, lane("").await);
    assert_eq!(one.map(|lane| lane.trouble), Some(LaneTrouble::Passes));
    assert_eq!(one, again);
    assert!(one != other && other.is_some());
    assert_eq!(none, None);
    let field = async |body: &str| {
        let operation = stand.ask(&in_an_hour("/later-open").body(body)).await.accepted();
        kept(&stand, operation).await.lane.map(|lane| lane.digest)
    };
    let one = field(r#"{"account":{"id":"a"}}"#).await;
    assert!(one.is_some());
    assert_eq!(one, field(r#"{"n":2,"account":{"id":"\u0061"}}"#).await);
    assert_ne!(one, field(r#"{"account":{"id":"b"}}"#).await);
    assert_eq!(field(r#"{"account":{}}"#).await, None);
    assert_eq!(field("no JSON").await, None);
}
