//! What people see of counts, and reset.

use steadfast_core::{LimitAlgorithm, LimitDecision};
use steadfast_layers::{LimitStore, LimitedKey, Look};
use steadfast_shared::SharedLimits;

use crate::{
    asking::{Limit, may_go, on, on_cluster},
    server::{Cluster, Server},
};

async fn a_subject_is_found_and_reset(node: &SharedLimits) {
    // Bytes that a pattern would take for something else.
    let subject = u64::from_be_bytes(*b"*?[]^-\\a");
    let limit = Limit::of(subject, LimitAlgorithm::TokenBucket, 2);
    let beside = Limit { key: LimitedKey { subject, rest: 77 }, ..limit.clone() };
    for limit in [&limit, &limit, &beside] {
        assert!(may_go(node, std::slice::from_ref(limit)).await);
    }
    // Others are not, however alike.
    assert!(may_go(node, &[Limit::of(subject + 1, LimitAlgorithm::TokenBucket, 2)]).await);
    assert!(may_go(node, &[Limit::of(subject, LimitAlgorithm::FixedWindow, 2)]).await);
    assert!(!may_go(node, std::slice::from_ref(&limit)).await);
    let look = |reset| Look { limit: limit.name.clone(), subject, quota: limit.quota, reset };
    let mut found = node.look(vec![look(false)]).await.expect("an answer");
    found.sort_by_key(|standing| standing.key);
    let rests: Vec<_> = found.iter().map(|standing| standing.key.rest).collect();
    assert_eq!(rests, [limit.key.rest, 77]);
    assert!(matches!(found[0].decision, LimitDecision::Refused { remaining: 0, .. }), "{found:?}");
    assert!(matches!(found[1].decision, LimitDecision::Allowed { remaining: 0, .. }), "{found:?}");
    assert_eq!(node.look(vec![look(true)]).await.expect("an answer").len(), 2);
    assert!(may_go(node, std::slice::from_ref(&limit)).await, "it begins anew, at once");
}

#[tokio::test]
async fn a_subject_is_found_and_reset_on_a_server() {
    let server = Server::start(&[]);
    a_subject_is_found_and_reset(&on(&server)).await;
}

#[tokio::test]
async fn a_subject_is_found_and_reset_in_a_cluster() {
    let cluster = Cluster::start();
    a_subject_is_found_and_reset(&on_cluster(&cluster)).await;
}

#[tokio::test]
async fn nobody_says_how_it_stands_while_the_store_is_lost() {
    let server = Server::start(&[]);
    let node = on(&server);
    server.stop();
    let limit = Limit::of(1, LimitAlgorithm::TokenBucket, 2);
    let look = Look { limit: limit.name, subject: 1, quota: limit.quota, reset: false };
    let error = node.look(vec![look]).await.expect_err("it is lost");
    assert!(error.contains("shared store"), "{error}");
}
