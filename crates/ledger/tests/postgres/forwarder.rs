//! A TCP forwarder between a ledger and Postgres that can lose the reply to a commit.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What the forwarder does.
#[derive(Debug, Default)]
struct Orders {
    /// How many replies to commits are still to be lost.
    lose: AtomicUsize,
    /// How many connections are cut at once before any byte passes; the largest number is all of them.
    refuse: AtomicU32,
}

/// A forwarder to one port; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Forwarder {
    pub(crate) port: u16,
    orders: Arc<Orders>,
    _tasks: JoinSet<()>,
}

impl Forwarder {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (orders, mut tasks) = (Arc::new(Orders::default()), JoinSet::new());
        let shared = Arc::clone(&orders);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if shared.refuse.load(Ordering::SeqCst) == 0 {
                    connections.spawn(forward(client, server, Arc::clone(&shared)));
                }
            }
        });
        Self { port, orders, _tasks: tasks }
    }

    /// Loses the replies to the next commits: they are done, and the connection breaks instead of saying so.
    pub(crate) fn lose_commit_replies(&self, how_many: usize) {
        self.orders.lose.store(how_many, Ordering::SeqCst);
    }

    /// How many replies are still to be lost.
    pub(crate) fn still_to_lose(&self) -> usize {
        self.orders.lose.load(Ordering::SeqCst)
    }

    /// Lets no new connection through, or all of them again.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.orders.refuse.store(u32::from(refuse), Ordering::SeqCst);
    }
}

async fn forward(client: TcpStream, server: u16, orders: Arc<Orders>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(|_| ()) };
    let down = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from_server.read(&mut buffer).await?;
            // The tag of a completed command: `C`, its length, `COMMIT` and a zero.
            let committed = buffer[..read].windows(7).any(|bytes| bytes == b"COMMIT\0");
            let lose = |left: usize| left.checked_sub(1);
            let lost =
                committed && orders.lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok();
            if read == 0 || lost {
                return Ok(());
            }
            to_client.write_all(&buffer[..read]).await?;
        }
    };
    let _: std::io::Result<()> = tokio::select! { done = up => done, done = down => done };
}
