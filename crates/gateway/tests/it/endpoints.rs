//! Several endpoints: a dead one costs nobody an error, and a slow one gets little.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use steadfast_core::circuit::Phase;
use steadfast_gateway::{
    Gateway, LogTo,
    config::{Environment, Overrides, parse},
};

use crate::{
    contract::{
        backend::{Act, Backend, Gate},
        fresh_ledger,
        wire::{Answer, Ask, Line},
    },
    upstream::Upstream,
};

/// A gateway in front of two endpoints.
struct Two {
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl Two {
    fn at(first: SocketAddr, second: SocketAddr, more: &str) -> Self {
        let text = format!(
            "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 1\n[upstreams.bank]\n\
             urls = [\"http://{first}\", \"http://{second}\"]\n{more}\n[[routes]]\npath = \"/*\"\nupstream = \"bank\"\n"
        );
        let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
        let config = loaded.unwrap_or_else(|errors| panic!("{errors}")).config;
        let (ledger, clock, folder) = fresh_ledger();
        let log = LogTo { writer: Box::new(std::io::sink()), text: false };
        let gateway = Gateway::start_with(&config, log, Arc::clone(&ledger) as _, clock).expect("it starts");
        Self { gateway, _folder: folder }
    }

    async fn ask(&self) -> Answer {
        Ask::new("GET", "/any").to(self.gateway.address()).await
    }
}

async fn upstream() -> Upstream {
    Upstream::start(Backend::new()).await
}

/// Where nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn healthy_endpoints_share_the_requests() {
    let (first, second) = (upstream().await, upstream().await);
    let two = Two::at(first.address(), second.address(), "");
    for _ in 0..100 {
        let answer = two.ask().await;
        assert_eq!((answer.status, answer.header("steadfast-degraded")), (201, None));
    }
    let counts = (first.backend().count(), second.backend().count());
    assert!(counts.0 > 0 && counts.1 > 0 && counts.0 + counts.1 == 100, "{counts:?}");
}

#[tokio::test]
async fn a_dead_endpoint_costs_nobody_an_error() {
    let living = upstream().await;
    let two = Two::at(nowhere().await, living.address(), "circuit = { consecutive = 1, open_for = \"1m\" }");
    let mut degraded = 0;
    for round in 0..40 {
        // What streams through can go to another endpoint as well: not a byte of it was taken.
        let ask = match round % 2 {
            0 => Ask::new("GET", "/any"),
            _ => Ask::post("/any").body("something"),
        };
        let answer = ask.to(two.gateway.address()).await;
        assert_eq!(answer.status, 201);
        degraded += usize::from(answer.header("steadfast-degraded") == Some("endpoint"));
    }
    assert_eq!(living.backend().count(), 40);
    assert!(
        living
            .backend()
            .seen()
            .iter()
            .filter(|seen| seen.method == "POST")
            .all(|seen| seen.body == b"something")
    );
    // After one failure its circuit is open, and it is not tried any more.
    assert_eq!(degraded, 1);
    let endpoints = two.gateway.endpoints();
    let phases: Vec<_> =
        endpoints[0].1.iter().map(|endpoint| endpoint.circuit.expect("it has one").0.phase).collect();
    assert_eq!(phases, [Phase::Open, Phase::Closed]);
    assert!(two.gateway.metrics().contains("steadfast_endpoint_failovers_total{upstream=\"bank\"} 1"));
}

#[tokio::test]
async fn where_all_are_dead_the_caller_is_told() {
    let two = Two::at(nowhere().await, nowhere().await, "");
    let answer = two.ask().await;
    assert_eq!((answer.status, answer.header("steadfast-degraded")), (502, None));
}

#[tokio::test]
async fn an_endpoint_that_is_busy_gets_no_more_and_one_in_trouble_little() {
    let (busy, other) = (upstream().await, upstream().await);
    let two = Two::at(busy.address(), other.address(), "");
    let gate = Gate::closed();
    busy.backend().will(Act::answer(200, "at last").held_by(&gate));
    let mut waiting = Vec::new();
    while busy.backend().count() == 0 {
        let mut line = Line::to(two.gateway.address()).await;
        line.send(&Ask::new("GET", "/any").bytes()).await;
        waiting.push(line);
        tokio::task::yield_now().await;
        let _ = tokio::time::timeout(Duration::from_millis(20), busy.backend().reached(1)).await;
    }
    let before = other.backend().count();
    for _ in 0..50 {
        assert_eq!(two.ask().await.status, 201);
    }
    assert_eq!((busy.backend().count(), other.backend().count() - before), (1, 50));
    gate.open();
    // It answers again, but the other one is in trouble, and says so.
    other.backend().will(Act::answer(503, "").header("Retry-After", "60"));
    while two.ask().await.status != 503 {}
    let before = other.backend().count();
    for _ in 0..50 {
        two.ask().await;
    }
    assert_eq!(other.backend().count(), before);
}

#[tokio::test]
async fn an_open_circuit_leaves_the_other_endpoint_and_a_probe_brings_it_back() {
    let (ill, well) = (upstream().await, upstream().await);
    let two =
        Two::at(ill.address(), well.address(), "circuit = { volume_min = 1, open_for = \"1m\", probes = 1 }");
    ill.backend().will(Act::answer(500, ""));
    while two.ask().await.status != 500 {}
    for _ in 0..30 {
        assert_eq!(two.ask().await.status, 201);
    }
    assert_eq!(ill.backend().count(), 1);
    let order = steadfast_gateway::CircuitOrder::Open(Duration::ZERO);
    let at = format!("http://{}", ill.address());
    assert_eq!(two.gateway.order_circuits("bank", Some(&at), order), Ok(1));
    assert_eq!(two.ask().await.status, 201);
    assert_eq!(ill.backend().count(), 2, "the probe");
    assert_eq!(two.gateway.endpoints()[0].1[0].circuit.expect("it has one").0.phase, Phase::Closed);
}
