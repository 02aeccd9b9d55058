//! Where it listens, and how it ends.

use std::net::TcpListener;

use steadfast_admin::{ServeError, require_loopback, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::desk::Desk;

#[tokio::test]
async fn it_is_not_served_beyond_the_machine() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = serve(listener, axum::Router::new(), std::future::pending()).err();
    assert!(matches!(refused, Some(ServeError::NotLoopback(_))), "{refused:?}");
    for (address, loopback) in [
        ("127.0.0.1:1", true),
        ("127.200.0.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("192.168.1.2:1", false),
        ("[::ffff:10.0.0.1]:1", false),
    ] {
        assert_eq!(require_loopback(address.parse().unwrap()).is_ok(), loopback, "{address}");
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let mut desk = Desk::open().await;
    let mut idle = TcpStream::connect(desk.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    drop(desk.end.take());
    while desk.tasks.join_next().await.is_some() {}
    assert!(TcpStream::connect(desk.address).await.is_err());
}

#[tokio::test]
async fn garbage_is_answered_and_the_next_request_served() {
    let desk = Desk::open().await;
    for garbage in ["\x16\x03\x01\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(desk.address).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        let mut ignored = Vec::new();
        let _ = stream.read_to_end(&mut ignored).await;
    }
    assert_eq!(desk.get("/livez").await.status, 200);
}
