//! Stopping without breaking anything: who is asked to stop, and how one knows that all have.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::watch;

/// How far a gateway is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// Nothing more is accepted. Every connection is told with its next answer that it ends: a caller that gets to
    /// know it this way has no request under way on it.
    LastRequests,
    /// Connections without a request under way are closed.
    Closing,
}

/// Asks workers and connections to stop, and counts those that go on.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    stage: Arc<watch::Sender<Stage>>,
    open: Arc<AtomicUsize>,
}

/// One connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicUsize>);

impl Drain {
    pub(crate) fn new() -> Self {
        Self { stage: Arc::new(watch::Sender::new(Stage::Serving)), open: Arc::default() }
    }

    /// Asks everybody to stop: workers accept nothing more, and every connection's next answer is its last.
    pub(crate) fn ask(&self) {
        self.stage.send_replace(Stage::LastRequests);
    }

    /// Asks connections that wait for a next request to wait no longer.
    pub(crate) fn close_idle(&self) {
        self.stage.send_if_modified(|stage| std::mem::replace(stage, Stage::Closing) != Stage::Closing);
    }

    /// Whether everybody was asked to stop.
    pub(crate) fn is_asked(&self) -> bool {
        *self.stage.borrow() >= Stage::LastRequests
    }

    /// Ends when everybody is asked to stop.
    pub(crate) async fn asked(&self) {
        self.reached(Stage::LastRequests).await;
    }

    /// Ends when connections are asked to wait for no next request.
    pub(crate) async fn idle_closed(&self) {
        self.reached(Stage::Closing).await;
    }

    async fn reached(&self, stage: Stage) {
        // The sender lives as long as `self`.
        let _ = self.stage.subscribe().wait_for(|reached| *reached >= stage).await;
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
