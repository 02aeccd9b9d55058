//! The fault that matters most: the work is done and its answer is lost. Against a real HTTP server and client.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use steadfast_faults::{DropReply, FaultProxy, Goodbye, Plan, When};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::world::{Ending, Upstream, connect, proxy, read_to_end, within};

/// A shop that answers every order with its number, over kept-alive connections.
async fn shop() -> (Upstream, Arc<AtomicU64>) {
    let orders = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&orders);
    let upstream = Upstream::serve(move |stream| {
        let orders = Arc::clone(&counted);
        async move {
            let service = service_fn(|request: Request<Incoming>| async {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let number = orders.fetch_add(1, Ordering::SeqCst) + 1;
                let answer = format!("order {number}: {} bytes", body.len());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer))))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    (upstream, orders)
}

/// An HTTP client on one kept-alive connection.
struct Customer {
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Customer {
    async fn enter(proxy: &FaultProxy) -> Customer {
        let io = TokioIo::new(connect(proxy).await);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Customer { sender, _connection: tasks }
    }

    async fn order(&mut self, body: &[u8]) -> hyper::Result<String> {
        let body = Full::new(Bytes::copy_from_slice(body));
        let request = Request::post("/orders").header("host", "shop").body(body).unwrap();
        let answer = within(self.sender.send_request(request)).await?;
        let body = within(answer.into_body().collect()).await?.to_bytes();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }
}

fn dropping(then: Goodbye, when: When) -> Plan {
    Plan { drop_reply: Some(DropReply { then, when }), ..Plan::default() }
}

#[tokio::test]
async fn the_upstream_does_the_work_and_the_client_never_learns() {
    for then in [Goodbye::Close, Goodbye::Reset] {
        let (upstream, orders) = shop().await;
        let proxy = proxy(upstream.addr, dropping(then, When::next_exchanges(1)));
        assert!(Customer::enter(&proxy).await.order(&[7; 100_000]).await.is_err());
        let stats = within(proxy.wait_for(|stats| stats.faults.replies_dropped == 1)).await;
        assert_eq!(orders.load(Ordering::SeqCst), 1);
        assert_eq!((stats.replies, stats.toward_client.forwarded_bytes), (0, 0));
        // Only the next reply was to be lost.
        assert_eq!(Customer::enter(&proxy).await.order(b"x").await.unwrap(), "order 2: 1 bytes");
    }
}

#[tokio::test]
async fn a_reply_is_lost_in_the_middle_of_a_kept_alive_connection() {
    let (upstream, orders) = shop().await;
    let proxy = proxy(upstream.addr, dropping(Goodbye::Close, When::next_exchanges(1).after_skipping(2)));
    let mut customer = Customer::enter(&proxy).await;
    assert_eq!(customer.order(b"").await.unwrap(), "order 1: 0 bytes");
    assert_eq!(customer.order(&[1; 40_000]).await.unwrap(), "order 2: 40000 bytes");
    assert!(customer.order(b"").await.is_err());
    assert_eq!(orders.load(Ordering::SeqCst), 3);
    let stats = proxy.stats();
    assert_eq!((stats.exchanges, stats.replies, stats.faults.replies_dropped), (3, 2, 1));
}

#[tokio::test]
async fn the_client_reads_an_end_or_a_reset_as_planned() {
    for (then, ending) in [(Goodbye::Close, Ending::Fin), (Goodbye::Reset, Ending::Rst)] {
        let upstream = Upstream::echo().await;
        let proxy = proxy(upstream.addr, dropping(then, When::default()));
        let mut client = connect(&proxy).await;
        client.write_all(b"hello").await.unwrap();
        assert_eq!(read_to_end(&mut client).await, (vec![], ending));
    }
}

#[tokio::test]
async fn the_upstream_does_not_learn_that_its_reply_was_lost() {
    let (report, mut wrote) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::serve(move |mut stream| {
        let report = report.clone();
        async move {
            let mut request = [0; 5];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut request).await.unwrap();
            // Far more than all buffers on the way hold: it can only be written if somebody reads it.
            let written = stream.write_all(&vec![1; 16 << 20]).await;
            let _ = report.send(written.is_ok());
        }
    })
    .await;
    let proxy = proxy(upstream.addr, dropping(Goodbye::Reset, When::default()));
    let mut client = connect(&proxy).await;
    client.write_all(b"hello").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (vec![], Ending::Rst));
    assert_eq!(within(wrote.recv()).await, Some(true));
    within(proxy.wait_for(|stats| stats.connections.open == 0)).await;
}

#[tokio::test]
async fn an_invitation_to_continue_is_not_the_reply() {
    let (upstream, orders) = shop().await;
    let proxy = proxy(upstream.addr, dropping(Goodbye::Close, When::default()));
    let mut client = connect(&proxy).await;
    client
        .write_all(b"POST / HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await
        .unwrap();
    let mut invitation = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    within(tokio::io::AsyncReadExt::read_exact(&mut client, &mut invitation)).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, (vec![], Ending::Fin));
    assert_eq!(orders.load(Ordering::SeqCst), 1);
    assert_eq!(proxy.stats().exchanges, 1);
}

#[tokio::test]
async fn the_same_seed_loses_the_same_replies() {
    let mut runs = Vec::new();
    for seed in [11, 11, 12] {
        let (upstream, orders) = shop().await;
        let plan = dropping(Goodbye::Reset, When::every_exchange().with_probability(0.4));
        let proxy = proxy(upstream.addr, Plan { seed: Some(seed), ..plan });
        let mut lost = Vec::new();
        for _ in 0..20 {
            lost.push(Customer::enter(&proxy).await.order(b"").await.is_err());
        }
        assert_eq!(orders.load(Ordering::SeqCst), 20);
        assert_eq!(proxy.seed(), seed);
        runs.push(lost);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false));
}
