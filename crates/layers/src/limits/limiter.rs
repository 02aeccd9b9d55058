//! What all limits of a process share, and what outlives every reload: the counts, the keys of their digests, and what was
//! raised by hand.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use cel::Env;

use super::{
    clock::LimitClock,
    limit::Limit,
    local::LocalLimits,
    per::{KeyMaker, Kind, Said},
    raise::{Raise, Raises},
    store::{LimitStore, Look, Standing},
};

/// What all limits share.
pub struct Limiter {
    /// The counts of this process.
    pub(crate) local: Arc<LocalLimits>,
    /// Where counts are that nodes share.
    shared: OnceLock<Arc<dyn LimitStore>>,
    pub(crate) keys: KeyMaker,
    pub(crate) raises: Raises,
    pub(crate) env: Arc<Env>,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Limiter").finish_non_exhaustive()
    }
}

/// An order for a subject means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchSubject {
    /// There is no limit of that name.
    #[error("there is no such limit")]
    NoSuchLimit,
    /// There are too many raised already.
    #[error("too many are raised at once")]
    TooMany,
    /// Whoever counts for all nodes could not be asked.
    #[error("the shared counts cannot be reached: {0}")]
    Lost(String),
}

impl Limiter {
    /// Nothing is counted yet. In memory there will be no more than about `keys_max` counts.
    #[must_use]
    pub fn new(clock: LimitClock, keys_max: usize) -> Self {
        Self {
            local: Arc::new(LocalLimits::new(clock, keys_max)),
            shared: OnceLock::new(),
            keys: KeyMaker::default(),
            raises: Raises::default(),
            env: Arc::new(Env::stdlib()),
        }
    }

    /// From now on limits that nodes share are counted in `store`; until then, and without it, in this process. To say so
    /// again changes nothing.
    pub fn share_through(&self, store: Arc<dyn LimitStore>) {
        let _ = self.shared.set(store);
    }

    /// The counts in this process.
    #[must_use]
    pub fn local(&self) -> &Arc<LocalLimits> {
        &self.local
    }

    pub(crate) fn store(&self, is_shared: bool) -> &dyn LimitStore {
        match self.shared.get() {
            Some(store) if is_shared => &**store,
            _ => &*self.local,
        }
    }

    /// Whether counts of this limit are elsewhere.
    pub(crate) fn is_elsewhere(&self, limit: &Limit) -> bool {
        limit.policy.is_shared && self.shared.get().is_some()
    }

    /// What people may mean by `subject` where `limit` counts: what it is per first, or an address, which stands for that
    /// where it is missing. In both ways of counting.
    fn meant(&self, limit: &Limit, subject: &str) -> Vec<[u64; 2]> {
        let text = subject.trim();
        let first = limit.policy.per.first();
        let named = first.and_then(|per| per.named(text));
        // As this page and others write networks of IPv6.
        let address = text.strip_suffix("/64").unwrap_or(text).parse().ok();
        let address = address.map(|address| Said::Address(Some(address)));
        named.into_iter().chain(address).map(|said| self.keys.subjects(&said)).collect()
    }

    /// Whatever people may mean by `subject` where any of `limits` counts.
    fn all_meant(&self, limits: &[Arc<Limit>], subject: &str) -> Vec<u64> {
        let mut meant: Vec<u64> =
            limits.iter().flat_map(|limit| self.meant(limit, subject)).flatten().collect();
        meant.sort_unstable();
        meant.dedup();
        meant
    }

    /// How the counts of a subject stand in these limits, where a principal is on `plan`; with `reset`, they are forgotten
    /// after that.
    ///
    /// # Errors
    /// Whoever counts for all nodes could not be asked.
    pub async fn standings(
        &self,
        limits: &[Arc<Limit>],
        subject: &str,
        plan: Option<&str>,
        reset: bool,
    ) -> Result<Vec<Standing>, NoSuchSubject> {
        let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
        for limit in limits {
            let is_elsewhere = self.is_elsewhere(limit);
            for [local, shared] in self.meant(limit, subject) {
                let subject = if is_elsewhere { shared } else { local };
                let quota = limit.policy.plan(plan);
                let now = || self.local.clock().now();
                let factor = self.raises.factor(&limit.policy.name, subject, now);
                let quota = factor.map_or(quota, |factor| quota.times(factor));
                let look = Look { limit: Arc::clone(&limit.policy.name), subject, quota, reset };
                if is_elsewhere { elsewhere.push(look) } else { here.push(look) }
            }
        }
        let mut found = self.local.standings(&here);
        if let Some(store) = self.shared.get().filter(|_| !elsewhere.is_empty()) {
            found.extend(store.look(elsewhere).await.map_err(NoSuchSubject::Lost)?);
        }
        Ok(found)
    }

    /// Raises the limits of a subject: of one limit, or of all. What holds then is returned.
    ///
    /// # Errors
    /// [`NoSuchSubject`]: nothing changed.
    pub fn raise(&self, limits: &[Arc<Limit>], raise: Raise) -> Result<Raise, NoSuchSubject> {
        let named = raise.limit.as_deref();
        if named.is_some_and(|named| !limits.iter().any(|limit| *limit.policy.name == *named)) {
            return Err(NoSuchSubject::NoSuchLimit);
        }
        let mut subjects = self.all_meant(limits, &raise.subject);
        // It is a principal's name also where no limit is per principal yet: a reload may bring one.
        let principal = Said::Text(Kind::Principal, raise.subject.trim().as_bytes());
        subjects.extend(self.keys.subjects(&principal));
        subjects.sort_unstable();
        subjects.dedup();
        let is_set = self.raises.set(&subjects, &raise, self.local.clock().now());
        if is_set { Ok(raise) } else { Err(NoSuchSubject::TooMany) }
    }

    /// Takes back what was raised for a subject; what that was.
    pub fn lower(&self, limits: &[Arc<Limit>], subject: &str, limit: Option<&str>) -> Vec<Raise> {
        let mut subjects = self.all_meant(limits, subject);
        subjects.extend(self.keys.subjects(&Said::Text(Kind::Principal, subject.trim().as_bytes())));
        self.raises.unset(&subjects, limit)
    }

    /// Everything that is raised just now.
    #[must_use]
    pub fn raised(&self) -> Vec<Raise> {
        self.raises.all(self.local.clock().now())
    }

    /// The instant `time` from now, as a [`Raise`] holds it.
    #[must_use]
    pub fn until(&self, time: Duration) -> Duration {
        self.local.clock().now().saturating_add(time)
    }
}
