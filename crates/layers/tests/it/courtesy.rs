//! How often an upstream is called: at a rate, and as it asks for itself.

use std::{sync::Arc, time::Duration};

use http::Response;
use http::{Request, StatusCode};
use http_body_util::Full;
use steadfast_core::{Code, Rate, Timestamp};
use steadfast_layers::{AttemptFailed, Courtesy, CourtesyLayer, CourtesyPolicy, Deadline, UpstreamTally};
use steadfast_ledger::Clock;
use tokio::{task::JoinHandle, time::Instant};
use tower::ServiceExt;
use tower_layer::Layer;

use crate::upstream::Upstream;

type Outcome = Result<Response<Full<bytes::Bytes>>, AttemptFailed>;

struct Stand {
    upstream: Upstream,
    courtesy: Arc<Courtesy>,
    tally: Arc<UpstreamTally>,
    began: Instant,
}

impl Stand {
    fn new(rate: Option<(u32, u32)>) -> Self {
        let tally = Arc::new(UpstreamTally::default());
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let rate = rate.map(|(count, burst)| (Rate { count, per: Duration::from_secs(1) }, burst));
        let courtesy = Arc::new(Courtesy::new(CourtesyPolicy { rate }, clock, Arc::clone(&tally)));
        Self { upstream: Upstream::default(), courtesy, tally, began: Instant::now() }
    }

    async fn ask(&self, path: &str, deadline: Option<Duration>) -> JoinHandle<Outcome> {
        let layer = CourtesyLayer::new(Some(Arc::clone(&self.courtesy)));
        let mut request = Request::builder().uri(path).body(()).expect("a request");
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(Deadline(Instant::now() + deadline));
        }
        #[expect(clippy::disallowed_methods, reason = "a test's own caller")]
        let asking = tokio::spawn(layer.layer(self.upstream.clone()).oneshot(request));
        settle().await;
        asking
    }

    /// Waits until the upstream has been called so often, and says after how many milliseconds.
    async fn called(&self, times: usize) -> u128 {
        while self.upstream.asked().len() < times {
            tokio::time::advance(Duration::from_millis(1)).await;
            settle().await;
        }
        self.began.elapsed().as_millis()
    }

    /// Is called once, and answers with this.
    async fn hears(&self, status: u16, headers: &[(&str, &str)]) {
        let asking = self.ask("/heard", None).await;
        let mut response = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        self.upstream.answer(Ok(response.body(Full::default()).expect("an answer")));
        let _ = asking.await.expect("it ends").expect("an answer");
    }
}

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
async fn calls_are_spaced_by_the_rate_in_the_order_in_which_they_came() {
    let stand = Stand::new(Some((10, 2)));
    let mut all = Vec::new();
    for path in ["/1", "/2", "/3", "/4", "/5"] {
        all.push(stand.ask(path, None).await);
    }
    assert_eq!(stand.upstream.asked(), ["/1", "/2"]);
    for (calls, at) in [(3, 100), (4, 200), (5, 300)] {
        assert_eq!(stand.called(calls).await / 2, at / 2, "call {calls}");
    }
    assert_eq!(stand.upstream.asked(), ["/1", "/2", "/3", "/4", "/5"]);
    assert_eq!(stand.tally.courtesy_delayed.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_go_in_time_is_refused_at_once() {
    let stand = Stand::new(Some((1, 1)));
    let _first = stand.ask("/1", None).await;
    let _second = stand.ask("/2", Some(Duration::from_millis(1_500))).await;
    let before = Instant::now();
    let after = refused(stand.ask("/3", Some(Duration::from_millis(1_500))).await).await;
    assert_eq!((before.elapsed(), after), (Duration::ZERO, Duration::from_secs(2)));
    // Without a deadline it waits five seconds at most.
    let _waiting = [stand.ask("/4", None).await, stand.ask("/5", None).await, stand.ask("/6", None).await];
    refused(stand.ask("/7", None).await).await;
    assert_eq!(stand.tally.courtesy_refused.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_gives_its_turn_to_the_next() {
    let stand = Stand::new(Some((1, 1)));
    let _first = stand.ask("/1", None).await;
    let (second, third, _fourth) =
        (stand.ask("/2", None).await, stand.ask("/3", None).await, stand.ask("/4", None).await);
    third.abort();
    second.abort();
    settle().await;
    assert_eq!(stand.called(2).await / 10, 100);
    assert_eq!(stand.upstream.asked(), ["/1", "/4"]);
}

#[tokio::test(start_paused = true)]
async fn a_429_stops_all_calls_for_as_long_as_it_says_and_a_little_more() {
    for (headers, from_ms) in [
        (&[("retry-after", "2")][..], 2_000),
        (&[][..], 1_000),
        (&[("ratelimit", "\"burst\";r=0;t=3")][..], 3_000),
        (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "2")][..], 2_000),
        (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000003")][..], 3_000),
    ] {
        let stand = Stand::new(None);
        stand.hears(429, headers).await;
        let _asking = stand.ask("/after", None).await;
        let at = stand.called(1).await;
        assert!((from_ms..=from_ms * 11 / 10 + 2).contains(&at), "{headers:?}: {at}");
        assert_eq!(stand.tally.courtesy_pauses.get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn other_answers_stop_nothing() {
    for (status, headers) in [
        (503, &[][..]),
        (500, &[("retry-after", "60")][..]),
        (200, &[("retry-after", "60")][..]),
        (200, &[("x-ratelimit-remaining", "500"), ("x-ratelimit-reset", "60")][..]),
        (200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "soon")][..]),
        (200, &[("ratelimit", "nonsense")][..]),
    ] {
        let stand = Stand::new(None);
        stand.hears(status, headers).await;
        let _asking = stand.ask("/after", None).await;
        assert_eq!(stand.upstream.asked(), ["/after"], "{status} {headers:?}");
        assert_eq!(stand.tally.courtesy_pauses.get(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_quota_is_spread_before_it_is_used_up() {
    let stand = Stand::new(None);
    stand.hears(200, &[("ratelimit", "\"q\";r=2;t=4")]).await;
    let _asking = [stand.ask("/1", None).await, stand.ask("/2", None).await];
    assert_eq!(stand.upstream.asked(), ["/1"]);
    assert_eq!(stand.called(2).await / 10, 200);
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_those_who_wait_already_and_refuses_whom_it_is_too_long_for() {
    let stand = Stand::new(Some((1, 1)));
    let asking = stand.ask("/1", None).await;
    let patient = stand.ask("/2", Some(Duration::from_secs(60))).await;
    let hurried = stand.ask("/3", Some(Duration::from_secs(4))).await;
    let busy = Response::builder().status(503).header("retry-after", "10").body(Full::default());
    stand.upstream.answer(Ok(busy.expect("an answer")));
    let _ = asking.await.expect("it ends").expect("an answer");
    let at = stand.called(1).await;
    assert!((10_000..=11_010).contains(&at), "{at}");
    refused(hurried).await;
    assert!(!patient.is_finished());
}
