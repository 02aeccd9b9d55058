//! Stopping without breaking anything: who is asked to stop, and how one knows that all have.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

/// Asks workers and connections to stop, and counts those that go on.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    asked: Arc<watch::Sender<bool>>,
    open: Arc<AtomicUsize>,
}

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicUsize>);

impl Drain {
    pub(crate) fn new() -> Self {
        Self { asked: Arc::new(watch::Sender::new(false)), open: Arc::default() }
    }

    /// Asks everybody to stop.
    pub(crate) fn ask(&self) {
        self.asked.send_replace(true);
    }

    /// Whether everybody was asked to stop.
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Ends when everybody is asked to stop.
    pub(crate) async fn asked(&self) {
        // The sender lives as long as `self`.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }

    /// Counts a connection.
    pub(crate) fn open(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.open))
    }

    /// How many connections are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
