//! "Why was this refused?": what is remembered of requests, and what their callers are told, over real sockets.

use std::{sync::Arc, time::Duration};

use steadfast_core::Code;
use steadfast_gateway::{Because, Explained, FactValue, Part, Step, Verdict};
use steadfast_ledger::{CredentialRecord, Operations as _};

use crate::{
    authentication::{House, bearing, house_of},
    contract::{
        backend::{Act, Backend, Gate},
        wire::{Answer, Ask},
    },
    upstream::{Fault, Upstream},
};

const FILE: &str = r#"
[explain]
slow = "50ms"

[upstreams.shop]
url = "http://UPSTREAM"
retry = { attempts = 2, base = "1ms", cap = "2ms" }

[upstreams.narrow]
url = "http://UPSTREAM"
concurrency = { max = 1, queue = 0 }

[upstreams.broken]
url = "http://UPSTREAM"
circuit = { volume_min = 2, failure_ratio = 0.5 }

[authentication.customers]
api_keys = { prefix = "sf" }

[limits.per-customer]
per = "principal"
rate = "1/min"

[limits.calm]
per = "route"
rate = "100/min"

[[routes]]
path = "/orders"
upstream = "shop"
authentication = { by = ["customers"], scopes = ["orders:read"] }
limits = ["calm", "per-customer"]
decision_header = true
refusal = { content_type = "text/plain", body = "no: {code}" }

[[routes]]
path = "/narrow"
upstream = "narrow"
decision_header = true

[[routes]]
path = "/broken"
upstream = "broken"
decision_header = true

[[routes]]
path = "/late"
upstream = "shop"
deadline = "60ms"
decision_header = true

[[routes]]
path = "/tried"
upstream = "shop"
decision_header = true

[[routes]]
path = "/keyed"
upstream = "shop"
methods = ["POST"]
idempotency = { in_progress = "409", anonymous = true }
decision_header = true

[[routes]]
path = "/silent"
upstream = "shop"
methods = ["PUT"]
"#;

/// What `explain.slow` is there.
const SLOW: Duration = Duration::from_millis(50);

/// Asks by this id, so that the request can be found again.
fn named(ask: Ask, id: &str) -> Ask {
    ask.header("X-Request-Id", id)
}

fn only(house: &House, id: &str) -> Arc<Explained> {
    let found = house.gateway.explained(id);
    assert_eq!(found.len(), 1, "{found:?}");
    Arc::clone(&found[0])
}

/// The parts and what they decided.
fn story(explained: &Explained) -> Vec<(Part, Verdict)> {
    explained.steps.iter().map(|step| (step.part, step.verdict)).collect()
}

fn fact(step: &Step, name: &str) -> Option<FactValue> {
    step.facts().into_iter().find(|fact| fact.name == name).map(|fact| fact.value)
}

/// What its caller was told, with what differs from run to run left out.
fn told(answer: &Answer) -> String {
    let told = answer.header("steadfast-decision").unwrap_or_else(|| panic!("{answer:?}"));
    let parameters = told.split(';').map(|parameter| match parameter.split_once('=') {
        Some((name @ ("t" | "operation" | "pause_ms"), value)) => {
            let next = value.find(',').map_or("", |at| &value[at..]);
            format!("{name}=…{next}")
        }
        _ => parameter.to_owned(),
    });
    parameters.collect::<Vec<_>>().join(";")
}

#[tokio::test]
async fn who_is_not_let_in_is_told_by_authentication_and_found_with_its_refusal() {
    let house = house_of(FILE).await;
    let refused = house.ask(&named(Ask::new("GET", "/orders").by(""), "nobody")).await;
    assert_eq!((refused.status, told(&refused).as_str()), (401, "authenticate;refused;code=unauthenticated"));
    assert_eq!(refused.text(), "no: unauthenticated", "its own words stay");
    let key = house.key(|record| CredentialRecord { scopes: Vec::new(), ..record }).await;
    let refused = house.ask(&named(bearing("/orders?secret=1", key.reveal()), "poor")).await;
    assert_eq!((refused.status, told(&refused).as_str()), (403, "authenticate;refused;code=forbidden"));
    let poor = only(&house, "poor");
    assert_eq!((poor.because, poor.status, &*poor.path), (Because::Refused, Some(403), "/orders"));
    assert_eq!(story(&poor), [(Part::Authenticate, Verdict::Refused)]);
    let refusal = poor.refusal.as_ref().expect("a refusal");
    assert_eq!((refusal.code, refusal.next_step), (Code::Forbidden, Code::Forbidden.next_step()));
    assert!(!format!("{poor:?}").contains(key.reveal()), "no credential is remembered");
}

#[tokio::test]
async fn the_first_that_another_service_refuses_in_its_own_words_is_told_and_remembered() {
    let authority = Upstream::start(Backend::new()).await;
    let file = r#"
[upstreams.shop]
url = "http://UPSTREAM"
[authentication.people]
forward = { url = "http://AUTHORITY/check" }
[[routes]]
path = "/*"
upstream = "shop"
authentication = { by = ["people"] }
decision_header = true
"#;
    let house = house_of(&file.replace("AUTHORITY", &authority.address().to_string())).await;
    authority.backend().will(Act::answer(403, "not you"));
    let refused = house.ask(&named(Ask::new("GET", "/").by(""), "theirs")).await;
    assert_eq!((refused.status, refused.text().as_str()), (403, "not you"));
    assert_eq!(
        told(&refused),
        "authenticate;refused;status=403",
        "who was asked, and how often, is not told"
    );
    let theirs = only(&house, "theirs");
    assert_eq!((theirs.because, &theirs.refusal), (Because::Refused, &None));
    assert_eq!(story(&theirs), [(Part::Authenticate, Verdict::Refused)]);
}

#[tokio::test]
async fn a_limit_is_named_with_what_is_left_and_when_and_who_passed_before_it() {
    let house = house_of(FILE).await;
    let key = house.key(|record| record).await;
    assert_eq!(house.ask(&named(bearing("/orders", key.reveal()), "first")).await.status, 201);
    let refused = house.ask(&named(bearing("/orders", key.reveal()), "second")).await;
    assert_eq!(refused.status, 429);
    assert_eq!(
        told(&refused),
        "authenticate;passed, limit;passed;policy=\"calm\";remaining=98, \
         limit;refused;policy=\"per-customer\";remaining=0;t=…"
    );
    let after = refused.header("retry-after").expect("told").to_owned();
    let second = only(&house, "second");
    let policy = second.refusal.as_ref().and_then(|refusal| refusal.policy.as_deref());
    assert_eq!(policy, Some("per-customer"));
    let [authenticate, _, limit] = &*second.steps else { panic!("{second:?}") };
    assert_eq!(fact(authenticate, "principal"), Some(FactValue::Text("acme".into())));
    assert_eq!(fact(limit, "t"), Some(FactValue::Number(after.parse().expect("seconds"))));
    assert_eq!(second.refusal.as_ref().and_then(|refusal| refusal.retry_after_s), after.parse().ok());
    assert!(house.gateway.explained("first").is_empty(), "it was neither refused nor slow");
}

#[tokio::test]
async fn a_full_upstream_and_an_open_circuit_are_named() {
    let house = house_of(FILE).await;
    let gate = Gate::closed();
    house.stand.backend.will(Act::answer(200, "held").held_by(&gate));
    let mut held = house.stand.send(&Ask::new("GET", "/narrow")).await;
    house.stand.backend.reached(1).await;
    let refused = house.ask(&named(Ask::new("GET", "/narrow"), "shed")).await;
    assert_eq!(told(&refused), "shed;refused;code=temporary-reduced-capacity;t=…");
    assert_eq!(story(&only(&house, "shed")), [(Part::Shed, Verdict::Refused)]);
    gate.open();
    assert_eq!(held.answer("GET").await.expect("an answer").status, 200);

    for _ in 0..2 {
        house.stand.backend.will(Act::answer(500, "broken"));
        assert_eq!(house.ask(&Ask::new("GET", "/broken")).await.status, 500);
    }
    let refused = house.ask(&named(Ask::new("GET", "/broken"), "open")).await;
    assert_eq!((refused.status, told(&refused).as_str()), (503, "circuit;refused;code=circuit-open;t=…"));
    assert_eq!(only(&house, "open").refusal.as_ref().map(|refusal| refusal.code), Some(Code::CircuitOpen));
}

#[tokio::test]
async fn a_deadline_that_passed_shows_the_attempt_that_was_still_under_way() {
    let house = house_of(FILE).await;
    let gate = Gate::closed();
    house.stand.backend.will(Act::answer(200, "late").held_by(&gate));
    let refused = house.ask(&named(Ask::new("GET", "/late"), "late")).await;
    gate.open();
    assert_eq!(refused.status, 504);
    let late = only(&house, "late");
    let (last, before) = late.steps.split_last().expect("steps");
    assert_eq!(last.verdict, Verdict::Refused);
    assert!(before.iter().any(|step| step.part == Part::Attempt), "{late:?}");
    assert!(told(&refused).contains("code=deadline-exceeded"), "{refused:?}");
    assert!(!told(&refused).contains("127.0.0.1"), "where upstreams are is not told");
}

#[tokio::test]
async fn a_duplicate_and_an_operation_in_doubt_are_told_from_each_other() {
    let house = house_of(FILE).await;
    let gate = Gate::closed();
    house.stand.backend.will(Act::answer(201, "made").held_by(&gate));
    let order = |key: &str, id: &str| named(Ask::post("/keyed").key(key), id);
    let mut first = house.stand.send(&order("a", "first")).await;
    house.stand.backend.reached(1).await;
    let refused = house.ask(&order("a", "second")).await;
    assert_eq!(refused.status, 409);
    assert_eq!(
        told(&refused),
        "claim;occupied;operation=…;state=claimed, claim;refused;code=operation-in-progress;t=…"
    );
    gate.open();
    assert_eq!(first.answer("POST").await.expect("an answer").status, 201);
    let other = house.ask(&order("a", "other").body("something else")).await;
    assert_eq!(other.status, 422);
    assert_eq!(
        told(&other),
        "claim;occupied;operation=…, claim;refused;code=idempotency-key-reused",
        "how the first one stands is not told to who asks for something else"
    );
    assert_eq!(story(&only(&house, "other"))[0], (Part::Claim, Verdict::Occupied));

    house.upstream().will_break(Fault::CloseAfterReading);
    let lost = house.ask(&order("b", "lost")).await;
    assert_eq!(lost.status, 502);
    let story_of_lost = story(&only(&house, "lost"));
    assert_eq!(
        story_of_lost,
        [
            (Part::Claim, Verdict::Passed),
            (Part::Attempt, Verdict::Failed),
            (Part::Outcome, Verdict::Written),
            (Part::Claim, Verdict::Refused)
        ]
    );
    let refused = house.ask(&order("b", "doubted")).await;
    assert_eq!(
        told(&refused),
        "claim;occupied;operation=…;state=in_doubt, claim;refused;code=outcome-in-doubt"
    );
    let doubted = only(&house, "doubted");
    assert_eq!(doubted.operation, only(&house, "lost").operation);
    let made = house.stand.ledger.of_request("lost".into(), None).await.expect("a ledger that works");
    assert_eq!(made.operations.first().map(|record| Some(record.id)), Some(doubted.operation));
}

#[tokio::test]
async fn a_slow_request_shows_its_attempt_and_how_long_it_took() {
    let house = house_of(FILE).await;
    let gate = Gate::closed();
    house.stand.backend.will(Act::answer(200, "slowly").held_by(&gate));
    let mut line = house.stand.send(&named(Ask::new("GET", "/tried"), "slow")).await;
    house.stand.backend.reached(1).await;
    tokio::time::sleep(SLOW).await;
    gate.open();
    let answer = line.answer("GET").await.expect("an answer");
    assert_eq!((answer.status, answer.header("steadfast-decision")), (200, None));
    let slow = only(&house, "slow");
    assert_eq!((slow.because, slow.status, &slow.refusal), (Because::Slow, Some(200), &None));
    let [attempt] = &*slow.steps else { panic!("{slow:?}") };
    assert_eq!((attempt.part, attempt.verdict), (Part::Attempt, Verdict::Answered));
    assert!(attempt.took.is_some_and(|took| took >= SLOW), "{attempt:?}");
    assert_eq!(fact(attempt, "status"), Some(FactValue::Number(200)));
    let endpoint = format!("http://{}", house.upstream().address());
    assert_eq!(fact(attempt, "endpoint"), Some(FactValue::Text(endpoint)));
}

#[tokio::test]
async fn who_left_after_a_long_wait_is_remembered_with_what_it_waited_for() {
    let house = house_of(FILE).await;
    let gate = Gate::closed();
    house.stand.backend.will(Act::answer(200, "too late").held_by(&gate));
    let line = house.stand.send(&named(Ask::new("GET", "/tried"), "left")).await;
    house.stand.backend.reached(1).await;
    tokio::time::sleep(SLOW).await;
    drop(line);
    let noticed = async {
        while house.gateway.explained("left").is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), noticed).await.expect("it is noticed");
    let left = only(&house, "left");
    assert_eq!((left.because, left.status), (Because::Left, None));
    assert_eq!(story(&left), [(Part::Attempt, Verdict::UnderWay)]);
}

#[tokio::test]
async fn tries_that_failed_stand_in_the_story_of_the_last_one() {
    let house = house_of(FILE).await;
    for _ in 0..2 {
        house.upstream().will_break(Fault::CloseAfterReading);
    }
    let lost = house.ask(&named(Ask::new("GET", "/tried"), "lost")).await;
    assert_eq!(lost.status, 502);
    assert_eq!(
        told(&lost),
        "attempt;failed;number=1;why=connection_lost, retry;repeated;why=lost;pause_ms=…, \
         attempt;failed;number=2;why=connection_lost, attempt;refused;code=upstream-answer-lost"
    );
}

#[tokio::test]
async fn what_no_route_serves_is_remembered_and_a_route_that_says_nothing_tells_nothing() {
    let house = house_of(FILE).await;
    let refused = house.ask(&named(Ask::new("GET", "/nowhere"), "lost")).await;
    assert_eq!((refused.status, refused.header("steadfast-decision")), (404, None));
    let lost = only(&house, "lost");
    assert_eq!((&lost.route, story(&lost)), (&None, vec![(Part::Route, Verdict::Refused)]));
    let refused = house.ask(&named(Ask::new("GET", "/silent"), "lost")).await;
    assert_eq!((refused.status, refused.header("steadfast-decision")), (405, None));
    let both: Vec<_> = house.gateway.explained("lost").iter().map(|found| found.status).collect();
    assert_eq!(both.len(), 2, "two requests may have one id: {both:?}");
}
