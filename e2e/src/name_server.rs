//! A private DNS server, whose names a test changes while it is asked.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{net::UdpSocket, task::JoinSet};

use crate::dns_packet::{Code, Question};

/// The largest question that is read, in bytes.
const PACKET_BYTES_MAX: usize = 1232;

/// What is said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// It has these addresses, for as long as any answer is true at the least.
    Addresses(Vec<IpAddr>),
    /// There is no such name (NXDOMAIN); so it is with names of which nothing is said.
    Missing,
    /// The server failed (SERVFAIL).
    Failure,
    /// Nothing at all.
    Silence,
}

/// A DNS server over UDP, until dropped.
#[derive(Debug)]
pub struct NameServer {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    says: BTreeMap<String, Says>,
    asked: BTreeMap<String, usize>,
}

impl NameServer {
    /// Starts one that knows no name.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = socket.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        server.spawn(async move {
            let mut packet = [0; PACKET_BYTES_MAX];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut packet).await else { continue };
                let answer =
                    Question::read(&packet[..length]).and_then(|question| answer(&shared, &question));
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { addr, state, _server: server }
    }

    /// Where it is asked.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it says of a name from now on.
    pub fn say(&self, name: &str, says: Says) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).says.insert(name.into(), says);
    }

    /// How often it was asked for a name; of either family.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.get(name).copied().unwrap_or_default()
    }
}

fn answer(state: &Mutex<State>, question: &Question<'_>) -> Option<Vec<u8>> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    *state.asked.entry(question.name.clone()).or_default() += 1;
    match state.says.get(&question.name).unwrap_or(&Says::Missing) {
        Says::Addresses(addresses) => Some(question.answer(Code::NoError, addresses, 0)),
        Says::Missing => Some(question.answer(Code::NxDomain, &[], 0)),
        Says::Failure => Some(question.answer(Code::ServFail, &[], 0)),
        Says::Silence => None,
    }
}
