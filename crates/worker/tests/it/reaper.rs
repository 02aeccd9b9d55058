//! The reaper: above all, when it does nothing.

use std::sync::Arc;

use steadfast_ledger::{Clock, LedgerError};
use steadfast_worker::{Grace, ReapRound, Reaper, SharedGrace, Tally};

use crate::scripted::{Asked, LEASE, Mood, Scripted, still};

struct Desk {
    ledger: Arc<Scripted>,
    reaper: Reaper,
    tally: Arc<Tally>,
    clock: Clock,
}

impl Desk {
    fn open() -> Self {
        let clock = still();
        let ledger = Scripted::new(clock.clone());
        let tally = Arc::new(Tally::default());
        let grace = SharedGrace::new(Grace::starting(clock.boot(), LEASE));
        let reaper = Reaper::new(ledger.clone(), clock.clone(), grace, tally.clone());
        Self { ledger, reaper, tally, clock }
    }

    /// One round, a quarter of a lease after the one before.
    async fn round(&self) -> ReapRound {
        self.clock.advance(LEASE / 4);
        self.reaper.run_once().await
    }

    /// Rounds until grace is over, and one more.
    async fn settled() -> Self {
        let desk = Self::open();
        for _ in 0..3 {
            assert_eq!(desk.round().await, ReapRound::Held);
        }
        assert_eq!(desk.round().await, ReapRound::Reaped(0));
        desk.ledger.asked();
        desk
    }
}

fn away() -> LedgerError {
    LedgerError::Unreachable("it is away".to_owned())
}

#[tokio::test]
async fn reaps_nothing_for_one_lease_after_the_start() {
    let desk = Desk::open();
    desk.ledger.expire(3);
    for _ in 0..3 {
        assert_eq!(desk.round().await, ReapRound::Held);
    }
    assert!(!desk.ledger.asked().contains(&Asked::Reap));
    assert_eq!(desk.round().await, ReapRound::Reaped(3));
    assert_eq!(desk.tally.snapshot().reaped, 3);
}

#[tokio::test]
async fn reaps_in_batches_until_nothing_is_left() {
    let desk = Desk::settled().await;
    desk.ledger.expire(1_200);
    assert_eq!(desk.round().await, ReapRound::Reaped(1_200));
    assert_eq!(desk.ledger.asked(), [Asked::Check, Asked::Reap, Asked::Reap, Asked::Reap, Asked::Reap]);
}

#[tokio::test]
async fn a_store_that_fails_expires_nothing_for_one_lease() {
    let desk = Desk::settled().await;
    desk.ledger.expire(1);
    desk.ledger.feel(Mood::Failing);
    assert_eq!(desk.round().await, ReapRound::Failed(0, away()));
    desk.ledger.feel(Mood::Well);
    for _ in 0..3 {
        assert_eq!(desk.round().await, ReapRound::Held);
    }
    assert_eq!(desk.round().await, ReapRound::Reaped(1));
}

#[tokio::test]
async fn a_store_that_answers_late_expires_nothing_for_one_lease() {
    let desk = Desk::settled().await;
    desk.ledger.expire(1);
    desk.ledger.feel(Mood::Slow(LEASE));
    assert_eq!(desk.round().await, ReapRound::Held);
    desk.ledger.feel(Mood::Well);
    for _ in 0..3 {
        assert_eq!(desk.round().await, ReapRound::Held);
    }
    assert_eq!(desk.round().await, ReapRound::Reaped(1));
}

#[tokio::test]
async fn leaves_off_where_the_store_stalls_between_two_batches() {
    let desk = Desk::settled().await;
    desk.ledger.expire(2_000);
    desk.ledger.feel(Mood::SlowToReap(LEASE));
    assert_eq!(desk.round().await, ReapRound::Reaped(500));
    assert_eq!(desk.ledger.asked(), [Asked::Check, Asked::Reap]);
    assert_eq!(desk.round().await, ReapRound::Held);
}

#[tokio::test]
async fn a_process_that_was_paused_expires_nothing_when_it_wakes() {
    let desk = Desk::settled().await;
    desk.ledger.expire(1);
    desk.clock.advance(LEASE * 2);
    assert_eq!(desk.round().await, ReapRound::Held);
    for _ in 0..3 {
        assert_eq!(desk.round().await, ReapRound::Held);
    }
    assert_eq!(desk.round().await, ReapRound::Reaped(1));
}
