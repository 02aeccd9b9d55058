//! An upstream's places: who gets one, who waits, and who is refused.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use steadfast_core::Code;
use steadfast_layers::{
    AttemptFailed, Bulkhead, BulkheadPolicy, ConcurrencyLayer, Deadline, GuardedBody, Priority, Slot,
    UpstreamTally,
};
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::upstream::Upstream;

type Outcome = Result<Response<GuardedBody<Full<Bytes>, Slot>>, AttemptFailed>;

/// An upstream with its places.
struct Stand {
    upstream: Upstream,
    bulkhead: Arc<Bulkhead>,
    tally: Arc<UpstreamTally>,
}

fn policy(max: u32, queue: u32) -> BulkheadPolicy {
    BulkheadPolicy {
        max,
        is_adaptive: false,
        min: 1,
        queue,
        wait_max: Duration::from_secs(1),
        reserve_percent: 0,
        is_shadow: false,
    }
}

impl Stand {
    fn new(policy: BulkheadPolicy) -> Self {
        let tally = Arc::new(UpstreamTally::default());
        let bulkhead = Arc::new(Bulkhead::new(policy, Arc::clone(&tally)));
        Self { upstream: Upstream::default(), bulkhead, tally }
    }

    /// Asks, and lets everything happen that can.
    async fn ask(&self, path: &str, priority: Priority, deadline: Option<Duration>) -> JoinHandle<Outcome> {
        let layer = ConcurrencyLayer::new(Some(Arc::clone(&self.bulkhead)), priority);
        let mut request = Request::builder().uri(path).body(()).expect("a request");
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(Deadline(Instant::now() + deadline));
        }
        #[expect(clippy::disallowed_methods, reason = "a test's own caller")]
        let asking = tokio::spawn(layer.layer(self.upstream.clone()).oneshot(request));
        settle().await;
        asking
    }

    async fn normal(&self, path: &str) -> JoinHandle<Outcome> {
        self.ask(path, Priority::Normal, None).await
    }

    /// Lets the request that came first end.
    async fn answer(&self) {
        self.upstream.answer_empty();
        settle().await;
    }

    fn counts(&self) -> (u64, u64) {
        (self.tally.in_flight.get(), self.tally.queued.get())
    }
}

/// Lets every task run until it waits for something.
async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

async fn refused(asking: JoinHandle<Outcome>) -> Duration {
    let failed = asking.await.expect("it ends").expect_err("it is refused");
    let AttemptFailed::HeldBack { code: Code::TemporaryReducedCapacity, retry_after: Some(after), .. } =
        failed
    else {
        panic!("{failed:?}")
    };
    after
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_place_waits_and_the_first_who_waits_goes_first() {
    let stand = Stand::new(policy(2, 10));
    let mut all = Vec::new();
    for path in ["/1", "/2", "/3", "/4", "/5"] {
        all.push(stand.normal(path).await);
    }
    assert_eq!(stand.upstream.asked(), ["/1", "/2"]);
    assert_eq!(stand.counts(), (2, 3));
    stand.answer().await;
    assert_eq!(stand.upstream.asked(), ["/2", "/3"]);
    stand.answer().await;
    stand.answer().await;
    assert_eq!(stand.upstream.asked(), ["/4", "/5"]);
    stand.answer().await;
    stand.answer().await;
    assert_eq!(stand.counts(), (0, 0));
    for asking in all {
        assert!(asking.await.expect("it ends").is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_more_important_go_first_and_have_places_of_their_own() {
    let stand = Stand::new(BulkheadPolicy { reserve_percent: 25, ..policy(4, 10) });
    let mut all = vec![stand.ask("/critical-0", Priority::Critical, None).await];
    for path in ["/normal-1", "/normal-2", "/normal-3"] {
        all.push(stand.normal(path).await);
    }
    // One of four is the critical ones', and they have it.
    assert_eq!(stand.upstream.asked().len(), 3, "{:?}", stand.upstream.asked());
    all.push(stand.ask("/low", Priority::Low, None).await);
    all.push(stand.ask("/critical-1", Priority::Critical, None).await);
    all.push(stand.ask("/critical-2", Priority::Critical, None).await);
    assert_eq!(stand.upstream.asked()[3..], ["/critical-1"], "it passes those who wait for what it may have");
    assert_eq!(stand.counts(), (4, 3));
    let mut served = Vec::new();
    while let Some(next) = stand.upstream.asked().first().cloned() {
        served.push(next);
        stand.answer().await;
    }
    assert_eq!(
        served,
        ["/critical-0", "/normal-1", "/normal-2", "/critical-1", "/critical-2", "/normal-3", "/low"]
    );
}

#[tokio::test(start_paused = true)]
async fn low_requests_take_half_of_the_places_at_most() {
    let stand = Stand::new(policy(4, 10));
    let _low = [
        stand.ask("/low-1", Priority::Low, None).await,
        stand.ask("/low-2", Priority::Low, None).await,
        stand.ask("/low-3", Priority::Low, None).await,
    ];
    assert_eq!(stand.upstream.asked(), ["/low-1", "/low-2"]);
    let _normal = stand.normal("/normal").await;
    assert_eq!(stand.upstream.asked().last().map(String::as_str), Some("/normal"), "nobody is in its way");
}

#[tokio::test(start_paused = true)]
async fn a_reserve_that_nobody_needs_is_not_kept() {
    let stand = Stand::new(BulkheadPolicy { reserve_percent: 50, ..policy(2, 0) });
    let _both = [stand.normal("/1").await, stand.normal("/2").await];
    assert_eq!(stand.upstream.asked(), ["/1", "/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let stand = Stand::new(policy(1, 1));
    let _held = [stand.normal("/1").await, stand.normal("/2").await];
    let before = Instant::now();
    let after = refused(stand.normal("/3").await).await;
    assert_eq!((before.elapsed(), after), (Duration::ZERO, Duration::from_secs(1)));
    assert_eq!(stand.tally.shed_queue_full.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_more_important_request_takes_the_last_place_in_a_full_queue() {
    let stand = Stand::new(policy(1, 2));
    let _held = stand.normal("/1").await;
    let early = stand.ask("/low-1", Priority::Low, None).await;
    let late = stand.ask("/low-2", Priority::Low, None).await;
    let _critical = stand.ask("/critical", Priority::Critical, None).await;
    refused(late).await;
    assert_eq!((stand.tally.shed_displaced.get(), stand.counts()), (1, (1, 2)));
    refused(stand.ask("/low-3", Priority::Low, None).await).await;
    stand.answer().await;
    assert_eq!(stand.upstream.asked(), ["/critical"]);
    stand.answer().await;
    assert_eq!(stand.upstream.asked(), ["/low-1"]);
    stand.answer().await;
    assert!(early.await.expect("it ends").is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_queue_allows_or_the_deadline() {
    let stand = Stand::new(policy(1, 10));
    let _held = stand.normal("/1").await;
    let before = Instant::now();
    let hurried = stand.ask("/2", Priority::Normal, Some(Duration::from_millis(300))).await;
    let patient = stand.normal("/3").await;
    refused(hurried).await;
    assert_eq!(before.elapsed().as_millis() / 10, 30);
    refused(patient).await;
    assert_eq!(before.elapsed().as_millis() / 10, 100);
    settle().await;
    assert_eq!((stand.tally.shed_timed_out.get(), stand.counts()), (2, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn who_could_not_be_served_in_time_is_refused_at_the_door() {
    let stand = Stand::new(policy(1, 100));
    let mut held: Vec<_> = [stand.normal("/0").await, stand.normal("/1").await].into();
    // A place comes free every 100 ms.
    for _ in 0..5 {
        held.push(stand.normal("/more").await);
        tokio::time::advance(Duration::from_millis(100)).await;
        stand.answer().await;
    }
    let waiting = stand.counts().1;
    assert_eq!(waiting, 1);
    let before = Instant::now();
    refused(stand.ask("/hurried", Priority::Normal, Some(Duration::from_millis(150))).await).await;
    assert_eq!((before.elapsed(), stand.tally.shed_too_late.get()), (Duration::ZERO, 1));
    let in_time = stand.ask("/in-time", Priority::Normal, Some(Duration::from_millis(500))).await;
    assert_eq!(stand.counts().1, 2);
    stand.answer().await;
    stand.answer().await;
    stand.answer().await;
    assert!(in_time.await.expect("it ends").is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_frees_its_place_and_its_turn_at_once() {
    let stand = Stand::new(policy(1, 10));
    let holding = stand.normal("/1").await;
    let leaving = stand.normal("/2").await;
    let staying = stand.normal("/3").await;
    leaving.abort();
    settle().await;
    assert_eq!(stand.counts(), (1, 1));
    holding.abort();
    settle().await;
    assert_eq!((stand.upstream.asked().last().map(String::as_str), stand.counts()), (Some("/3"), (1, 0)));
    // It leaves in the moment in which it gets its place.
    let next = stand.normal("/4").await;
    let last = stand.normal("/5").await;
    staying.abort();
    next.abort();
    settle().await;
    assert_eq!((stand.upstream.asked().last().map(String::as_str), stand.counts()), (Some("/5"), (1, 0)));
    last.abort();
    settle().await;
    assert_eq!(stand.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_until_the_body_has_ended_or_was_dropped() {
    let stand = Stand::new(policy(1, 10));
    for is_read in [true, false] {
        let asking = stand.normal("/").await;
        stand.upstream.answer(Ok(Response::new(Full::from("body"))));
        let response = asking.await.expect("it ends").expect("an answer");
        assert_eq!(stand.counts().0, 1);
        let mut body = response.into_body();
        if is_read {
            body.frame().await.expect("a frame").expect("bytes");
            assert_eq!(stand.counts().0, 0, "it has ended, and is still there");
        }
        drop(body);
        assert_eq!(stand.counts().0, 0);
    }
    // Without a body, and without an answer.
    let empty = stand.normal("/").await;
    stand.upstream.answer_empty();
    let _response = empty.await.expect("it ends").expect("an answer");
    assert_eq!(stand.counts().0, 0);
    let failing = stand.normal("/").await;
    stand.upstream.answer(Err(AttemptFailed::Broken { detail: String::new() }));
    assert!(failing.await.expect("it ends").is_err());
    assert_eq!(stand.counts().0, 0);
}

#[tokio::test(start_paused = true)]
async fn shadow_mode_lets_all_through_and_counts_whom_it_would_refuse() {
    let stand = Stand::new(BulkheadPolicy { is_shadow: true, ..policy(1, 1) });
    let mut all = Vec::new();
    for path in ["/1", "/2", "/3", "/4"] {
        all.push(stand.normal(path).await);
    }
    assert_eq!((stand.upstream.asked().len(), stand.tally.would_shed.get()), (4, 2));
    assert_eq!(stand.counts(), (4, 0));
    for _ in 0..4 {
        stand.answer().await;
    }
    assert_eq!(stand.counts(), (0, 0));
    for asking in all {
        assert!(asking.await.expect("it ends").is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_grows_while_it_is_used_and_answers_come_as_fast_as_usual() {
    let stand = Stand::new(BulkheadPolicy { is_adaptive: true, min: 4, ..policy(50, 1_000) });
    assert_eq!(stand.tally.concurrency_limit.get(), 4);
    let mut all = Vec::new();
    for _ in 0..600 {
        all.push(stand.normal("/").await);
        if stand.counts().1 > 0 {
            tokio::time::advance(Duration::from_millis(5)).await;
            stand.answer().await;
        }
    }
    let limit = stand.tally.concurrency_limit.get();
    assert!((6..=50).contains(&limit), "{limit}");
    assert_eq!(
        stand.tally.shed_queue_full.get() + stand.tally.shed_too_late.get(),
        0,
        "growing refuses nobody"
    );
    all.iter().for_each(JoinHandle::abort);
    settle().await;
    assert_eq!(stand.counts(), (0, 0));
}
