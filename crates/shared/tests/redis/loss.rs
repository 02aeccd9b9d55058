//! A store that is lost and comes back: nobody waits for it, the bound of `docs/shared-limits.md` holds, and nothing has
//! to be done by hand.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use steadfast_core::LimitAlgorithm;
use steadfast_layers::Taken;
use steadfast_shared::{Location, OnLoss, PATIENCE, SharedLimits, Standing};

use crate::{
    asking::{Limit, at, may_go, on, on_cluster, on_with, take, until, wait_until_together},
    server::{Cluster, Server},
};

fn limit(count: u64) -> [Limit; 1] {
    [Limit::of(1, LimitAlgorithm::TokenBucket, count)]
}

/// How many of so many requests on each node were let through.
async fn let_through(nodes: &[SharedLimits], limits: &[Limit], requests: usize) -> usize {
    let mut passed = 0;
    for _ in 0..requests {
        for node in nodes {
            passed += usize::from(may_go(node, limits).await);
        }
    }
    passed
}

/// Lets each node find out that the store is lost: with a request of somebody else, since what was refused before is
/// refused again without asking.
async fn notice(nodes: &[SharedLimits]) {
    for node in nodes {
        take(node, &[Limit::of(99, LimitAlgorithm::FixedWindow, 1_000)]).await;
        assert!(node.counts().is_lost);
    }
}

#[tokio::test]
async fn across_a_loss_and_a_restart_no_more_than_three_times_the_limit_goes_through() {
    let server = Server::start(&[]);
    let nodes = [on(&server), on(&server), on(&server)];
    wait_until_together(&[&nodes[0], &nodes[1], &nodes[2]]).await;
    // A minute long: what comes back of it during this test is less than one.
    let limits = limit(30);
    let before = let_through(&nodes, &limits, 20).await;
    assert_eq!(before, 30);
    server.stop();
    notice(&nodes).await;
    let meanwhile = let_through(&nodes, &limits, 20).await;
    // Each node has its third.
    assert_eq!(meanwhile, 30, "{:?}", nodes[0].counts());
    for node in &nodes {
        let counts = node.counts();
        assert_eq!((counts.losses, counts.is_lost, counts.nodes), (1, true, 3), "{counts:?}");
        assert!(matches!(node.standing(), Standing::Lost { .. }));
    }
    server.go();
    wait_until_together(&[&nodes[0], &nodes[1], &nodes[2]]).await;
    // It has forgotten everything, which is as bad as it gets.
    let after = let_through(&nodes, &limits, 20).await;
    assert_eq!(after, 30);
    assert!(nodes.iter().all(|node| node.standing() == Standing::Well && node.counts().losses == 1));
}

#[tokio::test]
async fn across_a_loss_of_the_connection_alone_no_more_than_twice_the_limit_goes_through() {
    let server = Server::start(&[]);
    let nodes = [on(&server), on(&server)];
    wait_until_together(&[&nodes[0], &nodes[1]]).await;
    let limits = limit(20);
    assert_eq!(let_through(&nodes, &limits, 20).await, 20);
    // It hangs: connected, and silent. What it knows, it knows when it goes on.
    server.ask(&["CLIENT", "PAUSE", "1500", "ALL"]);
    notice(&nodes).await;
    assert_eq!(let_through(&nodes, &limits, 20).await, 20);
    until(|| nodes.iter().all(|node| !node.counts().is_lost)).await;
    assert_eq!(let_through(&nodes, &limits, 20).await, 0);
}

#[tokio::test]
async fn a_request_waits_for_a_dead_store_only_briefly_and_then_not_at_all() {
    let server = Server::start(&[]);
    let node = on(&server);
    wait_until_together(&[&node]).await;
    server.ask(&["CLIENT", "PAUSE", "3000", "ALL"]);
    let began = Instant::now();
    take(&node, &limit(1_000)).await;
    let first = began.elapsed();
    assert!(first < PATIENCE * 3, "{first:?}");
    let began = Instant::now();
    for _ in 0..100 {
        assert!(may_go(&node, &limit(1_000)).await);
    }
    let others = began.elapsed();
    assert!(others < PATIENCE, "{others:?}");
}

#[tokio::test]
async fn a_place_is_given_back_where_its_caller_leaves_while_the_store_is_asked() {
    let server = Server::start(&[]);
    let node = on(&server);
    wait_until_together(&[&node]).await;
    let place = Limit::of(1, LimitAlgorithm::Concurrency, 1);
    let both = [place.clone(), Limit::of(2, LimitAlgorithm::TokenBucket, 1_000)];
    for _ in 0..3 {
        // It is polled once, and dropped before an answer can be there.
        assert_eq!(take(&node, &both).now_or_never(), None);
    }
    assert!(may_go(&node, &[place]).await);
}

#[tokio::test]
async fn a_limit_goes_by_what_it_says_of_a_loss() {
    let server = Server::start(&[]);
    let (allow, deny) = (on_with(&server, OnLoss::Allow), on_with(&server, OnLoss::Deny));
    wait_until_together(&[&allow, &deny]).await;
    server.stop();
    take(&allow, &limit(1)).await;
    take(&deny, &limit(1)).await;
    let by_loss = deny.counts().by_loss;
    for _ in 0..5 {
        assert_eq!(take(&allow, &limit(1)).await, [Taken::Uncounted]);
        assert_eq!(take(&deny, &limit(1)).await, [Taken::Lost]);
    }
    assert_eq!(deny.counts().by_loss, by_loss + 5);
    // One that refuses keeps the others from being charged.
    let sharing = Limit::of(1, LimitAlgorithm::SlidingWindow, 2);
    let both = [limit(1)[0].clone(), sharing.clone()];
    for _ in 0..5 {
        assert!(!may_go(&deny, &both).await);
    }
    assert!(may_go(&deny, &[sharing]).await);
}

#[tokio::test]
async fn whatever_the_server_says_that_it_cannot_do_is_a_loss_until_it_can() {
    let server = Server::start(&[]);
    let node = on(&server);
    wait_until_together(&[&node]).await;
    let lost_by = |word: &'static str| {
        let node = &node;
        async move {
            until(|| {
                matches!(node.standing(), Standing::Lost { ref reason, .. } if reason.to_string().contains(word))
            })
            .await;
            // The share of the only node is all of the limit.
            assert!(may_go(node, &limit(1_000)).await);
        }
    };
    // READONLY: it has become somebody's replica.
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    take(&node, &limit(1_000)).await;
    lost_by("READONLY").await;
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    wait_until_together(&[&node]).await;
    // OOM: there is no room for a count.
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    take(&node, &limit(1_000)).await;
    lost_by("OOM").await;
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_until_together(&[&node]).await;
    // NOSCRIPT is no loss: it is told the script again.
    server.ask(&["SCRIPT", "FLUSH"]);
    let losses = node.counts().losses;
    assert!(may_go(&node, &limit(1_000)).await);
    assert_eq!(node.counts().losses, losses);
}

#[tokio::test]
async fn who_may_not_enter_is_told_so_and_goes_by_its_share() {
    let server = Server::start(&["--requirepass", "secret"]);
    let stranger = on(&server);
    take(&stranger, &limit(10)).await;
    until(|| stranger.counts().is_lost).await;
    let Standing::Lost { reason, .. } = stranger.standing() else { panic!("it is lost") };
    assert!(reason.to_string().contains("NOAUTH"), "{reason}");
    let location = Location::single(&server.url(), Some("secret")).expect("a URL");
    let friend = at(location);
    assert!(may_go(&friend, &limit(10)).await);
    assert_eq!(friend.counts().by_loss, 0);
}

#[tokio::test]
async fn a_store_that_was_never_there_is_found_when_it_comes() {
    let server = Server::start(&[]);
    server.stop();
    let node = on(&server);
    assert!(may_go(&node, &limit(10)).await);
    assert!(node.counts().is_lost);
    server.go();
    wait_until_together(&[&node]).await;
    assert!(may_go(&node, &limit(10)).await);
    assert_ne!(server.ask(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn a_cluster_that_lost_a_node_is_lost_until_it_is_whole() {
    let cluster = Cluster::start();
    let node = on_cluster(&cluster);
    wait_until_together(&[&node]).await;
    cluster.nodes()[1].stop();
    let began = Instant::now();
    // Of any 32 subjects in a row each lies in another group.
    for subject in 0..32 {
        assert!(may_go(&node, &[Limit::of(subject, LimitAlgorithm::TokenBucket, 1_000)]).await);
    }
    assert!(node.counts().is_lost, "{:?}", node.counts());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    cluster.nodes()[1].go();
    cluster.wait_until_well();
    until(|| !node.counts().is_lost).await;
    let by_loss = node.counts().by_loss;
    for subject in 0..32 {
        assert!(may_go(&node, &[Limit::of(subject, LimitAlgorithm::TokenBucket, 1_000)]).await);
    }
    assert_eq!(node.counts().by_loss, by_loss);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_opened_again_and_nothing_is_lost() {
    let server = Server::start(&[]);
    let node = on(&server);
    wait_until_together(&[&node]).await;
    assert!(may_go(&node, &limit(10)).await);
    for _ in 0..3 {
        server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(may_go(&node, &limit(10)).await);
    }
    assert_eq!((node.counts().losses, node.counts().by_loss), (0, 0));
}

#[tokio::test]
async fn a_node_that_leaves_is_not_counted_any_more() {
    let server = Server::start(&[]);
    let count = || server.ask(&["ZCARD", &server.ask(&["KEYS", "sf{*}nodes"])]);
    let (stays, leaves, dropped) = (on(&server), on(&server), on(&server));
    until(|| count() == "3").await;
    leaves.leave().await;
    assert_eq!(count(), "2", "it said so");
    assert!(may_go(&leaves, &limit(10)).await, "and serves to the end");
    drop(dropped);
    until(|| count() == "1").await;
    until(|| stays.counts().nodes == 1).await;
}

#[tokio::test]
async fn a_server_without_tls_is_no_store_for_who_asks_for_it() {
    let server = Server::start(&[]);
    let url = server.url().replace("redis://", "rediss://");
    let node = at(Location::single(&url, None).expect("a URL"));
    until(|| node.counts().is_lost).await;
    assert!(may_go(&node, &limit(10)).await);
}
