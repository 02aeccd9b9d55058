//! Idle connections, kept for reuse by the worker that made them.
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

use bytes::Bytes;
use http_body::Body;
use tokio::time::Instant;

use crate::connection::Connection;

/// How many shelves there are; more workers than that share.
const SHELVES: usize = 64;

/// The number of the calling thread's shelf.
fn shelf_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static SHELF: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHELVES));
    SHELF.with(Cell::get)
}

/// The idle connections to one upstream.
pub(crate) struct Pool<B: Body + 'static> {
    shelves: Box<[Mutex<Vec<Connection<B>>>]>,
    idle_timeout: Duration,
    idle_max: usize,
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(crate) fn new(idle_timeout: Duration, idle_max: usize) -> Self {
        let shelves = (0..SHELVES).map(|_| Mutex::new(Vec::new())).collect();
        Self { shelves, idle_timeout, idle_max }
    }

    /// Takes the connection that was used last and is still good: open, and silent. Bytes that nobody asked for
    /// would be taken for the next request's answer.
    pub(crate) fn take(&self) -> Option<Connection<B>> {
        let mut shelf = self.shelf();
        let now = Instant::now();
        while let Some(connection) = shelf.pop() {
            if !connection.is_fresh(now, self.idle_timeout) {
                // Those below were put aside before it.
                shelf.clear();
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
        let mut shelf = self.shelf();
        if shelf.len() >= self.idle_max {
            return;
        }
        // The oldest lie at the bottom: what went stale there is let go now and then.
        if shelf.first().is_some_and(|oldest| !oldest.is_fresh(now, self.idle_timeout)) {
            shelf.retain(|idle| idle.is_fresh(now, self.idle_timeout));
        }
        shelf.push(connection);
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Vec<Connection<B>>> {
        self.shelves[shelf_of_thread()].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
