//! Claims about who is kept out, over real sockets. Whoever connects here from 127.0.0.1 is a trusted proxy, so that a test
//! says in `X-Forwarded-For` who is calling.

use std::time::Duration;

use serde_json::Value;
use steadfast_core::{BanOrder, BanSource, BanTime};
use steadfast_gateway::config::{Environment, Overrides, parse};
use steadfast_ledger::{Bans, LedgerError, Revision};

use crate::{
    authentication::{House, bearing, house_of},
    contract::{
        backend::Act,
        wire::{Answer, Ask},
    },
};

const MINUTE: Duration = Duration::from_secs(60);

fn file(abuse: &str) -> String {
    format!(
        r#"
[edge]
trusted_proxies = ["127.0.0.1"]

[upstreams.shop]
url = "http://UPSTREAM"

[authentication.customers]
api_keys = {{}}

[limits.per-customer]
per = "principal"
rate = "1/min"

{abuse}

[[routes]]
path = "/mine"
upstream = "shop"
authentication = {{ by = ["customers"] }}
cors = {{ origins = ["https://shop.example"] }}

[[routes]]
path = "/keyed"
upstream = "shop"
authentication = {{ by = ["customers"] }}
idempotency = {{}}

[[routes]]
path = "/limited"
upstream = "shop"
authentication = {{ by = ["customers"], optional = true }}
limits = ["per-customer"]

[[routes]]
path = "/open"
upstream = "shop"
"#
    )
}

const UNAUTHENTICATED: &str =
    "[abuse]\nunauthenticated = { count = 3, within = \"1m\", ban_for = \"10m\", ban_for_max = \"15m\" }";

fn open(address: &str) -> Ask {
    Ask::new("GET", "/open").by("").header("X-Forwarded-For", address)
}

/// A request with a key that nobody gave out.
fn bad(address: &str) -> Ask {
    bearing("/mine", "sf_wrong").header("X-Forwarded-For", address)
}

async fn statuses(house: &House, ask: &Ask, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(house.ask(ask).await.status);
    }
    statuses
}

async fn banned(house: &House, subject: &str, lasts: BanTime, challenge: Option<&str>) {
    let order = BanOrder {
        subject: subject.parse().expect("a subject"),
        source: BanSource::ByHand,
        at: house.stand.clock.wall(),
        lasts,
        reason: "secret suspicions".into(),
        by: "ada".into(),
        challenge: challenge.map(Into::into),
        repeats: 0,
    };
    house.stand.ledger.ban(order).await.expect("a ledger that works").expect("a ban");
    house.gateway.refresh_bans().await;
}

fn problem(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test]
async fn whoever_is_banned_is_told_until_when_and_where_to_go_and_not_why() {
    let house = house_of(&file("")).await;
    assert_eq!(house.ask(&open("203.0.113.7")).await.status, 201);
    banned(&house, "203.0.113.0/24", BanTime::For(MINUTE * 10), Some("https://example.org/human")).await;
    let sent = house.stand.backend.count();
    let refused = house.ask(&open("203.0.113.7")).await;
    assert_eq!((refused.status, house.stand.backend.count()), (403, sent), "nothing of it was sent");
    let document = problem(&refused);
    assert_eq!((&document["code"], &document["retry_after"]), (&"banned".into(), &600.into()));
    assert_eq!(document["challenge"], "https://example.org/human");
    assert!(document["until"].is_string() && !refused.text().contains("secret"), "{document}");
    assert_eq!(refused.header("retry-after"), Some("600"));
    assert_eq!(
        refused.header("link"),
        Some("<https://example.org/human>; rel=\"help\"; title=\"challenge\"")
    );
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    // The page that explains it is there for them, and what is theirs is not.
    let page = Ask::new("GET", "/.steadfast/problems/banned").by("").header("X-Forwarded-For", "203.0.113.7");
    assert_eq!(house.ask(&page).await.status, 200);
    let operation =
        Ask::new("GET", "/.steadfast/operations/x").by("").header("X-Forwarded-For", "203.0.113.7");
    assert_eq!(house.ask(&operation).await.status, 403);
    assert_eq!(house.ask(&open("203.0.114.7")).await.status, 201, "their neighbours are served");
    house.stand.advance(MINUTE * 10);
    assert_eq!(house.ask(&open("203.0.113.7")).await.status, 201, "its time is over");
}

#[tokio::test]
async fn a_ban_is_lifted_and_one_for_ever_says_no_time() {
    let house = house_of(&file("")).await;
    banned(&house, "2001:db8::/48", BanTime::ForEver, None).await;
    let refused = house.ask(&open("2001:db8::7")).await;
    assert_eq!((refused.status, refused.header("retry-after"), refused.header("link")), (403, None, None));
    assert!(problem(&refused)["next_step"].as_str().is_some_and(|step| step.contains("ask whoever runs")));
    let subject = "2001:db8::/48".parse().expect("a subject");
    house.stand.ledger.lift(subject, house.stand.clock.wall()).await.expect("a ban");
    house.gateway.refresh_bans().await;
    assert_eq!(house.ask(&open("2001:db8::7")).await.status, 201);
}

#[tokio::test]
async fn a_banned_principal_is_kept_out_from_wherever_it_calls_and_nobody_else_is() {
    let house = house_of(&file("")).await;
    let acme = house.key(|record| record).await;
    let other =
        house.key(|record| steadfast_ledger::CredentialRecord { principal: "other".into(), ..record }).await;
    let asks = |key: &steadfast_core::ApiKey, from: &str| {
        bearing("/mine", key.reveal())
            .header("X-Forwarded-For", from)
            .header("Origin", "https://shop.example")
    };
    house.stand.backend.will(Act::answer(500, "who knows"));
    let post = bearing("/keyed", acme.reveal()).method("POST").key("k");
    house.ask(&post).await;
    let link = house.ask(&post).await.operation_link();
    let operation = |key: &steadfast_core::ApiKey| bearing(&link, key.reveal());
    assert_eq!(house.ask(&operation(&acme)).await.status, 200);
    banned(&house, "principal:acme", BanTime::For(MINUTE), None).await;
    // What is theirs is not shown to them meanwhile, and to others not at all.
    assert_eq!(house.ask(&operation(&acme)).await.status, 403);
    assert_eq!(house.ask(&operation(&other)).await.status, 404);
    for from in ["203.0.113.7", "198.51.100.1", "2001:db8::1"] {
        let refused = house.ask(&asks(&acme, from)).await;
        assert_eq!((refused.status, &problem(&refused)["code"]), (403, &"banned".into()), "{from}");
        // A page of another origin may read why.
        assert_eq!(refused.header("access-control-allow-origin"), Some("https://shop.example"));
        assert_eq!(house.ask(&asks(&other, from)).await.status, 201, "{from}");
        assert_eq!(house.ask(&open(from)).await.status, 201, "{from}");
    }
}

#[tokio::test]
async fn an_address_that_shows_no_good_credential_is_banned_and_each_time_for_longer() {
    let house = house_of(&file(UNAUTHENTICATED)).await;
    let bad_from = bad("203.0.113.7");
    for minutes in [10, 15, 15] {
        assert_eq!(statuses(&house, &bad_from, 5).await, [401, 401, 401, 403, 403]);
        let refused = house.ask(&open("203.0.113.7")).await;
        assert_eq!(problem(&refused)["retry_after"], minutes * 60);
        assert!(
            problem(&refused)["detail"].as_str().is_some_and(|detail| detail.contains("no good credential"))
        );
        house.stand.advance(MINUTE * u32::try_from(minutes).expect("few"));
    }
    assert_eq!(house.ask(&open("203.0.113.8")).await.status, 201);
    house.gateway.refresh_bans().await;
    let kept = house.stand.ledger.bans(Revision::default()).await.expect("a ledger that works").bans;
    assert_eq!((kept.len(), kept[0].repeats), (1, 2), "the ledger knows of it");
    let metrics = house.gateway.metrics();
    for line in [
        "steadfast_bans_made_total{source=\"unauthenticated\"} 3",
        "steadfast_ban_refused_total{source=\"unauthenticated\"} 9",
        "steadfast_bans{source=\"unauthenticated\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn whoever_was_let_in_again_begins_anew_and_still_is_banned_again() {
    let rule = "[abuse]\nunauthenticated = { count = 3, within = \"10m\", ban_for = \"1m\" }";
    let house = house_of(&file(rule)).await;
    assert_eq!(statuses(&house, &bad("198.51.100.1"), 4).await, [401, 401, 401, 403]);
    house.gateway.refresh_bans().await;
    let subject = "198.51.100.1".parse().expect("a subject");
    house.stand.ledger.lift(subject, house.stand.clock.wall()).await.expect("a ban");
    house.gateway.refresh_bans().await;
    assert_eq!(statuses(&house, &bad("198.51.100.1"), 4).await, [401, 401, 401, 403], "within the window");
    house.stand.advance(MINUTE);
    assert_eq!(statuses(&house, &bad("198.51.100.1"), 4).await, [401, 401, 401, 403], "its time was over");
}

#[tokio::test]
async fn addresses_of_one_ipv6_network_count_as_one_and_are_banned_as_one() {
    let house = house_of(&file(UNAUTHENTICATED)).await;
    for (host, expected) in [("1", 401), ("2", 401), ("ffff", 401), ("3", 403)] {
        assert_eq!(house.ask(&bad(&format!("2001:db8:0:1::{host}"))).await.status, expected, "{host}");
    }
    assert_eq!(house.ask(&open("2001:db8:0:2::1")).await.status, 201);
}

#[tokio::test]
async fn an_upstream_s_401_counts_and_its_429_does_not() {
    let rules = "[abuse]\nunauthenticated = { count = 2, within = \"1m\", ban_for = \"10m\" }\n\
                 limit_storm = { count = 2, within = \"1m\", ban_for = \"10m\" }";
    let house = house_of(&file(rules)).await;
    (0..4).for_each(|_| house.stand.backend.will(Act::answer(429, "")));
    assert_eq!(statuses(&house, &open("203.0.113.7"), 4).await, [429; 4]);
    (0..2).for_each(|_| house.stand.backend.will(Act::answer(401, "")));
    assert_eq!(statuses(&house, &open("203.0.113.7"), 3).await, [401, 401, 403]);
}

#[tokio::test]
async fn whoever_goes_on_beyond_limits_is_banned_a_principal_as_such_and_others_by_address() {
    let storm = "[abuse]\nlimit_storm = { count = 3, within = \"1m\", ban_for = \"10m\" }";
    let house = house_of(&file(storm)).await;
    let key = house.key(|record| record).await;
    let known = |from: &str| bearing("/limited", key.reveal()).header("X-Forwarded-For", from);
    assert_eq!(statuses(&house, &known("203.0.113.7"), 5).await, [201, 429, 429, 429, 403]);
    assert_eq!(house.ask(&known("198.51.100.1")).await.status, 403);
    let unknown = |from: &str| Ask::new("GET", "/limited").by("").header("X-Forwarded-For", from);
    assert_eq!(statuses(&house, &unknown("203.0.113.7"), 5).await, [201, 429, 429, 429, 403]);
    assert_eq!(house.ask(&unknown("203.0.113.8")).await.status, 201);
}

#[tokio::test]
async fn nobody_is_banned_because_others_used_up_what_all_share() {
    let rules = "[limits.for-all]\nper = \"route\"\nrate = \"1/min\"\n\
                 [abuse]\nlimit_storm = { count = 2, within = \"1m\", ban_for = \"10m\" }";
    let text = file(rules).replace("limits = [\"per-customer\"]", "limits = [\"for-all\"]");
    let house = house_of(&text).await;
    let ask = Ask::new("GET", "/limited").by("").header("X-Forwarded-For", "203.0.113.7");
    assert_eq!(statuses(&house, &ask, 5).await, [201, 429, 429, 429, 429]);
}

#[tokio::test]
async fn a_principal_whose_name_no_ban_can_have_is_banned_by_address() {
    let rules = "[abuse]\nlimit_storm = { count = 2, within = \"1m\", ban_for = \"10m\" }";
    let house = house_of(&file(rules)).await;
    let key =
        house.key(|record| steadfast_ledger::CredentialRecord { principal: "acme ".into(), ..record }).await;
    let ask = bearing("/limited", key.reveal()).header("X-Forwarded-For", "203.0.113.7");
    assert_eq!(statuses(&house, &ask, 4).await, [201, 429, 429, 403]);
    house.gateway.refresh_bans().await;
    let kept = house.stand.ledger.bans(Revision::default()).await.expect("a ledger that works").bans;
    assert_eq!(kept.iter().map(|ban| ban.subject.to_string()).collect::<Vec<_>>(), ["203.0.113.7"]);
}

#[tokio::test]
async fn shadow_mode_notes_who_would_be_banned_and_keeps_nobody_out() {
    let shadow =
        "[abuse]\nunauthenticated = { count = 2, within = \"1m\", ban_for = \"10m\", mode = \"shadow\" }";
    let house = house_of(&file(shadow)).await;
    assert_eq!(statuses(&house, &bad("203.0.113.7"), 4).await, [401; 4]);
    assert_eq!(house.ask(&open("203.0.113.7")).await.status, 201);
    let metrics = house.gateway.metrics();
    for line in [
        "steadfast_bans_would_make_total{source=\"unauthenticated\"} 1",
        "steadfast_bans_made_total{source=\"unauthenticated\"} 0",
        "steadfast_ban_would_refuse_total{source=\"unauthenticated\"} 3",
        "steadfast_ban_refused_total{source=\"unauthenticated\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let [(ban, true)] = &*house.gateway.abuse().beside_the_ledger() else { panic!("one that is only noted") };
    assert_eq!(ban.subject.to_string(), "203.0.113.7");
}

#[tokio::test]
async fn no_ban_keeps_out_a_trusted_proxy_or_whoever_is_never_banned() {
    let rules = format!("{UNAUTHENTICATED}\nnever = [\"198.51.100.0/24\", \"principal:acme\"]");
    let house = house_of(&file(&rules)).await;
    // The proxy itself calls.
    let itself = bearing("/mine", "sf_wrong");
    assert_eq!(statuses(&house, &itself, 6).await, [401; 6]);
    assert_eq!(statuses(&house, &bad("198.51.100.7"), 6).await, [401; 6]);
    banned(&house, "198.51.0.0/16", BanTime::ForEver, None).await;
    banned(&house, "127.0.0.0/8", BanTime::ForEver, None).await;
    banned(&house, "principal:acme", BanTime::ForEver, None).await;
    assert_eq!(house.ask(&open("198.51.100.7")).await.status, 201);
    assert_eq!(house.ask(&open("198.51.101.7")).await.status, 403);
    assert_eq!(house.ask(&Ask::new("GET", "/open").by("")).await.status, 201);
    let key = house.key(|record| record).await;
    assert_eq!(house.ask(&bearing("/mine", key.reveal())).await.status, 201);
}

#[tokio::test]
async fn a_reload_changes_who_the_config_bans_and_forgets_nobody_else() {
    let config = "[abuse]\nbans = [{ of = \"203.0.113.0/24\", reason = \"it scrapes\" }, { of = \"principal:acme\" }]\n\
                  unauthenticated = { count = 3, within = \"1m\", ban_for = \"10m\" }";
    let house = house_of(&file(config)).await;
    let key = house.key(|record| record).await;
    let mine = bearing("/mine", key.reveal());
    assert_eq!((house.ask(&open("203.0.113.7")).await.status, house.ask(&mine).await.status), (403, 403));
    assert_eq!(statuses(&house, &bad("198.51.100.1"), 4).await, [401, 401, 401, 403]);
    assert_eq!(statuses(&house, &bad("198.51.100.2"), 2).await, [401, 401]);

    let text =
        format!("listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n{}", file(UNAUTHENTICATED));
    let text = text.replace("UPSTREAM", "127.0.0.1:1");
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    house.gateway.reload(&loaded.unwrap_or_else(|errors| panic!("{errors}")).config).expect("it reloads");
    assert_eq!(
        house.ask(&open("203.0.113.7")).await.status,
        502,
        "they are let in, and its upstream is gone"
    );
    assert_eq!(house.ask(&mine).await.status, 502);
    assert_eq!(house.ask(&open("198.51.100.1")).await.status, 403, "who was banned stays banned");
    assert_eq!(statuses(&house, &bad("198.51.100.2"), 2).await, [401, 403], "what was counted stays counted");
}

#[tokio::test]
async fn a_ledger_that_is_lost_lets_nobody_in_and_locks_nobody_out_and_is_told_when_it_is_back() {
    let house = house_of(&file(UNAUTHENTICATED)).await;
    banned(&house, "203.0.113.7", BanTime::ForEver, None).await;
    house.stand.ledger.fail_bans(Some(LedgerError::Unreachable("gone".into())));
    house.gateway.refresh_bans().await;
    assert_eq!(
        (house.ask(&open("203.0.113.7")).await.status, house.ask(&open("203.0.113.8")).await.status),
        (403, 201)
    );
    assert_eq!(statuses(&house, &bad("198.51.100.1"), 4).await, [401, 401, 401, 403]);
    house.gateway.refresh_bans().await;
    assert_eq!(house.ask(&open("198.51.100.1")).await.status, 403);
    house.stand.ledger.fail_bans(None);
    house.gateway.refresh_bans().await;
    let kept = house.stand.ledger.bans(Revision::default()).await.expect("it works again").bans;
    assert!(kept.iter().any(|ban| ban.subject.to_string() == "198.51.100.1"), "{kept:?}");
}

#[tokio::test]
async fn a_principal_who_asks_for_far_more_than_usual_is_noticed_and_where_it_is_said_slowed_down() {
    for (mode, expected) in [("shadow", 201), ("enforce", 429)] {
        let rule = format!(
            "[abuse]\nbaseline = {{ factor = 10, at_least = \"30/min\", learn = \"10m\", mode = \"{mode}\" }}"
        );
        let house = house_of(&file(&rule)).await;
        let key = house.key(|record| record).await;
        let mine = bearing("/mine", key.reveal());
        for _ in 0..40 {
            assert_eq!(house.ask(&mine).await.status, 201);
            house.stand.advance(Duration::from_secs(30));
        }
        let burst = statuses(&house, &mine, 60).await;
        assert_eq!((burst[0], burst[59]), (201, expected), "{burst:?}");
        let metrics = house.gateway.metrics();
        assert!(metrics.contains("steadfast_abnormal_usage_total{policy=\"baseline\"} 1"), "{metrics}");
        assert!(metrics.contains("steadfast_baselines_tracked{policy=\"baseline\"} 1"), "{metrics}");
        if expected == 429 {
            let refused = house.ask(&mine).await;
            let document = problem(&refused);
            assert_eq!(
                document["type"],
                "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
            );
            assert_eq!(document["violated-policies"], serde_json::json!(["baseline"]));
            let seconds = document["retry_after"].as_u64().expect("seconds");
            assert_eq!(refused.header("x-should-retry"), Some("true"));
            house.stand.advance(Duration::from_secs(seconds));
            assert_eq!(house.ask(&mine).await.status, 201, "whoever waits is let through");
        }
    }
}
