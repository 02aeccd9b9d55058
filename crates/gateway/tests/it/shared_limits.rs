//! Claims about limits that several gateways count together, over real sockets and a real Redis.

use std::time::{Duration, Instant};

use steadfast_gateway::{
    Gateway, LogTo,
    config::{Config, Environment, Overrides, parse},
};

use crate::{
    contract::{backend::Backend, fresh_ledger, wire::Ask},
    redis::Server,
    upstream::Upstream,
};

/// A config with this limit per address, shared through the Redis at `url`.
fn config(url: &str, upstream: &Upstream, limit: &str) -> Config {
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nworkers = 2\nshared = \"{url}\"\n\
         [upstreams.shop]\nurl = \"http://{}\"\n[limits.per-address]\nper = \"ip\"\nrate = \"10/d\"\n{limit}\n\
         [[routes]]\npath = \"/*\"\nupstream = \"shop\"\nlimits = [\"per-address\"]\n",
        upstream.address()
    );
    let loaded = parse("steadfast.toml", &text, &Environment::default(), &Overrides::default());
    loaded.unwrap_or_else(|errors| panic!("{errors}")).config
}

struct Node {
    gateway: Gateway,
    _folder: Box<dyn Send>,
}

fn start(config: &Config) -> Node {
    let (ledger, clock, folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    let gateway = Gateway::start_with(config, log, ledger, clock).expect("it starts");
    Node { gateway, _folder: Box::new(folder) }
}

/// The statuses of so many requests to each node.
async fn statuses(nodes: &[Node], times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        for node in nodes {
            statuses.push(Ask::new("GET", "/").to(node.gateway.address()).await.status);
        }
    }
    statuses
}

fn count(statuses: &[u16], wanted: u16) -> usize {
    statuses.iter().filter(|status| **status == wanted).count()
}

async fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "it did not come to pass");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn told(node: &Node) -> (bool, String) {
    node.gateway.shared().expect("there is a store")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_count_together_go_by_their_shares_when_redis_is_lost_and_come_back() {
    let redis = Server::start(&[]);
    let upstream = Upstream::start(Backend::new()).await;
    let config = config(&redis.url(), &upstream, "");
    let nodes = [start(&config), start(&config)];
    until(|| nodes.iter().all(|node| told(node).1.contains("for 2 nodes"))).await;

    let together = statuses(&nodes, 10).await;
    assert_eq!((count(&together, 201), count(&together, 429)), (10, 10));
    // A reload forgets nothing.
    nodes[0].gateway.reload(&config).expect("a reload");
    assert_eq!(count(&statuses(&nodes, 1).await, 201), 0);

    redis.stop();
    until(|| nodes.iter().all(|node| !told(node).0)).await;
    let alone = statuses(&nodes, 10).await;
    assert_eq!((count(&alone, 201), count(&alone, 429)), (10, 10), "each has half of it");
    let metrics = nodes[0].gateway.metrics();
    assert!(metrics.contains("steadfast_shared_lost 1"), "{metrics}");
    assert!(metrics.contains("steadfast_shared_losses_total 1"), "{metrics}");
    assert!(told(&nodes[0]).1.contains("is lost since"), "{}", told(&nodes[0]).1);

    redis.go();
    until(|| nodes.iter().all(|node| told(node) == (true, told(node).1) && told(node).1.contains("2 nodes")))
        .await;
    let again = statuses(&nodes, 10).await;
    assert_eq!(count(&again, 201), 10, "it has forgotten what was counted before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_denies_without_its_store_refuses_with_what_to_do() {
    let redis = Server::start(&[]);
    let upstream = Upstream::start(Backend::new()).await;
    let url = redis.url();
    let node = [start(&config(&url, &upstream, "on_loss = \"deny\""))];
    until(|| told(&node[0]).0).await;
    redis.stop();
    until(|| !told(&node[0]).0).await;
    let refused = Ask::new("GET", "/").to(node[0].gateway.address()).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    // What becomes of a limit is taken over by a reload.
    node[0].gateway.reload(&config(&url, &upstream, "on_loss = \"allow\"")).expect("a reload");
    assert_eq!(count(&statuses(&node, 20).await, 201), 20);
}
