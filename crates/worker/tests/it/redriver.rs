//! The redriver on a real ledger: letters go round again once, no faster than is said, and after those that were tried first.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use steadfast_core::{AttemptEnd, Next, OperationId, StateName, UnknownCause};
use steadfast_ledger::{
    Conclusion, Enqueue, LetterFilter, Redrive, RedriveRun, RunId, RunOrder, RunState, RunTurn, SharedLedger,
    Wish,
};
use steadfast_worker::{Chances, Redriver, Resting};

use crate::real::{answered, left, open, state_of, work};

const BUSY: AttemptEnd = AttemptEnd::Refused { status: 503 };

/// One route, `orders`, whose letters get one attempt.
#[derive(Default)]
struct Orders {
    redriven: AtomicUsize,
    gone: AtomicBool,
}

impl Chances for Orders {
    fn chance(&self, route: &str) -> Option<Redrive> {
        let chance = Redrive { tries_max: 1, age_max: Duration::from_secs(60), repeatable_for: None };
        (route == "orders" && !self.gone.load(Ordering::SeqCst)).then_some(chance)
    }

    fn note_redriven(&self, _: &str) {
        self.redriven.fetch_add(1, Ordering::SeqCst);
    }
}

/// Takes all that is due, and lets every attempt end so; whose attempts those were.
async fn serve(ledger: &SharedLedger, end: &AttemptEnd, next: Next) -> Vec<OperationId> {
    let wishes = vec![Wish { route: "orders".into(), limit: 100, repeatable_for: None }];
    let jobs = ledger.take(wishes).await.unwrap().jobs;
    for job in &jobs {
        let conclusion = Conclusion { end: end.clone(), next, excerpt: None };
        ledger.conclude(&job.claim, conclusion).await.unwrap();
    }
    jobs.iter().map(|job| job.claim.operation).collect()
}

/// So many dead letters.
async fn dead(ledger: &SharedLedger, count: usize) -> Vec<OperationId> {
    let mut letters = Vec::new();
    for number in 0..count {
        letters.push(left(ledger, work(&format!("letter {number}"))).await);
    }
    assert_eq!(serve(ledger, &BUSY, Next::GiveUp).await.len(), count);
    tokio::time::sleep(Duration::from_millis(3)).await;
    letters
}

async fn begun(ledger: &SharedLedger, per_hour: u32, canary: u32) -> RunId {
    let of = LetterFilter { route: Some("orders".into()), ..LetterFilter::default() };
    let (by, reason) = ("ada".into(), "the bank is back".into());
    ledger.begin_run(RunOrder { of, per_hour, canary, matched: 5, by, reason }).await.unwrap().id
}

async fn run(ledger: &SharedLedger, id: RunId) -> RedriveRun {
    ledger.runs().await.unwrap().into_iter().find(|run| run.id == id).unwrap()
}

/// Rounds until the run is in this state, with whatever is done in between.
async fn until(
    redriver: &mut Redriver,
    ledger: &SharedLedger,
    id: RunId,
    state: RunState,
    mut between: impl AsyncFnMut(),
) -> RedriveRun {
    for _ in 0..2_000 {
        redriver.run_once().await.unwrap();
        between().await;
        let run = run(ledger, id).await;
        if run.state == state {
            return run;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it is {:?}", run(ledger, id).await);
}

const FAST: u32 = 3_600_000;

#[tokio::test]
async fn a_run_sends_every_letter_once_and_no_faster_than_it_says() {
    let (_folder, ledger) = open();
    let letters = dead(&ledger, 5).await;
    let chances = Arc::new(Orders::default());
    let mut redriver = Redriver::new(ledger.clone(), chances.clone());
    assert_eq!(redriver.run_once().await.unwrap().going, 0);
    // Twenty a second: five take four pauses of 50 ms.
    let id = begun(&ledger, 72_000, 0).await;
    let began = Instant::now();
    let mut done = Vec::new();
    let finished = until(&mut redriver, &ledger, id, RunState::Finished, async || {
        done.extend(serve(&ledger, &answered("done"), Next::GiveUp).await);
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    done.extend(serve(&ledger, &answered("done"), Next::GiveUp).await);
    assert_eq!(done, letters, "in their order, each once");
    assert_eq!((finished.redriven, finished.refused, finished.failed), (5, 0, 0));
    assert_eq!(chances.redriven.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn what_dies_again_is_not_taken_twice() {
    let (_folder, ledger) = open();
    let letters = dead(&ledger, 3).await;
    let mut redriver = Redriver::new(ledger.clone(), Arc::new(Orders::default()));
    let id = begun(&ledger, FAST, 0).await;
    let mut attempts = Vec::new();
    until(&mut redriver, &ledger, id, RunState::Finished, async || {
        attempts.extend(serve(&ledger, &BUSY, Next::GiveUp).await);
    })
    .await;
    attempts.extend(serve(&ledger, &BUSY, Next::GiveUp).await);
    assert_eq!(attempts, letters);
    assert_eq!(run(&ledger, id).await.redriven, 3);
}

#[tokio::test]
async fn a_run_stops_when_one_that_is_tried_first_dies_again_and_goes_on_with_it_when_it_is_resumed() {
    let (_folder, ledger) = open();
    let letters = dead(&ledger, 5).await;
    let mut redriver = Redriver::new(ledger.clone(), Arc::new(Orders::default()));
    let id = begun(&ledger, FAST, 2).await;
    let attempts = Mutex::new(Vec::new());
    let stopped = until(&mut redriver, &ledger, id, RunState::StoppedByCanary, async || {
        let tried = serve(&ledger, &BUSY, Next::GiveUp).await;
        attempts.lock().unwrap().extend(tried);
    })
    .await;
    let tried = attempts.lock().unwrap().clone();
    assert!(!tried.is_empty() && tried.len() <= 2, "{tried:?}");
    assert!(stopped.why.as_deref().unwrap().contains("died again"), "{:?}", stopped.why);
    for letter in &letters[2..] {
        assert_eq!(state_of(&ledger, *letter).await, StateName::Dead);
    }
    redriver.run_once().await.unwrap();
    assert_eq!(run(&ledger, id).await, stopped, "it stays where it is");

    ledger.turn_run(id, RunTurn::Resume).await.unwrap();
    // Somebody else drives it now, who knows nothing but the ledger.
    let mut other = Redriver::new(ledger.clone(), Arc::new(Orders::default()));
    redriver.leave().await;
    let finished = until(&mut other, &ledger, id, RunState::Finished, async || {
        serve(&ledger, &answered("done"), Next::GiveUp).await;
    })
    .await;
    serve(&ledger, &answered("done"), Next::GiveUp).await;
    for letter in &letters {
        assert_eq!(state_of(&ledger, *letter).await, StateName::Completed);
    }
    assert_eq!(finished.redriven, 5);
    assert!(finished.is_proven);
}

#[tokio::test]
async fn one_node_at_a_time_drives_runs() {
    let (_folder, ledger) = open();
    dead(&ledger, 1).await;
    let mut one = Redriver::new(ledger.clone(), Arc::new(Orders::default()));
    let mut other = Redriver::new(ledger.clone(), Arc::new(Orders::default()));
    begun(&ledger, 1, 0).await;
    assert!(one.run_once().await.unwrap().on_duty);
    let round = other.run_once().await.unwrap();
    assert_eq!((round.on_duty, round.redriven), (false, 0));
}

#[tokio::test]
async fn what_cannot_go_round_again_is_counted_and_left() {
    let (_folder, ledger) = open();
    let timed_out = AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None };
    let for_long = Some(Duration::from_millis(1));
    let doubtful = left(&ledger, Enqueue { repeatable_for: for_long, ..work("doubtful") }).await;
    serve(&ledger, &timed_out, Next::GiveUp).await;
    let chances = Arc::new(Orders::default());
    let letters = dead(&ledger, 2).await;
    let mut redriver = Redriver::new(ledger.clone(), chances.clone());
    chances.gone.store(true, Ordering::SeqCst);
    let id = begun(&ledger, FAST, 0).await;
    let finished = until(&mut redriver, &ledger, id, RunState::Finished, async || ()).await;
    assert_eq!((finished.redriven, finished.refused, finished.failed), (0, 0, 3));
    chances.gone.store(false, Ordering::SeqCst);
    let id = begun(&ledger, FAST, 0).await;
    let finished = until(&mut redriver, &ledger, id, RunState::Finished, async || ()).await;
    assert_eq!((finished.redriven, finished.refused, finished.failed), (2, 1, 0));
    assert_eq!(state_of(&ledger, doubtful).await, StateName::Dead);
    for letter in letters {
        assert_eq!(state_of(&ledger, letter).await, StateName::Queued);
    }
}

#[tokio::test]
async fn nothing_is_taken_of_any_route_before_it_is_known_which_rest() {
    let (_folder, ledger) = open();
    let resting = Resting::new(ledger.clone());
    assert!(resting.rests("orders"));
    let (by, reason) = ("ada".into(), "the bank is down".into());
    ledger
        .pause(steadfast_ledger::PauseOrder { route: "orders".into(), time: None, by, reason })
        .await
        .unwrap();
    resting.run_once().await.unwrap();
    assert!(resting.rests("orders") && !resting.rests("refunds"));
    ledger.resume("orders".into()).await.unwrap();
    resting.run_once().await.unwrap();
    assert!(!resting.rests("orders"));
}
