//! An upstream that notes what it was sent by key, in the order in which it did it, and is as flaky as a test wants.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::Random;

/// The upstream; it ends with this.
#[derive(Debug)]
pub struct Notebook {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _server: JoinSet<()>,
}

/// How it behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Temper {
    /// Whether a key that was done once is not done again.
    pub honours_keys: bool,
    /// Of a hundred requests, how many are answered 503 and not done.
    pub busy: u64,
    /// Of a hundred requests, how many are done and never answered.
    pub silent: u64,
    /// Of a hundred requests, how many are answered 500, whether or not they are done.
    pub broken: u64,
    /// How long one takes.
    pub takes: Duration,
}

/// What it noted of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// How often it was sent.
    pub sent: u32,
    /// How often it was done.
    pub done: u32,
}

#[derive(Debug)]
struct Shared {
    temper: Temper,
    random: Random,
    notes: BTreeMap<String, Note>,
    /// What was done, in that order: the `x-lane` it came in, and its key.
    done: Vec<(String, String)>,
}

impl Notebook {
    /// Starts one that is well.
    ///
    /// # Panics
    /// There is no port.
    pub async fn start(random: Random) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Shared { temper: Temper::default(), random, notes: BTreeMap::new(), done: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&shared)));
        Self { addr, shared, _server: server }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lets it behave so from now on.
    pub fn behave(&self, temper: Temper) {
        lock(&self.shared).temper = temper;
    }

    /// What it noted, by key.
    #[must_use]
    pub fn notes(&self) -> BTreeMap<String, Note> {
        lock(&self.shared).notes.clone()
    }

    /// The keys that it did, in that order, by the lane they came in.
    #[must_use]
    pub fn lanes(&self) -> BTreeMap<String, Vec<String>> {
        let mut lanes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (lane, key) in &lock(&self.shared).done {
            lanes.entry(lane.clone()).or_default().push(key.clone());
        }
        lanes
    }
}

impl Shared {
    /// Notes a request and decides what becomes of it: a status, or none where it is not answered.
    fn note(&mut self, request: &Request<Incoming>) -> Option<StatusCode> {
        let header = |name: &str| {
            let value = request.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        let (key, lane) = (header("idempotency-key"), header("x-lane"));
        let note = self.notes.entry(key.clone()).or_default();
        note.sent += 1;
        let draw = self.random.pick(0..100);
        let Temper { honours_keys, busy, silent, broken, .. } = self.temper;
        if draw < busy {
            return Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        let breaks = draw < busy + broken;
        let is_done = !breaks || self.random.percent(50);
        if is_done && !(honours_keys && note.done > 0) {
            note.done += 1;
            self.done.push((lane, key));
        }
        match draw {
            _ if breaks => Some(StatusCode::INTERNAL_SERVER_ERROR),
            _ if draw < busy + broken + silent => None,
            _ => Some(StatusCode::CREATED),
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = Arc::clone(&shared);
            async move {
                let takes = lock(&shared).temper.takes;
                if !takes.is_zero() {
                    tokio::time::sleep(takes).await;
                }
                let status = lock(&shared).note(&request);
                let status = status.ok_or_else(|| io::Error::other("it says nothing"))?;
                let mut response = Response::new(Full::new(Bytes::from_static(b"{\"ok\":true}")));
                *response.status_mut() = status;
                Ok::<_, io::Error>(response)
            }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            Ok::<(), Infallible>(())
        });
        while connections.try_join_next().is_some() {}
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
