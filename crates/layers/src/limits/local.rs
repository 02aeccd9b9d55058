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
            // Chance does not fill all shards alike: with a twentieth more, a million find their places.
            shard_max: (keys_max * 21 / 20).div_ceil(SHARDS).max(8),
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

    /// How many counts there are.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().by_key.len() as u64).sum()
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

    /// Begins this count anew.
    pub(crate) fn forget(&self, key: LimitedKey) {
        self.shards[self.place(key)].lock().by_key.remove(&key);
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
                    // To look changes nothing: the caller's own plan may be another one.
                    let mut state = count.state;
                    let decision = state.ask(&look.quota, 1, Duration::MAX, now);
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

#[cfg(test)]
mod tests {
    use steadfast_core::{LimitAlgorithm, Period, Quota, Timestamp};
    use steadfast_ledger::Clock;

    use super::*;

    /// The beginning of a minute.
    const WALL: Timestamp = Timestamp::from_millis(1_795_737_600_000);

    fn counting(keys_max: usize) -> (LocalLimits, Clock) {
        let clock = Clock::manual(WALL);
        (LocalLimits::new(LimitClock::new(clock.clone()), keys_max), clock)
    }

    fn quota(algorithm: LimitAlgorithm, count: u64) -> Quota {
        Quota { algorithm, count, period: Period::Time(Duration::from_secs(60)), burst: count }
    }

    fn take(limit: &Arc<str>, number: u64, quota: Quota) -> Take<'_> {
        // As digests are: every bit depends on everything.
        let rest = (number ^ limit.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = LimitedKey { subject: number, rest: rest ^ (rest >> 29) };
        Take { limit, key, cost: 1, quota, enforced: true, wait_max: Duration::ZERO }
    }

    fn goes(limits: &LocalLimits, takes: &[Take<'_>]) -> Vec<bool> {
        let mut taken = vec![Taken::Uncounted; takes.len()];
        assert!(limits.take(takes, &mut taken).is_none());
        taken.iter().map(|taken| matches!(taken, Taken::Told(told) if told.is_allowed())).collect()
    }

    #[test]
    fn threads_that_race_get_exactly_what_several_limits_allow() {
        for algorithm in
            [LimitAlgorithm::TokenBucket, LimitAlgorithm::FixedWindow, LimitAlgorithm::SlidingWindow]
        {
            let (limits, _) = counting(1_000);
            let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "another".into());
            let passed = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for thread in 0..8 {
                    let (limits, one, other, passed) = (&limits, &one, &other, &passed);
                    scope.spawn(move || {
                        for _ in 0..500 {
                            let mut both = [
                                take(one, 1, quota(algorithm, 100)),
                                take(other, 1, quota(algorithm, 1_000)),
                            ];
                            if thread % 2 == 0 {
                                both.reverse();
                            }
                            if goes(limits, &both).iter().all(|goes| *goes) {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(passed.into_inner(), 100, "{algorithm:?}");
            // What the first refused was not charged to the other.
            let mut left = 0;
            while goes(&limits, &[take(&other, 1, quota(algorithm, 1_000))])[0] {
                left += 1;
            }
            assert_eq!(left, 900, "{algorithm:?}");
        }
    }

    #[test]
    fn one_that_is_not_enforced_stops_nobody_and_is_charged_where_all_others_allow() {
        let (limits, _) = counting(1_000);
        let (shadow, real): (Arc<str>, Arc<str>) = ("shadow".into(), "real".into());
        let bucket = |count| quota(LimitAlgorithm::TokenBucket, count);
        let both = [Take { enforced: false, ..take(&shadow, 1, bucket(2)) }, take(&real, 1, bucket(3))];
        let said: Vec<_> = (0..4).map(|_| goes(&limits, &both)).collect();
        assert_eq!(said, [[true, true], [true, true], [false, true], [false, false]]);
    }

    #[test]
    fn idle_counts_are_forgotten_and_their_memory_with_them() {
        let (limits, clock) = counting(100_000);
        let limit: Arc<str> = "per-address".into();
        let bucket = quota(LimitAlgorithm::TokenBucket, 100);
        for number in 0..20_000 {
            assert!(goes(&limits, &[take(&limit, number, bucket)])[0]);
        }
        assert_eq!((limits.held(), limits.tracked()[&limit]), (20_000, 20_000));
        // One token is there again after 600 ms, and the sweep is due after a minute: whoever comes brings it about.
        clock.advance(Duration::from_secs(61));
        for number in 0..1_000 {
            goes(&limits, &[take(&limit, 1_000_000 + number, bucket)]);
        }
        assert!(limits.held() < 2_000, "{}", limits.held());
        let room: usize = limits.shards.iter().map(|shard| shard.lock().by_key.capacity()).sum();
        assert!(room < 20_000, "{room}");
        clock.advance(Duration::from_secs(61));
        limits.sweep();
        assert_eq!((limits.held(), limits.evicted()), (0, 0));
    }

    #[test]
    fn whoever_makes_up_keys_pushes_out_his_own_and_not_who_is_over_its_limit() {
        let (limits, _) = counting(4_096);
        let limit: Arc<str> = "per-address".into();
        let bucket = quota(LimitAlgorithm::TokenBucket, 100);
        let noisy = take(&limit, 7, bucket);
        let place: Arc<str> = "places".into();
        let held = take(&place, 7, quota(LimitAlgorithm::Concurrency, 1));
        assert!(goes(&limits, std::slice::from_ref(&held))[0]);
        while goes(&limits, std::slice::from_ref(&noisy))[0] {}
        for number in 0..100_000 {
            goes(&limits, &[take(&limit, 1_000 + number, bucket)]);
        }
        assert!(limits.held() <= 4_096 * 21 / 20 + 128, "{}", limits.held());
        assert!(limits.evicted() > 90_000);
        assert!(!goes(&limits, &[noisy])[0], "it is still over its limit");
        assert!(!goes(&limits, &[held])[0], "its place is still taken");
    }

    #[test]
    fn what_is_given_back_or_charged_later_counts() {
        let (limits, _) = counting(100);
        let limit: Arc<str> = "bytes".into();
        let ask = take(&limit, 1, quota(LimitAlgorithm::TokenBucket, 3));
        assert!(goes(&limits, std::slice::from_ref(&ask))[0]);
        limits.charge(&Take { cost: 5, ..ask.clone() });
        assert!(!goes(&limits, std::slice::from_ref(&ask))[0]);
        limits.give_back(&Take { cost: 4, ..ask.clone() });
        assert!(goes(&limits, std::slice::from_ref(&ask))[0]);
        assert!(!goes(&limits, std::slice::from_ref(&ask))[0]);
    }

    #[test]
    fn all_counts_of_a_subject_are_found_and_forgotten_but_for_places_that_are_taken() {
        let (limits, _) = counting(10_000);
        let (rate, places): (Arc<str>, Arc<str>) = ("rate".into(), "places".into());
        let bucket = quota(LimitAlgorithm::TokenBucket, 5);
        let few = quota(LimitAlgorithm::Concurrency, 5);
        for number in 0..100 {
            for rest in 0..3 {
                let mut one = take(&rate, number, bucket);
                one.key.rest ^= rest << 40;
                goes(&limits, &[one]);
            }
            goes(&limits, &[take(&places, number, few)]);
        }
        let looks = |reset| {
            [(&rate, bucket), (&places, few)].map(|(limit, quota)| Look {
                limit: Arc::clone(limit),
                subject: 7,
                quota,
                reset,
            })
        };
        assert_eq!(limits.standings(&looks(false)).len(), 4);
        assert_eq!(limits.standings(&looks(true)).len(), 4);
        let left = limits.standings(&looks(false));
        assert_eq!((left.len(), &*left[0].limit), (1, "places"));
        assert_eq!(limits.held(), 397);
    }
}
