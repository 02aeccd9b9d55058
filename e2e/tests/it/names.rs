//! Upstreams behind names of a private DNS server, which come, change, vanish and fall silent under load.

use std::time::{Duration, Instant};

use e2e::{Answer, Ask, Caller, Gateway, NameServer, Replica, Says, await_that};
use tempfile::TempDir;

const NAME: &str = "shop.test";
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(2);
/// What a request over the loopback never takes, however busy the machine is.
const SLOW: Duration = Duration::from_millis(900);

/// Caller → gateway → replicas behind one name.
struct Street {
    names: NameServer,
    replicas: [Replica; 2],
    gateway: Gateway,
    caller: Caller,
    _folder: TempDir,
}

impl Street {
    async fn open(says: Says, more: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let names = NameServer::start().await;
        names.say(NAME, says);
        let replicas = Replica::start().await;
        let config = folder.path().join("steadfast.toml");
        let text = format!(
            "ledger = \"sqlite:{}\"\n[resolver]\nservers = [\"{}\"]\n[upstreams.shop]\nurl = \"http://{NAME}:{}\"\n\
             timeout = {{ connect = \"{}ms\" }}\n{more}\n[[routes]]\npath = \"/*\"\nupstream = \"shop\"\n",
            folder.path().join("ledger.db").display(),
            names.addr(),
            replicas[0].addr().port(),
            CONNECT.as_millis(),
        );
        std::fs::write(&config, text).expect("the test's folder");
        let mut gateway = Gateway::serve(folder.path(), "gateway", &config);
        gateway.start().await;
        let caller = Caller::new(gateway.addr(), PATIENCE);
        Self { names, replicas, gateway, caller, _folder: folder }
    }

    async fn ask(&mut self) -> (Answer, Duration) {
        let begun = Instant::now();
        let answer = self.caller.ask(&Ask::get("/")).await.expect("an answer");
        (answer, begun.elapsed())
    }

    /// Asks without a pause until the name was looked up so many times more; every request must be served at once.
    async fn serves_while_looked_up(&mut self, times: usize) {
        // Each look-up asks for both families.
        let until = self.names.asked(NAME) + 2 * times;
        let begun = Instant::now();
        while self.names.asked(NAME) < until {
            let (answer, took) = self.ask().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(took < SLOW, "{took:?}");
            assert!(begun.elapsed() < PATIENCE, "the name is not looked up");
        }
    }

    /// How many of `count` requests each replica gets.
    async fn shares(&mut self, count: usize) -> [usize; 2] {
        let before = [self.replicas[0].requests(), self.replicas[1].requests()];
        for _ in 0..count {
            let (answer, _) = self.ask().await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        [self.replicas[0].requests() - before[0], self.replicas[1].requests() - before[1]]
    }

    async fn await_share(&mut self, what: &str, is_it: impl Fn([usize; 2]) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let shares = self.shares(50).await;
            if is_it(shares) {
                return;
            }
            assert!(Instant::now() < until, "{what}: {shares:?}");
        }
    }

    async fn metric(&self, name: &str) -> u64 {
        let page = self.gateway.ask_admin(&Ask::get("/metrics")).await.expect("the metrics");
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    }

    async fn await_metric(&self, name: &str, expected: u64) {
        await_that(name, PATIENCE, async || (self.metric(name).await == expected).then_some(())).await;
    }

    fn all(&self) -> Says {
        Says::Addresses(self.replicas.iter().map(Replica::ip).collect())
    }
}

fn addresses(texts: &[&str]) -> Says {
    Says::Addresses(texts.iter().map(|text| text.parse().expect("an address")).collect())
}

fn assert_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_deref()), (502, Some("upstream-unavailable")), "{answer:?}");
}

#[tokio::test]
async fn every_address_of_a_name_gets_its_share_and_one_that_is_withdrawn_gets_none() {
    let mut street = Street::open(addresses(&["127.0.0.2", "127.0.0.1"]), "").await;
    street.await_share("both are used", |[one, other]| one >= 10 && other >= 10).await;
    assert_eq!(street.metric("steadfast_upstream_endpoints").await, 2);

    street.names.say(NAME, addresses(&["127.0.0.1"]));
    street.await_share("only the first is used", |[_, other]| other == 0).await;
    street.serves_while_looked_up(2).await;
    assert_eq!(street.shares(50).await, [50, 0]);
    assert_eq!(street.metric("steadfast_upstream_endpoints").await, 1);

    street.names.say(NAME, street.all());
    street.await_share("both are used again", |[one, other]| one >= 10 && other >= 10).await;
}

#[tokio::test]
async fn a_name_that_vanishes_costs_nobody_anything() {
    let mut street = Street::open(addresses(&["127.0.0.1", "127.0.0.2"]), "").await;
    street.serves_while_looked_up(1).await;
    for says in [Says::Missing, Says::Failure, Says::Silence, Says::Addresses(Vec::new())] {
        street.names.say(NAME, says.clone());
        street.await_metric("steadfast_upstream_names_lost", 1).await;
        street.serves_while_looked_up(1).await;
        assert_eq!(street.metric("steadfast_upstream_endpoints").await, 2, "{says:?}");
        street.names.say(NAME, street.all());
        street.await_metric("steadfast_upstream_names_lost", 0).await;
    }
    let log = street.gateway.errors();
    assert!(log.contains("is not found any more: the last known addresses stay in use"), "{log}");
}

#[tokio::test]
async fn a_name_that_was_never_found_is_refused_at_once_and_served_when_it_appears() {
    let mut street = Street::open(Says::Missing, "").await;
    for _ in 0..20 {
        let (answer, took) = street.ask().await;
        assert_refused(&answer);
        assert!(took < SLOW, "{took:?}");
    }
    street.names.say(NAME, addresses(&["127.0.0.2"]));
    street.await_metric("steadfast_upstream_names_lost", 0).await;
    assert_eq!(street.shares(10).await, [0, 10]);
}

#[tokio::test]
async fn a_silent_server_is_waited_for_once_and_no_longer_than_a_connection() {
    let mut street = Street::open(Says::Silence, "").await;
    let (answer, took) = street.ask().await;
    assert_refused(&answer);
    assert!(took < CONNECT + SLOW, "{took:?}");
    // From the end of the first look-up on nobody waits for the next.
    street.await_metric("steadfast_upstream_names_lost", 1).await;
    for _ in 0..20 {
        let (answer, took) = street.ask().await;
        assert_refused(&answer);
        assert!(took < SLOW, "{took:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_its_checks_gets_no_requests_until_it_passes_them_again() {
    let health = "health = { path = \"/healthz\", interval = \"100ms\", fall = 2, rise = 2 }";
    let mut street = Street::open(addresses(&["127.0.0.1", "127.0.0.2"]), health).await;
    street.await_share("both are used", |[one, other]| one >= 10 && other >= 10).await;
    assert!(street.replicas.iter().all(|replica| replica.checks() > 0));

    street.replicas[0].say_well(false);
    street.await_metric("steadfast_upstream_endpoints_healthy", 1).await;
    assert_eq!(street.shares(50).await, [0, 50]);

    // Better a try than none.
    street.replicas[1].say_well(false);
    street.await_metric("steadfast_upstream_endpoints_healthy", 0).await;
    street.await_share("all are used", |[one, other]| one >= 10 && other >= 10).await;
    assert!(street.metric("steadfast_upstream_health_checks_failed_total").await >= 4);

    street.replicas[0].say_well(true);
    street.await_metric("steadfast_upstream_endpoints_healthy", 1).await;
    assert_eq!(street.shares(50).await, [50, 0]);

    street.replicas[1].say_well(true);
    street.await_metric("steadfast_upstream_endpoints_healthy", 2).await;
    street.await_share("both are used again", |[one, other]| one >= 10 && other >= 10).await;
    let log = street.gateway.errors();
    assert!(
        log.contains("fails its health checks") && log.contains("passes its health checks again"),
        "{log}"
    );
}

#[tokio::test]
async fn an_address_that_appears_gets_no_requests_before_it_has_passed_a_check() {
    let health = "health = { path = \"/healthz\", interval = \"100ms\" }";
    let mut street = Street::open(addresses(&["127.0.0.1"]), health).await;
    street.serves_while_looked_up(1).await;
    street.replicas[1].say_well(false);
    street.names.say(NAME, street.all());
    street.await_metric("steadfast_upstream_endpoints", 2).await;
    while street.replicas[1].checks() < 5 {
        assert_eq!(street.shares(10).await, [10, 0]);
    }
    assert_eq!(street.metric("steadfast_upstream_endpoints_healthy").await, 1);
    street.replicas[1].say_well(true);
    street.await_share("both are used", |[one, other]| one >= 10 && other >= 10).await;
}
