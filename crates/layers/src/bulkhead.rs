//! How many requests an upstream is given at once, and who waits while it has that many.
//!
//! Without a bound, an upstream that hangs takes up whatever the gateway and its callers have, until nothing else is
//! served either. With one, it takes up its own places and no more. What finds no place waits for one, in a queue that
//! is bounded too: by its length, by a time, by each request's deadline, and by what can be expected at the door. Who
//! cannot be served in time is told at once.
//!
//! While there are places, taking one is a single atomic operation; the lock is for those who wait.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use steadfast_core::{Code, Gradient, GradientPolicy, Sample};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep},
};

use crate::{AttemptFailed, Count, Deadline, UpstreamTally};

/// How important a route's requests are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// They go before all others, and a part of the places is theirs alone.
    Critical,
    /// What is usual.
    #[default]
    Normal,
    /// They come last, and take up half of the places at most.
    Low,
}

impl Priority {
    /// All of them, the most important first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Normal, Self::Low];
}

/// What is said of an upstream's places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadPolicy {
    /// How many requests it is given at once, at the most.
    pub max: u32,
    /// Whether the limit is found, between `min` and `max`, by how long answers take; otherwise it is `max`.
    pub is_adaptive: bool,
    /// Where a limit that is found starts, and what it never goes below.
    pub min: u32,
    /// How many requests may wait.
    pub queue: u32,
    /// How long one waits at the most.
    pub wait_max: Duration,
    /// How many of a hundred places are for critical requests alone. Kept from when there is a route that makes any.
    pub reserve_percent: u32,
    /// Whether what would be refused is counted only, and let through.
    pub is_shadow: bool,
}

/// Why a request was refused a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shed {
    /// As many wait as may.
    QueueFull,
    /// At the door: it could not be served in time.
    TooLate,
    /// It waited for as long as it could.
    TimedOut,
    /// A more important one took its place in the full queue.
    Displaced,
}

impl Shed {
    fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "The upstream is at its limit, and its queue is full.",
            Self::TooLate => "The upstream is at its limit, and its queue too long to be served in time.",
            Self::TimedOut => "No place at the upstream came free in time.",
            Self::Displaced => "A more important request took the place in the upstream's full queue.",
        }
    }

    fn count(self, tally: &UpstreamTally) -> &Count {
        match self {
            Self::QueueFull => &tally.shed_queue_full,
            Self::TooLate => &tally.shed_too_late,
            Self::TimedOut => &tally.shed_timed_out,
            Self::Displaced => &tally.shed_displaced,
        }
    }
}

/// The places of one upstream.
#[derive(Debug)]
pub struct Bulkhead {
    policy: BulkheadPolicy,
    tally: Arc<UpstreamTally>,
    /// How many requests are under way, and how many wait: see [`Word`].
    word: AtomicU64,
    limit: AtomicU32,
    has_critical: AtomicBool,
    queue: Mutex<Queue>,
    gradient: Option<Mutex<Gradient>>,
    origin: Instant,
}

/// Both counts in one atomic: who gives a place back learns in the same instant whether somebody waits, and who begins
/// to wait sees every place that was given back before.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    const ONE_WAITING: u64 = 1 << 32;

    fn in_flight(self) -> u32 {
        self.0 as u32
    }

    fn waiting(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Those who wait, by priority, and how fast places came free for them lately.
#[derive(Debug)]
struct Queue {
    waiting: [VecDeque<Waiter>; 3],
    next_ticket: u64,
    /// Places that came free since then.
    freed: u32,
    since: Instant,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    until: Instant,
    granted: oneshot::Sender<Result<Slot, Shed>>,
}

/// After so many places that came free, those of long ago count half.
const FREED_MAX: u32 = 64;

/// What a refused caller is told to wait, at the most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

impl Queue {
    fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// How many there are that go before one of `priority` who comes now.
    fn ahead_of(&self, priority: Priority) -> usize {
        self.waiting[..=priority as usize].iter().map(VecDeque::len).sum()
    }

    /// How long it takes until `places` more have come free, by what was seen since somebody began to wait.
    fn expected(&self, places: usize, now: Instant) -> Duration {
        let each = now.saturating_duration_since(self.since) / self.freed.max(1);
        each.saturating_mul(u32::try_from(places).unwrap_or(u32::MAX))
    }

    fn note_freed(&mut self, now: Instant) {
        self.freed += 1;
        if self.freed > FREED_MAX {
            self.freed /= 2;
            self.since = now - now.saturating_duration_since(self.since) / 2;
        }
    }

    /// Takes out the youngest waiter that is less important than `priority`.
    fn displace(&mut self, priority: Priority) -> Option<Waiter> {
        self.waiting[priority as usize + 1..].iter_mut().rev().find_map(VecDeque::pop_back)
    }
}

impl Bulkhead {
    /// An upstream with all of its places free.
    #[must_use]
    pub fn new(policy: BulkheadPolicy, tally: Arc<UpstreamTally>) -> Self {
        let bounds = GradientPolicy { min: policy.min, max: policy.max };
        let adaptive = policy.is_adaptive.then(|| Gradient::new(bounds));
        let limit = adaptive.as_ref().map_or(policy.max.max(1), Gradient::limit);
        tally.concurrency_limit.set(u64::from(limit));
        let origin = Instant::now();
        let queue = Queue { waiting: Default::default(), next_ticket: 0, freed: 0, since: origin };
        Self {
            policy,
            tally,
            word: AtomicU64::new(0),
            limit: AtomicU32::new(limit),
            has_critical: AtomicBool::new(false),
            queue: Mutex::new(queue),
            gradient: adaptive.map(Mutex::new),
            origin,
        }
    }

    /// Says that requests of this priority will come.
    pub(crate) fn expect(&self, priority: Priority) {
        if priority == Priority::Critical {
            self.has_critical.store(true, Ordering::Relaxed);
        }
    }

    /// How many requests may be under way when one of `priority` is let in as the last of them.
    fn share(&self, priority: Priority) -> u32 {
        let limit = self.limit.load(Ordering::Relaxed);
        if priority == Priority::Critical {
            return limit;
        }
        let reserved = if self.has_critical.load(Ordering::Relaxed) {
            (u64::from(limit) * u64::from(self.policy.reserve_percent.min(100)) / 100) as u32
        } else {
            0
        };
        let normal = limit - reserved;
        if priority == Priority::Low { normal.min((limit / 2).max(1)) } else { normal }
    }

    /// A place for a request of `priority`: at once, or what waits for one, or why it is refused.
    pub(crate) fn enter(
        self: &Arc<Self>,
        priority: Priority,
        deadline: Option<Deadline>,
    ) -> Result<Entered, AttemptFailed> {
        if self.policy.is_shadow {
            return Ok(Entered::Slot(self.enter_anyhow(priority)));
        }
        match self.take(priority, true) {
            Some(slot) => Ok(Entered::Slot(slot)),
            None => self.queue_up(priority, deadline),
        }
    }

    /// Lets it in, and counts whether it would have been refused.
    fn enter_anyhow(self: &Arc<Self>, priority: Priority) -> Slot {
        let word = Word(self.word.fetch_add(1, Ordering::AcqRel));
        if word.in_flight() >= self.share(priority).saturating_add(self.policy.queue) {
            self.tally.would_shed.add();
        }
        self.slot(word.in_flight() + 1)
    }

    /// A place, if one is free for that priority and, where `unless_waited_for`, nobody waits.
    fn take(self: &Arc<Self>, priority: Priority, unless_waited_for: bool) -> Option<Slot> {
        let share = self.share(priority);
        let taken = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let now = Word(word);
            let is_free = now.in_flight() < share && !(unless_waited_for && now.waiting() > 0);
            is_free.then_some(word + 1)
        });
        taken.ok().map(|before| self.slot(Word(before).in_flight() + 1))
    }

    fn slot(self: &Arc<Self>, in_flight: u32) -> Slot {
        self.tally.in_flight.add();
        let began = self.gradient.as_ref().map(|_| Instant::now());
        Slot { bulkhead: Some(Arc::clone(self)), in_flight, began }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue_up(
        self: &Arc<Self>,
        priority: Priority,
        deadline: Option<Deadline>,
    ) -> Result<Entered, AttemptFailed> {
        let now = Instant::now();
        let until = now + self.policy.wait_max;
        let until = deadline.map_or(until, |Deadline(deadline)| until.min(deadline));
        let mut queue = self.lock();
        let ahead = queue.ahead_of(priority);
        // Only those who are less important wait, for places that they may not have.
        if ahead == 0
            && let Some(slot) = self.take(priority, false)
        {
            return Ok(Entered::Slot(slot));
        }
        if queue.len() == 0 {
            (queue.freed, queue.since) = (0, now);
        }
        let expected = queue.expected(ahead + 1, now);
        if expected >= until.saturating_duration_since(now) {
            drop(queue);
            return Err(self.refuse(Shed::TooLate, expected));
        }
        let mut displaced = None;
        if queue.len() >= self.policy.queue as usize {
            displaced = queue.displace(priority);
            if displaced.is_none() {
                drop(queue);
                return Err(self.refuse(Shed::QueueFull, expected));
            }
        }
        let (granted, receiver) = oneshot::channel();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting[priority as usize].push_back(Waiter { ticket, until, granted });
        match displaced {
            Some(displaced) => drop(displaced.granted.send(Err(Shed::Displaced))),
            None => {
                self.word.fetch_add(Word::ONE_WAITING, Ordering::AcqRel);
                self.tally.queued.add();
            }
        }
        // A place may have come free before anybody could know that it is waited for.
        self.grant(&mut queue, now);
        drop(queue);
        let sleep = tokio::time::sleep_until(until);
        Ok(Entered::Waiting(Box::pin(Entering {
            place: Place { bulkhead: Arc::clone(self), priority, ticket: Some(ticket) },
            receiver,
            sleep,
        })))
    }

    /// Gives free places to those who wait, the most important first, and among those the first who came.
    fn grant(self: &Arc<Self>, queue: &mut Queue, now: Instant) {
        for priority in Priority::ALL {
            while let Some(first) = queue.waiting[priority as usize].front() {
                let in_time = first.until > now && !first.granted.is_closed();
                // Who cannot make it any more leaves by itself, and takes no place.
                let slot = if in_time { self.take(priority, false) } else { None };
                if in_time && slot.is_none() {
                    break;
                }
                let Some(waiter) = queue.waiting[priority as usize].pop_front() else { break };
                self.no_longer_waits();
                match slot {
                    Some(slot) => {
                        queue.note_freed(now);
                        if let Err(Ok(slot)) = waiter.granted.send(Ok(slot)) {
                            // It left in this very moment. The lock is held, so the place is not given back as usual.
                            slot.give_back_silently();
                        }
                    }
                    None => drop(waiter.granted.send(Err(Shed::TimedOut))),
                }
            }
        }
    }

    fn no_longer_waits(&self) {
        self.word.fetch_sub(Word::ONE_WAITING, Ordering::AcqRel);
        self.tally.queued.sub();
    }

    /// Who stands in the queue with this ticket leaves it.
    fn leave(self: &Arc<Self>, priority: Priority, ticket: u64) {
        let mut queue = self.lock();
        let waiting = &mut queue.waiting[priority as usize];
        let found = waiting.binary_search_by(|waiter| waiter.ticket.cmp(&ticket));
        if let Ok(index) = found
            && waiting.remove(index).is_some()
        {
            self.no_longer_waits();
            // It may have been the one that others stood behind, of a priority with fewer places.
            self.grant(&mut queue, Instant::now());
        }
    }

    fn give_back(self: &Arc<Self>) {
        self.tally.in_flight.sub();
        let before = Word(self.word.fetch_sub(1, Ordering::AcqRel));
        if before.waiting() > 0 {
            self.grant(&mut self.lock(), Instant::now());
        }
    }

    /// Learns from how long an answer took.
    fn learn(self: &Arc<Self>, began: Instant, in_flight: u32) {
        let Some(gradient) = &self.gradient else { return };
        let now = Instant::now();
        let sample = Sample { at: now - self.origin, took: now - began, in_flight };
        let found = gradient.lock().unwrap_or_else(PoisonError::into_inner).sample(sample);
        let Some(limit) = found else { return };
        let before = self.limit.swap(limit, Ordering::Relaxed);
        if limit != before {
            self.tally.concurrency_limit.set(u64::from(limit));
        }
        if limit > before && Word(self.word.load(Ordering::Acquire)).waiting() > 0 {
            self.grant(&mut self.lock(), now);
        }
    }

    fn refuse(&self, shed: Shed, expected: Duration) -> AttemptFailed {
        shed.count(&self.tally).add();
        AttemptFailed::HeldBack {
            code: Code::TemporaryReducedCapacity,
            retry_after: Some(expected.clamp(Duration::from_secs(1), RETRY_AFTER_MAX)),
            detail: shed.as_str(),
        }
    }

    /// What those behind the last one in the queue may expect.
    fn expected_now(&self) -> Duration {
        let queue = self.lock();
        queue.expected(queue.len() + 1, Instant::now())
    }
}

/// What came of asking for a place.
pub(crate) enum Entered {
    Slot(Slot),
    Waiting(Pin<Box<Entering>>),
}

/// A place at an upstream; given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    /// Nothing once it was given back.
    bulkhead: Option<Arc<Bulkhead>>,
    in_flight: u32,
    /// Where it is to be learned from how long the answer takes.
    began: Option<Instant>,
}

impl Slot {
    /// Its answer came: how long that took is learned from.
    pub(crate) fn answered(&mut self) {
        if let (Some(bulkhead), Some(began)) = (&self.bulkhead, self.began.take()) {
            bulkhead.learn(began, self.in_flight);
        }
    }

    /// Gives it back without looking for who waits.
    fn give_back_silently(mut self) {
        if let Some(bulkhead) = self.bulkhead.take() {
            bulkhead.tally.in_flight.sub();
            bulkhead.word.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(bulkhead) = self.bulkhead.take() {
            bulkhead.give_back();
        }
    }
}

pin_project_lite::pin_project! {
    /// Waits for a place. Dropping it leaves the queue, or gives back the place that was just granted.
    pub(crate) struct Entering {
        // First, so that it has left the queue before the other end of the channel goes.
        place: Place,
        receiver: oneshot::Receiver<Result<Slot, Shed>>,
        #[pin]
        sleep: Sleep,
    }
}

/// A place in the queue.
struct Place {
    bulkhead: Arc<Bulkhead>,
    priority: Priority,
    /// Nothing once it is known that it left the queue.
    ticket: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.bulkhead.leave(self.priority, ticket);
        }
    }
}

impl Future for Entering {
    type Output = Result<Slot, AttemptFailed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let shed = match Pin::new(&mut *this.receiver).poll(context) {
            Poll::Ready(Ok(Ok(slot))) => {
                this.place.ticket = None;
                return Poll::Ready(Ok(slot));
            }
            Poll::Ready(Ok(Err(shed))) => {
                this.place.ticket = None;
                shed
            }
            // The queue is never dropped before those who wait in it.
            Poll::Ready(Err(_)) => Shed::TimedOut,
            Poll::Pending => {
                ready!(this.sleep.poll(context));
                Shed::TimedOut
            }
        };
        let bulkhead = &this.place.bulkhead;
        Poll::Ready(Err(bulkhead.refuse(shed, bulkhead.expected_now())))
    }
}
