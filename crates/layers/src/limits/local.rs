//! Counts of limits in this process's memory.
//!
//! They lie in shards, each behind a lock of its own that is held for some dozens of nanoseconds. All limits of a
//! request are asked and charged under the locks of all their shards, taken in one order, so that what is decided of
//! several holds for all of them at once.
//!
//! A count that says no more than a new one would is idle. Idle ones are forgotten once a minute, and before room is
//! made for more. Where there are as many as may be and none is idle, an eighth of the shard is forgotten: those that
//! would be idle soonest, which have used least. So whoever makes up keys to push others out pushes out his own.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use steadfast_core::{LimitDecision, LimitState};

use super::{
    clock::LimitClock,
    store::{LimitStore, LimitedKey, Look, LookedUp, Standing, Take, Taken, TakenLater},
};

/// How many shards there are: many more than cores.
const SHARDS: usize = 128;

/// How often idle counts are forgotten.
const SWEEP_EVERY_S: u32 = 60;

/// How many counts there are at the most, unless stated. A million take up 160 MB.
pub const LIMITED_KEYS_MAX: usize = 1_000_000;

/// Counts in memory.
#[derive(Debug)]
pub struct LocalLimits {
    clock: LimitClock,
    shards: Box<[Shard]>,
    /// The names of limits by the number that stands for each in a count.
    names: Mutex<Vec<Arc<str>>>,
    /// How many counts a shard has at the most.
    shard_max: usize,
    evicted: AtomicU64,
}

/// Apart from its neighbours, so that no core waits for a line of memory that another one writes to.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Counts>);

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Counts {
    by_key: HashMap<LimitedKey, Count, BuildHasherDefault<Hashed>>,
    swept_at_s: u32,
}

/// One count.
#[derive(Debug)]
struct Count {
    state: LimitState,
    /// From which second since 1970 on it is idle; [`NEVER`] while something is to be given back.
    idle_at_s: u32,
    /// Which limit's it is.
    limit: u16,
}

const NEVER: u32 = u32::MAX;

/// Keys are digests already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, part: u64) {
        // The last one is the digest of everything.
        self.0 = part;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl LocalLimits {
    /// No counts yet, and never more than about `keys_max`.
    #[must_use]
    pub fn new(clock: LimitClock, keys_max: usize) -> Self {
        Self {
            clock,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            names: Mutex::default(),
            shard_max: keys_max.div_ceil(SHARDS).max(8),
            evicted: AtomicU64::new(0),
        }
    }

    /// The clock that it goes by.
    #[must_use]
    pub fn clock(&self) -> &LimitClock {
        &self.clock
    }

    /// How many counts were forgotten that were not idle, because there were too many.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// How many counts there are of each limit, by its name.
    #[must_use]
    pub fn tracked(&self) -> BTreeMap<Arc<str>, u64> {
        let mut tracked = vec![0; usize::from(u16::MAX) + 1];
        for shard in &self.shards {
            for count in shard.lock().by_key.values() {
                tracked[usize::from(count.limit)] += 1;
            }
        }
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().cloned().zip(tracked).collect()
    }

    /// Forgets every idle count.
    pub fn sweep(&self) {
        let now_s = whole_seconds(self.clock.now());
        for shard in &self.shards {
            shard.lock().sweep(now_s);
        }
    }

    fn place(&self, key: LimitedKey) -> usize {
        // Other bits than those by which a shard finds it.
        (key.rest >> 32) as usize % SHARDS
    }

    fn take_one(&self, take: &Take<'_>, now: Duration) -> Taken {
        let mut counts = self.shards[self.place(take.key)].lock();
        let count = self.count(&mut counts, take, now);
        let decision = count.state.ask(&take.quota, take.cost, take.wait_max, now);
        if decision.is_allowed() {
            count.charge(take, now);
        }
        Taken::Told(decision)
    }

    fn take_all(&self, takes: &[Take<'_>], taken: &mut [Taken], now: Duration) {
        let mut places: Vec<usize> = takes.iter().map(|take| self.place(take.key)).collect();
        places.sort_unstable();
        places.dedup();
        let mut locked: Vec<_> = places.iter().map(|place| self.shards[*place].lock()).collect();
        let counts_of = |take: &Take<'_>| places.binary_search(&self.place(take.key)).unwrap_or_default();
        let mut all_allow = true;
        for (take, taken) in takes.iter().zip(taken.iter_mut()) {
            let count = self.count(&mut locked[counts_of(take)], take, now);
            let decision = count.state.ask(&take.quota, take.cost, take.wait_max, now);
            all_allow &= decision.is_allowed() || !take.enforced;
            *taken = Taken::Told(decision);
        }
        if !all_allow {
            return;
        }
        for (take, taken) in takes.iter().zip(taken) {
            if matches!(taken, Taken::Told(LimitDecision::Allowed { .. })) {
                self.count(&mut locked[counts_of(take)], take, now).charge(take, now);
            }
        }
    }

    /// The count of `take`; a new one where there is none.
    fn count<'c>(&self, counts: &'c mut Counts, take: &Take<'_>, now: Duration) -> &'c mut Count {
        let now_s = whole_seconds(now);
        if now_s.saturating_sub(counts.swept_at_s) >= SWEEP_EVERY_S {
            counts.sweep(now_s);
        }
        if counts.by_key.len() >= self.shard_max.min(counts.by_key.capacity())
            && !counts.by_key.contains_key(&take.key)
        {
            self.make_room(counts, now_s);
        }
        counts.by_key.entry(take.key).or_insert_with(|| Count {
            state: LimitState::new(take.quota.algorithm),
            idle_at_s: 0,
            limit: self.number(take.limit),
        })
    }

    fn make_room(&self, counts: &mut Counts, now_s: u32) {
        counts.sweep(now_s);
        let held = counts.by_key.len();
        if held < self.shard_max {
            return;
        }
        let mut idle: Vec<u32> = counts.by_key.values().map(|count| count.idle_at_s).collect();
        let mut to_go = (held / 8).max(1);
        let (_, latest, _) = idle.select_nth_unstable(to_go - 1);
        let latest = *latest;
        counts.by_key.retain(|_, count| {
            let goes = to_go > 0 && count.idle_at_s <= latest && count.idle_at_s != NEVER;
            to_go -= usize::from(goes);
            !goes
        });
        self.evicted.fetch_add((held - counts.by_key.len()) as u64, Ordering::Relaxed);
    }

    /// The number that stands for a limit's name. A config has far fewer than there are numbers.
    fn number(&self, name: &Arc<str>) -> u16 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let found = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(Arc::clone(name));
            names.len() - 1
        });
        u16::try_from(found).unwrap_or(u16::MAX)
    }

    fn with_count(&self, key: LimitedKey, act: impl FnOnce(&mut Count, Duration)) {
        let mut counts = self.shards[self.place(key)].lock();
        let now = self.clock.now();
        if let Some(count) = counts.by_key.get_mut(&key) {
            act(count, now);
        }
    }

    /// How the counts of one subject stand.
    #[must_use]
    pub fn standings(&self, looks: &[Look]) -> Vec<Standing> {
        let now = self.clock.now();
        let mut found = Vec::new();
        for look in looks {
            let number = self.number(&look.limit);
            for shard in &self.shards {
                let mut counts = shard.lock();
                counts.by_key.retain(|key, count| {
                    if key.subject != look.subject || count.limit != number {
                        return true;
                    }
                    let decision = count.state.ask(&look.quota, 1, Duration::MAX, now);
                    found.push(Standing { limit: Arc::clone(&look.limit), key: *key, decision });
                    // What will be given back has to be there then.
                    !look.reset || count.idle_at_s == NEVER
                });
            }
        }
        found
    }
}

impl Counts {
    fn sweep(&mut self, now_s: u32) {
        self.swept_at_s = now_s;
        self.by_key.retain(|_, count| count.idle_at_s > now_s);
        if self.by_key.len() < self.by_key.capacity() / 4 {
            self.by_key.shrink_to(self.by_key.len() * 2);
        }
    }
}

impl Count {
    fn charge(&mut self, take: &Take<'_>, now: Duration) {
        self.state.charge(&take.quota, take.cost, now);
        self.note_idle(take);
    }

    fn note_idle(&mut self, take: &Take<'_>) {
        let idle_at = self.state.idle_at(&take.quota);
        self.idle_at_s = idle_at.map_or(NEVER, |at| whole_seconds(at).saturating_add(1).min(NEVER - 1));
    }
}

impl LimitStore for LocalLimits {
    fn take(&self, takes: &[Take<'_>], taken: &mut [Taken]) -> Option<TakenLater> {
        let now = self.clock.now();
        match (takes, &mut *taken) {
            ([take], [taken]) => *taken = self.take_one(take, now),
            _ => self.take_all(takes, taken, now),
        }
        None
    }

    fn give_back(&self, take: &Take<'_>) {
        // Where it was forgotten, it has been given back.
        self.with_count(take.key, |count, now| {
            count.state.give_back(&take.quota, take.cost, now);
            count.note_idle(take);
        });
    }

    fn charge(&self, take: &Take<'_>) {
        let now = self.clock.now();
        let mut counts = self.shards[self.place(take.key)].lock();
        self.count(&mut counts, take, now).charge(take, now);
    }

    fn look(&self, looks: Vec<Look>) -> LookedUp {
        Box::pin(std::future::ready(Ok(self.standings(&looks))))
    }
}

fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(NEVER - 1)
}
