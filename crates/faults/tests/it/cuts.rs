//! Connections that end after a number of bytes: reset, truncated, half-closed.

use steadfast_faults::{Direction, Faults, HalfClose, Latency, Plan, Reset, Truncate, When};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{
    Ending, Recorder, Upstream, connect, echoed, proxy, read_to_end, toward_client, toward_upstream, within,
};

fn reset(after_bytes: u64) -> Faults {
    Faults { reset: Some(Reset { after_bytes, when: When::default() }), ..Faults::default() }
}

fn truncate(after_bytes: u64) -> Faults {
    Faults { truncate: Some(Truncate { after_bytes, when: When::default() }), ..Faults::default() }
}

fn half_close(after_bytes: u64) -> Faults {
    Faults { half_close: Some(HalfClose { after_bytes, when: When::default() }), ..Faults::default() }
}

/// What the client reads of an upstream's `0123456789`, and how that ends.
async fn greeted(plan: Plan) -> (Vec<u8>, Ending) {
    let upstream = Upstream::greeter(b"0123456789".to_vec()).await;
    let proxy = proxy(upstream.addr, plan);
    read_to_end(&mut connect(&proxy).await).await
}

/// What the upstream reads of a client's `0123456789`, and how both ends see it end.
async fn recorded(plan: Plan) -> (Vec<u8>, Ending, Ending) {
    let mut upstream = Recorder::start().await;
    let proxy = proxy(upstream.addr, plan);
    let mut client = connect(&proxy).await;
    client.write_all(b"0123456789").await.unwrap();
    let (bytes, at_upstream) = upstream.next().await;
    (bytes, at_upstream, read_to_end(&mut client).await.1)
}

#[tokio::test]
async fn without_a_fault_all_bytes_pass() {
    assert_eq!(greeted(Plan::default()).await, (b"0123456789".to_vec(), Ending::Fin));
}

#[tokio::test]
async fn resets_toward_the_client_after_n_bytes() {
    assert_eq!(greeted(toward_client(reset(4))).await, (b"0123".to_vec(), Ending::Rst));
    assert_eq!(greeted(toward_client(reset(0))).await, (vec![], Ending::Rst));
    assert_eq!(greeted(toward_client(reset(10))).await, (b"0123456789".to_vec(), Ending::Rst));
    assert_eq!(greeted(toward_client(reset(11))).await, (b"0123456789".to_vec(), Ending::Fin));
}

#[tokio::test]
async fn resets_toward_the_upstream_after_n_bytes() {
    assert_eq!(recorded(toward_upstream(reset(4))).await, (b"0123".to_vec(), Ending::Rst, Ending::Rst));
}

#[tokio::test]
async fn truncates_toward_the_client_after_n_bytes() {
    assert_eq!(greeted(toward_client(truncate(4))).await, (b"0123".to_vec(), Ending::Fin));
    assert_eq!(greeted(toward_client(truncate(0))).await, (vec![], Ending::Fin));
}

#[tokio::test]
async fn a_client_that_is_still_sending_reads_an_end_and_no_reset() {
    let upstream = Upstream::greeter(b"0123456789".to_vec()).await;
    let proxy = proxy(upstream.addr, toward_client(truncate(4)));
    proxy.hold(Direction::TowardClient);
    proxy.hold(Direction::TowardUpstream);
    let mut client = connect(&proxy).await;
    // More than the proxy reads ahead, so its socket closes with something unread.
    within(client.write_all(&[1; 256 * 1024])).await.unwrap();
    within(proxy.wait_for(|stats| stats.toward_upstream.received_bytes >= 128 * 1024)).await;
    proxy.release(Direction::TowardClient);
    assert_eq!(read_to_end(&mut client).await, (b"0123".to_vec(), Ending::Fin));
}

#[tokio::test]
async fn truncates_toward_the_upstream_after_n_bytes() {
    let (bytes, at_upstream, at_client) = recorded(toward_upstream(truncate(4))).await;
    assert_eq!((bytes, at_upstream, at_client), (b"0123".to_vec(), Ending::Fin, Ending::Fin));
}

#[tokio::test]
async fn a_half_closed_request_is_still_answered() {
    let mut upstream = Recorder::start().await;
    let proxy = proxy(upstream.addr, toward_upstream(half_close(4)));
    let mut client = connect(&proxy).await;
    client.write_all(b"0123456789").await.unwrap();
    assert_eq!(upstream.next().await, (b"0123".to_vec(), Ending::Fin));
    assert_eq!(read_to_end(&mut client).await, (b"bye".to_vec(), Ending::Fin));
    assert_eq!(proxy.stats().faults.half_closed, 1);
}

#[tokio::test]
async fn after_a_half_closed_reply_requests_still_pass() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, toward_client(half_close(2)));
    let mut client = connect(&proxy).await;
    client.write_all(b"hello").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (b"he".to_vec(), Ending::Fin));
    client.write_all(b"again").await.unwrap();
    within(proxy.wait_for(|stats| stats.toward_upstream.forwarded_bytes == 10)).await;
    assert_eq!(proxy.stats().connections.open, 1);
}

#[tokio::test]
async fn the_nearest_of_several_cuts_strikes_first() {
    let plan = toward_client(Faults { truncate: truncate(6).truncate, ..reset(3) });
    assert_eq!(greeted(plan).await, (b"012".to_vec(), Ending::Rst));
    let plan = toward_client(Faults { truncate: truncate(2).truncate, ..reset(3) });
    assert_eq!(greeted(plan).await, (b"01".to_vec(), Ending::Fin));
}

#[tokio::test]
async fn cuts_combine_with_delays() {
    let latency = Some(Latency { fixed_ms: 20, jitter_ms: 5, when: When::default() });
    let plan = toward_client(Faults { latency, ..truncate(5) });
    let began = std::time::Instant::now();
    assert_eq!(greeted(plan).await, (b"01234".to_vec(), Ending::Fin));
    assert!(began.elapsed() >= std::time::Duration::from_millis(20));
}

#[tokio::test]
async fn bytes_count_from_the_exchange_or_from_the_connection() {
    let upstream = Upstream::echo().await;
    let per_exchange = Reset { after_bytes: 6, when: When::every_exchange() };
    let plan = |reset| toward_client(Faults { reset: Some(reset), ..Faults::default() });
    let proxy = proxy(upstream.addr, plan(per_exchange));
    let mut client = connect(&proxy).await;
    for _ in 0..4 {
        assert_eq!(echoed(&mut client, b"hello").await, b"hello");
    }

    proxy.set(plan(Reset { when: When::default(), ..per_exchange })).unwrap();
    // The open connection follows the new plan from its next exchange, and is counted afresh.
    assert_eq!(echoed(&mut client, b"hello").await, b"hello");
    client.write_all(b"hello").await.unwrap();
    let mut last = Vec::new();
    assert!(within(client.read_to_end(&mut last)).await.is_err());
    assert_eq!(last, b"h");
    assert_eq!(proxy.stats().faults.reset, 1);
}
