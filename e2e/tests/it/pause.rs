//! A gateway that is stopped past its lease (SIGSTOP) and goes on: it is taken for dead, and what it brings late is
//! taken in.

use std::{sync::Arc, time::Duration};

use e2e::{Ask, Caller, Gateway, LEASE, Office, await_that, within};
use steadfast_faults::{Direction, FaultProxy, Plan};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    postgres::Server,
    storm::Storm,
    verdict::{CLAIMED_WITHIN, Upstream, judge},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_paused_gateways_claims_are_doubted_and_its_late_answers_end_the_doubt() {
    let server = Server::start(&["fsync=off"]);
    let url = server.url(&server.database());
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).unwrap();
    let mut paused = Gateway::up(folder.path(), "paused", proxy.addr(), &url, &["--timeout", "120s"]);
    paused.start().await;
    let mut other = Gateway::up(folder.path(), "other", office.addr(), &url, &[]);
    other.start().await;

    let keys: Vec<_> = (0..8).map(|number| format!("order-{number}")).collect();
    proxy.hold(Direction::TowardClient);
    let mut waiting = JoinSet::new();
    for key in &keys {
        let (mut caller, ask) = (Caller::new(paused.addr(), CLAIMED_WITHIN * 2), Ask::order(key));
        waiting.spawn(async move { caller.ask(&ask).await });
    }
    await_that("all are executed", PATIENCE, async || (office.effects().len() == 8).then_some(())).await;
    paused.pause();
    proxy.release(Direction::TowardClient);

    let mut caller = Caller::new(other.addr(), PATIENCE);
    let told = caller.ask(&Ask::order(&keys[0])).await.unwrap();
    assert_eq!((told.status, told.code().as_deref()), (409, Some("operation-in-progress")), "{told:?}");
    other.idle(CLAIMED_WITHIN).await;
    for key in &keys {
        let told = caller.ask(&Ask::order(key)).await.unwrap();
        assert_eq!((told.status, told.code().as_deref()), (409, Some("outcome-in-doubt")), "{told:?}");
    }

    paused.resume();
    let mut first = Vec::new();
    while let Some(told) = within(PATIENCE, waiting.join_next()).await {
        first.push(told.unwrap().expect("the paused gateway answers when it goes on"));
    }
    await_that("late answers end the doubt", PATIENCE, async || {
        (other.admin("/api/counts").await["in_doubt"] == 0).then_some(())
    })
    .await;
    for key in &keys {
        let told = caller.ask(&Ask::order(key)).await.unwrap();
        assert!(told.status == 201 && told.is_replay(), "{told:?}");
        assert_eq!(office.counts(key), (1, 1));
        let given = first.iter().find(|first| first.body == told.body);
        assert_eq!(given.map(e2e::Answer::kept), Some(told.kept()), "what its first caller saw is replayed");
    }
    assert_eq!(other.admin("/api/counts").await["cases_open"], 0);
}

async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let metrics = gateway.ask_admin(&Ask::get("/metrics")).await.expect("metrics");
    let text = String::from_utf8_lossy(&metrics.body);
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric is there");
    line.trim().parse().expect("a number")
}

#[tokio::test]
async fn a_gateway_paused_past_its_lease_in_a_storm_executes_nothing_twice() {
    let server = Arc::new(Server::start(&[]));
    let url = server.url(&server.database());
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let mut steady = Gateway::up(folder.path(), "steady", office.addr(), &url, &[]);
    steady.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).unwrap();
    let mut paused = Gateway::up(folder.path(), "paused", proxy.addr(), &url, &[]);
    paused.start().await;
    let mut storm = Storm::of_test(vec![steady.addr(), paused.addr()]);
    let progress = storm.progress();
    let chaos = async {
        progress.reached(0.3).await;
        // What it sends now goes no further, so that the pause meets an attempt under way.
        proxy.hold(Direction::TowardUpstream);
        let sent = proxy.stats().toward_upstream.received_bytes;
        within(PATIENCE, proxy.wait_for(|stats| stats.toward_upstream.received_bytes > sent)).await;
        paused.pause();
        proxy.release(Direction::TowardUpstream);
        // As long as a lease and a round of whoever ends leases: there is no signal for time.
        tokio::time::sleep(LEASE + LEASE / 2).await;
        paused.resume();
        progress.reached(0.6).await;
    };
    let (diary, ()) = storm.rage(chaos).await;
    let reaped = metric(&steady, "steadfast_claims_reaped_total").await;
    assert!(reaped > 0.0, "the pause hit no attempt: the storm proves nothing");
    judge(folder, &diary, &steady, &office, Upstream::NotRepeatable).await;
}

#[tokio::test]
async fn a_store_that_stalls_past_the_lease_expires_nothing() {
    let server = Server::start(&["fsync=off"]);
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let upstream = FaultProxy::start(office.addr(), Plan::default()).unwrap();
    let store = FaultProxy::start(([127, 0, 0, 1], server.port()).into(), Plan::default()).unwrap();
    let url = server.url_at(store.addr().port(), &server.database());
    let timeout = ["--timeout", "120s"];
    let mut gateways =
        ["one", "other"].map(|name| Gateway::up(folder.path(), name, upstream.addr(), &url, &timeout));
    for gateway in &mut gateways {
        gateway.start().await;
    }
    upstream.hold(Direction::TowardClient);
    let mut waiting = JoinSet::new();
    for (number, gateway) in gateways.iter().enumerate() {
        let mut caller = Caller::new(gateway.addr(), CLAIMED_WITHIN * 3);
        waiting.spawn(async move { caller.ask(&Ask::order(&format!("order-{number}"))).await });
    }
    await_that("both are executed", PATIENCE, async || (office.effects().len() == 2).then_some(())).await;
    for direction in [Direction::TowardUpstream, Direction::TowardClient] {
        store.hold(direction);
    }
    tokio::time::sleep(LEASE + LEASE / 3).await;
    for direction in [Direction::TowardUpstream, Direction::TowardClient] {
        store.release(direction);
    }
    // Long enough for whoever ends leases to come round several times, with both leases long run out.
    await_that("the store is back", PATIENCE, async || {
        let counts = gateways[0].ask_admin(&Ask::get("/api/counts")).await.ok()?;
        (counts.status == 200).then_some(())
    })
    .await;
    tokio::time::sleep(LEASE / 2).await;
    let counts = gateways[0].admin("/api/counts").await;
    assert_eq!((&counts["claimed"], &counts["in_doubt"]), (&2.into(), &0.into()), "{counts}");
    upstream.release(Direction::TowardClient);
    while let Some(told) = within(PATIENCE, waiting.join_next()).await {
        let told = told.unwrap().expect("an answer");
        assert_eq!(told.status, 201, "{told:?}");
    }
    for gateway in &gateways {
        assert_eq!(metric(gateway, "steadfast_claims_reaped_total").await, 0.0);
    }
}

#[tokio::test]
async fn a_gateway_on_sqlite_that_sleeps_past_its_lease_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let proxy = FaultProxy::start(office.addr(), Plan::default()).unwrap();
    let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let mut gateway = Gateway::up(folder.path(), "gateway", proxy.addr(), &ledger, &["--timeout", "120s"]);
    gateway.start().await;
    proxy.hold(Direction::TowardClient);
    let mut caller = Caller::new(gateway.addr(), CLAIMED_WITHIN * 2);
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { caller.ask(&Ask::order("order")).await });
    await_that("it is executed", PATIENCE, async || (office.counts("order") == (1, 1)).then_some(())).await;
    gateway.pause();
    tokio::time::sleep(LEASE + LEASE / 3).await;
    gateway.resume();
    // Whoever ends leases comes round at once, and again, before the answer does.
    tokio::time::sleep(LEASE / 3).await;
    assert_eq!(gateway.state("order").await, "claimed");
    proxy.release(Direction::TowardClient);
    let told = within(PATIENCE, waiting.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!((told.status, told.is_replay()), (201, false), "{told:?}");
    let mut caller = Caller::new(gateway.addr(), PATIENCE);
    assert_eq!(caller.ask(&Ask::order("order")).await.unwrap().kept(), told.kept());
    assert_eq!(office.counts("order"), (1, 1));
}
