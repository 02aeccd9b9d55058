//! What only a gateway does with large bodies: they wait on disk for a slow upstream, and a gateway that could not
//! keep them does not start.

use std::time::Duration;

use steadfast_gateway::{Gateway, LogTo, StartError, config::Config};
use steadfast_layers::{IdempotencyPolicy, SpoolLimits};
use tokio::net::TcpListener;

use crate::{
    contract::{
        fresh_ledger,
        wire::{Ask, Line},
    },
    stand::config,
};

/// More than the sockets between a gateway and its upstream take in by themselves.
const UPLOAD_BYTES: usize = 32 << 20;

fn start(config: &Config) -> Result<(Gateway, tempfile::TempDir), StartError> {
    let (ledger, clock, folder) = fresh_ledger();
    let log = LogTo { writer: Box::new(std::io::sink()), text: false };
    Ok((Gateway::start_with(config, log, ledger, clock)?, folder))
}

fn gauge(gateway: &Gateway, name: &str) -> usize {
    let metrics = gateway.metrics();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("the gauge").parse().expect("a number")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn an_upload_stays_on_disk_until_its_upstream_takes_it_though_its_caller_is_gone() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(upstream.local_addr().expect("an address"));
    config.spool.folder = folder.path().into();
    for route in &mut config.routes {
        let policy = IdempotencyPolicy::for_route(&route.name);
        route.idempotency = Some(IdempotencyPolicy { request_bytes_max: UPLOAD_BYTES, ..policy });
    }
    let (gateway, _ledger) = start(&config).expect("it starts");
    let mut line = Line::to(gateway.address()).await;
    line.send(&Ask::post("/orders").key("k").body(vec![b'x'; UPLOAD_BYTES]).bytes()).await;
    // It is claimed, and a connection made for it; but nobody reads there.
    let (taken, _) = upstream.accept().await.expect("a connection");
    drop(line);
    until("the gateway knows that its caller is gone", || {
        gauge(&gateway, "http_server_active_requests") == 0
    })
    .await;
    assert_eq!(gauge(&gateway, "steadfast_spool_bytes"), UPLOAD_BYTES, "the attempt goes on");
    drop(taken);
    until("the space is given back", || gauge(&gateway, "steadfast_spool_bytes") == 0).await;
}

#[tokio::test]
async fn a_gateway_that_could_not_keep_large_bodies_does_not_start_and_says_what_to_do() {
    let mut config = config("127.0.0.1:1".parse().expect("an address"));
    config.spool.folder = "/proc/no such folder".into();
    let Err(error) = start(&config) else { panic!("it started") };
    let said = error.to_string();
    for words in ["/proc/no such folder", "`spool.folder`", "`spool.requests_max = 0`"] {
        assert!(said.contains(words), "{words} is missing: {said}");
    }
    config.spool = SpoolLimits { requests_max: 0, ..config.spool };
    assert!(start(&config).is_ok(), "where nothing is spooled no folder is needed");
}
