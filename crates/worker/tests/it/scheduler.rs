//! The scheduler on a real ledger: one operation for each tick, whoever ticks, and what becomes of ticks that were missed.

use std::{sync::Arc, time::Duration};

use steadfast_core::Timestamp;
use steadfast_ledger::{Clock, Filter, SharedLedger};
use steadfast_worker::{Missed, Schedule, Scheduler, Schedules, Timetable, tick_name};

use crate::real::{open_at, work};

struct Fixed(Arc<[Schedule]>);

impl Schedules for Fixed {
    fn schedules(&self) -> Arc<[Schedule]> {
        Arc::clone(&self.0)
    }
}

fn every_minute(missed: Missed) -> Arc<Fixed> {
    Arc::new(Fixed(Arc::new([Schedule {
        name: "report".into(),
        timetable: Timetable::every(Duration::from_secs(60)).expect("a timetable"),
        missed,
        work: work("replaced"),
    }])))
}

const MINUTE: Duration = Duration::from_secs(60);

/// Half a minute past a full one.
fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_800_000_030_000))
}

/// The ticks of which there are operations, as minutes past the first full one, in order.
async fn ticked(ledger: &SharedLedger) -> Vec<i64> {
    let page = ledger.list(Filter { limit: 1_000, ..Filter::default() }).await.expect("a list");
    let minute = |key: &str| (key.parse::<i64>().expect("a tick") - 1_800_000_000_000) / 60_000;
    let mut ticks: Vec<_> = page.operations.iter().map(|found| minute(found.name.key().as_str())).collect();
    ticks.sort_unstable();
    ticks
}

#[tokio::test]
async fn each_tick_becomes_one_operation_whichever_node_ticks() {
    let clock = clock();
    let (_folder, ledger) = open_at(clock.clone());
    let schedules = every_minute(Missed::Last);
    let nodes: Vec<_> =
        (0..3).map(|_| Scheduler::new(ledger.clone(), clock.clone(), schedules.clone())).collect();
    for minute in 0..4 {
        let mut on_duty = 0;
        for node in &nodes {
            on_duty += usize::from(node.run_once().await.expect("a round").on_duty);
        }
        assert_eq!(on_duty, 1);
        assert_eq!(ticked(&ledger).await, (1..=minute).collect::<Vec<_>>(), "a new schedule begins now");
        clock.advance(MINUTE);
    }
    // Two that both believe that it is theirs still make one operation of a tick.
    nodes[0].leave().await;
    let round = nodes[1].run_once().await.expect("a round");
    assert_eq!((round.on_duty, round.accepted), (true, 1));
    ledger.lay_down("schedules".into(), steadfast_core::Fence::random()).await.expect("nothing");
    let found = ledger.list(Filter { limit: 10, ..Filter::default() }).await.expect("a list");
    let newest = &found.operations[0];
    assert_eq!(newest.name, tick_name("report", Timestamp::from_millis(1_800_000_000_000 + 4 * 60_000)));
    assert!(round.next_in.is_some_and(|next| next <= MINUTE));
}

#[tokio::test]
async fn a_node_that_is_gone_is_replaced_when_its_time_has_run_out() {
    let clock = clock();
    let (_folder, ledger) = open_at(clock.clone());
    let schedules = every_minute(Missed::Last);
    let (first, second) = (
        Scheduler::new(ledger.clone(), clock.clone(), schedules.clone()),
        Scheduler::new(ledger.clone(), clock.clone(), schedules),
    );
    assert!(first.run_once().await.expect("a round").on_duty);
    assert!(!second.run_once().await.expect("a round").on_duty);
    clock.advance(Duration::from_secs(11));
    assert!(second.run_once().await.expect("a round").on_duty);
    assert!(!first.run_once().await.expect("a round").on_duty);
}

#[tokio::test]
async fn ticks_that_were_missed_are_made_up_for_as_the_schedule_says() {
    for (missed, expected) in [
        (Missed::Last, vec![10]),
        (Missed::All, (1..=10).collect()),
        (Missed::Skip { after: Duration::from_secs(45) }, vec![10]),
        (Missed::Skip { after: Duration::from_secs(20) }, vec![]),
    ] {
        let clock = clock();
        let (_folder, ledger) = open_at(clock.clone());
        let scheduler = Scheduler::new(ledger.clone(), clock.clone(), every_minute(missed));
        scheduler.run_once().await.expect("a round");
        clock.advance(MINUTE * 10);
        scheduler.run_once().await.expect("a round");
        assert_eq!(ticked(&ledger).await, expected, "{missed:?}");
        // Once is enough.
        let round = scheduler.run_once().await.expect("a round");
        assert_eq!((round.accepted, round.known), (0, 0), "{missed:?}");
    }
}

#[tokio::test]
async fn a_year_of_missed_seconds_is_looked_at_from_shortly_before_its_end() {
    let clock = clock();
    let (_folder, ledger) = open_at(clock.clone());
    let schedule = Schedule {
        name: "often".into(),
        timetable: Timetable::every(Duration::from_secs(1)).expect("a timetable"),
        missed: Missed::All,
        work: work("replaced"),
    };
    let schedules = Arc::new(Fixed(Arc::new([schedule])));
    let scheduler = Scheduler::new(ledger.clone(), clock.clone(), schedules);
    scheduler.run_once().await.expect("a round");
    clock.advance(Duration::from_secs(365 * 24 * 3_600));
    let round = scheduler.run_once().await.expect("a round");
    assert_eq!(round.accepted, 100);
}
