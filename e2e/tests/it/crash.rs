//! Thousands of keyed orders, while what they depend on is killed at random: nothing happens twice, no answer is
//! ever taken back, and what nobody knows is in doubt.

use std::sync::Arc;

use e2e::{Gateway, Office};
use steadfast_faults::{DropReply, FaultProxy, Faults, Goodbye, Plan, Reset, When};
use tempfile::TempDir;

use crate::{
    postgres::{Server, Stop},
    storm::Storm,
    verdict::{Upstream, judge},
};

/// How often something is killed in a storm.
const KILLS: usize = 22;

fn sqlite(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("ledger.db").display())
}

/// A Postgres that waits for its disk, and the URL of an empty database on it.
fn postgres() -> (Arc<Server>, String) {
    let server = Server::start(&[]);
    let database = server.database();
    let url = server.url(&database);
    (Arc::new(server), url)
}

#[tokio::test]
async fn a_killed_gateway_on_sqlite_executes_nothing_twice_and_forgets_no_answer() {
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let mut gateway = Gateway::up(folder.path(), "gateway", office.addr(), &sqlite(&folder), &[]);
    gateway.start().await;
    let mut storm = Storm::of_test(vec![gateway.addr()]);
    let (progress, random) = (storm.progress(), storm.random.fork());
    let chaos = progress.at_moments(KILLS, random, async || gateway.restart().await);
    let (diary, ()) = storm.rage(chaos).await;
    let tally = judge(folder, &diary, &gateway, &office, Upstream::NotRepeatable).await;
    assert!(tally.in_doubt > 0, "no kill hit an attempt: the storm proves nothing");
}

#[tokio::test]
async fn a_killed_gateway_before_a_repeatable_upstream_completes_everything() {
    let folder = TempDir::new().unwrap();
    let mut office = Office::honouring_keys(folder.path());
    office.start().await;
    let more = ["--repeatable-for", "24h"];
    let mut gateway = Gateway::up(folder.path(), "gateway", office.addr(), &sqlite(&folder), &more);
    gateway.start().await;
    let mut storm = Storm::of_test(vec![gateway.addr()]);
    let (progress, random) = (storm.progress(), storm.random.fork());
    let chaos = progress.at_moments(KILLS, random, async || gateway.restart().await);
    let (diary, ()) = storm.rage(chaos).await;
    judge(folder, &diary, &gateway, &office, Upstream::Repeatable).await;
}

#[tokio::test]
async fn a_killed_upstream_executes_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let mut gateway = Gateway::up(folder.path(), "gateway", office.addr(), &sqlite(&folder), &[]);
    gateway.start().await;
    let mut storm = Storm::of_test(vec![gateway.addr()]);
    let (progress, random) = (storm.progress(), storm.random.fork());
    let chaos = progress.at_moments(KILLS, random, async || office.restart().await);
    let (diary, ()) = storm.rage(chaos).await;
    let tally = judge(folder, &diary, &gateway, &office, Upstream::NotRepeatable).await;
    assert!(tally.in_doubt > 0, "no kill hit an attempt: the storm proves nothing");
}

#[tokio::test]
async fn a_killed_gateway_on_postgres_executes_nothing_twice_and_forgets_no_answer() {
    let folder = TempDir::new().unwrap();
    let (_server, url) = postgres();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let mut gateway = Gateway::up(folder.path(), "gateway", office.addr(), &url, &[]);
    gateway.start().await;
    let mut storm = Storm::of_test(vec![gateway.addr()]);
    let (progress, random) = (storm.progress(), storm.random.fork());
    let chaos = progress.at_moments(KILLS, random, async || gateway.restart().await);
    let (diary, ()) = storm.rage(chaos).await;
    let tally = judge(folder, &diary, &gateway, &office, Upstream::NotRepeatable).await;
    assert!(tally.in_doubt > 0, "no kill hit an attempt: the storm proves nothing");
}

#[tokio::test]
async fn one_of_two_gateways_on_postgres_is_killed_and_nothing_happens_twice() {
    let folder = TempDir::new().unwrap();
    let (_server, url) = postgres();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let mut steady = Gateway::up(folder.path(), "steady", office.addr(), &url, &[]);
    steady.start().await;
    let mut killed = Gateway::up(folder.path(), "killed", office.addr(), &url, &[]);
    killed.start().await;
    let mut storm = Storm::of_test(vec![steady.addr(), killed.addr()]);
    let (progress, random) = (storm.progress(), storm.random.fork());
    let chaos = progress.at_moments(KILLS, random, async || killed.restart().await);
    let (diary, ()) = storm.rage(chaos).await;
    let tally = judge(folder, &diary, &steady, &office, Upstream::NotRepeatable).await;
    assert!(tally.in_doubt > 0, "no kill hit an attempt: the storm proves nothing");
}

#[tokio::test]
async fn a_postgres_that_restarts_under_load_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let (server, url) = postgres();
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let mut one = Gateway::up(folder.path(), "one", office.addr(), &url, &[]);
    one.start().await;
    let mut other = Gateway::up(folder.path(), "other", office.addr(), &url, &[]);
    other.start().await;
    let mut storm = Storm::of_test(vec![one.addr(), other.addr()]);
    let (progress, random) = (storm.progress(), storm.random.fork());
    let mut immediate = false;
    let chaos = progress.at_moments(6, random, async || {
        immediate = !immediate;
        let (server, how) = (Arc::clone(&server), if immediate { Stop::Immediate } else { Stop::Fast });
        let restart = move || {
            server.stop(how);
            server.go();
        };
        tokio::task::spawn_blocking(restart).await.unwrap();
    });
    let (diary, ()) = storm.rage(chaos).await;
    judge(folder, &diary, &one, &office, Upstream::NotRepeatable).await;
}

#[tokio::test]
async fn everything_at_once_executes_nothing_twice() {
    let folder = TempDir::new().unwrap();
    let (server, database) = (Server::start(&[]), "storm");
    server.sql("postgres", &format!("CREATE DATABASE {database}"));
    let mut office = Office::ignoring_keys(folder.path());
    office.start().await;
    let rarely = When::every_exchange().with_probability(0.01);
    let lossy = Plan {
        drop_reply: Some(DropReply { then: Goodbye::Reset, when: rarely }),
        toward_upstream: Faults { reset: Some(Reset { after_bytes: 90, when: rarely }), ..Faults::default() },
        ..Plan::default()
    };
    let upstream = FaultProxy::start(office.addr(), lossy.clone()).unwrap();
    let store = FaultProxy::start(([127, 0, 0, 1], server.port()).into(), Plan::default()).unwrap();
    let url = server.url_at(store.addr().port(), database);
    let mut gateways = ["one", "other"]
        .map(|name| Gateway::up(folder.path(), name, upstream.addr(), &url, &["--timeout", "5s"]));
    for gateway in &mut gateways {
        gateway.start().await;
    }
    let fronts =
        [&gateways[0], &gateways[1]].map(|gateway| FaultProxy::start(gateway.addr(), lossy.clone()).unwrap());
    let mut storm = Storm::of_test(fronts.iter().map(FaultProxy::addr).collect());
    let (progress, random) = (storm.progress(), storm.random.fork());
    let mut draw = storm.random.fork();
    let chaos = progress.at_moments(KILLS * 2, random, async || match draw.pick(0..6) {
        0 | 1 => gateways[0].restart().await,
        2 => gateways[1].restart().await,
        3 => office.restart().await,
        4 => store.sever(),
        _ => upstream.sever(),
    });
    let (diary, ()) = storm.rage(chaos).await;
    upstream.set(Plan::default()).unwrap();
    judge(folder, &diary, &gateways[0], &office, Upstream::NotRepeatable).await;
}
