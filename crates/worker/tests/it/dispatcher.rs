//! The dispatcher on a real ledger: what is taken is attempted, what it brings is written, and no more is taken than can be
//! sent at once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use steadfast_core::{AttemptEnd, Backoff, Next, NotSentCause, StateName, UnknownCause};
use steadfast_layers::JobAttempt;
use steadfast_ledger::{Backlog, BoxFuture, Job, SharedLedger};
use steadfast_worker::{Dispatcher, Labour, WorkRoute};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinSet,
};

use crate::real::{answered, left, open, state_of, work};

/// Does what a test has told it to for each key, and else answers 201.
#[derive(Default)]
struct Scripted {
    ends: Mutex<HashMap<String, Vec<JobAttempt>>>,
    noted: Mutex<Vec<(String, Next)>>,
    concurrency: u32,
    under_way: AtomicUsize,
    most: AtomicUsize,
    /// Where there is one, attempts wait for it.
    gate: Option<Arc<Notify>>,
}

impl Scripted {
    fn will(&self, key: &str, ends: Vec<JobAttempt>) {
        self.ends.lock().unwrap().insert(key.to_owned(), ends);
    }
}

/// Whoever does it.
struct Hands(Arc<Scripted>);

impl Labour for Hands {
    fn routes(&self) -> Arc<[WorkRoute]> {
        Arc::new([WorkRoute {
            name: "orders".into(),
            concurrency: self.0.concurrency,
            repeatable_for: None,
            backoff: Backoff { base: Duration::from_millis(1), cap: Duration::from_millis(5) },
        }])
    }

    fn attempt(&self, job: &Arc<Job>) -> Option<BoxFuture<'static, JobAttempt>> {
        let (this, job) = (Arc::clone(&self.0), Arc::clone(job));
        Some(Box::pin(async move {
            let under_way = this.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            this.most.fetch_max(under_way, Ordering::SeqCst);
            if let Some(gate) = &this.gate {
                gate.notified().await;
            }
            this.under_way.fetch_sub(1, Ordering::SeqCst);
            let mut ends = this.ends.lock().unwrap();
            match ends.get_mut(job.name.key().as_str()).filter(|ends| !ends.is_empty()) {
                Some(ends) => ends.remove(0),
                None => ended(answered("done")),
            }
        }))
    }

    fn note(&self, job: &Job, _: &AttemptEnd, next: Next) {
        self.0.noted.lock().unwrap().push((job.name.key().as_str().to_owned(), next));
    }
}

fn ended(end: AttemptEnd) -> JobAttempt {
    JobAttempt { end, held_back: false, retry_after: None, excerpt: None, late: None }
}

const BUSY: AttemptEnd = AttemptEnd::Refused { status: 503 };
const TIMED_OUT: AttemptEnd = AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None };
const UNREACHED: AttemptEnd = AttemptEnd::NotSent(NotSentCause::ConnectFailed);

/// A dispatcher at work until it is dropped.
struct AtWork {
    ending: watch::Sender<bool>,
    running: JoinSet<()>,
}

fn start(ledger: &SharedLedger, labour: &Arc<Scripted>) -> AtWork {
    let (ending, ended) = watch::channel(false);
    let backlog: Arc<dyn Backlog> = ledger.clone();
    let dispatcher = Dispatcher::new(backlog, ledger.live().clone(), Arc::new(Hands(Arc::clone(labour))));
    let mut running = JoinSet::new();
    running.spawn(dispatcher.run(ended));
    AtWork { ending, running }
}

impl AtWork {
    /// Takes nothing more, and waits for what is under way.
    async fn end(mut self) {
        self.ending.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), self.running.join_next()).await.expect("in time");
    }
}

async fn await_state(ledger: &SharedLedger, id: steadfast_core::OperationId, wanted: StateName) {
    let mut found = StateName::Absent;
    for _ in 0..2_000 {
        found = state_of(ledger, id).await;
        if found == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} is {found:?}, not {wanted:?}");
}

#[tokio::test]
async fn what_is_left_is_done_whether_it_came_before_or_after_the_start() {
    let (_folder, ledger) = open();
    let before = left(&ledger, work("before")).await;
    let labour = Arc::new(Scripted { concurrency: 4, ..Scripted::default() });
    let at_work = start(&ledger, &labour);
    await_state(&ledger, before, StateName::Completed).await;
    let after = left(&ledger, work("after")).await;
    await_state(&ledger, after, StateName::Completed).await;
    at_work.end().await;
    assert!(ledger.live().is_empty());
}

#[tokio::test]
async fn an_attempt_that_brings_nothing_is_followed_by_as_many_as_there_are() {
    let (_folder, ledger) = open();
    let labour = Arc::new(Scripted { concurrency: 4, ..Scripted::default() });
    labour.will("third time", vec![ended(BUSY), ended(UNREACHED)]);
    labour.will("never", vec![ended(BUSY), ended(BUSY), ended(BUSY), ended(BUSY)]);
    labour.will("unknown", vec![ended(TIMED_OUT)]);
    let held_back = || JobAttempt { held_back: true, ..ended(AttemptEnd::NotSent(NotSentCause::HeldBack)) };
    labour.will("held back", vec![held_back(), held_back(), held_back(), held_back()]);
    let at_work = start(&ledger, &labour);
    let third = left(&ledger, work("third time")).await;
    let never = left(&ledger, work("never")).await;
    let unknown = left(&ledger, work("unknown")).await;
    let held = left(&ledger, work("held back")).await;
    await_state(&ledger, third, StateName::Completed).await;
    await_state(&ledger, never, StateName::Dead).await;
    await_state(&ledger, unknown, StateName::InDoubt).await;
    await_state(&ledger, held, StateName::Completed).await;
    at_work.end().await;
    let noted = labour.noted.lock().unwrap();
    let of = |key: &str| noted.iter().filter(|(noted, _)| noted == key).count();
    assert_eq!((of("third time"), of("never"), of("unknown"), of("held back")), (3, 3, 1, 5));
}

#[tokio::test]
async fn no_more_is_taken_than_may_be_sent_at_once() {
    let (_folder, ledger) = open();
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(left(&ledger, work(&format!("k{number}"))).await);
    }
    let gate = Arc::new(Notify::new());
    let labour = Arc::new(Scripted { concurrency: 3, gate: Some(Arc::clone(&gate)), ..Scripted::default() });
    let at_work = start(&ledger, &labour);
    while labour.under_way.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ledger.counts().await.expect("counts").claimed, 3, "the rest waits in the ledger");
    for id in ids {
        while state_of(&ledger, id).await != StateName::Completed {
            gate.notify_waiters();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(labour.most.load(Ordering::SeqCst), 3);
    at_work.end().await;
}

#[tokio::test]
async fn a_late_answer_is_taken_in_and_its_claim_is_not_held_meanwhile() {
    let (_folder, ledger) = open();
    let labour = Arc::new(Scripted { concurrency: 1, ..Scripted::default() });
    let (say, said) = oneshot::channel::<()>();
    let late = async move {
        said.await.expect("it is said");
        Some(answered("late"))
    };
    labour.will("late", vec![JobAttempt { late: Some(Box::pin(late)), ..ended(TIMED_OUT) }]);
    let at_work = start(&ledger, &labour);
    let id = left(&ledger, work("late")).await;
    await_state(&ledger, id, StateName::InDoubt).await;
    while !ledger.live().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    say.send(()).expect("somebody listens");
    await_state(&ledger, id, StateName::Completed).await;
    at_work.end().await;
}

#[tokio::test]
async fn nobody_waits_for_a_late_answer_when_it_ends() {
    let (_folder, ledger) = open();
    let labour = Arc::new(Scripted { concurrency: 1, ..Scripted::default() });
    let never = Box::pin(std::future::pending());
    labour.will("late", vec![JobAttempt { late: Some(never), ..ended(TIMED_OUT) }]);
    let at_work = start(&ledger, &labour);
    let id = left(&ledger, work("late")).await;
    await_state(&ledger, id, StateName::InDoubt).await;
    at_work.end().await;
}

#[tokio::test]
async fn what_is_under_way_is_seen_through_when_it_ends() {
    let (_folder, ledger) = open();
    let gate = Arc::new(Notify::new());
    let labour = Arc::new(Scripted { concurrency: 1, gate: Some(Arc::clone(&gate)), ..Scripted::default() });
    let (first, second) = (left(&ledger, work("first")).await, left(&ledger, work("second")).await);
    let at_work = start(&ledger, &labour);
    await_state(&ledger, first, StateName::Claimed).await;
    at_work.ending.send_replace(true);
    tokio::time::sleep(Duration::from_millis(20)).await;
    gate.notify_one();
    at_work.end().await;
    assert_eq!(state_of(&ledger, first).await, StateName::Completed);
    assert_eq!(state_of(&ledger, second).await, StateName::Queued, "it is left for the next");
}
