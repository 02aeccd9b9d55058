//! What stands behind the server under test: it does what the test says, and remembers everything that it was
//! asked to do. An upstream on a socket and a handler in the same process play it alike.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::wire::Headers;

/// Something that waits until the test opens it.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn opened(&self) {
        // This gate holds its own sender.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// A piece of an answer's body.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Bytes(Vec<u8>),
    /// Nothing goes on before the gate is opened.
    Wait(Gate),
    /// The body breaks off here.
    Cut,
}

/// What the backend does with one request.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<Part>,
    /// Before anything of the answer.
    pub(crate) held_by: Option<Gate>,
}

impl Act {
    pub(crate) fn answer(status: u16, body: impl AsRef<[u8]>) -> Self {
        let body = vec![Part::Bytes(body.as_ref().to_vec())];
        Self { status, headers: Vec::new(), body, held_by: None }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Goes on with the body; its length is then not declared.
    pub(crate) fn then(mut self, part: Part) -> Self {
        self.body.push(part);
        self
    }

    pub(crate) fn held_by(mut self, gate: &Gate) -> Self {
        self.held_by = Some(gate.clone());
        self
    }

    /// The whole body, where it is one piece that can be declared.
    pub(crate) fn whole_body(&self) -> Option<&[u8]> {
        match self.body.as_slice() {
            [Part::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }
}

/// A request as the backend got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The key that it came with.
    pub(crate) fn key(&self) -> Option<&str> {
        self.headers.get("idempotency-key")
    }
}

/// The backend: clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    script: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<watch::Sender<Vec<Seen>>>,
}

impl Backend {
    pub(crate) fn new() -> Self {
        Self { script: Arc::default(), seen: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// Says what is done with the next request that nothing was said about yet.
    pub(crate) fn will(&self, act: Act) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back(act);
    }

    /// Takes a request in: this is what counts as its execution. Unless the test says otherwise, each gets an
    /// answer that no other gets.
    pub(crate) fn execute(&self, seen: Seen) -> Act {
        let number = self.note(seen);
        let act = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        act.unwrap_or_else(|| Act::answer(201, format!("done {number}")))
    }

    /// Remembers a request; its number, from 1.
    pub(crate) fn note(&self, request: Seen) -> usize {
        self.seen.send_modify(|seen| seen.push(request));
        self.count()
    }

    /// Everything that it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// How many requests it executed.
    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Waits until it was asked so many times.
    pub(crate) async fn reached(&self, count: usize) {
        // The backend holds its own sender.
        let _ = self.seen.subscribe().wait_for(|seen| seen.len() >= count).await;
    }
}
