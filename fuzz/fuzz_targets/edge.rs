//! Any bytes as what a caller sends: the gateway must live, and answer the next request.
#![no_main]

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::OnceLock,
    time::Duration,
};

use steadfast_gateway::{
    Gateway, LogTo,
    config::{UpOptions, for_up},
};

/// A gateway in front of an upstream that answers everything, both for as long as the process lives.
fn gateway() -> SocketAddr {
    static GATEWAY: OnceLock<SocketAddr> = OnceLock::new();
    *GATEWAY.get_or_init(|| {
        let upstream = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let to = format!("http://{}", upstream.local_addr().expect("an address"));
        std::thread::spawn(move || upstream.incoming().flatten().for_each(answer_once));
        let folder = tempfile::tempdir().expect("a folder").keep();
        let options = UpOptions {
            to,
            listen: Some("127.0.0.1:0".into()),
            ledger: Some(format!("sqlite:{}/ledger.db", folder.display())),
            workers: Some("1".into()),
            ..UpOptions::default()
        };
        let config = for_up(&options).expect("a config").config;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let log = LogTo { writer: Box::new(std::io::sink()), text: false };
        let gateway = runtime.block_on(Gateway::start(&config, log)).expect("a gateway");
        let address = gateway.address();
        std::mem::forget((gateway, runtime));
        address
    })
}

/// Answers the first bytes of a connection and closes it.
fn answer_once(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
}

/// Sends `bytes` and reads what comes back until the gateway has nothing more to say.
fn exchange(bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway()).expect("the gateway accepts connections");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    exchange(bytes);
    let mut stream = TcpStream::connect(gateway()).expect("the gateway accepts connections");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: next\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
});
