//! Claims about limits on callers, over real sockets. Whoever connects here is a trusted proxy, so that a test says in
//! `X-Forwarded-For` who is calling.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use steadfast_gateway::{
    Gateway, LogTo,
    config::{Config, Environment, Overrides, parse},
};
use tokio::task::JoinSet;

use crate::{
    authentication::{bearing, house_of},
    contract::{
        Stand,
        backend::{Act, Backend, Gate, Part},
        fresh_ledger,
        wire::{Answer, Ask},
    },
    stand::from_file,
    upstream::Upstream,
};

/// A gateway with these limits, and these lines about a route for everything.
async fn limited(limits: &str, route: &str) -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(&file(limits, route), &upstream), upstream)
}

fn file(limits: &str, route: &str) -> String {
    format!(
        "[edge]\ntrusted_proxies = [\"127.0.0.1\"]\n[upstreams.shop]\nurl = \"http://UPSTREAM\"\n{limits}\n\
         [[routes]]\npath = \"/*\"\nupstream = \"shop\"\n{route}\n"
    )
}

const PER_ADDRESS: &str = "[limits.per-address]\nper = \"ip\"\nrate = \"3/min\"";
const NAMED: &str = "limits = [\"per-address\"]";

fn get(path: &str) -> Ask {
    Ask::new("GET", path)
}

fn from(address: &str) -> Ask {
    get("/").header("X-Forwarded-For", address)
}

fn document(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// How many of `times` requests are let through.
async fn let_through(stand: &Stand, ask: &Ask, times: usize) -> usize {
    let mut passed = 0;
    for _ in 0..times {
        match stand.ask(ask).await.status {
            201 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }
    passed
}

#[tokio::test]
async fn whoever_is_refused_learns_by_what_why_and_for_how_long() {
    let (stand, _upstream) = limited(PER_ADDRESS, NAMED).await;
    let first = stand.ask(&from("192.0.2.1")).await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"per-address\";q=3;w=60"));
    // A third of a minute, and by chance a little more.
    let told = first.header("ratelimit").expect("told").to_owned();
    let reset = told.strip_prefix("\"per-address\";r=2;t=").unwrap_or_else(|| panic!("{told}"));
    assert!((20..=22).contains(&reset.parse::<u64>().expect("seconds")), "{told}");
    assert_eq!(let_through(&stand, &from("192.0.2.1"), 5).await, 2);

    let refused = stand.ask(&from("192.0.2.1")).await;
    assert_eq!(refused.status, 429);
    let problem = document(&refused);
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["help"], "/.steadfast/problems/quota-exceeded");
    assert_eq!((&problem["code"], &problem["policy"]), (&"quota-exceeded".into(), &"per-address".into()));
    assert_eq!((&problem["limit"], &problem["remaining"]), (&3.into(), &0.into()));
    assert_eq!(problem["violated-policies"], serde_json::json!(["per-address"]));
    assert_eq!(
        problem["detail"],
        "The limit `per-address` allows 3 requests a minute to each address; none is left."
    );
    assert!(problem["next_step"].as_str().is_some_and(|step| step.contains("Retry-After")));
    let seconds = problem["retry_after"].as_u64().expect("seconds");
    assert!((20..=22).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("retry-after"), Some(&*seconds.to_string()));
    assert_eq!(refused.header("ratelimit"), Some(&*format!("\"per-address\";r=0;t={seconds}")));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"per-address\";q=3;w=60"));
    assert_eq!(
        (refused.header("x-should-retry"), refused.header("stripe-should-retry")),
        (Some("true"), Some("true"))
    );
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    assert_eq!(refused.header("x-ratelimit-limit"), None);
    assert_eq!(stand.backend.count(), 3, "nothing of it was sent");

    // Whoever waits as long as it was told is let through.
    stand.advance(Duration::from_secs(seconds));
    assert_eq!(let_through(&stand, &from("192.0.2.1"), 2).await, 1);
}

#[tokio::test]
async fn fifty_callers_at_once_get_exactly_what_the_limit_allows() {
    for algorithm in ["token_bucket", "fixed_window", "sliding_window"] {
        let limits =
            format!("[limits.all]\nper = \"route\"\nrate = \"100/d\"\nalgorithm = \"{algorithm}\"\n");
        let (stand, _upstream) = limited(&limits, "limits = [\"all\"]").await;
        let mut callers = JoinSet::new();
        for _ in 0..50 {
            let address = stand.address;
            callers.spawn(async move {
                let mut passed = 0;
                for _ in 0..10 {
                    passed += usize::from(get("/").to(address).await.status == 201);
                }
                passed
            });
        }
        assert_eq!(callers.join_all().await.into_iter().sum::<usize>(), 100, "{algorithm}");
        assert_eq!(stand.backend.count(), 100);
    }
}

#[tokio::test]
async fn every_address_has_its_own_count_and_a_network_of_ipv6_one() {
    let (stand, _upstream) = limited(PER_ADDRESS, NAMED).await;
    assert_eq!(let_through(&stand, &from("192.0.2.1"), 5).await, 3);
    assert_eq!(let_through(&stand, &from("192.0.2.2"), 5).await, 3);
    assert_eq!(let_through(&stand, &from("2001:db8:1:2::1"), 2).await, 2);
    assert_eq!(let_through(&stand, &from("2001:db8:1:2:ffff::9"), 5).await, 1);
    assert_eq!(let_through(&stand, &from("2001:db8:1:3::1"), 5).await, 3);
    // The same address in other clothes.
    assert_eq!(let_through(&stand, &from("::ffff:192.0.2.1"), 2).await, 0);
}

#[tokio::test]
async fn an_address_that_a_stranger_makes_up_is_not_believed() {
    let untrusted = file(PER_ADDRESS, NAMED).replace("[\"127.0.0.1\"]", "[\"10.0.0.0/8\"]");
    let upstream = Upstream::start(Backend::new()).await;
    let stand = from_file(&untrusted, &upstream);
    let mut passed = 0;
    for number in 0..10 {
        passed += let_through(&stand, &from(&format!("192.0.2.{number}")), 1).await;
    }
    assert_eq!(passed, 3);
}

#[tokio::test]
async fn a_limit_is_not_dodged_by_case_encoding_or_saying_it_twice() {
    let limits = "[limits.tenant]\nper = \"header:X-Tenant\"\nrate = \"3/d\"\n[limits.path]\nper = [\"path\", \"ip\"]\nrate = \"3/d\"\n";
    let upstream = Upstream::start(Backend::new()).await;
    let text = file(limits, "limits = [\"tenant\"]")
        + "[[routes]]\npath = \"/reports/*\"\nupstream = \"shop\"\nlimits = [\"path\"]\n";
    let stand = from_file(&text, &upstream);
    let mut passed = 0;
    for tenant in ["acme", "Acme", "ACME", " acme ", "aCME"] {
        passed += let_through(&stand, &get("/").header("X-Tenant", tenant), 1).await;
    }
    assert_eq!(passed, 3);
    // Twice, or not at all, is counted by the address, however it is varied.
    let mut passed = 0;
    for number in 0..10 {
        let twice = get("/").header("X-Tenant", format!("a{number}")).header("X-Tenant", "b");
        passed += let_through(&stand, &twice, 1).await + let_through(&stand, &get("/"), 1).await;
    }
    assert_eq!(passed, 3);
    let mut passed = 0;
    for path in
        ["/reports/a", "/reports/A", "/reports/%61", "/reports/%41", "/reports/a?x=1", "/reports/a?x=2"]
    {
        let answer = stand.ask(&get(path)).await;
        passed += usize::from(answer.status == 201);
    }
    assert!(passed <= 3, "{passed}");
    assert_eq!(let_through(&stand, &get("/reports/b"), 5).await, 3);
}

#[tokio::test]
async fn a_principal_is_limited_by_its_plan_whichever_key_it_comes_with() {
    let limits = "[authentication.customers]\napi_keys = { prefix = \"sf\" }\n\
                  [limits.customer]\nper = \"principal\"\nrate = \"2/d\"\nplans = { pro = { rate = \"4/d\" } }";
    let route = "limits = [\"customer\"]\nauthentication = { by = [\"customers\"] }";
    let house = house_of(&file(limits, route)).await;
    let one = house.key(|record| record).await;
    let other = house.key(|record| record).await;
    let free = house
        .key(|record| steadfast_ledger::CredentialRecord {
            principal: "beta".into(),
            attributes: vec![("plan".into(), "free".into())],
            ..record
        })
        .await;
    let with = |key: &steadfast_core::ApiKey| bearing("/", key.reveal());
    let first = house.ask(&with(&one)).await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"customer\";q=4;w=86400"));
    assert_eq!(let_through(&house.stand, &with(&other), 5).await, 3);
    // What callers say of themselves is not asked, and another principal has a count of its own.
    assert_eq!(let_through(&house.stand, &with(&one).header("Steadfast-Principal", "beta"), 2).await, 0);
    assert_eq!(let_through(&house.stand, &with(&free), 5).await, 2);
    let found = house.gateway.limits().standings("acme", None, Some("pro"), false).await.expect("known");
    assert_eq!((found.len(), found[0].decision.is_allowed()), (1, false));
    // Who is not let in is not counted.
    assert_eq!(house.ask(&bearing("/", "sf_wrong")).await.status, 401);
}

#[tokio::test]
async fn several_limits_are_asked_at_once_and_where_one_refuses_none_is_charged() {
    let limits =
        "[limits.small]\nper = \"ip\"\nrate = \"2/d\"\n[limits.large]\nper = \"route\"\nrate = \"10/d\"\n";
    let (stand, _upstream) = limited(limits, "limits = [\"large\", \"small\"]").await;
    let first = stand.ask(&from("192.0.2.1")).await;
    // The strictest speaks first; the policies stand in the route's order.
    let told = first.header("ratelimit").expect("told");
    assert!(told.starts_with("\"small\";r=1;t=") && told.contains(", \"large\";r=9;t="), "{told}");
    assert_eq!(first.header("ratelimit-policy"), Some("\"large\";q=10;w=86400, \"small\";q=2;w=86400"));
    assert_eq!(let_through(&stand, &from("192.0.2.1"), 20).await, 1);
    // What was refused cost the large one nothing: eight are left of it.
    let mut passed = 0;
    for number in 2..20 {
        passed += let_through(&stand, &from(&format!("192.0.2.{number}")), 1).await;
    }
    assert_eq!(passed, 8);
    // Both refuse: both are named, and the one speaks that takes longest.
    let problem = document(&stand.ask(&from("192.0.2.1")).await);
    assert_eq!(problem["violated-policies"], serde_json::json!(["large", "small"]));
    assert_eq!(problem["policy"], "small");
}

#[tokio::test]
async fn shadow_mode_refuses_nobody_and_counts_whom_it_would() {
    let limits = format!("{PER_ADDRESS}\nmode = \"shadow\"");
    let upstream = Upstream::start(Backend::new()).await;
    let (gateway, address, _kept) = gateway(&file(&limits, NAMED), &upstream);
    for _ in 0..10 {
        let answer = from("192.0.2.1").to(address).await;
        assert_eq!((answer.status, answer.header("ratelimit")), (201, None), "{answer:?}");
    }
    let report = &gateway.limits().list()[0];
    assert_eq!((report.allowed, report.refused, report.would_refuse), (3, 0, 7));
    assert_eq!(report.enforced_percent, 0);
    assert_eq!((&*report.most_refused[0].subject, report.most_refused[0].would_refuse), ("192.0.2.1", 7));
    let metrics = gateway.metrics();
    assert!(metrics.contains("steadfast_limit_would_refuse_total{limit=\"per-address\"} 7"), "{metrics}");
    assert!(!metrics.contains("192.0.2.1"));
}

#[tokio::test]
async fn a_limit_is_enforced_on_the_part_that_it_says_and_always_on_the_same() {
    let limits = format!("{PER_ADDRESS}\nenforce = \"25%\"").replace("3/min", "1/d");
    let mut enforced_before: Option<BTreeSet<usize>> = None;
    for _ in 0..2 {
        let (stand, _upstream) = limited(&limits, NAMED).await;
        let mut enforced = BTreeSet::new();
        for number in 0..120 {
            let ask = from(&format!("198.51.100.{number}"));
            assert_eq!(stand.ask(&ask).await.status, 201);
            if stand.ask(&ask).await.status == 429 {
                enforced.insert(number);
            }
        }
        assert!((15..=45).contains(&enforced.len()), "{}", enforced.len());
        assert!(enforced_before.replace(enforced.clone()).is_none_or(|before| before == enforced));
    }
}

#[tokio::test]
async fn a_replay_gives_back_what_it_was_charged() {
    let limits = "[limits.orders]\nper = \"ip\"\nrate = \"3/d\"";
    let (stand, _upstream) =
        limited(limits, "limits = [\"orders\"]\nidempotency = { anonymous = true }").await;
    let order = |key: &str| Ask::post("/orders").key(key).body("{}");
    assert_eq!(stand.ask(&order("a")).await.status, 201);
    for _ in 0..10 {
        let replay = stand.ask(&order("a")).await;
        assert!(replay.is_replay(), "{replay:?}");
    }
    assert_eq!(stand.ask(&order("b")).await.status, 201);
    assert_eq!(stand.ask(&order("c")).await.status, 201);
    assert_eq!(stand.ask(&order("d")).await.status, 429);
    // It was refused before anything was recorded: the key is free.
    stand.advance(Duration::from_secs(86_400));
    let later = stand.ask(&order("d")).await;
    assert_eq!((later.status, later.is_replay()), (201, false));
}

#[tokio::test]
async fn a_place_is_taken_until_the_answer_was_sent_or_its_caller_left() {
    let limits = "[limits.places]\nper = \"ip\"\nalgorithm = \"concurrency\"\nmax = 2";
    let (stand, _upstream) = limited(limits, "limits = [\"places\"]").await;
    let gate = Gate::closed();
    let act =
        Act::answer(200, "the first").then(Part::Wait(gate.clone())).then(Part::Bytes(b"rest".to_vec()));
    stand.backend.will(act);
    let mut streamed = stand.send(&get("/stream")).await;
    let head = streamed.head().await.expect("a head");
    assert_eq!(head.status(), 200);
    let held = Gate::closed();
    stand.backend.will(Act::answer(200, "held").held_by(&held));
    let waiting = stand.send(&get("/held")).await;
    stand.backend.reached(2).await;
    let refused = stand.ask(&get("/")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{refused:?}");
    let policy = refused.header("ratelimit-policy");
    assert_eq!(policy, Some("\"places\";q=2;qu=\"concurrent-requests\""));
    // Somebody else has places of his own.
    assert_eq!(stand.ask(&from("192.0.2.9")).await.status, 201);
    // The one leaves without an answer; its place comes free when that is noticed.
    drop(waiting);
    while stand.ask(&get("/")).await.status == 429 {}
    gate.open();
    streamed.body(&head.headers).await.expect("a body");
    drop(streamed);
    held.open();
    // Both are free again.
    let (one, other) = (Gate::closed(), Gate::closed());
    let before = stand.backend.count();
    let mut lines = Vec::new();
    for gate in [&one, &other] {
        stand.backend.will(Act::answer(200, "held").held_by(gate));
        lines.push(stand.send(&get("/held")).await);
    }
    stand.backend.reached(before + 2).await;
    assert_eq!(stand.ask(&get("/")).await.status, 429);
}

#[tokio::test]
async fn bytes_are_charged_when_they_were_sent_and_a_caller_that_overdrew_waits() {
    let limits = "[limits.bytes]\nper = \"ip\"\nrate = \"1000/min\"\ncost_from_answer = \"bytes\"";
    let (stand, _upstream) = limited(limits, "limits = [\"bytes\"]").await;
    stand.backend.will(Act::answer(200, vec![b'x'; 600]));
    let first = stand.ask(&get("/")).await;
    assert!(first.header("ratelimit").is_some_and(|told| told.starts_with("\"bytes\";r=1000;")), "{first:?}");
    assert_eq!(first.header("ratelimit-policy"), Some("\"bytes\";q=1000;qu=\"content-bytes\";w=60"));
    stand.backend.will(Act::answer(200, vec![b'x'; 1_400]));
    assert_eq!(stand.ask(&get("/")).await.status, 200);
    let refused = stand.ask(&get("/")).await;
    assert_eq!(refused.status, 429);
    // It overdrew by a thousand, and one has to be left.
    let after: u64 = refused.header("retry-after").expect("told").parse().expect("seconds");
    assert!((61..=68).contains(&after), "{after}");
    stand.advance(Duration::from_secs(after));
    assert_eq!(stand.ask(&get("/")).await.status, 201);
}

#[tokio::test]
async fn what_an_answer_s_header_says_it_cost_is_charged_and_an_estimate_is_settled() {
    let limits = "[limits.tokens]\nper = \"ip\"\nrate = \"100/d\"\ncost = 20\ncost_from_answer = \"header:X-Tokens-Used\"";
    let (stand, _upstream) = limited(limits, "limits = [\"tokens\"]").await;
    for (used, left) in [(Some("5"), 80), (Some("50"), 75), (None, 25), (Some("nonsense"), 5)] {
        let act = Act::answer(200, "answer");
        stand.backend.will(match used {
            Some(used) => act.header("X-Tokens-Used", used),
            None => act,
        });
        let answer = stand.ask(&get("/")).await;
        let told = answer.header("ratelimit").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        assert!(
            told.starts_with(&format!("\"tokens\";r={left};")) || answer.status == 429,
            "{used:?}: {told}"
        );
    }
    let refused = document(&stand.ask(&get("/")).await);
    assert_eq!(refused["remaining"], 5);
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.ends_with("This request costs 20.")));
}

#[tokio::test]
async fn a_cost_may_depend_on_the_request_and_one_that_is_too_high_is_told_so_for_good() {
    let limits = "[limits.cost]\nper = { cel = 'path.startsWith(\"/x\") ? \"x\" : \"other\"' }\nrate = \"10/d\"\n\
                  cost = 'int(headers[\"x-items\"])'";
    let (stand, _upstream) = limited(limits, "limits = [\"cost\"]").await;
    let items = |path: &str, count: &str| get(path).header("X-Items", count);
    assert_eq!(stand.ask(&items("/x1", "7")).await.status, 201);
    assert_eq!(stand.ask(&items("/x2", "4")).await.status, 429);
    assert_eq!(stand.ask(&items("/x3", "3")).await.status, 201);
    assert_eq!(stand.ask(&items("/y", "10")).await.status, 201);
    let never = stand.ask(&items("/z", "11")).await;
    assert_eq!((never.status, never.header("retry-after")), (429, None), "{never:?}");
    assert_eq!(never.header("x-should-retry"), Some("false"));
    assert!(document(&never)["next_step"].as_str().is_some_and(|step| step.contains("less in one request")));
}

#[tokio::test]
async fn an_api_with_errors_of_its_own_refuses_in_its_own_words() {
    let route = format!(
        "{NAMED}\nlimit_headers = \"both\"\n\
         refusal = {{ body = '{{\"error\":\"{{code}}\",\"message\":\"{{detail}}\",\"retry_after\":{{retry_after}}}}' }}"
    );
    let (stand, _upstream) = limited(PER_ADDRESS, &route).await;
    let first = stand.ask(&get("/")).await;
    assert_eq!((first.status, first.text().as_str()), (201, "done 1"));
    assert_eq!(first.header("x-ratelimit-limit"), Some("3"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("2"));
    assert_eq!(let_through(&stand, &get("/"), 5).await, 2);
    let refused = stand.ask(&get("/")).await;
    assert_eq!((refused.status, refused.header("content-type")), (429, Some("application/json")));
    let body = document(&refused);
    assert_eq!(body["error"], "quota-exceeded");
    assert_eq!(
        body["message"],
        "The limit `per-address` allows 3 requests a minute to each address; none is left."
    );
    assert_eq!(body["retry_after"].to_string(), refused.header("retry-after").expect("told"));
    assert_eq!(body.as_object().map(serde_json::Map::len), Some(3));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
}

#[tokio::test]
async fn a_leaky_bucket_lets_requests_wait_and_refuses_what_would_wait_too_long() {
    let limits = "[limits.calm]\nper = \"ip\"\nalgorithm = \"leaky_bucket\"\nrate = \"20/s\"\nburst = 4";
    let (stand, _upstream) = limited(limits, "limits = [\"calm\"]\ndeadline = \"10s\"").await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let address = stand.address;
        callers.spawn(async move { get("/").to(address).await.status });
    }
    // The clock of limits stands still; that of waiting does not.
    let statuses = callers.join_all().await;
    let passed = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!((passed, statuses.len()), (4, 8), "{statuses:?}");
    // A deadline that is nearer than its turn.
    stand.advance(Duration::from_millis(50));
    let hasty = stand.ask(&get("/").header("Steadfast-Timeout", "20ms")).await;
    assert_eq!(hasty.status, 429, "{hasty:?}");
    assert_eq!(stand.ask(&get("/")).await.status, 201);
}

#[tokio::test]
async fn a_reload_loses_no_counts_and_a_quota_that_changed_holds_at_once() {
    let upstream = Upstream::start(Backend::new()).await;
    let text = |rate: &str| file(&PER_ADDRESS.replace("3/min", rate), NAMED);
    let (gateway, address, _kept) = gateway(&text("3/d"), &upstream);
    let passed = async |times: usize| {
        let mut passed = 0;
        for _ in 0..times {
            passed += usize::from(get("/").to(address).await.status == 201);
        }
        passed
    };
    assert_eq!(passed(5).await, 3);
    gateway.reload(&config(&text("3/d"), &upstream)).expect("it reloads");
    assert_eq!(passed(2).await, 0);
    gateway.reload(&config(&text("8/d"), &upstream)).expect("it reloads");
    assert_eq!(passed(9).await, 5);
    let report = &gateway.limits().list()[0];
    assert_eq!((report.allowed, report.refused, report.tracked), (8, 8, 1));
}

#[tokio::test]
async fn an_operator_looks_at_a_caller_raises_its_limits_and_resets_them() {
    let upstream = Upstream::start(Backend::new()).await;
    let (gateway, address, _kept) = gateway(&file(&PER_ADDRESS.replace("min", "d"), NAMED), &upstream);
    let passed = async |who: &str, times: usize| {
        let mut passed = 0;
        for _ in 0..times {
            passed += usize::from(from(who).to(address).await.status == 201);
        }
        passed
    };
    assert_eq!((passed("192.0.2.1", 5).await, passed("192.0.2.2", 5).await), (3, 3));
    let desk = gateway.limits();
    let standing = &desk.standings("192.0.2.1", None, None, false).await.expect("known")[0];
    assert_eq!((&*standing.limit, standing.decision.is_allowed()), ("per-address", false));
    assert!(desk.standings("192.0.2.3", None, None, false).await.expect("known").is_empty());
    assert!(desk.standings("192.0.2.1", Some("other"), None, false).await.is_err());

    let hour = Duration::from_secs(3_600);
    desk.raise("192.0.2.1", Some("per-address"), 3.0, hour, ["ticket 4711", "ada"]).expect("raised");
    assert!(desk.raise("192.0.2.1", Some("other"), 3.0, hour, ["", ""]).is_err());
    assert_eq!((passed("192.0.2.1", 9).await, passed("192.0.2.2", 2).await), (6, 0));
    let (raise, left) = &desk.raised()[0];
    assert_eq!((&*raise.subject, raise.factor, *left), ("192.0.2.1", 3.0, hour));
    assert_eq!(desk.lower("192.0.2.1", None), 1);
    assert_eq!((desk.raised().len(), passed("192.0.2.1", 2).await), (0, 0));

    assert_eq!(desk.standings("192.0.2.1", None, None, true).await.expect("known").len(), 1);
    assert_eq!((passed("192.0.2.1", 5).await, passed("192.0.2.2", 2).await), (3, 0));
}

/// A gateway at hand, its address, and what it needs to be kept.
fn gateway(text: &str, upstream: &Upstream) -> (Gateway, std::net::SocketAddr, Box<dyn std::any::Any>) {
    let (ledger, clock, folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway =
        Gateway::start_with(&config(text, upstream), log, ledger.clone(), clock).expect("it starts");
    let address = gateway.address();
    (gateway, address, Box::new((ledger, folder)))
}

fn config(text: &str, upstream: &Upstream) -> Config {
    let text = format!("listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n{text}");
    let text = text.replace("UPSTREAM", &upstream.address().to_string());
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    loaded.unwrap_or_else(|errors| panic!("{errors}")).config
}
