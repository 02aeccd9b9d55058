//! The sweeper.

use std::{sync::Arc, time::Duration};

use steadfast_core::{AttemptEnd, Next, StateName, Timestamp, UnknownCause};
use steadfast_ledger::{Clock, Conclusion, Enqueue, LedgerError, SharedLedger, Wish};
use steadfast_worker::{KEEP_DEAD, SweepRound, Sweeper, Tally};

use crate::{
    real::{left, open_at, state_of, work},
    scripted::{Asked, Mood, Scripted, still},
};

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

/// Lets what is due die.
async fn die(ledger: &SharedLedger, end: AttemptEnd) {
    let wishes = vec![Wish { route: "orders".into(), limit: 10, repeatable_for: None }];
    for job in ledger.take(wishes).await.unwrap().jobs {
        let conclusion = Conclusion { end: end.clone(), next: Next::GiveUp, excerpt: None };
        ledger.conclude(&job.claim, conclusion).await.unwrap();
    }
}

#[tokio::test]
async fn old_dead_letters_become_tombstones_and_what_is_in_doubt_stays() {
    let clock = still();
    let (_folder, ledger) = open_at(clock.clone());
    let old = left(&ledger, work("old")).await;
    die(&ledger, AttemptEnd::Refused { status: 503 }).await;
    let repeatable_for = Some(Duration::from_secs(3_600));
    let doubtful = left(&ledger, Enqueue { repeatable_for, ..work("doubtful") }).await;
    die(&ledger, AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None }).await;
    clock.advance(KEEP_DEAD / 2);
    let young = left(&ledger, work("young")).await;
    die(&ledger, AttemptEnd::Refused { status: 503 }).await;
    let mut sweeper = Sweeper::new(ledger.clone(), clock.clone(), Arc::new(Tally::default()));
    clock.advance(KEEP_DEAD / 2);
    assert_eq!(sweeper.run_once().await, SweepRound::Swept(0));
    // It is looked at again after a while, not each time.
    clock.advance(Duration::from_secs(1));
    assert_eq!(sweeper.run_once().await, SweepRound::Swept(0));
    clock.advance(Duration::from_secs(600));
    assert_eq!(sweeper.run_once().await, SweepRound::Swept(1));
    assert_eq!(state_of(&ledger, old).await, StateName::Tombstone);
    assert_eq!(state_of(&ledger, doubtful).await, StateName::Dead);
    assert_eq!(state_of(&ledger, young).await, StateName::Dead);
}
