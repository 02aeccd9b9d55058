//! Lanes: operations that belong together are handed out one at a time, in the order in which they were accepted.

use std::time::Duration;

use steadfast_core::{Fence, Next, OperationId, StateName};

use super::{
    Harness,
    fixture::{
        AGAIN, AGE, BUSY, PAUSE, TIMED_OUT, accepted, answered, conclude, finish, granted, keys, name, owner,
        request, run_out, state, take, take_one, work,
    },
};
use crate::{Cancelled, Enqueue, Job, Lane, LaneTrouble, Redrive, SharedLedger, Verdict};

fn in_lane(key: &str, lane: u8, trouble: LaneTrouble) -> Enqueue {
    Enqueue { lane: Some(Lane { digest: [lane; 16], trouble }), ..work(key) }
}

fn blocking(key: &str) -> Enqueue {
    in_lane(key, 1, LaneTrouble::Blocks)
}

fn passing(key: &str) -> Enqueue {
    in_lane(key, 1, LaneTrouble::Passes)
}

/// Only the head of a lane is handed out, whatever happens to it, until it is done.
pub async fn hands_out_the_head_of_a_lane_alone<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    for key in ["a", "b", "c"] {
        accepted(&ledger, blocking(key)).await;
    }
    accepted(&ledger, in_lane("other lane", 2, LaneTrouble::Blocks)).await;
    let elsewhere = Enqueue { name: name("principal bob", "bobs"), owner: owner("bob"), ..blocking("bobs") };
    accepted(&ledger, elsewhere).await;
    accepted(&ledger, work("no lane")).await;
    let jobs = take(&ledger, 10).await;
    assert_eq!(keys(&jobs), ["a", "other lane", "bobs", "no lane"]);
    conclude(&ledger, &jobs[0], BUSY, AGAIN).await;
    assert!(take(&ledger, 10).await.is_empty(), "the head waits, and so do those behind it");
    harness.advance(PAUSE + Duration::from_secs(1)).await;
    let again = take_one(&ledger).await;
    assert_eq!(again.name.key().as_str(), "a");
    conclude(&ledger, &again, answered(201, "done"), AGAIN).await;
    for key in ["b", "c"] {
        let next = take_one(&ledger).await;
        assert_eq!(next.name.key().as_str(), key);
        conclude(&ledger, &next, answered(201, "done"), AGAIN).await;
    }
    assert!(take(&ledger, 10).await.is_empty());
}

/// A head that is in doubt or dead blocks its lane until it is settled, redriven and done, or removed.
pub async fn blocks_behind_trouble_until_it_is_settled<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let ids = [accepted(&ledger, blocking("a")).await, accepted(&ledger, blocking("b")).await];
    accepted(&ledger, blocking("c")).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, Next::Hold).await;
    assert!(take(&ledger, 10).await.is_empty());
    super::settling::settle(&ledger, ids[0], Verdict::Happened(None)).await.expect("settled");
    let second = take_one(&ledger).await;
    assert_eq!(second.claim.operation, ids[1]);
    conclude(&ledger, &second, BUSY, Next::GiveUp).await;
    assert!(take(&ledger, 10).await.is_empty());
    let order = Redrive { tries_max: 1, age_max: AGE, repeatable_for: None };
    assert_eq!(ledger.redrive(ids[1], order).await, Ok(StateName::Queued));
    let again = take_one(&ledger).await;
    assert_eq!(again.claim.operation, ids[1]);
    conclude(&ledger, &again, BUSY, Next::GiveUp).await;
    harness.restart().await;
    let ledger = harness.ledger();
    assert!(take(&ledger, 10).await.is_empty());
    assert_eq!(ledger.purge(ids[1]).await, Ok(StateName::Tombstone));
    assert_eq!(take_one(&ledger).await.name.key().as_str(), "c");
}

/// Where a lane passes trouble by, the next goes on.
pub async fn passes_trouble_by_where_that_is_said<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let ids = [accepted(&ledger, passing("a")).await, accepted(&ledger, passing("b")).await];
    accepted(&ledger, passing("c")).await;
    conclude(&ledger, &take_one(&ledger).await, TIMED_OUT, Next::Hold).await;
    let second = take_one(&ledger).await;
    assert_eq!(second.claim.operation, ids[1]);
    conclude(&ledger, &second, BUSY, Next::GiveUp).await;
    let third = take_one(&ledger).await;
    assert_eq!(third.name.key().as_str(), "c");
    // One that comes back is the head again.
    super::settling::settle(&ledger, ids[0], Verdict::DidNotHappen).await.expect("settled");
    harness.advance(Duration::from_secs(1)).await;
    let back = take_one(&ledger).await;
    assert_eq!(back.claim.operation, ids[0]);
    conclude(&ledger, &back, answered(201, "done"), AGAIN).await;
    conclude(&ledger, &third, answered(201, "done"), AGAIN).await;
    accepted(&ledger, passing("d")).await;
    assert_eq!(take_one(&ledger).await.name.key().as_str(), "d");
}

/// One that is called off lets the next go on, and one that is not the head leaves without a trace.
pub async fn goes_on_past_what_is_called_off<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let ids = [
        accepted(&ledger, blocking("a")).await,
        accepted(&ledger, blocking("b")).await,
        accepted(&ledger, blocking("c")).await,
    ];
    assert_eq!(ledger.cancel(ids[1]).await, Ok(Cancelled::Now(StateName::Cancelled)));
    assert_eq!(ledger.cancel(ids[0]).await, Ok(Cancelled::Now(StateName::Cancelled)));
    assert_eq!(take_one(&ledger).await.claim.operation, ids[2]);
}

/// A lane goes on, in order, after the worker of its head has died.
pub async fn keeps_its_order_when_a_worker_dies<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let first = Enqueue { repeatable_for: Some(AGE), ..blocking("a") };
    let id = accepted(&ledger, first).await;
    accepted(&ledger, blocking("b")).await;
    take_one(&ledger).await;
    harness.restart().await;
    run_out(&mut harness).await;
    let ledger = harness.ledger();
    assert_eq!(state(&ledger, id).await, StateName::Waiting);
    harness.advance(PAUSE).await;
    let again = take_one(&ledger).await;
    assert_eq!(again.claim.operation, id);
    conclude(&ledger, &again, answered(201, "done"), AGAIN).await;
    assert_eq!(take_one(&ledger).await.name.key().as_str(), "b");
}

/// What a request had claimed and gave back joins its lane when it is accepted for later, behind those that were before.
pub async fn lets_what_was_released_join_its_lane_last<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let claim = granted(&ledger, request("a")).await;
    finish(&ledger, &claim, BUSY).await;
    accepted(&ledger, blocking("b")).await;
    accepted(&ledger, blocking("c")).await;
    let first = take_one(&ledger).await;
    assert_eq!(accepted(&ledger, blocking("a")).await, claim.operation);
    assert!(take(&ledger, 10).await.is_empty(), "one of the lane is under way");
    conclude(&ledger, &first, answered(201, "done"), AGAIN).await;
    for key in ["c", "a"] {
        let next = take_one(&ledger).await;
        assert_eq!(next.name.key().as_str(), key);
        conclude(&ledger, &next, answered(201, "done"), AGAIN).await;
    }
}

/// Whatever happens to the operations of lanes, at most one of each is under way, it is the oldest that is unfinished, and
/// none is left behind.
pub async fn keeps_lanes_in_order_whatever_happens<H: Harness>(mut harness: H) {
    const STEPS: u32 = 250;
    let mut walk = Walk::new();
    for step in 0..STEPS {
        walk.step(&mut harness, step).await;
    }
    // Everything comes to its end, one after another.
    for _ in 0..STEPS * 4 {
        let ledger = harness.ledger();
        if walk.tidy_up(&ledger).await == 0 {
            return;
        }
        harness.advance(PAUSE).await;
        walk.take(&ledger).await;
        while !walk.under_way.is_empty() {
            walk.conclude(&ledger, 0).await;
        }
    }
    panic!("operations are left that nobody can take, seed {}", walk.seed);
}

/// How many lanes a random walk has.
const LANES: u8 = 3;

/// A random walk through what can happen to operations of lanes.
struct Walk {
    seed: u64,
    random: u64,
    /// The operations of each lane, in the order in which they were accepted.
    lanes: [Vec<OperationId>; LANES as usize],
    under_way: Vec<Job>,
    /// Keys that a request claimed and gave back.
    released: Vec<String>,
}

impl Walk {
    fn new() -> Self {
        let seed = Fence::random().as_bytes().iter().fold(1, |seed: u64, byte| seed << 8 | u64::from(*byte));
        let (lanes, under_way, released) = Default::default();
        Self { seed, random: seed | 1, lanes, under_way, released }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % bound as u64) as usize
    }

    async fn step<H: Harness>(&mut self, harness: &mut H, step: u32) {
        let ledger = harness.ledger();
        match self.below(12) {
            0..2 => self.accept(&ledger, &format!("k{step}")).await,
            2 => {
                let key = format!("k{step}");
                let claim = granted(&ledger, request(&key)).await;
                finish(&ledger, &claim, BUSY).await;
                self.released.push(key);
            }
            3 => {
                if let Some(key) = self.released.pop() {
                    self.accept(&ledger, &key).await;
                }
            }
            4..7 => self.take(&ledger).await,
            7..9 if !self.under_way.is_empty() => {
                let at = self.below(self.under_way.len());
                self.conclude(&ledger, at).await;
            }
            9 => {
                let lane = self.below(LANES.into());
                if !self.lanes[lane].is_empty() {
                    let at = self.below(self.lanes[lane].len());
                    // Not of everything; that is as it should be.
                    let _ = ledger.cancel(self.lanes[lane][at]).await;
                }
            }
            10 => drop(self.tidy_up(&ledger).await),
            _ => harness.advance(PAUSE / 2).await,
        }
    }

    async fn accept(&mut self, ledger: &SharedLedger, key: &str) {
        let lane = self.below(LANES.into());
        let work = in_lane(key, lane as u8, LaneTrouble::Blocks);
        self.lanes[lane].push(accepted(ledger, Enqueue { repeatable_for: Some(AGE), ..work }).await);
    }

    async fn take(&mut self, ledger: &SharedLedger) {
        for job in take(ledger, 2).await {
            let id = job.claim.operation;
            let lane = self.lanes.iter().find(|lane| lane.contains(&id)).expect("a lane");
            for before in lane.iter().take_while(|before| **before != id) {
                let stands = state(ledger, *before).await;
                let is_over =
                    matches!(stands, StateName::Completed | StateName::Cancelled | StateName::Tombstone);
                assert!(is_over, "it overtook one that is {stands:?}, seed {}", self.seed);
            }
            let of_lane = |job: &&Job| lane.contains(&job.claim.operation);
            let under_way = self.under_way.iter().filter(of_lane).count();
            assert_eq!(under_way, 0, "two of a lane are under way, seed {}", self.seed);
            self.under_way.push(job);
        }
    }

    async fn conclude(&mut self, ledger: &SharedLedger, at: usize) {
        let job = self.under_way.swap_remove(at);
        let (end, next) = match self.below(6) {
            0 => (BUSY, AGAIN),
            1 => (BUSY, Next::GiveUp),
            2 => (TIMED_OUT, AGAIN),
            3 => (TIMED_OUT, Next::Hold),
            4 => (TIMED_OUT, Next::GiveUp),
            _ => (answered(201, "done"), AGAIN),
        };
        conclude(ledger, &job, end, next).await;
    }

    /// Settles what is in doubt, and removes or redrives what is dead; how many are unfinished all the same.
    async fn tidy_up(&mut self, ledger: &SharedLedger) -> usize {
        let mut unfinished = 0;
        for id in self.lanes.concat() {
            let order = Redrive { tries_max: 2, age_max: AGE, repeatable_for: Some(AGE) };
            match state(ledger, id).await {
                StateName::Completed | StateName::Cancelled | StateName::Tombstone => continue,
                StateName::InDoubt => {
                    let happened = self.below(2) == 0;
                    let verdict = if happened { Verdict::Happened(None) } else { Verdict::DidNotHappen };
                    super::settling::settle(ledger, id, verdict).await.expect("settled");
                }
                StateName::Dead if self.below(2) == 0 => {
                    ledger.redrive(id, order).await.expect("redriven");
                }
                // Not where it is in doubt.
                StateName::Dead => drop(ledger.purge(id).await),
                _ => {}
            }
            unfinished += 1;
        }
        unfinished
    }
}
