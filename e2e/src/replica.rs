//! Small servers that answer alike, each on an address of its own and all on one port, as those behind one name are.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

/// One server, until dropped. It answers every request with its own address, and `/healthz` with how it is said to
/// be.
#[derive(Debug)]
pub struct Replica {
    addr: SocketAddr,
    state: Arc<State>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    is_well: AtomicBool,
    requests: AtomicUsize,
    checks: AtomicUsize,
}

impl Replica {
    /// Starts as many as there are addresses, on 127.0.0.1, 127.0.0.2 and so on.
    ///
    /// # Panics
    /// No port is free on all of them.
    pub async fn start<const COUNT: usize>() -> [Self; COUNT] {
        let listeners = 'found: {
            for _ in 0..100 {
                if let Some(listeners) = bind(COUNT).await {
                    break 'found listeners;
                }
            }
            panic!("no port is free on {COUNT} addresses");
        };
        let mut listeners = listeners.into_iter();
        std::array::from_fn(|_| Self::serving(listeners.next().expect("one for each")))
    }

    fn serving(listener: TcpListener) -> Self {
        let addr = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            is_well: AtomicBool::new(true),
            requests: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
        });
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let answer = state.answer(addr, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                connections.spawn(async move {
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, state, _server: server }
    }

    /// Where it is.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its address without the port.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.addr.ip()
    }

    /// How it says to be when it is checked. Whatever that is, it serves.
    pub fn say_well(&self, is_well: bool) {
        self.state.is_well.store(is_well, Ordering::SeqCst);
    }

    /// How many requests it has had, checks of its health apart.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// How often its health was checked.
    #[must_use]
    pub fn checks(&self) -> usize {
        self.state.checks.load(Ordering::SeqCst)
    }
}

impl State {
    fn answer(&self, addr: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let is_check = request.uri().path() == "/healthz";
        if is_check { &self.checks } else { &self.requests }.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::new(addr.ip().to_string().into()));
        if is_check && !self.is_well.load(Ordering::SeqCst) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}

/// Listeners on one port of so many addresses.
async fn bind(count: usize) -> Option<Vec<TcpListener>> {
    let mut listeners = Vec::with_capacity(count);
    let mut port = 0;
    for last in 1..=u8::try_from(count).ok()? {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), port)).await.ok()?;
        port = listener.local_addr().ok()?.port();
        listeners.push(listener);
    }
    Some(listeners)
}
