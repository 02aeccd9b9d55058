//! Upstreams that can do so much at once and no more, and callers that ask at their own pace, whatever the answers do.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use e2e::{Ask, Caller};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::Instant,
};

/// An upstream that serves `capacity` requests at once, each for `service`; it ends with this.
pub(crate) struct Limited {
    addr: SocketAddr,
    hangs: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl Limited {
    pub(crate) async fn start(capacity: usize, service: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let hangs = Arc::new(AtomicBool::new(false));
        let (places, hang) = (Arc::new(Semaphore::new(capacity)), Arc::clone(&hangs));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&places), service, Arc::clone(&hang)));
            }
        });
        Self { addr, hangs, _serving: serving }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes requests from now on, and answers none.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::Relaxed);
    }

    /// Answers again what comes from now on.
    pub(crate) fn recover(&self) {
        self.hangs.store(false, Ordering::Relaxed);
    }
}

async fn serve(mut stream: TcpStream, places: Arc<Semaphore>, service: Duration, hangs: Arc<AtomicBool>) {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read.extend_from_slice(&buffer[..count]),
            }
            continue;
        };
        read.drain(..end + 4);
        if hangs.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        {
            let _place = places.acquire().await;
            // What the upstream does takes its time: that is what is measured here.
            tokio::time::sleep(service).await;
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// What a caller saw: the status, and how long that took from the moment at which it was to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

/// Asks for `path` at `rate` a second for `time`, each request at its moment. What gets no answer fails the test.
pub(crate) async fn open_loop(addr: SocketAddr, path: &'static str, rate: u32, time: Duration) -> Vec<Seen> {
    open_loop_of(addr, &Ask::get(path), rate, time).await
}

/// The same with what is asked.
pub(crate) async fn open_loop_of(addr: SocketAddr, ask: &Ask, rate: u32, time: Duration) -> Vec<Seen> {
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for number in 0..rate * u32::try_from(time.as_secs()).expect("a short time") {
        let at = began + Duration::from_secs(1) * number / rate;
        tokio::time::sleep_until(at).await;
        let ask = ask.clone();
        asking.spawn(async move {
            let answer = Caller::new(addr, Duration::from_secs(20)).ask(&ask).await;
            let answer = answer.unwrap_or_else(|error| panic!("{ask:?}: {error:?}"));
            Seen { status: answer.status, took: at.elapsed() }
        });
    }
    asking.join_all().await
}

/// The 99th of a hundred.
pub(crate) fn p99(seen: &[Seen]) -> Duration {
    let mut took: Vec<_> = seen.iter().map(|seen| seen.took).collect();
    took.sort_unstable();
    took[(took.len() * 99).div_ceil(100) - 1]
}

/// The one in the middle.
pub(crate) fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    values[values.len() / 2]
}
