//! The upstream: a server on a socket that plays the backend's script, and breaks its connections where the test
//! says so.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, task::JoinSet};

use crate::contract::{
    backend::{Act, Backend, Part, Seen},
    wire::{Head, Line},
};

/// How a connection breaks instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// After the request was read and executed.
    CloseAfterReading,
    /// After the request's head was read.
    CloseAfterHead,
    /// In the midst of the answer's head.
    HalfHead,
    /// In the midst of a body whose length was declared.
    HalfBody,
    /// Not HTTP at all.
    Nonsense,
    /// An answer, and then the connection is closed though it was to be kept.
    CloseAfterAnswer,
}

/// The upstream; it ends with this.
pub(crate) struct Upstream {
    address: SocketAddr,
    backend: Backend,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    faults: Mutex<VecDeque<Fault>>,
    connections: AtomicUsize,
}

impl Upstream {
    pub(crate) async fn start(backend: Backend) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, backend.clone(), Arc::clone(&shared)));
        Self { address, backend, shared, _serving: serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// How many connections it was ever given.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Breaks the connection of the next request.
    pub(crate) fn will_break(&self, fault: Fault) {
        self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }
}

async fn accept(listener: TcpListener, backend: Backend, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        shared.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(Line::new(stream), backend.clone(), Arc::clone(&shared)));
    }
}

async fn serve(mut line: Line, backend: Backend, shared: Arc<Shared>) {
    while let Some(head) = line.head().await {
        let fault = shared.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if fault == Some(Fault::CloseAfterHead) {
            return;
        }
        // A request whose body breaks off is not executed.
        let Ok(body) = line.body(&head.headers).await else { return };
        let method = head.first_line.split(' ').next().unwrap_or_default().to_owned();
        let seen = seen(&head, body);
        match fault {
            None => {
                let act = backend.execute(seen);
                if play(&mut line, act, &method).await.is_none() {
                    return;
                }
            }
            Some(fault) => {
                backend.note(seen);
                let bytes: &[u8] = match fault {
                    Fault::CloseAfterReading | Fault::CloseAfterHead => b"",
                    Fault::HalfHead => b"HTTP/1.1 201 Created\r\nContent-Le",
                    Fault::HalfBody => b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhalf",
                    Fault::Nonsense => b"This is not HTTP.\r\n\r\n",
                    Fault::CloseAfterAnswer => b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\ndone",
                };
                line.send(bytes).await;
                return;
            }
        }
    }
}

fn seen(head: &Head, body: Vec<u8>) -> Seen {
    let mut words = head.first_line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Seen { method, target, headers: head.headers.clone(), body }
}

/// Answers; `None` where the connection ends with that.
async fn play(line: &mut Line, act: Act, method: &str) -> Option<()> {
    if let Some(gate) = &act.held_by {
        gate.opened().await;
    }
    let mut head = format!("HTTP/1.1 {} Reason\r\n", act.status);
    for (name, value) in &act.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let bodiless = act.status == 204 || act.status == 304;
    if let Some(body) = act.whole_body() {
        if !bodiless {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let body = if bodiless || method == "HEAD" { b"" } else { body };
        line.try_send(&[head.as_bytes(), b"\r\n", body].concat()).await.ok()?;
        return Some(());
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    line.try_send(head.as_bytes()).await.ok()?;
    for part in act.body {
        match part {
            Part::Bytes(bytes) => {
                let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat();
                line.try_send(&chunk).await.ok()?;
            }
            Part::Wait(gate) => gate.opened().await,
            Part::Cut => return None,
        }
    }
    line.try_send(b"0\r\n\r\n").await.ok()
}
