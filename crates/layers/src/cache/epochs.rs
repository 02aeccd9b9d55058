//! Which answers were asked for before their target changed: they are not kept. A purge or a write that comes while an
//! answer is on its way is not undone by it.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// How many counters there are. Targets that share one lose an answer to each other now and then, never the reverse.
const COUNTERS: usize = 1024;

#[derive(Debug)]
pub(super) struct Epochs {
    all: AtomicU64,
    by_target: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// When an answer was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    all: u64,
    target: u64,
}

impl Default for Epochs {
    fn default() -> Self {
        Self {
            all: AtomicU64::new(0),
            by_target: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Epochs {
    /// The epoch of a target now.
    pub(super) fn of<K: Hash>(&self, key: &K) -> Epoch {
        Epoch { all: self.all.load(Ordering::SeqCst), target: self.counter(key).load(Ordering::SeqCst) }
    }

    /// Whether it still is that one.
    pub(super) fn is<K: Hash>(&self, key: &K, epoch: Epoch) -> bool {
        self.of(key) == epoch
    }

    /// A target changed.
    pub(super) fn advance<K: Hash>(&self, key: &K) {
        self.counter(key).fetch_add(1, Ordering::SeqCst);
    }

    /// Any of them may have.
    pub(super) fn advance_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }

    fn counter<K: Hash>(&self, key: &K) -> &AtomicU64 {
        &self.by_target[self.hasher.hash_one(key) as usize % COUNTERS]
    }
}
