//! Whether the shared store answers: a breaker, so that no request waits for a store that is known to be lost.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Why the store is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It answers.
    Well,
    /// It does not.
    Lost {
        /// Since when.
        since: Instant,
        /// What was seen first.
        reason: Reason,
    },
}

/// Whether the store answers, and how often it did not.
#[derive(Debug)]
pub(crate) struct Health {
    is_well: AtomicBool,
    losses: AtomicU64,
    standing: Mutex<Standing>,
    lost: Notify,
    /// When it was last lost or found again, in milliseconds since it began; zero: never.
    changed_ms: AtomicU64,
    began: Instant,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self {
            is_well: AtomicBool::new(true),
            losses: AtomicU64::new(0),
            standing: Mutex::new(Standing::Well),
            lost: Notify::new(),
            changed_ms: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// Whether it has been as it is for so long.
    pub(crate) fn has_stood_for(&self, time: Duration) -> bool {
        match self.changed_ms.load(Ordering::Relaxed) {
            0 => true,
            changed => self.now_ms().saturating_sub(changed) >= time.as_millis() as u64,
        }
    }

    /// Never zero.
    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// Whether it is worth asking.
    pub(crate) fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Relaxed)
    }

    /// How often it was lost.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    pub(crate) fn standing(&self) -> Standing {
        self.locked().clone()
    }

    /// Notes that it does not answer. Said once, however many notice.
    pub(crate) fn lose(&self, reason: Reason) {
        let mut standing = self.locked();
        if matches!(*standing, Standing::Lost { .. }) {
            return;
        }
        tracing::warn!(%reason, "the shared store is lost: limits go by `on_loss` until it answers again");
        *standing = Standing::Lost { since: Instant::now(), reason };
        self.changed_ms.store(self.now_ms(), Ordering::Relaxed);
        self.losses.fetch_add(1, Ordering::Relaxed);
        self.is_well.store(false, Ordering::Relaxed);
        self.lost.notify_one();
    }

    /// Notes that it answers.
    pub(crate) fn recover(&self) {
        let mut standing = self.locked();
        if let Standing::Lost { since, .. } = *standing {
            let lost_for = since.elapsed();
            tracing::info!(?lost_for, "the shared store answers again: limits are counted in it");
            *standing = Standing::Well;
            self.changed_ms.store(self.now_ms(), Ordering::Relaxed);
            self.is_well.store(true, Ordering::Relaxed);
        }
    }

    /// Returns when it was lost.
    pub(crate) async fn until_lost(&self) {
        while self.is_well() {
            self.lost.notified().await;
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loss_counts_once_however_many_notice_and_ends_with_the_first_answer() {
        let health = Health::new();
        assert!(health.is_well());
        health.lose(Reason::new("refused"));
        health.lose(Reason::new("timed out"));
        health.until_lost().await;
        assert!(!health.is_well());
        let Standing::Lost { reason, .. } = health.standing() else { panic!("it is lost") };
        assert_eq!((reason.to_string().as_str(), health.losses()), ("refused", 1));
        health.recover();
        assert_eq!(health.standing(), Standing::Well);
        health.lose(Reason::new("refused"));
        assert_eq!(health.losses(), 2);
    }
}
