//! The sweeper.

use std::{sync::Arc, time::Duration};

use steadfast_core::Timestamp;
use steadfast_ledger::{Clock, LedgerError};
use steadfast_worker::{SweepRound, Sweeper, Tally};

use crate::scripted::{Asked, Mood, Scripted, still};

fn desk() -> (Arc<Scripted>, Clock, Arc<Tally>, Sweeper) {
    let clock = still();
    let ledger = Scripted::new(clock.clone());
    let tally = Arc::new(Tally::default());
    let sweeper = Sweeper::new(ledger.clone(), clock.clone(), tally.clone());
    (ledger, clock, tally, sweeper)
}

#[tokio::test(start_paused = true)]
async fn sweeps_in_batches_with_pauses_until_nothing_is_left() {
    let (ledger, _, tally, mut sweeper) = desk();
    ledger.outlive(1_200);
    let began = tokio::time::Instant::now();
    assert_eq!(sweeper.run_once().await, SweepRound::Swept(1_200));
    assert_eq!(ledger.asked(), vec![Asked::Sweep; 4]);
    assert!(began.elapsed() >= Duration::from_millis(60));
    assert_eq!(tally.snapshot().swept, 1_200);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_suspends_one_round() {
    let (ledger, clock, tally, mut sweeper) = desk();
    ledger.outlive(1);
    for jump in [7 * 86_400_000, -60_000] {
        clock.advance(Duration::from_secs(60));
        clock.set_wall(Timestamp::from_millis(clock.wall().as_millis() + jump));
        assert_eq!(sweeper.run_once().await, SweepRound::Suspended(0));
    }
    assert_eq!(ledger.asked(), []);
    assert_eq!(tally.snapshot().sweeps_suspended, 2);
    clock.advance(Duration::from_secs(60));
    assert_eq!(sweeper.run_once().await, SweepRound::Swept(1));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_fails_ends_the_round() {
    let (ledger, _, _, mut sweeper) = desk();
    ledger.feel(Mood::Failing);
    let away = LedgerError::Unreachable("it is away".to_owned());
    assert_eq!(sweeper.run_once().await, SweepRound::Failed(0, away));
    assert_eq!(ledger.asked(), [Asked::Sweep]);
}
