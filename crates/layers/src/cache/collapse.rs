//! Requests for one target that come while it is being asked for: they wait for that answer, if it will be for them too.

use std::sync::Arc;

use tokio::sync::watch;

use super::{entry::Entry, key::Key, store::CacheStore};

/// How many requests wait for one.
const WAITERS_MAX: usize = 1_000;

/// A request that others may wait for.
#[derive(Debug)]
pub(super) struct Flight(watch::Sender<Progress>);

/// How it stands.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// Its answer has not come.
    Asked,
    /// Its head has come, and others may have it; its body is on its way.
    Coming,
    /// It is kept.
    Kept(Arc<Entry>),
    /// It is for one caller alone, or there is none.
    Alone,
    /// Its caller left: another one takes its place.
    Left,
}

/// The place of a request in the queue.
#[derive(Debug)]
pub(super) enum Place {
    /// It is the first one: it asks.
    Leads(Lead),
    /// It waits for another.
    Waits(Arc<Flight>, watch::Receiver<Progress>),
    /// Too many wait already.
    Full,
}

impl Flight {
    /// A place behind it; called while it is in the table of flights.
    pub(super) fn wait(self: &Arc<Self>) -> Place {
        if self.0.receiver_count() >= WAITERS_MAX {
            return Place::Full;
        }
        Place::Waits(Arc::clone(self), self.0.subscribe())
    }
}

/// The first request for a target. When it is dropped before it came to an end, another one may lead.
#[derive(Debug)]
pub(super) struct Lead {
    store: Arc<CacheStore>,
    key: Key,
    flight: Arc<Flight>,
    ended: bool,
}

impl Lead {
    pub(super) fn new(store: &Arc<CacheStore>, key: Key) -> (Self, Arc<Flight>) {
        let flight = Arc::new(Flight(watch::Sender::new(Progress::Asked)));
        let lead = Self { store: Arc::clone(store), key, flight: Arc::clone(&flight), ended: false };
        (lead, flight)
    }

    /// Its head has come, and the answer will be for those who wait.
    pub(super) fn is_coming(&self) {
        self.flight.0.send_replace(Progress::Coming);
    }

    /// The answer is kept.
    pub(super) fn kept(self, entry: Arc<Entry>) {
        self.end(Progress::Kept(entry));
    }

    /// The answer is for nobody else; whether somebody waited for it.
    pub(super) fn alone(self) -> bool {
        let waited = self.flight.0.receiver_count() > 0;
        self.end(Progress::Alone);
        waited
    }

    fn end(mut self, progress: Progress) {
        self.ended = true;
        self.store.land(&self.key, &self.flight);
        self.flight.0.send_replace(progress);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if !self.ended {
            self.store.land(&self.key, &self.flight);
            self.flight.0.send_replace(Progress::Left);
        }
    }
}
