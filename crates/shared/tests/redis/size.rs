//! What a key takes up, and that it goes.

use std::time::Duration;

use steadfast_core::{LimitAlgorithm, Period};

use crate::{
    asking::{Limit, may_go, on},
    server::Server,
};

#[tokio::test]
async fn a_key_takes_under_200_bytes_and_goes_when_it_is_idle() {
    let server = Server::start(&[]);
    let node = on(&server);
    let used = || {
        let info = server.ask(&["INFO", "memory"]);
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
        used.and_then(|used| used.parse::<i64>().ok()).expect("a number")
    };
    for algorithm in [LimitAlgorithm::TokenBucket, LimitAlgorithm::FixedWindow, LimitAlgorithm::SlidingWindow]
    {
        let (before, keys) = (used(), 10_000);
        for first in (0..keys).step_by(100) {
            let limits: Vec<_> = (first..first + 100).map(|key| Limit::of(key, algorithm, 10)).collect();
            assert!(may_go(&node, &limits).await);
        }
        let bytes = (used() - before) / keys as i64;
        assert!((1..200).contains(&bytes), "{algorithm:?}: {bytes} bytes a key");
        server.ask(&["FLUSHALL"]);
    }
    let mut brief = Limit::of(1, LimitAlgorithm::TokenBucket, 10);
    brief.quota.period = Period::Time(Duration::from_millis(100));
    assert!(may_go(&node, &[brief]).await);
    let keys = || server.ask(&["KEYS", "sf{*}????????????????????"]);
    crate::asking::until(|| keys().is_empty()).await;
}
