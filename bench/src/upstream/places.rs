//! An upstream that can do so much at once and no more: a request takes a place for as long as it is served, and what
//! finds none waits its turn. Nobody tells it which callers have left meanwhile, so it works for them all the same, as
//! most servers do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests that may wait; whoever asks then loses its connection.
const WAITING_MAX: usize = 65_536;

/// The places, who has one, and who waits.
pub(super) struct Places {
    free: usize,
    service: Duration,
    /// In the order in which they end, because all take equally long.
    under_way: VecDeque<(Instant, Asked)>,
    waiting: VecDeque<Asked>,
}

/// A request, by whom it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The conversation's slot.
    pub(super) slot: usize,
    /// Which conversation: slots are used again.
    pub(super) visit: u64,
    /// Whether it is a POST.
    pub(super) post: bool,
}

impl Places {
    /// So many places, each request in one of them for `service`.
    pub(super) fn new(places: usize, service: Duration) -> Self {
        Self { free: places.max(1), service, under_way: VecDeque::new(), waiting: VecDeque::new() }
    }

    /// Takes a request in.
    ///
    /// # Errors
    /// As many wait as may.
    pub(super) fn ask(&mut self, asked: Asked, now: Instant) -> anyhow::Result<()> {
        if self.free > 0 {
            self.free -= 1;
            self.under_way.push_back((now + self.service, asked));
        } else {
            anyhow::ensure!(self.waiting.len() < WAITING_MAX, "{WAITING_MAX} requests wait");
            self.waiting.push_back(asked);
        }
        Ok(())
    }

    /// When the next one ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.under_way.front().map(|(end, _)| *end)
    }

    /// One that has ended by now; who waited longest takes its place.
    pub(super) fn ended(&mut self, now: Instant) -> Option<Asked> {
        if self.next_end()? > now {
            return None;
        }
        let (_, ended) = self.under_way.pop_front()?;
        match self.waiting.pop_front() {
            Some(next) => self.under_way.push_back((now + self.service, next)),
            None => self.free += 1,
        }
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Asked, Places};

    #[test]
    fn who_finds_no_place_is_served_after_who_has_one() {
        let (service, now) = (Duration::from_millis(20), Instant::now());
        let mut places = Places::new(1, service);
        let [first, second] = [1, 2].map(|visit| Asked { slot: 0, visit, post: false });
        places.ask(first, now).unwrap();
        places.ask(second, now).unwrap();
        assert_eq!(places.ended(now), None);
        assert_eq!(places.next_end(), Some(now + service));
        assert_eq!(places.ended(now + service), Some(first));
        assert_eq!(places.ended(now + service), None);
        assert_eq!(places.ended(now + 2 * service), Some(second));
        assert_eq!(places.next_end(), None);
    }
}
