//! The newest so many requests, in memory. It is written to where a request was refused or slow, and nowhere else; its
//! parts are locked one at a time, for moments, so that workers that refuse much do not wait for each other.

use std::{
    collections::{VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Explained;

/// How many parts it has. They are filled in turn, so that the oldest of all go first.
const PARTS: usize = 16;

/// The newest requests.
#[derive(Debug, Default)]
pub(super) struct Ring {
    parts: [Mutex<VecDeque<Held>>; PARTS],
    /// How many were pushed.
    pushed: AtomicUsize,
    /// How many it holds at most.
    max: AtomicUsize,
    hasher: RandomState,
}

/// A request, with a digest of its id: so a search compares numbers that lie side by side.
#[derive(Debug)]
struct Held(u64, Arc<Explained>);

impl Ring {
    /// Holds at most so many from now on.
    pub(super) fn hold(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
        // There may be fewer parts in use than before, so the order is lost where it becomes smaller.
        let (in_use, each) = spread(max);
        for (number, part) in self.parts.iter().enumerate() {
            let most = if number < in_use { each } else { 0 };
            let mut part = lock(part);
            let excess = part.len().saturating_sub(most);
            part.drain(..excess);
            part.shrink_to(most);
        }
    }

    /// Whether it holds any.
    pub(super) fn has_room(&self) -> bool {
        self.max.load(Ordering::Relaxed) > 0
    }

    /// Adds one, in the place of the oldest where there is no other.
    pub(super) fn push(&self, explained: Explained) {
        let (in_use, each) = spread(self.max.load(Ordering::Relaxed));
        if each == 0 {
            return;
        }
        let held = Held(self.hasher.hash_one(&*explained.request_id), Arc::new(explained));
        let number = self.pushed.fetch_add(1, Ordering::Relaxed) % in_use;
        let mut part = lock(&self.parts[number]);
        let oldest = if part.len() >= each { part.pop_front() } else { None };
        part.push_back(held);
        // What it held is given back when nobody waits for the lock any more.
        drop(part);
        drop(oldest);
    }

    /// Those with this id.
    pub(super) fn find(&self, request_id: &str) -> Vec<Arc<Explained>> {
        let digest = self.hasher.hash_one(request_id);
        let mut found = Vec::new();
        for part in &self.parts {
            let part = lock(part);
            let same = part
                .iter()
                .filter(|Held(held, explained)| *held == digest && *explained.request_id == *request_id);
            found.extend(same.map(|Held(_, explained)| Arc::clone(explained)));
        }
        found
    }
}

/// Into how many parts so many go, and how many into each.
fn spread(max: usize) -> (usize, usize) {
    let in_use = max.clamp(1, PARTS);
    (in_use, max / in_use)
}

fn lock(part: &Mutex<VecDeque<Held>>) -> MutexGuard<'_, VecDeque<Held>> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::example, *};

    fn held(ring: &Ring) -> usize {
        ring.parts.iter().map(|part| lock(part).len()).sum()
    }

    fn filled(max: usize, pushed: usize) -> Ring {
        let ring = Ring::default();
        ring.hold(max);
        for number in 0..pushed {
            ring.push(example(&number.to_string()));
        }
        ring
    }

    #[test]
    fn the_newest_stay_and_the_oldest_go_first() {
        for max in [1, 5, PARTS, 4 * PARTS] {
            let ring = filled(max, 1_000);
            assert_eq!(held(&ring), max);
            for number in 0..1_000 {
                let is_held = !ring.find(&number.to_string()).is_empty();
                assert_eq!(is_held, number >= 1_000 - max, "{number} of {max}");
            }
        }
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        for max in [0, 1, 17, 100, 5_000] {
            let ring = filled(max, 6_000);
            assert!(held(&ring) <= max, "{max}: {}", held(&ring));
            assert!(held(&ring) + PARTS > max, "{max}: {}", held(&ring));
            ring.hold(max / 2);
            assert!(held(&ring) <= max / 2, "{max}: {}", held(&ring));
        }
    }

    #[test]
    fn the_same_id_twice_is_found_twice() {
        let ring = filled(32, 8);
        ring.push(example("3"));
        assert_eq!(ring.find("3").len(), 2);
        assert_eq!(ring.find("9").len(), 0);
    }
}
