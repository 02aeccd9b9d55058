//! The heartbeat.

use std::sync::Arc;

use steadfast_ledger::Claims;
use steadfast_worker::{Beat, Grace, Heartbeat, SharedGrace, Tally};

use crate::scripted::{Asked, LEASE, Mood, Scripted, claim, still};

struct Desk {
    ledger: Arc<Scripted>,
    heartbeat: Heartbeat,
    grace: SharedGrace,
    tally: Arc<Tally>,
    clock: steadfast_ledger::Clock,
}

fn desk() -> Desk {
    let clock = still();
    let ledger = Scripted::new(clock.clone());
    let grace = SharedGrace::new(Grace::starting(clock.boot(), LEASE));
    let tally = Arc::new(Tally::default());
    let heartbeat = Heartbeat::new(ledger.clone(), clock.clone(), grace.clone(), tally.clone());
    Desk { ledger, heartbeat, grace, tally, clock }
}

#[tokio::test]
async fn renews_what_is_held_and_nothing_else() {
    let desk = desk();
    assert_eq!(desk.heartbeat.run_once().await, Beat::default());
    assert_eq!(desk.ledger.asked(), []);
    let (operation, fence) = claim(1);
    let held = desk.ledger.live().hold(operation, fence);
    assert_eq!(desk.heartbeat.run_once().await, Beat { renewed: 1, ..Beat::default() });
    assert_eq!(desk.ledger.asked(), [Asked::Renew(1)]);
    drop(held);
    assert_eq!(desk.heartbeat.run_once().await, Beat::default());
}

#[tokio::test]
async fn renews_many_claims_in_bounded_batches() {
    let desk = desk();
    let claims = (0..2_500).map(claim);
    let held: Vec<_> = claims.map(|(operation, fence)| desk.ledger.live().hold(operation, fence)).collect();
    let beat = desk.heartbeat.run_once().await;
    assert_eq!(beat.renewed, held.len());
    assert_eq!(desk.ledger.asked(), [Asked::Renew(1_000), Asked::Renew(1_000), Asked::Renew(500)]);
}

#[tokio::test]
async fn counts_a_renewal_that_failed_and_holds_back_the_reaper() {
    let desk = desk();
    let (operation, fence) = claim(1);
    let _held = desk.ledger.live().hold(operation, fence);
    for _ in 0..4 {
        desk.clock.advance(LEASE / 4);
        desk.grace.answered(desk.clock.boot(), desk.clock.boot());
    }
    assert!(desk.grace.is_over(desk.clock.boot()));
    desk.ledger.feel(Mood::Failing);
    assert_eq!(desk.heartbeat.run_once().await, Beat { failed: 1, ..Beat::default() });
    assert_eq!(desk.tally.snapshot().renewals_failed, 1);
    assert!(!desk.grace.is_over(desk.clock.boot()));
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_never_answers_costs_one_interval_at_most() {
    let desk = desk();
    let claims = (0..2_500).map(claim);
    let _held: Vec<_> = claims.map(|(operation, fence)| desk.ledger.live().hold(operation, fence)).collect();
    desk.ledger.feel(Mood::Silent);
    let began = tokio::time::Instant::now();
    assert_eq!(desk.heartbeat.run_once().await, Beat { failed: 2_500, ..Beat::default() });
    assert!(began.elapsed() <= desk.heartbeat.interval() + std::time::Duration::from_millis(10));
}

#[tokio::test]
async fn a_claim_that_is_somebody_elses_is_counted_while_it_is_held() {
    let desk = desk();
    let ((operation, fence), (_, finished)) = (claim(1), claim(2));
    let _held = desk.ledger.live().hold(operation, fence);
    desk.ledger.lose(fence);
    desk.ledger.lose(finished);
    assert_eq!(desk.heartbeat.run_once().await, Beat { lost: 1, ..Beat::default() });
    assert_eq!(desk.tally.snapshot().leases_lost, 1);
}
