//! A limit of a request that outlives the call it was asked in.

use std::{sync::Arc, time::Duration};

use steadfast_core::Quota;
use steadfast_layers::{LimitedKey, Take};

/// A [`Take`] that owns its limit's name.
#[derive(Clone, Debug)]
pub(crate) struct OwnedTake {
    limit: Arc<str>,
    key: LimitedKey,
    cost: u64,
    quota: Quota,
    pub(crate) enforced: bool,
    wait_max: Duration,
}

impl OwnedTake {
    pub(crate) fn of(take: &Take<'_>) -> Self {
        let Take { limit, key, cost, quota, enforced, wait_max } = take;
        Self {
            limit: Arc::clone(limit),
            key: *key,
            cost: *cost,
            quota: *quota,
            enforced: *enforced,
            wait_max: *wait_max,
        }
    }

    pub(crate) fn take(&self) -> Take<'_> {
        let Self { limit, key, cost, quota, enforced, wait_max } = self;
        Take { limit, key: *key, cost: *cost, quota: *quota, enforced: *enforced, wait_max: *wait_max }
    }
}
