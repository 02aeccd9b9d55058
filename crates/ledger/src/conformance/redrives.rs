//! Looking through dead letters, and runs that send many of them round again: each letter once, whatever happens to whoever
//! drives the run.

use std::time::Duration;

use steadfast_core::{AttemptEnd, Next, NotSentCause, OperationId, Refused, StateName};

use super::{
    Harness,
    fixture::{
        AGE, BUSY, PAUSE, TIMED_OUT, accepted, answered, conclude, dead, repeatable_work, state, take,
        take_one, work,
    },
};
use crate::{
    Cursor, Enqueue, LetterFilter, RUNS_GOING_MAX, RUNS_KEPT, Redrive, RedriveRun, RunError, RunId, RunOrder,
    RunState, RunTurn, SharedLedger, Step,
};

const CHANCE: Redrive = Redrive { tries_max: 3, age_max: AGE, repeatable_for: None };
const TICK: Duration = Duration::from_millis(5);

fn order(of: LetterFilter, canary: u32) -> RunOrder {
    RunOrder {
        of, per_hour: 36_000, canary, matched: 3, by: "ada".into(), reason: "it „works“ again".into()
    }
}

fn of_route(route: &str) -> LetterFilter {
    LetterFilter { route: Some(route.into()), ..LetterFilter::default() }
}

async fn begun(ledger: &SharedLedger, order: RunOrder) -> RedriveRun {
    ledger.begin_run(order).await.expect("a run")
}

async fn found(ledger: &SharedLedger, of: LetterFilter) -> Vec<OperationId> {
    let page = ledger.letters(of, None, 100).await.expect("a ledger that works");
    assert_eq!(page.next, None);
    page.letters.iter().map(|letter| letter.operation.id).collect()
}

async fn next(ledger: &SharedLedger, run: &RedriveRun, letter: OperationId) -> Step {
    ledger.redrive_next(run.id, letter, Some(CHANCE), false).await.expect("a ledger that works")
}

async fn one(ledger: &SharedLedger, id: RunId) -> RedriveRun {
    let runs = ledger.runs().await.expect("a ledger that works");
    runs.into_iter().find(|run| run.id == id).expect("the run")
}

/// Single letters are found by route, by how their last attempts ended, by when they died and by doubt, page by page.
pub async fn finds_dead_letters_that_pass_a_filter<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let busy = dead(&ledger, work("busy"), BUSY).await;
    let unreached = dead(&ledger, work("unreached"), AttemptEnd::NotSent(NotSentCause::ConnectFailed)).await;
    let doubtful = dead(&ledger, repeatable_work("doubtful", AGE), TIMED_OUT).await;
    harness.advance(PAUSE).await;
    let late = dead(&ledger, work("late"), BUSY).await;
    accepted(&ledger, Enqueue { delay: PAUSE, ..work("queued") }).await;
    assert_eq!(found(&ledger, LetterFilter::default()).await, [busy, unreached, doubtful, late]);
    let all = ledger.letters(LetterFilter::default(), None, 100).await.expect("a ledger that works").letters;
    assert_eq!((&*all[0].end, all[0].cause.as_deref(), all[0].status), ("refused", None, Some(503)));
    assert_eq!((&*all[2].end, all[2].cause.as_deref(), all[2].status), ("unknown", Some("timeout"), None));
    let any = LetterFilter::default;
    let died_before = Some(all[3].operation.changed_at);
    for (filter, expected) in [
        (LetterFilter { status: Some(503), ..any() }, vec![busy, late]),
        (LetterFilter { status: Some(503), died_before, ..any() }, vec![busy]),
        (LetterFilter { end: Some("not_sent".into()), ..any() }, vec![unreached]),
        (LetterFilter { cause: Some("timeout".into()), ..of_route("orders") }, vec![doubtful]),
        (LetterFilter { doubtful: Some(false), ..any() }, vec![busy, unreached, late]),
        (LetterFilter { doubtful: Some(true), ..any() }, vec![doubtful]),
        (of_route("refunds"), vec![]),
    ] {
        assert_eq!(found(&ledger, filter.clone()).await, expected, "{filter:?}");
        let groups = ledger.count_letters(filter).await.expect("a ledger that works");
        assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), expected.len() as u64);
    }
    let first = ledger.letters(any(), None, 2).await.expect("a ledger that works");
    assert_eq!(first.letters.len(), 2);
    let rest = ledger.letters(any(), first.next, 100).await.expect("a ledger that works");
    assert_eq!(rest.letters.iter().map(|letter| letter.operation.id).collect::<Vec<_>>(), [doubtful, late]);
}

/// A run sends each letter round again once, whoever asks how often, and over a restart.
pub async fn sends_each_letter_of_a_run_round_again_once<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let one_ = dead(&ledger, work("one"), BUSY).await;
    let two = dead(&ledger, work("two"), BUSY).await;
    harness.advance(TICK).await;
    let run = begun(&ledger, order(of_route("orders"), 0)).await;
    assert_eq!((run.state, run.matched, run.is_proven), (RunState::Running, 3, true));
    assert_eq!(run.of.route.as_deref(), Some("orders"));
    assert_eq!(run.of.died_before, Some(run.started_at));
    assert_eq!((&*run.by, &*run.reason), ("ada", "it „works“ again"));
    assert_eq!(next(&ledger, &run, one_).await, Step::Redriven);
    assert_eq!(next(&ledger, &run, one_).await, Step::Passed);
    drop(ledger);
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(next(&ledger, &run, one_).await, Step::Passed);
    assert_eq!(next(&ledger, &run, two).await, Step::Redriven);
    let now = one(&ledger, run.id).await;
    assert_eq!((now.redriven, now.refused, now.failed), (2, 0, 0));
    assert_eq!(now.reached, Cursor(two.sequence()));
    let jobs = take(&ledger, 10).await;
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|job| job.stamina.tries == 1 && job.stamina.tries_max == 3));
}

/// What dies again, or after the run began, is not the run's; what is in doubt or has no route stays and is counted.
pub async fn leaves_what_is_not_a_run_s_own_and_counts_what_stays<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let doubtful = dead(&ledger, repeatable_work("doubtful", PAUSE), TIMED_OUT).await;
    let homeless = dead(&ledger, work("homeless"), BUSY).await;
    let again = dead(&ledger, work("again"), BUSY).await;
    let purged = dead(&ledger, work("purged"), BUSY).await;
    harness.advance(PAUSE * 2).await;
    let run = begun(&ledger, order(of_route("orders"), 0)).await;
    harness.advance(TICK).await;
    let late = dead(&ledger, work("late"), BUSY).await;
    assert_eq!(ledger.redrive(again, CHANCE).await, Ok(StateName::Queued));
    conclude(&ledger, &take_one(&ledger).await, BUSY, Next::GiveUp).await;
    ledger.purge(purged).await.expect("it is purged");
    assert_eq!(found(&ledger, run.of.clone()).await, [doubtful, homeless]);
    assert_eq!(next(&ledger, &run, doubtful).await, Step::Refused(Refused::InDoubt));
    let hopeless = ledger.redrive_next(run.id, homeless, None, false).await;
    assert_eq!(hopeless, Ok(Step::Hopeless));
    for letter in [again, purged, late] {
        assert_eq!(next(&ledger, &run, letter).await, Step::Passed);
    }
    let now = one(&ledger, run.id).await;
    assert_eq!((now.redriven, now.refused, now.failed), (0, 1, 1));
    assert_eq!(state(&ledger, homeless).await, StateName::Dead);
}

/// A run remembers which letters were tried first, goes on only while it is running, and is resumed where it stopped.
pub async fn stops_a_run_and_resumes_it_where_it_was<H: Harness>(mut harness: H) {
    let ledger = harness.ledger();
    let first = dead(&ledger, work("first"), BUSY).await;
    let rest = dead(&ledger, work("rest"), BUSY).await;
    harness.advance(TICK).await;
    let run = begun(&ledger, order(LetterFilter { status: Some(503), ..LetterFilter::default() }, 1)).await;
    assert!(!run.is_proven);
    assert_eq!(ledger.redrive_next(run.id, first, Some(CHANCE), true).await, Ok(Step::Redriven));
    conclude(&ledger, &take_one(&ledger).await, BUSY, Next::GiveUp).await;
    harness.advance(TICK).await;
    let turn = RunTurn::StopByCanary { why: "it died again".into() };
    let stopped = ledger.turn_run(run.id, turn).await.expect("it stops");
    assert_eq!((stopped.state, stopped.why.as_deref()), (RunState::StoppedByCanary, Some("it died again")));
    assert_eq!(stopped.canaries, [first]);
    assert_eq!(next(&ledger, &run, rest).await, Step::NotRunning);
    let proven = ledger.turn_run(run.id, RunTurn::Prove).await;
    assert_eq!(proven, Err(RunError::Stands(RunState::StoppedByCanary)));
    drop(ledger);
    harness.restart().await;
    let ledger = harness.ledger();
    assert_eq!(one(&ledger, run.id).await, stopped);
    let resumed = ledger.turn_run(run.id, RunTurn::Resume).await.expect("it goes on");
    assert_eq!((resumed.state, &resumed.why, &*resumed.canaries), (RunState::Running, &None, &[first][..]));
    assert!(resumed.going_since > stopped.changed_at);
    assert_eq!(ledger.redrive(first, CHANCE).await, Ok(StateName::Queued));
    conclude(&ledger, &take_one(&ledger).await, answered(201, "done"), Next::GiveUp).await;
    assert!(ledger.turn_run(run.id, RunTurn::Prove).await.expect("it goes on").is_proven);
    assert_eq!(next(&ledger, &run, rest).await, Step::Redriven);
    let finished = ledger.turn_run(run.id, RunTurn::Finish).await.expect("it ends");
    assert_eq!((finished.state, finished.redriven), (RunState::Finished, 2));
    assert_eq!(ledger.turn_run(run.id, RunTurn::Resume).await, Err(RunError::Stands(RunState::Finished)));
    assert_eq!(ledger.turn_run(RunId(999), RunTurn::Finish).await, Err(RunError::NotFound));
}

/// So many runs go on at once and no more, and those that ended long ago are forgotten.
pub async fn bounds_runs_and_forgets_the_oldest<H: Harness>(harness: H) {
    let ledger = harness.ledger();
    let wanted = || order(of_route("orders"), 0);
    let oldest = begun(&ledger, wanted()).await;
    for _ in 1..RUNS_GOING_MAX {
        begun(&ledger, wanted()).await;
    }
    assert_eq!(ledger.begin_run(wanted()).await, Err(RunError::TooMany));
    let newest = ledger.runs().await.expect("a ledger that works")[0].id;
    assert!(newest > oldest.id);
    for _ in 0..RUNS_KEPT {
        let last = ledger.runs().await.expect("a ledger that works")[0].id;
        ledger.turn_run(last, RunTurn::Finish).await.expect("it ends");
        begun(&ledger, wanted()).await;
    }
    let runs = ledger.runs().await.expect("a ledger that works");
    assert!(runs.len() <= RUNS_KEPT + RUNS_GOING_MAX, "{}", runs.len());
    assert!(runs.iter().any(|run| run.id == oldest.id), "what goes on is not forgotten");
    assert!(runs.iter().all(|run| run.id != newest), "what ended long ago is");
}
