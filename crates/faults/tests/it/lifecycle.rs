//! Beginning and end: severed connections, stopping, bounds, large transfers.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use steadfast_faults::{Direction, FaultProxy, Plan, Refuse, When};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{Ending, Recorder, Upstream, connect, echoed, proxy, read_to_end, within};

/// The most that the proxy itself may hold of one direction: its queue, and what reader and writer have in hand.
const BUFFER_BYTES_MAX: u64 = 10 * 16 * 1024;

#[tokio::test]
async fn sever_resets_every_open_connection_on_both_sides() {
    let mut upstream = Recorder::start().await;
    let proxy = proxy(upstream.addr, Plan::default());
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = connect(&proxy).await;
        client.write_all(b"hello").await.unwrap();
        clients.push(client);
    }
    within(proxy.wait_for(|stats| stats.toward_upstream.forwarded_bytes == 15)).await;
    proxy.sever();
    for client in &mut clients {
        assert_eq!(read_to_end(client).await, (vec![], Ending::Rst));
        assert_eq!(upstream.next().await, (b"hello".to_vec(), Ending::Rst));
    }
    let stats = within(proxy.wait_for(|stats| stats.connections.open == 0)).await;
    assert_eq!(stats.faults.severed, 3);
    // The proxy goes on.
    connect(&proxy).await.write_all(b"more").await.unwrap();
    assert_eq!(upstream.next().await, (b"more".to_vec(), Ending::Fin));
}

#[tokio::test]
async fn stopping_frees_the_port_and_closes_connections() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, Plan::default());
    let addr = proxy.addr();
    let mut client = connect(&proxy).await;
    assert_eq!(echoed(&mut client, b"hello").await, b"hello");
    within(proxy.stop()).await;
    assert_eq!(read_to_end(&mut client).await.0, b"");
    assert_eq!(TcpStream::connect(addr).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    TcpListener::bind(addr).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_frees_the_port_and_closes_connections() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, Plan::default());
    let addr = proxy.addr();
    let mut client = connect(&proxy).await;
    assert_eq!(echoed(&mut client, b"hello").await, b"hello");
    drop(proxy);
    assert_eq!(read_to_end(&mut client).await.0, b"");
    within(async {
        while TcpListener::bind(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_proxy_starts_again_on_a_given_port() {
    let upstream = Upstream::echo().await;
    let first = proxy(upstream.addr, Plan::default());
    let addr = first.addr();
    let taken = FaultProxy::start_on(addr, upstream.addr, Plan::default()).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    within(first.stop()).await;
    let second = FaultProxy::start_on(addr, upstream.addr, Plan::default()).unwrap();
    assert_eq!((second.addr(), second.upstream()), (addr, upstream.addr));
    assert_eq!(echoed(&mut connect(&second).await, b"hello").await, b"hello");
}

#[test]
fn starting_outside_a_runtime_is_an_error_and_no_panic() {
    assert!(FaultProxy::start("127.0.0.1:1".parse().unwrap(), Plan::default()).is_err());
}

#[tokio::test]
async fn an_invalid_plan_is_refused_and_the_old_one_stays() {
    let plan = Plan { seed: Some(3), ..Plan::default() };
    let invalid =
        Plan { refuse: Some(Refuse { when: When::default().with_probability(2.0) }), ..Plan::default() };
    let upstream = "127.0.0.1:1".parse().unwrap();
    assert_eq!(FaultProxy::start(upstream, invalid.clone()).unwrap_err().kind(), ErrorKind::InvalidInput);
    let proxy = proxy(upstream, plan.clone());
    assert!(proxy.set(invalid).is_err());
    assert_eq!(proxy.plan(), plan);
    // A plan without a seed keeps the one there is.
    proxy.set(Plan::default()).unwrap();
    assert_eq!((proxy.seed(), proxy.stats().seed), (3, 3));
}

#[tokio::test]
async fn a_sender_that_finishes_still_gets_its_answer() {
    let mut upstream = Recorder::start().await;
    let proxy = proxy(upstream.addr, Plan::default());
    let mut client = connect(&proxy).await;
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (b"bye".to_vec(), Ending::Fin));
    assert_eq!(upstream.next().await, (b"hello".to_vec(), Ending::Fin));
    within(proxy.wait_for(|stats| stats.connections.open == 0)).await;
}

#[tokio::test]
async fn a_reset_on_one_side_reaches_the_other_after_the_bytes_before_it() {
    let mut recorder = Recorder::start().await;
    let toward_recorder = proxy(recorder.addr, Plan::default());
    let mut client = connect(&toward_recorder).await;
    client.write_all(b"hello").await.unwrap();
    within(toward_recorder.wait_for(|stats| stats.toward_upstream.forwarded_bytes == 5)).await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(recorder.next().await, (b"hello".to_vec(), Ending::Rst));

    let breaks_off = Upstream::serve(|mut stream| async move {
        stream.write_all(b"hel").await.unwrap();
        // The client's word that it has read them.
        stream.read_exact(&mut [0]).await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let toward_upstream = proxy(breaks_off.addr, Plan::default());
    let mut client = connect(&toward_upstream).await;
    within(client.read_exact(&mut [0; 3])).await.unwrap();
    client.write_all(b"!").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (vec![], Ending::Rst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transfer_passes_unharmed_both_ways() {
    const TOTAL: usize = 64 << 20;
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, Plan::default());
    let (mut read, mut write) = connect(&proxy).await.into_split();
    // A period that divides no buffer: swapped, lost or doubled pieces cannot go unseen.
    let piece: Arc<[u8]> = (0..99_991u32).map(|n| (n % 251) as u8).collect();
    let sent = Arc::clone(&piece);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut left = TOTAL;
        while left > 0 {
            let len = left.min(sent.len());
            write.write_all(&sent[..len]).await.unwrap();
            left -= len;
        }
        write.shutdown().await.unwrap();
    });
    let mut buffer = vec![0; piece.len()];
    let mut left = TOTAL;
    while left > 0 {
        let len = left.min(piece.len());
        within(read.read_exact(&mut buffer[..len])).await.unwrap();
        assert!(buffer[..len] == piece[..len]);
        left -= len;
    }
    assert_eq!(within(read.read(&mut buffer)).await.unwrap(), 0);
    let stats = within(proxy.wait_for(|stats| stats.connections.open == 0)).await;
    assert_eq!(stats.toward_upstream.received_bytes, TOTAL as u64);
    assert_eq!(stats.toward_client.forwarded_bytes, TOTAL as u64);
}

#[tokio::test]
async fn a_receiver_that_stalls_stalls_its_sender() {
    let upstream = Recorder::start().await;
    let proxy = proxy(upstream.addr, Plan::default());
    proxy.hold(Direction::TowardUpstream);
    let mut client = connect(&proxy).await;
    let mut written = 0;
    let piece = vec![1; 256 * 1024];
    // Once the buffers are full, the proxy's and the kernel's, a write no longer ends.
    while let Ok(result) = tokio::time::timeout(Duration::from_millis(100), client.write_all(&piece)).await {
        result.unwrap();
        written += piece.len();
        assert!(written < 64 << 20, "somebody buffers without bound");
    }
    let stats = proxy.stats();
    let received = stats.toward_upstream.received_bytes;
    assert!(received > 0 && received <= BUFFER_BYTES_MAX, "{received}");
    assert_eq!(stats.toward_upstream.forwarded_bytes, 0);
}
