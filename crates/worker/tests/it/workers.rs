//! All of them together.

use std::{sync::Arc, time::Duration};

use steadfast_ledger::{Claims, Clock};
use steadfast_worker::Workers;
use tokio::{runtime::Handle, time::sleep};

use crate::scripted::{Asked, LEASE, Mood, Scripted, claim, still};

/// Lets time pass on both the runtime's clock and the ledger's, in steps that no worker takes for a gap.
async fn pass(clock: &Clock, time: Duration) {
    const STEP: Duration = Duration::from_millis(500);
    let mut left = time;
    while !left.is_zero() {
        clock.advance(STEP);
        sleep(STEP).await;
        left = left.saturating_sub(STEP);
    }
}

fn start() -> (Arc<Scripted>, Clock, Workers) {
    let clock = still();
    let ledger = Scripted::new(clock.clone());
    let workers = Workers::start(ledger.clone(), clock.clone(), &Handle::current());
    (ledger, clock, workers)
}

#[tokio::test(start_paused = true)]
async fn a_held_claim_is_renewed_three_times_a_lease_and_an_expired_one_is_reaped() {
    let (ledger, clock, workers) = start();
    let (operation, fence) = claim(1);
    let _held = ledger.live().hold(operation, fence);
    ledger.expire(2);
    ledger.outlive(3);
    pass(&clock, LEASE * 3).await;
    let asked = ledger.asked();
    let renewals = asked.iter().filter(|asked| **asked == Asked::Renew(1)).count();
    assert!((8..=10).contains(&renewals), "{renewals} renewals in three leases");
    let counters = workers.counters();
    assert_eq!((counters.reaped, counters.swept, counters.renewals_failed), (2, 3, 0));
    assert_eq!(counters.counts.map(|counts| counts.in_doubt), Some(3));
    workers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_after_they_were_stopped() {
    let (ledger, clock, workers) = start();
    pass(&clock, LEASE).await;
    ledger.feel(Mood::Silent);
    pass(&clock, LEASE).await;
    let tally = workers.tally();
    workers.stop().await;
    assert_eq!(Arc::strong_count(&tally), 1, "a worker is left");
    ledger.asked();
    pass(&clock, LEASE).await;
    assert_eq!(ledger.asked(), []);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_a_defect_is_started_again() {
    let (ledger, clock, workers) = start();
    pass(&clock, LEASE).await;
    ledger.feel(Mood::Panicking);
    pass(&clock, LEASE).await;
    assert!(workers.counters().restarts > 0);
    ledger.feel(Mood::Well);
    ledger.expire(1);
    pass(&clock, LEASE * 2).await;
    assert_eq!(workers.counters().reaped, 1);
    workers.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_old_count_is_not_passed_off_as_a_new_one() {
    let (ledger, clock, workers) = start();
    pass(&clock, LEASE).await;
    assert!(workers.counters().counts.is_some());
    ledger.feel(Mood::Failing);
    pass(&clock, LEASE).await;
    assert_eq!(workers.counters().counts, None);
    workers.stop().await;
}
