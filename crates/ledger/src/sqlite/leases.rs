//! The leases of the claims in this file. They live in memory: the file belongs to one process, and whoever
//! opens it next resolves every claim that it finds, so a lease on disk would be read by nobody. Renewing one
//! costs no write.

use std::{collections::HashMap, time::Duration};

use steadfast_core::Fence;

use crate::BootInstant;

/// Who holds which row until when. Changes count once the batch that made them is on disk.
#[derive(Debug)]
pub(super) struct Leases {
    lease: Duration,
    held: HashMap<i64, Lease>,
    changes: Vec<(i64, Option<Lease>)>,
    /// Before this, nothing is reaped: the process or its disk stood still, and renewals with them.
    reap_from: Option<BootInstant>,
    /// When this was last asked what ran out.
    looked_at: BootInstant,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    fence: Fence,
    until: BootInstant,
}

impl Leases {
    pub(super) fn new(lease: Duration, now: BootInstant) -> Self {
        Self { lease, held: HashMap::new(), changes: Vec::new(), reap_from: None, looked_at: now }
    }

    /// One lease time.
    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    /// Begins a lease on a row; returns until when it lasts.
    pub(super) fn begin(&mut self, seq: i64, fence: Fence, now: BootInstant) -> BootInstant {
        let until = now.after(self.lease);
        self.changes.push((seq, Some(Lease { fence, until })));
        until
    }

    /// Ends the lease on a row.
    pub(super) fn end(&mut self, seq: i64) {
        self.changes.push((seq, None));
    }

    /// What was begun and ended is on disk.
    pub(super) fn commit(&mut self) {
        for (seq, lease) in self.changes.drain(..) {
            match lease {
                Some(lease) => self.held.insert(seq, lease),
                None => self.held.remove(&seq),
            };
        }
    }

    /// What was begun and ended is forgotten.
    pub(super) fn roll_back(&mut self) {
        self.changes.clear();
    }

    /// Prolongs a lease; whether it was still this fence's.
    pub(super) fn renew(&mut self, seq: i64, fence: Fence, now: BootInstant) -> bool {
        match self.held.get_mut(&seq) {
            Some(lease) if lease.fence == fence => {
                lease.until = now.after(self.lease);
                true
            }
            _ => false,
        }
    }

    /// The rows whose leases ran out, the longest ago first, at most `limit`.
    ///
    /// None for one lease time after a gap of more than that between two such questions: then this process was
    /// stopped, or its machine slept, and no holder could renew.
    pub(super) fn ran_out(&mut self, now: BootInstant, limit: u32) -> Vec<(i64, Fence)> {
        if now.since(self.looked_at) > self.lease {
            self.stalled(now);
        }
        self.looked_at = now;
        if self.reap_from.is_some_and(|reap_from| now < reap_from) {
            return Vec::new();
        }
        let mut ran_out: Vec<_> = self.held.iter().filter(|(_, lease)| lease.until <= now).collect();
        ran_out.sort_by_key(|(_, lease)| lease.until);
        ran_out.truncate(limit as usize);
        ran_out.into_iter().map(|(seq, lease)| (*seq, lease.fence)).collect()
    }

    /// The store stood still until now: nobody could renew, so nothing is reaped for one lease time.
    pub(super) fn stalled(&mut self, now: BootInstant) {
        self.reap_from = Some(now.after(self.lease));
    }
}

#[cfg(test)]
mod tests {
    use steadfast_core::Timestamp;

    use super::*;
    use crate::Clock;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn a_batch_that_was_rolled_back_leaves_no_lease() {
        let now = Clock::manual(Timestamp::from_millis(0)).boot();
        let (mut leases, fence) = (Leases::new(LEASE, now), Fence::random());
        leases.begin(1, fence, now);
        leases.roll_back();
        leases.commit();
        assert!(!leases.renew(1, fence, now));
    }

    #[test]
    fn after_a_gap_nothing_is_reaped_for_one_lease() {
        let start = Clock::manual(Timestamp::from_millis(0)).boot();
        let (mut leases, fence) = (Leases::new(LEASE, start), Fence::random());
        leases.begin(1, fence, start);
        leases.commit();
        // Asked now and then, it reaps as soon as the lease ran out.
        assert_eq!(leases.ran_out(start.after(LEASE / 2), 10), []);
        assert_eq!(leases.ran_out(start.after(LEASE), 10), [(1, fence)]);
        // Not asked for two leases: the process stood still.
        let awake = start.after(LEASE * 3);
        assert_eq!(leases.ran_out(awake, 10), []);
        assert_eq!(leases.ran_out(awake.after(LEASE / 2), 10), []);
        assert_eq!(leases.ran_out(awake.after(LEASE), 10), [(1, fence)]);
    }
}
