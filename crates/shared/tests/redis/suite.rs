//! What every store of counts must do, whoever counts: run against memory, a server and a Cluster.

use steadfast_core::{LimitAlgorithm, LimitDecision};
use steadfast_layers::{LimitStore, Taken};

use crate::{
    asking::{Limit, all, local, may_go, on, on_cluster, refuses, remaining, take},
    server::{Cluster, Server},
};

/// Those that the store counts.
const COUNTED: [LimitAlgorithm; 4] = [
    LimitAlgorithm::TokenBucket,
    LimitAlgorithm::LeakyBucket,
    LimitAlgorithm::FixedWindow,
    LimitAlgorithm::SlidingWindow,
];

async fn whole_suite(store: &dyn LimitStore) {
    lets_exactly_as_many_through_as_there_are(store).await;
    charges_all_limits_of_a_request_or_none(store).await;
    charges_what_is_in_shadow_without_asking_it(store).await;
    takes_a_cost_and_gives_it_back(store).await;
    lets_an_answer_overdraw(store).await;
    never_lets_through_what_costs_more_than_there_ever_is(store).await;
    tells_what_is_left_and_when_to_come_again(store).await;
}

async fn lets_exactly_as_many_through_as_there_are(store: &dyn LimitStore) {
    for algorithm in COUNTED {
        let limit = Limit::of(100, algorithm, 10);
        let asked = all((0..30).map(|_| may_go(store, std::slice::from_ref(&limit)))).await;
        assert_eq!(asked.iter().filter(|may_go| **may_go).count(), 10, "{algorithm:?}");
    }
}

async fn charges_all_limits_of_a_request_or_none(store: &dyn LimitStore) {
    // Of several subjects, so that in a Cluster they lie on several nodes.
    for subject in 200..208 {
        let scarce = Limit::of(subject, LimitAlgorithm::FixedWindow, 1);
        let plenty = Limit::of(subject + 13, LimitAlgorithm::TokenBucket, 10);
        let both = [plenty.clone(), scarce];
        assert!(may_go(store, &both).await);
        for _ in 0..3 {
            let taken = take(store, &both).await;
            assert_eq!((refuses(taken[0]), refuses(taken[1])), (false, true));
        }
        // What a group of a Cluster charged for a refused request is given back right behind it.
        let mut left = 0;
        for _ in 0..50 {
            left = remaining(take(store, &[Limit { cost: 0, ..plenty.clone() }]).await[0]);
            if left == 9 {
                break;
            }
        }
        assert_eq!(left, 9, "{subject}");
    }
}

async fn charges_what_is_in_shadow_without_asking_it(store: &dyn LimitStore) {
    let shadow = Limit { enforced: false, ..Limit::of(300, LimitAlgorithm::FixedWindow, 1) };
    let real = Limit::of(300, LimitAlgorithm::TokenBucket, 3);
    let both = [shadow, real.clone()];
    let told: Vec<_> = [take(store, &both).await, take(store, &both).await]
        .iter()
        .map(|taken| (refuses(taken[0]), refuses(taken[1])))
        .collect();
    assert_eq!(told, [(false, false), (true, false)]);
    assert_eq!(remaining(take(store, &[real]).await[0]), 0, "both were charged to what is enforced");
}

async fn takes_a_cost_and_gives_it_back(store: &dyn LimitStore) {
    for algorithm in COUNTED {
        let limit = Limit { cost: 7, ..Limit::of(400, algorithm, 10) };
        let left = |taken: Vec<Taken>| remaining(taken[0]);
        assert_eq!(left(take(store, std::slice::from_ref(&limit)).await), 3, "{algorithm:?}");
        assert!(!may_go(store, std::slice::from_ref(&limit)).await);
        store.give_back(&limit.take());
        assert_eq!(left(take(store, std::slice::from_ref(&limit)).await), 3, "{algorithm:?}");
    }
}

async fn lets_an_answer_overdraw(store: &dyn LimitStore) {
    for algorithm in COUNTED {
        let limit = Limit { cost: 0, ..Limit::of(500, algorithm, 10) };
        assert!(may_go(store, std::slice::from_ref(&limit)).await);
        store.charge(&Limit { cost: 25, ..limit.clone() }.take());
        assert!(!may_go(store, std::slice::from_ref(&limit)).await, "{algorithm:?}");
    }
}

async fn never_lets_through_what_costs_more_than_there_ever_is(store: &dyn LimitStore) {
    for algorithm in COUNTED {
        let limit = Limit { cost: 11, ..Limit::of(600, algorithm, 10) };
        let told = take(store, std::slice::from_ref(&limit)).await;
        assert_eq!(
            told,
            [Taken::Told(LimitDecision::Refused { remaining: 10, after: None })],
            "{algorithm:?}"
        );
    }
}

async fn tells_what_is_left_and_when_to_come_again(store: &dyn LimitStore) {
    for algorithm in COUNTED {
        let limit = Limit::of(700, algorithm, 2);
        for left in [1, 0] {
            let told = take(store, std::slice::from_ref(&limit)).await[0];
            let Taken::Told(LimitDecision::Allowed { remaining, reset, .. }) = told else {
                panic!("{told:?}")
            };
            assert_eq!(remaining, left);
            assert!((0.0..69.0).contains(&reset.as_secs_f64()), "{algorithm:?} {reset:?}");
        }
        let told = take(store, std::slice::from_ref(&limit)).await[0];
        let Taken::Told(LimitDecision::Refused { remaining: 0, after: Some(after) }) = told else {
            panic!("{told:?}")
        };
        // Half a minute for a bucket; for windows as long as they last.
        assert!((0.0..69.0).contains(&after.as_secs_f64()), "{algorithm:?} {after:?}");
        if matches!(algorithm, LimitAlgorithm::TokenBucket) {
            assert!((29.0..=30.0).contains(&after.as_secs_f64()), "{after:?}");
        }
    }
}

#[tokio::test]
async fn memory_does() {
    whole_suite(&*local()).await;
}

#[tokio::test]
async fn a_server_does() {
    let server = Server::start(&[]);
    let node = on(&server);
    whole_suite(&node).await;
    assert!(!node.counts().is_lost && node.counts().by_loss == 0, "{:?}", node.counts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_does_asked_from_several_threads() {
    let server = Server::start(&[]);
    whole_suite(&on(&server)).await;
}

#[tokio::test]
async fn a_cluster_does() {
    let cluster = Cluster::start();
    let node = on_cluster(&cluster);
    whole_suite(&node).await;
    assert!(!node.counts().is_lost && node.counts().by_loss == 0, "{:?}", node.counts());
    // It did count on all of them.
    for server in cluster.nodes() {
        assert_ne!(server.ask(&["DBSIZE"]), "0");
    }
}
