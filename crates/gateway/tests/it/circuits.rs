//! Circuits: an upstream that fails is left alone, and its callers know at once.

use std::{sync::Arc, time::Duration};

use steadfast_core::circuit::Phase;
use steadfast_gateway::{
    CircuitOrder, Gateway, LogTo, NotOrdered,
    config::{Config, Environment, Overrides, parse},
};

use crate::{
    contract::{
        backend::{Act, Backend},
        fresh_ledger,
        refusal::Again,
        wire::{Answer, Ask},
    },
    upstream::Upstream,
};

/// A gateway in front of a `bank` with this circuit, and everything that must not be dropped before it.
struct Bank {
    gateway: Gateway,
    config: Config,
    upstream: Upstream,
    _folder: tempfile::TempDir,
}

fn config(upstream: &Upstream, circuit: &str) -> Config {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n[upstreams.bank]\nurl = \"http://{}\"\n\
         circuit = {circuit}\n[[routes]]\npath = \"/*\"\nupstream = \"bank\"\n",
        upstream.address()
    );
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    loaded.unwrap_or_else(|errors| panic!("{errors}")).config
}

impl Bank {
    async fn with(circuit: &str) -> Self {
        let upstream = Upstream::start(Backend::new()).await;
        let config = config(&upstream, circuit);
        let (ledger, clock, folder) = fresh_ledger();
        let log = LogTo { writer: Box::new(std::io::sink()), text: false };
        let gateway = Gateway::start_with(&config, log, Arc::clone(&ledger) as _, clock).expect("it starts");
        Self { gateway, config, upstream, _folder: folder }
    }

    async fn ask(&self) -> Answer {
        Ask::new("GET", "/any").to(self.gateway.address()).await
    }

    /// Asks so often, and is answered so each time.
    async fn answers(&self, times: usize, status: u16) {
        for _ in 0..times {
            self.upstream.backend().will(Act::answer(status, "an answer"));
            assert_eq!(self.ask().await.status, status);
        }
    }

    fn phase(&self) -> Phase {
        let endpoints = self.gateway.endpoints();
        endpoints[0].1[0].circuit.expect("it has one").0.phase
    }

    fn order(&self, order: CircuitOrder) {
        assert_eq!(self.gateway.order_circuits("bank", None, order), Ok(1));
    }

    fn metric(&self, name: &str) -> String {
        let metrics = self.gateway.metrics();
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.unwrap_or_else(|| panic!("{name} in {metrics}"))
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

#[tokio::test]
async fn a_failing_upstream_is_left_alone_and_its_callers_know_at_once() {
    let bank = Bank::with("{ volume_min = 5, open_for = \"1m\", probes = 2 }").await;
    bank.answers(2, 200).await;
    bank.answers(3, 500).await;
    for _ in 0..10 {
        let refused = bank.ask().await;
        let after: u64 = refused.header("retry-after").expect("when to come again").parse().expect("seconds");
        assert!((54..=60).contains(&after), "{after}");
        let told = refused.refused(503, "circuit-open", Again::HelpsAfter);
        assert_eq!(told["detail"], "The upstream's circuit is open.");
    }
    assert_eq!(bank.upstream.backend().count(), 5, "nothing was sent");
    assert_eq!((bank.metric("steadfast_circuits_open").as_str(), bank.phase()), ("1", Phase::Open));
    assert_eq!(bank.metric("steadfast_circuit_refused_total"), "10");
    // Its time is up.
    bank.order(CircuitOrder::Open(Duration::ZERO));
    bank.answers(1, 200).await;
    assert_eq!(bank.phase(), Phase::HalfOpen);
    bank.answers(1, 200).await;
    assert_eq!((bank.metric("steadfast_circuits_open").as_str(), bank.phase()), ("0", Phase::Closed));
    bank.answers(20, 200).await;
}

#[tokio::test]
async fn connections_that_break_open_it() {
    let bank = Bank::with("{ consecutive = 3 }").await;
    for _ in 0..3 {
        bank.upstream.will_break(crate::upstream::Fault::HalfHead);
        assert_eq!(Ask::post("/any").to(bank.gateway.address()).await.status, 502);
    }
    assert_eq!(bank.ask().await.status, 503);
}

#[tokio::test]
async fn a_callers_own_fault_never_opens_it() {
    let bank = Bank::with("{ volume_min = 1, failure_ratio = 0.01, consecutive = 1 }").await;
    for status in [400, 401, 403, 404, 409, 422, 425, 429] {
        bank.answers(5, status).await;
    }
    assert_eq!(bank.phase(), Phase::Closed);
    bank.answers(1, 503).await;
    assert_eq!(bank.phase(), Phase::Open);
}

#[tokio::test]
async fn in_shadow_it_refuses_nothing_and_counts_what_it_would_have() {
    let bank = Bank::with("{ volume_min = 5, mode = \"shadow\" }").await;
    bank.answers(5, 500).await;
    assert_eq!(bank.phase(), Phase::Open);
    bank.answers(7, 500).await;
    assert_eq!(bank.metric("steadfast_circuit_would_refuse_total"), "7");
    assert_eq!(bank.metric("steadfast_circuit_refused_total"), "0");
}

#[tokio::test]
async fn it_is_held_by_hand_for_a_time_whatever_happens() {
    let bank = Bank::with("{ volume_min = 5 }").await;
    bank.order(CircuitOrder::Open(Duration::from_secs(600)));
    bank.ask().await.refused(503, "circuit-open", Again::HelpsAfter);
    bank.order(CircuitOrder::Closed(Duration::from_secs(600)));
    bank.answers(20, 500).await;
    assert_eq!(bank.phase(), Phase::Closed);
    bank.order(CircuitOrder::Automatic);
    bank.answers(5, 500).await;
    assert_eq!(bank.phase(), Phase::Open);
    let order = |upstream, at| bank.gateway.order_circuits(upstream, at, CircuitOrder::Automatic);
    assert_eq!(order("shop", None), Err(NotOrdered::NoSuchUpstream));
    assert_eq!(order("bank", Some("http://elsewhere")), Err(NotOrdered::NoSuchEndpoint));
    assert_eq!(order("bank", Some(&format!("http://{}", bank.upstream.address()))), Ok(1));
    bank.answers(1, 200).await;
}

#[tokio::test]
async fn what_was_learned_outlives_a_reload_that_does_not_change_the_upstream() {
    let bank = Bank::with("{ volume_min = 5, open_for = \"1m\" }").await;
    bank.answers(5, 500).await;
    let mut config = bank.config.clone();
    config.routes[0].name = "renamed".into();
    bank.gateway.reload(&config).expect("it is all right");
    bank.ask().await.refused(503, "circuit-open", Again::HelpsAfter);
    let changed = self::config(&bank.upstream, "{ volume_min = 6 }");
    bank.gateway.reload(&changed).expect("it is all right");
    assert_eq!(bank.metric("steadfast_circuits_open"), "0", "a changed upstream begins anew");
    bank.answers(1, 200).await;
}

#[tokio::test]
async fn keyed_requests_are_refused_too_and_their_keys_stay_free() {
    let bank = Bank::with("{ volume_min = 1 }").await;
    let mut config = bank.config.clone();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n[upstreams.bank]\nurl = \"http://{}\"\n\
         circuit = {{ volume_min = 1 }}\n[[routes]]\npath = \"/*\"\nupstream = \"bank\"\n\
         idempotency = {{ anonymous = true }}\n",
        bank.upstream.address()
    );
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    config.routes = loaded.unwrap_or_else(|errors| panic!("{errors}")).config.routes;
    bank.gateway.reload(&config).expect("it is all right");
    bank.order(CircuitOrder::Open(Duration::from_secs(600)));
    let keyed = Ask::post("/any").key("k");
    let sent = bank.upstream.backend().count();
    keyed.to(bank.gateway.address()).await.refused(503, "circuit-open", Again::HelpsAfter);
    assert_eq!(bank.upstream.backend().count(), sent);
    bank.order(CircuitOrder::Automatic);
    let answer = keyed.to(bank.gateway.address()).await;
    assert_eq!((answer.status, answer.is_replay()), (201, false));
}
