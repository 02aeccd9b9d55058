//! Many callers on several nodes, and exactly as many let through as there are.

use steadfast_core::LimitAlgorithm;
use steadfast_shared::SharedLimits;

use crate::{
    asking::{Limit, all, may_go, on, on_cluster},
    server::{Cluster, Server},
};

/// 50 callers over these nodes, 10 requests each, on a limit of 100.
async fn let_through(nodes: &[SharedLimits], limits: &[Limit]) -> usize {
    let callers = (0..50).map(|caller| {
        let node = &nodes[caller % nodes.len()];
        async move {
            let mut passed = 0;
            for _ in 0..10 {
                passed += usize::from(may_go(node, limits).await);
            }
            passed
        }
    });
    all(callers).await.into_iter().sum()
}

fn limits(algorithm: LimitAlgorithm) -> [Limit; 2] {
    // The second one has room for all: it is what else a request of two limits is asked.
    [Limit::of(1, algorithm, 100), Limit::of(1, LimitAlgorithm::LeakyBucket, 10_000)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn fifty_clients_on_a_limit_of_100_get_exactly_100() {
    let server = Server::start(&[]);
    let nodes = [on(&server), on(&server), on(&server)];
    // A bucket would take a minute to fill again, and windows of a minute might end meanwhile.
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow] {
        assert_eq!(let_through(&nodes, &limits(algorithm)).await, 100, "{algorithm:?}");
    }
    let counts = nodes.iter().map(SharedLimits::counts);
    let (asked, calls, again) = counts.fold((0, 0, 0), |(asked, calls, again), counts| {
        assert_eq!(counts.losses, 0);
        (asked + counts.asked, calls + counts.calls, again + counts.said_again)
    });
    // All of it was asked, and most of what was asked together went together or was known to be refused.
    assert_eq!(asked, 1_000);
    assert!(calls + again < asked, "{calls} calls, {again} said again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn in_a_cluster_they_do_too() {
    let cluster = Cluster::start();
    let nodes = [on_cluster(&cluster), on_cluster(&cluster), on_cluster(&cluster)];
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::SlidingWindow] {
        assert_eq!(let_through(&nodes, &limits(algorithm)).await, 100, "{algorithm:?}");
    }
    assert!(nodes.iter().all(|node| node.counts().losses == 0));
}

#[tokio::test]
async fn who_is_refused_costs_the_store_a_question_a_second_at_most() {
    let server = Server::start(&[]);
    let node = on(&server);
    let limit = [Limit::of(1, LimitAlgorithm::TokenBucket, 1)];
    assert!(may_go(&node, &limit).await);
    for _ in 0..1_000 {
        assert!(!may_go(&node, &limit).await);
    }
    let counts = node.counts();
    assert!(counts.said_again >= 990, "{counts:?}");
    // Somebody else is asked for all the same.
    assert!(may_go(&node, &[Limit::of(2, LimitAlgorithm::TokenBucket, 1)]).await);
}
