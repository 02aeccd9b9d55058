//! Waiting for an operation to change, without asking the store over and over.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use steadfast_core::OperationDigest;
use tokio::sync::watch;

/// How many shards the waiters are spread over, so that two cores rarely meet at one lock.
const SHARDS: usize = 16;

/// More waiters than are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{waiters_max} requests are waiting for operations, as many as are admitted")]
pub struct TooManyWaiters {
    /// The bound that was reached.
    pub waiters_max: usize,
}

/// Who waits for what, in this process.
#[derive(Clone, Debug)]
pub struct WatchHub(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    shards: [Mutex<HashMap<OperationDigest, watch::Sender<u64>>>; SHARDS],
    waiters: AtomicUsize,
    waiters_max: usize,
}

/// A subscription to one operation's changes; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    hub: WatchHub,
    digest: OperationDigest,
    receiver: watch::Receiver<u64>,
}

impl WatchHub {
    /// A hub that admits this many waiters at once.
    #[must_use]
    pub fn new(waiters_max: usize) -> Self {
        Self(Arc::new(Hub { shards: Default::default(), waiters: AtomicUsize::new(0), waiters_max }))
    }

    /// Subscribes to the operation with this digest.
    ///
    /// # Errors
    /// [`TooManyWaiters`] where the bound is reached.
    pub fn subscribe(&self, digest: OperationDigest) -> Result<Watch, TooManyWaiters> {
        let waiters_max = self.0.waiters_max;
        if self.0.waiters.fetch_add(1, Ordering::Relaxed) >= waiters_max {
            self.0.waiters.fetch_sub(1, Ordering::Relaxed);
            return Err(TooManyWaiters { waiters_max });
        }
        let receiver = self.lock(digest).entry(digest).or_insert_with(|| watch::Sender::new(0)).subscribe();
        Ok(Watch { hub: self.clone(), digest, receiver })
    }

    /// Tells whoever waits for the operation with this digest that it changed.
    pub fn wake(&self, digest: OperationDigest) {
        if self.0.waiters.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(sender) = self.lock(digest).get(&digest) {
            sender.send_modify(|version| *version += 1);
        }
    }

    /// Tells everybody: after a gap in which changes may have been missed.
    pub fn wake_all(&self) {
        for shard in &self.0.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().for_each(|sender| sender.send_modify(|version| *version += 1));
        }
    }

    fn lock(
        &self,
        digest: OperationDigest,
    ) -> std::sync::MutexGuard<'_, HashMap<OperationDigest, watch::Sender<u64>>> {
        let shard = usize::from(digest.as_bytes()[0]) % SHARDS;
        self.0.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Waits for the next change since the subscription or since the last call.
    pub async fn changed(&mut self) {
        // The hub keeps the sender for as long as somebody subscribes, so this cannot end otherwise.
        let _ = self.receiver.changed().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.0.waiters.fetch_sub(1, Ordering::Relaxed);
        let mut shard = self.hub.lock(self.digest);
        if shard.get(&self.digest).is_some_and(|sender| sender.receiver_count() <= 1) {
            shard.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: OperationDigest = OperationDigest::from_bytes([7; 16]);

    #[tokio::test]
    async fn no_change_after_the_subscription_is_missed() {
        let hub = WatchHub::new(10);
        let mut watch = hub.subscribe(DIGEST).expect("room");
        hub.wake(DIGEST);
        watch.changed().await;
    }

    #[tokio::test]
    async fn waiters_are_bounded_and_leave_nothing_behind() {
        let hub = WatchHub::new(2);
        let (one, two) = (hub.subscribe(DIGEST), hub.subscribe(DIGEST));
        assert_eq!(hub.subscribe(DIGEST).err(), Some(TooManyWaiters { waiters_max: 2 }));
        drop(one);
        let three = hub.subscribe(DIGEST);
        assert!(three.is_ok());
        drop((two, three));
        assert!(hub.lock(DIGEST).is_empty());
    }
}
