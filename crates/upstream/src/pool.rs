//! Connections kept for reuse by the worker that made them: those of HTTP/1.1 while they are idle, that of HTTP/2
//! while anybody may use it.
//!
//! Each worker thread has a shelf of its own: a connection belongs to the runtime it was made on, and two workers
//! never wait for each other.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::client::conn::http2;
use tokio::time::Instant;

use crate::{connection::Connection, outgoing::OutgoingBody, watched::Watched};

/// How many shelves there are; more workers than that share.
const SHELVES: usize = 64;

/// The number of the calling thread's shelf.
fn shelf_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHELF: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHELVES));
    SHELF.with(Cell::get)
}

/// The connections to one upstream.
pub(crate) struct Pool<B: OutgoingBody> {
    shelves: Box<[Mutex<Shelf<B>>]>,
    idle_timeout: Duration,
    idle_max: usize,
}

/// The connections of one worker.
struct Shelf<B: OutgoingBody> {
    idle: Vec<Connection<B>>,
    shared: Option<http2::SendRequest<Watched<B>>>,
}

impl<B: OutgoingBody> Pool<B> {
    pub(crate) fn new(idle_timeout: Duration, idle_max: usize) -> Self {
        let shelf = || Mutex::new(Shelf { idle: Vec::new(), shared: None });
        Self { shelves: (0..SHELVES).map(|_| shelf()).collect(), idle_timeout, idle_max }
    }

    /// The HTTP/2 connection, if it is open.
    pub(crate) fn shared(&self) -> Option<http2::SendRequest<Watched<B>>> {
        let mut shelf = self.shelf();
        if shelf.shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            shelf.shared = None;
        }
        shelf.shared.clone()
    }

    /// Lets everybody use this HTTP/2 connection.
    pub(crate) fn share(&self, sender: &http2::SendRequest<Watched<B>>) {
        self.shelf().shared = Some(sender.clone());
    }

    /// Lets nobody use the HTTP/2 connection any more; what is under way on it goes on.
    pub(crate) fn retire_shared(&self) {
        self.shelf().shared = None;
    }

    /// Takes the connection that was used last and is still good: open, and silent. Bytes that nobody asked for
    /// would be taken for the next request's answer.
    pub(crate) fn take(&self) -> Option<Connection<B>> {
        let mut shelf = self.shelf();
        let now = Instant::now();
        while let Some(mut connection) = shelf.idle.pop() {
            if !connection.is_fresh(now, self.idle_timeout) {
                // Those below were put aside before it.
                shelf.idle.clear();
                return None;
            }
            if connection.is_ready() && connection.is_silent() {
                return Some(connection);
            }
        }
        None
    }

    /// Puts a connection aside for the next request.
    pub(crate) fn put(&self, mut connection: Connection<B>) {
        let now = Instant::now();
        connection.rest(now);
        let idle = &mut self.shelf().idle;
        if idle.len() >= self.idle_max {
            return;
        }
        // The oldest lie at the bottom: what went stale there is let go now and then.
        if idle.first().is_some_and(|oldest| !oldest.is_fresh(now, self.idle_timeout)) {
            idle.retain(|connection| connection.is_fresh(now, self.idle_timeout));
        }
        idle.push(connection);
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf<B>> {
        self.shelves[shelf_of_thread()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
