//! Claims about routes with a cache, over real sockets.

use std::time::Duration;

use steadfast_gateway::{
    Gateway, LogTo,
    config::{Config, Environment, Overrides, parse},
};

use crate::{
    contract::{
        Stand,
        backend::{Act, Backend},
        fresh_ledger,
        wire::Ask,
    },
    stand::from_file,
    upstream::Upstream,
};

const FILE: &str = r#"
[edge]
trusted_proxies = ["127.0.0.1"]
[upstreams.shop]
url = "http://UPSTREAM"

[[routes]]
path = "/kept/*"
upstream = "shop"
cache = {}
cors = { origins = ["https://a.example", "https://b.example"] }

[[routes]]
path = "/keyed"
upstream = "shop"
cache = { stale_if_error = "1h" }
idempotency = { credential_headers = ["X-Api-Key"] }

[[routes]]
path = "/asked"
upstream = "shop"
cache = { ttl = "0s", stale_if_error = "1h" }

[[routes]]
path = "/plain"
upstream = "shop"
"#;

async fn stand() -> (Stand, Upstream) {
    let upstream = Upstream::start(Backend::new()).await;
    (from_file(FILE, &upstream), upstream)
}

fn fresh(body: &str) -> Act {
    Act::answer(200, body).header("Cache-Control", "max-age=60")
}

#[tokio::test]
async fn only_a_route_that_says_so_keeps_answers() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(fresh("one"));
    for _ in 0..2 {
        let answer = stand.ask(&Ask::new("GET", "/kept/a")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
        assert!(answer.header("cache-status").is_some_and(|said| said.starts_with("steadfast; ")));
        assert!(answer.header("x-request-id").is_some());
    }
    assert_eq!(stand.backend.count(), 1);
    stand.backend.will(fresh("two"));
    stand.backend.will(fresh("three"));
    for expected in ["two", "three"] {
        let answer = stand.ask(&Ask::new("GET", "/plain")).await;
        assert_eq!((answer.text().as_str(), answer.header("cache-status")), (expected, None));
    }
    let head = stand.ask(&Ask::new("HEAD", "/kept/a")).await;
    assert_eq!((head.status, head.text().as_str(), head.header("content-length")), (200, "", Some("3")));
}

#[tokio::test]
async fn no_time_at_all_asks_every_time_and_keeps_the_answer_for_a_failure() {
    let (stand, _upstream) = stand().await;
    for body in ["one", "two"] {
        stand.backend.will(Act::answer(200, body));
        assert_eq!(stand.ask(&Ask::new("GET", "/asked")).await.text(), body);
    }
    stand.backend.will(Act::answer(503, "busy"));
    let answer = stand.ask(&Ask::new("GET", "/asked")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "two"));
    assert_eq!(answer.header("steadfast-degraded"), Some("stale"));
    assert_eq!(stand.backend.count(), 3);
}

#[tokio::test]
async fn each_page_reads_a_kept_answer_as_its_own() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(fresh("one"));
    for origin in ["https://a.example", "https://b.example"] {
        let answer = stand.ask(&Ask::new("GET", "/kept/a").header("Origin", origin)).await;
        assert_eq!(answer.text(), "one");
        assert_eq!(answer.headers.all("access-control-allow-origin"), [origin]);
    }
}

#[tokio::test]
async fn what_a_proxy_says_of_the_address_tells_answers_apart() {
    let (stand, _upstream) = stand().await;
    for (number, host) in ["evil.example", "api.example"].into_iter().enumerate() {
        stand.backend.will(fresh(host));
        let ask =
            Ask::new("GET", "/kept/a").header("X-Forwarded-Host", host).header("X-Forwarded-Proto", "https");
        for _ in 0..2 {
            assert_eq!(stand.ask(&ask).await.text(), host);
        }
        assert_eq!(stand.backend.count(), number + 1);
    }
}

#[tokio::test]
async fn nobody_is_given_an_answer_by_what_only_the_gateway_may_say_of_them() {
    let upstream = Upstream::start(Backend::new()).await;
    let route = "[upstreams.shop]\nurl = \"http://UPSTREAM\"\n\
                 [[routes]]\npath = \"/*\"\nupstream = \"shop\"\ncache = {}\n";
    let stand = from_file(route, &upstream);
    for (field, said) in [("Via", "1.1 steadfast"), ("Forwarded", "for=198.51.100.7")] {
        let path = format!("/{field}");
        stand.backend.will(fresh("theirs").header("Vary", field));
        for _ in 0..2 {
            assert_eq!(stand.ask(&Ask::new("GET", &path)).await.text(), "theirs");
        }
        // What they forge is replaced or added to before the cache reads it, and never what finds an answer.
        if field == "Via" {
            stand.backend.will(fresh("forged").header("Vary", field));
        }
        let forged = stand.ask(&Ask::new("GET", &path).header(field, said)).await;
        assert_eq!(forged.text(), if field == "Via" { "forged" } else { "theirs" }, "{field}");
    }
    assert_eq!(stand.backend.count(), 3);
}

#[tokio::test]
async fn a_credential_of_the_route_is_one_for_the_cache() {
    let (stand, _upstream) = stand().await;
    for who in ["ada", "bob"] {
        stand.backend.will(fresh(who));
        let ask = Ask::new("GET", "/keyed").header("X-Api-Key", who);
        assert_eq!(stand.ask(&ask).await.text(), who);
    }
}

#[tokio::test]
async fn a_keyed_write_makes_the_next_read_see_it() {
    let (stand, _upstream) = stand().await;
    stand.backend.will(fresh("before"));
    assert_eq!(stand.ask(&Ask::new("GET", "/keyed")).await.text(), "before");
    let wrote = stand.ask(&Ask::post("/keyed").key("k").header("X-Api-Key", "ada").body("x")).await;
    assert_eq!(wrote.status, 201, "{}", wrote.text());
    stand.backend.will(fresh("after"));
    assert_eq!(stand.ask(&Ask::new("GET", "/keyed")).await.text(), "after");
}

#[tokio::test]
async fn a_reload_keeps_what_is_kept_unless_it_changes_what_the_route_is_answered_from() {
    let upstream = Upstream::start(Backend::new()).await;
    let backend = upstream.backend().clone();
    let load = |cache: &str| -> Config {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n[upstreams.shop]\nurl = \"http://{}\"\n\
             [[routes]]\npath = \"/*\"\nupstream = \"shop\"\ncache = {cache}\n",
            upstream.address()
        );
        let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
        loaded.unwrap_or_else(|errors| panic!("{errors}")).config
    };
    let (ledger, clock, folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway = Gateway::start_with(&load("{}"), log, ledger.clone(), clock.clone()).expect("it starts");
    let stand = Stand {
        address: gateway.address(),
        backend: backend.clone(),
        clock,
        ledger,
        _kept: Box::new(folder),
    };
    let get = Ask::new("GET", "/a");
    backend.will(fresh("one"));
    assert_eq!(stand.ask(&get).await.text(), "one");
    gateway.reload(&load("{}")).expect("the same config");
    assert_eq!(stand.ask(&get).await.text(), "one");
    gateway.reload(&load("{ ttl = \"5s\" }")).expect("another config");
    backend.will(fresh("two"));
    assert_eq!(stand.ask(&get).await.text(), "two");
    stand.advance(Duration::from_secs(1));
    assert_eq!(stand.ask(&get).await.header("age"), Some("1"));
    // Who is banned is given nothing, of what is kept either.
    gateway
        .reload(&load("{ ttl = \"5s\" }\n[abuse]\nnever = []\nbans = [{ of = \"127.0.0.1\" }]"))
        .expect("a ban");
    assert_eq!(stand.ask(&get).await.status, 403);
    let metrics = gateway.metrics();
    assert!(metrics.contains("steadfast_cache_hits_total{http_route=\"/*\"} 2"), "{metrics}");
    assert!(metrics.contains("steadfast_cache_targets 2"), "{metrics}");
}
