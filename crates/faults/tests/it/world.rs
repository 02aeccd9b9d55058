//! What the tests talk to and through: small real upstreams, and clients that tell how a connection ended.

use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use steadfast_faults::{FaultProxy, Faults, Plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How a peer's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Fin,
    Rst,
}

/// What one connection of a [`Recorder`] received, and how it ended.
pub(crate) type Recorded = (Vec<u8>, Ending);

/// An upstream that only listens, and reports every connection when it ends.
pub(crate) struct Recorder {
    pub(crate) addr: SocketAddr,
    ended: mpsc::UnboundedReceiver<Recorded>,
    _tasks: JoinSet<()>,
}

/// An upstream that runs until it is dropped.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Bounds every wait of a test, so that a lost signal fails it instead of hanging it.
pub(crate) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), wait).await.expect("it should not take five seconds")
}

/// Asserts that nothing happens for a moment: the one thing for which there is no signal.
pub(crate) async fn assert_silent<T>(wait: impl Future<Output = T>) {
    let waited = tokio::time::timeout(Duration::from_millis(80), wait).await;
    assert!(waited.is_err(), "nothing should have happened yet");
}

pub(crate) fn toward_upstream(faults: Faults) -> Plan {
    Plan { toward_upstream: faults, ..Plan::default() }
}

pub(crate) fn toward_client(faults: Faults) -> Plan {
    Plan { toward_client: faults, ..Plan::default() }
}

/// Starts a proxy and says its seed, for whoever reads the output of a failed test.
pub(crate) fn proxy(upstream: SocketAddr, plan: Plan) -> FaultProxy {
    let proxy = FaultProxy::start(upstream, plan).unwrap();
    println!("seed {}", proxy.seed());
    proxy
}

pub(crate) async fn connect(proxy: &FaultProxy) -> TcpStream {
    within(TcpStream::connect(proxy.addr())).await.unwrap()
}

/// Sends and reads back as many bytes.
pub(crate) async fn echoed(client: &mut TcpStream, sent: &[u8]) -> Vec<u8> {
    client.write_all(sent).await.unwrap();
    let mut back = vec![0; sent.len()];
    within(client.read_exact(&mut back)).await.unwrap();
    back
}

/// Reads to the end of the stream.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Recorded {
    let mut bytes = Vec::new();
    loop {
        match within(stream.read_buf(&mut bytes)).await {
            Ok(0) => return (bytes, Ending::Fin),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (bytes, Ending::Rst),
            Err(error) => panic!("unexpected end: {error}"),
        }
    }
}

impl Upstream {
    /// Sends back what it receives.
    pub(crate) async fn echo() -> Upstream {
        Upstream::serve(|mut stream| async move {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        })
        .await
    }

    /// Sends `bytes` to everyone who connects, then reads to the end.
    pub(crate) async fn greeter(bytes: Vec<u8>) -> Upstream {
        Upstream::serve(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        })
        .await
    }

    /// Runs `serve` for every connection.
    pub(crate) async fn serve<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Upstream
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream));
            }
        });
        Upstream { addr, _tasks: tasks }
    }
}

impl Recorder {
    /// Says nothing until its peer has finished, then `bye`.
    pub(crate) async fn start() -> Recorder {
        let (report, ended) = mpsc::unbounded_channel();
        let Upstream { addr, _tasks } = Upstream::serve(move |mut stream| {
            let report = report.clone();
            async move {
                let (bytes, ending) = read_to_end_at_leisure(&mut stream).await;
                let _ = stream.write_all(b"bye").await;
                let _ = report.send((bytes, ending));
            }
        })
        .await;
        Recorder { addr, ended, _tasks }
    }

    pub(crate) async fn next(&mut self) -> Recorded {
        within(self.ended.recv()).await.unwrap()
    }

    /// Waits for a connection to end, however long that takes.
    pub(crate) async fn ended(&mut self) -> Recorded {
        self.ended.recv().await.unwrap()
    }
}

async fn read_to_end_at_leisure(stream: &mut TcpStream) -> Recorded {
    let mut bytes = Vec::new();
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) => return (bytes, Ending::Fin),
            Ok(_) => {}
            Err(_) => return (bytes, Ending::Rst),
        }
    }
}
