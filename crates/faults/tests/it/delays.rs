//! Latency, jitter, slow bytes, bandwidth: asserted from below wherever possible, so that a busy machine does not fail them.

use std::time::{Duration, Instant};

use steadfast_faults::{Bandwidth, Faults, Latency, Plan, Slow, When};

use crate::world::{Upstream, connect, echoed, proxy, read_to_end, toward_client, toward_upstream};

/// The time that one echo of `len` bytes takes.
async fn echo_time(plan: Plan, len: usize) -> Duration {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, plan);
    let mut client = connect(&proxy).await;
    let sent: Vec<u8> = (0..len).map(|n| n as u8).collect();
    let began = Instant::now();
    assert_eq!(echoed(&mut client, &sent).await, sent);
    began.elapsed()
}

fn latency(fixed_ms: u64, jitter_ms: u64) -> Faults {
    Faults { latency: Some(Latency { fixed_ms, jitter_ms, when: When::default() }), ..Faults::default() }
}

#[tokio::test]
async fn latency_delays_requests() {
    assert!(echo_time(toward_upstream(latency(60, 0)), 10).await >= Duration::from_millis(60));
}

#[tokio::test]
async fn latency_delays_replies() {
    assert!(echo_time(toward_client(latency(60, 0)), 10).await >= Duration::from_millis(60));
}

#[tokio::test]
async fn latency_of_both_directions_adds_up() {
    let plan = Plan { toward_upstream: latency(40, 5), toward_client: latency(40, 5), ..Plan::default() };
    assert!(echo_time(plan, 10).await >= Duration::from_millis(80));
}

#[tokio::test]
async fn jitter_keeps_the_order_of_bytes() {
    echo_time(toward_client(latency(0, 4)), 200_000).await;
}

#[tokio::test]
async fn latency_does_not_stop_the_flow() {
    let upstream = Upstream::greeter(vec![1; 128 * 1024]).await;
    let proxy = proxy(upstream.addr, toward_client(latency(300, 0)));
    let began = Instant::now();
    let (bytes, _) = read_to_end(&mut connect(&proxy).await).await;
    assert_eq!(bytes.len(), 128 * 1024);
    // Eight chunks that waited one after the other would take 2.4 s.
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(proxy.stats().faults.latency, 1);
}

#[tokio::test]
async fn slow_bytes_trickle_toward_the_upstream() {
    let slow = Some(Slow { chunk_bytes: 2, every_ms: 10, when: When::default() });
    // Ten chunks, nine pauses; the last pause is after the last byte.
    let took = echo_time(toward_upstream(Faults { slow, ..Faults::default() }), 20).await;
    assert!(took >= Duration::from_millis(85), "{took:?}");
}

#[tokio::test]
async fn slow_bytes_trickle_toward_the_client() {
    let slow = Some(Slow { chunk_bytes: 1, every_ms: 10, when: When::default() });
    let took = echo_time(toward_client(Faults { slow, ..Faults::default() }), 10).await;
    assert!(took >= Duration::from_millis(85), "{took:?}");
}

#[tokio::test]
async fn bandwidth_bounds_both_directions() {
    let bandwidth = Some(Bandwidth { bytes_per_second: 200_000, when: When::default() });
    let faults = Faults { bandwidth, ..Faults::default() };
    for plan in [toward_upstream(faults.clone()), toward_client(faults)] {
        // 40 kB take 200 ms, but for the slice of 20 ms that goes at once.
        let took = echo_time(plan, 40_000).await;
        assert!(took >= Duration::from_millis(170), "{took:?}");
    }
}

#[tokio::test]
async fn delays_can_be_limited_to_exchanges() {
    let upstream = Upstream::echo().await;
    let when = When::next_exchanges(1).after_skipping(1);
    let latency = Some(Latency { fixed_ms: 60, jitter_ms: 0, when });
    let proxy = proxy(upstream.addr, toward_client(Faults { latency, ..Faults::default() }));
    let mut client = connect(&proxy).await;
    let mut counted = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        echoed(&mut client, b"hello").await;
        counted.push((proxy.stats().faults.latency, began.elapsed() >= Duration::from_millis(60)));
    }
    assert_eq!((counted[0].0, counted[1], counted[2].0), (0, (1, true), 1));
}
