//! The store of kept answers: bounded by the bytes that they take up, shared by all routes, and outliving a reload.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName};
use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use steadfast_ledger::BootInstant;

use super::{
    collapse::{Flight, Lead, Place},
    entry::Entry,
    epochs::{Epoch, Epochs},
    key::{Key, KeyRef},
    purge::Purge,
};

/// How many answers of one target are kept, that differ in what their `Vary` names.
const VARIANTS_MAX: usize = 32;
/// Each part of the store takes this much at least, so that a large answer finds room in one.
const SHARD_BYTES_MIN: u64 = 16 << 20;
/// The most parts that there are, each with a lock of its own.
const SHARDS_MAX: u64 = 64;
/// How long requests for a target do not wait for each other after its answer turned out to be for one caller.
const APART_FOR: Duration = Duration::from_secs(10);

/// Kept answers, within a number of bytes.
#[derive(Debug)]
pub struct CacheStore {
    answers: Cache<Key, Arc<Variants>, ByBytes>,
    /// Whoever changes the answers of a target holds it: what is read may not change before it is written.
    changing: Mutex<()>,
    pub(super) epochs: Epochs,
    /// Requests that others wait for.
    pub(super) flights: Mutex<HashMap<Key, Arc<Flight>>>,
    bytes_max: u64,
}

/// What a store holds just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStats {
    /// How many targets it has answers of.
    pub targets: u64,
    /// How many bytes they take up, about.
    pub bytes: u64,
    /// How many they may.
    pub bytes_max: u64,
}

/// The answers of one target, the newest first.
#[derive(Debug, Default)]
pub(super) struct Variants {
    pub(super) entries: Vec<Arc<Entry>>,
    /// Until then its requests do not wait for each other.
    apart_until: Option<BootInstant>,
}

impl Variants {
    /// The newest answer that is for a request with these fields.
    pub(super) fn for_request(&self, headers: &HeaderMap) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.selection.fits(headers))
    }

    /// Whether a field that is one of these tells its answers apart.
    pub(super) fn depend_on(&self, is_one: fn(&HeaderName) -> bool) -> bool {
        self.entries.iter().any(|entry| entry.selection.names().any(is_one))
    }

    /// Whether requests for it wait for each other.
    pub(super) fn collapse(&self, now: BootInstant) -> bool {
        self.apart_until.is_none_or(|until| until <= now)
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Arc<Variants>> for ByBytes {
    fn weight(&self, key: &Key, variants: &Arc<Variants>) -> u64 {
        const SLOT_BYTES: usize = 160;
        let entries: usize = variants.entries.iter().map(|entry| entry.bytes()).sum();
        (SLOT_BYTES + key.bytes() + entries) as u64
    }
}

impl CacheStore {
    /// A store for at most `bytes_max`. An answer that takes up more than a quarter of it, or 16 MB, may not find room.
    #[must_use]
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let shards = (bytes_max / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        // A typical answer is a few kilobytes; more slots are made where they are needed.
        let items = usize::try_from(bytes_max / 4_096).unwrap_or(usize::MAX).clamp(16, 1 << 16);
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(items)
            .weight_capacity(bytes_max)
            .build();
        let hasher = quick_cache::DefaultHashBuilder::default();
        let answers = match options {
            Ok(options) => Cache::with_options(options, ByBytes, hasher, DefaultLifecycle::default()),
            // Everything that has no default is stated above.
            Err(_) => Cache::with_weighter(items, bytes_max, ByBytes),
        };
        Arc::new(Self {
            answers,
            changing: Mutex::default(),
            epochs: Epochs::default(),
            flights: Mutex::default(),
            bytes_max,
        })
    }

    /// What it holds just now.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        CacheStats {
            targets: self.answers.len() as u64,
            bytes: self.answers.weight(),
            bytes_max: self.bytes_max,
        }
    }

    /// Forgets what `purge` names; how many answers that were. Answers that are on their way are not kept either.
    pub fn purge(&self, purge: &Purge) -> u64 {
        self.epochs.advance_all();
        let _changing = self.changing();
        let purged = std::cell::Cell::new(0);
        let mut changed = Vec::new();
        for (key, variants) in self.answers.iter() {
            let doomed = |entry: &&Arc<Entry>| purge.names(&key, entry);
            let count = variants.entries.iter().filter(doomed).count();
            if count > 0 {
                purged.set(purged.get() + count as u64);
                let kept: Vec<_> = variants.entries.iter().filter(|entry| !doomed(entry)).cloned().collect();
                changed.push((key, kept));
            }
        }
        for (key, entries) in changed {
            if entries.is_empty() {
                self.answers.remove(&key);
            } else {
                self.answers.insert(key, Arc::new(Variants { entries, apart_until: None }));
            }
        }
        purged.get()
    }

    pub(super) fn get(&self, key: &KeyRef<'_>) -> Option<Arc<Variants>> {
        self.answers.get(key)
    }

    /// Keeps an answer, unless what it was asked for was declared out of date since `epoch`.
    pub(super) fn keep(&self, key: &Key, entry: Arc<Entry>, epoch: Epoch) {
        let _changing = self.changing();
        if !self.epochs.is(key, epoch) {
            return;
        }
        let before = self.answers.peek(key);
        let others = before.iter().flat_map(|variants| variants.entries.iter());
        let others =
            others.filter(|other| other.selection != entry.selection).take(VARIANTS_MAX - 1).cloned();
        let entries = std::iter::once(Arc::clone(&entry)).chain(others).collect();
        self.answers.insert(key.clone(), Arc::new(Variants { entries, apart_until: None }));
    }

    /// Puts an answer in the place of another one, if that is still there; `None` takes it away.
    pub(super) fn replace(&self, key: &Key, before: &Arc<Entry>, after: Option<Arc<Entry>>) {
        let _changing = self.changing();
        let Some(variants) = self.answers.peek(key) else { return };
        let mut entries = variants.entries.clone();
        let Some(at) = entries.iter().position(|entry| Arc::ptr_eq(entry, before)) else { return };
        entries.remove(at);
        if let Some(after) = after {
            entries.insert(0, after);
        }
        if entries.is_empty() {
            self.answers.remove(key);
        } else {
            self.answers
                .insert(key.clone(), Arc::new(Variants { entries, apart_until: variants.apart_until }));
        }
    }

    /// Forgets all answers of a target, those on their way among them.
    pub(super) fn invalidate(&self, key: &KeyRef<'_>) {
        self.epochs.advance(key);
        let _changing = self.changing();
        self.answers.remove(key);
    }

    /// Lets the requests for a target be for some time: its answers are for one caller each.
    pub(super) fn keep_apart(&self, key: &Key, now: BootInstant) {
        let _changing = self.changing();
        let entries = self.answers.peek(key).map(|variants| variants.entries.clone()).unwrap_or_default();
        let apart_until = Some(now.after(APART_FOR));
        self.answers.insert(key.clone(), Arc::new(Variants { entries, apart_until }));
    }

    /// The place of a request in the queue for a target.
    pub(super) fn join(self: &Arc<Self>, key: &Key) -> Place {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return flight.wait();
        }
        let (lead, flight) = Lead::new(self, key.clone());
        flights.insert(key.clone(), flight);
        Place::Leads(lead)
    }

    /// Lets nobody wait for `flight` any more who does not already.
    pub(super) fn land(&self, key: &Key, flight: &Arc<Flight>) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            flights.remove(key);
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
