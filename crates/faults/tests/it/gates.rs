//! What does not let bytes through: hang, hold, refuse, a closed listener.

use std::io::ErrorKind;

use socket2::{Domain, Type};
use steadfast_faults::{Direction, FaultProxy, Faults, Hang, Plan, Refuse, When};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{
    Ending, Recorder, Upstream, assert_silent, connect, echoed, proxy, read_to_end, toward_client,
    toward_upstream, within,
};

fn hang(when: When) -> Faults {
    Faults { hang: Some(Hang { when }), ..Faults::default() }
}

async fn hello(proxy: &FaultProxy) -> TcpStream {
    let mut client = connect(proxy).await;
    client.write_all(b"hello").await.unwrap();
    client
}

#[tokio::test]
async fn a_hanging_direction_forwards_nothing_and_keeps_the_connection() {
    for (plan, reached_upstream) in
        [(toward_upstream(hang(When::default())), 0), (toward_client(hang(When::default())), 5)]
    {
        let upstream = Upstream::echo().await;
        let proxy = proxy(upstream.addr, plan);
        let mut client = hello(&proxy).await;
        let stats = within(proxy.wait_for(|stats| stats.faults.hung == 1)).await;
        assert_eq!(stats.toward_upstream.forwarded_bytes, reached_upstream);
        assert_silent(client.read(&mut [0; 5])).await;
        assert_eq!(proxy.stats().connections.open, 1);
    }
}

#[tokio::test]
async fn what_hangs_flows_on_when_the_plan_is_replaced() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, toward_upstream(hang(When::default())));
    let mut client = hello(&proxy).await;
    within(proxy.wait_for(|stats| stats.faults.hung == 1)).await;
    proxy.set(Plan::default()).unwrap();
    let mut back = [0; 5];
    within(client.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
    assert_eq!(echoed(&mut client, b"again").await, b"again");
}

#[tokio::test]
async fn a_client_that_gives_up_ends_the_hang() {
    for plan in [toward_upstream(hang(When::default())), toward_client(hang(When::default()))] {
        let upstream = Upstream::echo().await;
        let proxy = proxy(upstream.addr, plan);
        let client = hello(&proxy).await;
        within(proxy.wait_for(|stats| stats.faults.hung == 1)).await;
        drop(client);
        within(proxy.wait_for(|stats| stats.connections.open == 0)).await;
    }
}

#[tokio::test]
async fn one_exchange_hangs_on_a_connection_that_worked_before() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, toward_client(hang(When::next_exchanges(1).after_skipping(1))));
    let mut client = connect(&proxy).await;
    assert_eq!(echoed(&mut client, b"hello").await, b"hello");
    client.write_all(b"again").await.unwrap();
    within(proxy.wait_for(|stats| stats.faults.hung == 1)).await;
    assert_silent(client.read(&mut [0; 5])).await;
}

#[tokio::test]
async fn held_replies_wait_until_they_are_released() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, Plan::default());
    let mut client = connect(&proxy).await;
    assert_eq!(echoed(&mut client, b"first").await, b"first");
    proxy.hold(Direction::TowardClient);
    client.write_all(b"hello").await.unwrap();
    let stats = within(proxy.wait_for(|stats| stats.toward_client.received_bytes == 10)).await;
    assert_eq!(stats.toward_client.forwarded_bytes, 5);
    assert_silent(client.read(&mut [0; 5])).await;
    proxy.release(Direction::TowardClient);
    let mut back = [0; 5];
    within(client.read_exact(&mut back)).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn a_held_request_arrives_late_even_if_its_client_has_left() {
    let mut upstream = Recorder::start().await;
    let proxy = proxy(upstream.addr, Plan::default());
    proxy.hold(Direction::TowardUpstream);
    assert!(proxy.is_held(Direction::TowardUpstream) && !proxy.is_held(Direction::TowardClient));
    drop(hello(&proxy).await);
    within(proxy.wait_for(|stats| stats.toward_upstream.received_bytes == 5)).await;
    assert_silent(upstream.ended()).await;
    proxy.release(Direction::TowardUpstream);
    assert_eq!(upstream.next().await.0, b"hello");
}

#[tokio::test]
async fn refused_connections_are_reset_and_the_next_one_is_served() {
    let upstream = Upstream::echo().await;
    let refuse = Some(Refuse { when: When::next_connections(2) });
    let proxy = proxy(upstream.addr, Plan { refuse, ..Plan::default() });
    for _ in 0..2 {
        assert_eq!(read_to_end(&mut connect(&proxy).await).await, (vec![], Ending::Rst));
    }
    assert_eq!(echoed(&mut connect(&proxy).await, b"hello").await, b"hello");
    let stats = proxy.stats();
    assert_eq!((stats.faults.refused, stats.connections.accepted), (2, 3));
}

#[tokio::test]
async fn a_closed_listener_refuses_and_reopens_on_the_same_port() {
    let upstream = Upstream::echo().await;
    let proxy = proxy(upstream.addr, Plan::default());
    let mut open = connect(&proxy).await;
    assert_eq!(echoed(&mut open, b"hello").await, b"hello");
    for _ in 0..3 {
        within(proxy.close_listener()).await.unwrap();
        within(proxy.close_listener()).await.unwrap();
        assert!(!proxy.stats().listening);
        let refused = within(TcpStream::connect(proxy.addr())).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(echoed(&mut open, b"still here").await, b"still here");
        within(proxy.reopen()).await.unwrap();
        within(proxy.reopen()).await.unwrap();
        assert!(proxy.stats().listening);
        assert_eq!(echoed(&mut connect(&proxy).await, b"hello").await, b"hello");
    }
}

#[tokio::test]
async fn a_closed_listener_keeps_its_port() {
    let proxy = proxy("127.0.0.1:1".parse().unwrap(), Plan::default());
    within(proxy.close_listener()).await.unwrap();
    let bind = || socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap().bind(&proxy.addr().into());
    assert_eq!(bind().unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn an_upstream_that_is_down_resets_the_client() {
    let upstream = Upstream::echo().await;
    let addr = upstream.addr;
    drop(upstream);
    let down = within(async {
        // The upstream's task ends when the runtime gets to it.
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
        proxy(addr, Plan::default())
    })
    .await;
    assert_eq!(read_to_end(&mut connect(&down).await).await, (vec![], Ending::Rst));
    assert_eq!(down.stats().connections.upstream_unreachable, 1);
}
