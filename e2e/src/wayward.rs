//! An upstream that says, byte by byte, what a test wants said, right or wrong, and in its own time.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The largest head that is read.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// One step of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Says this.
    Say(&'static str),
    /// Says nothing for so long.
    Pause(Duration),
    /// Says nothing more, and keeps the connection until the other side closes it.
    Hang,
    /// Closes the connection.
    Close,
}

/// The upstream; it ends with this.
#[derive(Debug)]
pub struct Wayward {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    steps: Mutex<Vec<Step>>,
    once: Mutex<VecDeque<Vec<Step>>>,
    asked: AtomicUsize,
    open: AtomicUsize,
}

impl Wayward {
    /// One that answers 200 with an empty body.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&shared)));
        let wayward = Self { addr, shared, _serving: serving };
        wayward.will(&[Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")]);
        wayward
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How every request is answered from now on.
    pub fn will(&self, steps: &[Step]) {
        *self.shared.steps.lock().unwrap_or_else(PoisonError::into_inner) = steps.to_vec();
    }

    /// How the next request is answered that nothing else was said of; those after it as before.
    pub fn will_once(&self, steps: &[Step]) {
        self.shared.once.lock().unwrap_or_else(PoisonError::into_inner).push_back(steps.to_vec());
    }

    /// How many requests came.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// How many connections to it are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            shared.open.fetch_add(1, Ordering::SeqCst);
            // A broken connection is what these tests are about.
            let _ = serve(stream, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    while request(&mut stream, &mut unread).await? {
        shared.asked.fetch_add(1, Ordering::SeqCst);
        let once = shared.once.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let always = || shared.steps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let steps = once.unwrap_or_else(always);
        for step in steps {
            match step {
                Step::Say(text) => stream.write_all(text.as_bytes()).await?,
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Hang => while stream.read_buf(&mut unread).await? > 0 {},
                Step::Close => return Ok(()),
            }
        }
    }
    Ok(())
}

/// Reads a whole request; whether there was one.
async fn request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> std::io::Result<bool> {
    let head_ends = loop {
        if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if unread.len() > HEAD_BYTES_MAX || stream.read_buf(unread).await? == 0 {
            return Ok(false);
        }
    };
    let head = String::from_utf8_lossy(&unread[..head_ends]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let end = head_ends + length.unwrap_or(0);
    while unread.len() < end {
        if stream.read_buf(unread).await? == 0 {
            return Ok(false);
        }
    }
    unread.drain(..end);
    Ok(true)
}
