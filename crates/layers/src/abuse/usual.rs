//! How much each principal usually asks for, of as many as there is room for. Where there are more, those are forgotten who
//! have not asked for longest.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use steadfast_core::{Baseline, BaselinePolicy, Compared};

use crate::LimitedKey;

/// How many principals it is known of at the most. They take up 16 MB.
pub const BASELINES_MAX: usize = 100_000;

const SHARDS: usize = 64;

/// How much each principal usually asks for.
#[derive(Debug)]
pub(super) struct UsualUse {
    shards: Box<[Shard]>,
    shard_max: usize,
}

/// Apart from its neighbours, so that no core waits for a line of memory that another one writes to.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<HashMap<LimitedKey, Baseline>>);

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashMap<LimitedKey, Baseline>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsualUse {
    pub(super) fn new(principals_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self { shards, shard_max: principals_max.div_ceil(SHARDS).max(8) }
    }

    /// Compares a request with what is usual for whoever makes it; and how many others were forgotten for it.
    pub(super) fn compare(
        &self,
        who: LimitedKey,
        policy: &BaselinePolicy,
        refused: bool,
        now: Duration,
    ) -> (Compared, u64) {
        let mut known = self.shards[(who.rest >> 32) as usize % SHARDS].lock();
        let mut forgotten = 0;
        if known.len() >= self.shard_max && !known.contains_key(&who) {
            forgotten = forget_quiet_ones(&mut known);
        }
        let baseline = known.entry(who).or_insert_with(|| Baseline::new(now));
        (baseline.compare(policy, refused, now), forgotten)
    }

    /// Of how many it is known.
    pub(super) fn tracked(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().len() as u64).sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.lock() = HashMap::new();
        }
    }
}

/// An eighth of them, so that not every new one has to look at all.
fn forget_quiet_ones(known: &mut HashMap<LimitedKey, Baseline>) -> u64 {
    let held = known.len();
    let mut last: Vec<Duration> = known.values().map(Baseline::last).collect();
    let mut to_go = (held / 8).max(1);
    let (_, latest, _) = last.select_nth_unstable(to_go - 1);
    let latest = *latest;
    known.retain(|_, baseline| {
        let goes = to_go > 0 && baseline.last() <= latest;
        to_go -= usize::from(goes);
        !goes
    });
    (held - known.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BaselinePolicy =
        BaselinePolicy { factor: 10.0, at_least: 1.0, learn: Duration::from_secs(60) };

    fn key(number: u64) -> LimitedKey {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        LimitedKey { subject: mixed, rest: mixed }
    }

    #[test]
    fn whoever_asks_all_the_time_is_not_forgotten_for_those_who_ask_once() {
        let usual = UsualUse::new(1_000);
        let mut now = Duration::from_secs(1_000);
        let mut forgotten = 0;
        for number in 1..20_000 {
            now += Duration::from_millis(100);
            assert_eq!(usual.compare(key(0), &POLICY, false, now).0, Compared::Usual);
            forgotten += usual.compare(key(number), &POLICY, false, now).1;
        }
        assert!(forgotten > 18_000 && usual.tracked() <= 1_000 + SHARDS as u64, "{}", usual.tracked());
        // It is still known that ten a second are usual.
        let burst = (0..200).map(|_| usual.compare(key(0), &POLICY, false, now).0);
        assert!(burst.into_iter().all(|compared| compared == Compared::Usual));
        let flood = (0..20_000).map(|_| usual.compare(key(0), &POLICY, false, now).0);
        assert!(flood.into_iter().any(|compared| compared != Compared::Usual));
    }

    #[test]
    fn a_principal_takes_up_less_than_200_bytes() {
        let entry = size_of::<(LimitedKey, Baseline)>() + 1;
        // A table that has just grown is less than half full.
        assert!(entry * 16 / 7 < 200, "{entry}");
    }
}
