//! Does in the background what routes accepted for later: a dispatcher on a thread of its own takes it from the ledger,
//! and its attempts go the way of the route's requests from where they leave the ledger: the same rewriting, places,
//! courtesy, circuits and endpoints.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use steadfast_core::{AttemptEnd, Next};
use steadfast_layers::{IdempotencyPolicy, JobAttempt, JobAttempts};
use steadfast_ledger::{Backlog, BoxFuture, Clock, Job};
use steadfast_worker::{Dispatcher, Labour, Scheduler, WorkRoute};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{edge::Edge, schedules::SchedulesInForce, stack::JobStack};

/// How often it is looked whether the last attempt has ended.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The routes of one config whose operations are done in the background.
#[derive(Default)]
pub(crate) struct JobRoutes {
    work: Arc<[WorkRoute]>,
    attempts: HashMap<Arc<str>, JobAttempts<JobStack>>,
}

impl JobRoutes {
    /// Those of these routes that let anything happen in the background, with what makes their attempts.
    pub(crate) fn new(
        routes: impl IntoIterator<Item = (IdempotencyPolicy, JobStack)>,
        clock: &Clock,
    ) -> Self {
        let (mut work, mut attempts) = (Vec::new(), HashMap::new());
        for (policy, stack) in routes {
            let Some(background) = &policy.background else { continue };
            let name = Arc::clone(&policy.route);
            work.push(WorkRoute {
                name: Arc::clone(&name),
                concurrency: background.concurrency,
                repeatable_for: policy.repeatable_for,
                backoff: background.backoff,
            });
            attempts.insert(name, JobAttempts::new(Arc::new(policy), clock.clone(), stack));
        }
        Self { work: work.into(), attempts }
    }
}

/// The routes in force, as a dispatcher sees them.
struct RoutesInForce(Arc<Edge>);

impl Labour for RoutesInForce {
    fn routes(&self) -> Arc<[WorkRoute]> {
        Arc::clone(&self.0.routes.load().jobs.work)
    }

    fn attempt(&self, job: &Arc<Job>) -> Option<BoxFuture<'static, JobAttempt>> {
        let attempts = self.0.routes.load().jobs.attempts.get(&job.route)?.clone();
        let job = Arc::clone(job);
        Some(Box::pin(async move { attempts.attempt(&job).await }))
    }

    fn note(&self, job: &Job, end: &AttemptEnd, next: Next) {
        self.0.metrics.jobs.attempt(job, end, next);
    }
}

/// The dispatcher's thread.
pub(crate) struct Background {
    ending: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    /// Begins to take what is due.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(edge: &Arc<Edge>) -> io::Result<Self> {
        let (ending, ended) = watch::channel(false);
        let backlog: Arc<dyn Backlog> = Arc::clone(&edge.ledger) as _;
        let dispatcher =
            Dispatcher::new(backlog, edge.ledger.live().clone(), Arc::new(RoutesInForce(Arc::clone(edge))));
        let schedules = Arc::new(SchedulesInForce(Arc::clone(edge)));
        let scheduler = Scheduler::new(Arc::clone(&edge.ledger), edge.clock.clone(), schedules);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("background".into())
            .spawn(move || runtime.block_on(run(dispatcher, scheduler, ended)))?;
        Ok(Self { ending, thread: Mutex::new(Some(thread)) })
    }

    /// Takes nothing more.
    pub(crate) fn stop_taking(&self) {
        self.ending.send_replace(true);
    }

    /// Waits until the last attempt has ended and its end is written, or until then. What is under way after that counts
    /// as sent, and its lease runs out.
    pub(crate) async fn finish(&self, until: Instant) {
        self.stop_taking();
        let is_finished = || {
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
            thread.as_ref().is_none_or(JoinHandle::is_finished)
        };
        while !is_finished() && Instant::now() < until {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// Takes what is due and lets schedules tick, until it is ended.
async fn run(dispatcher: Dispatcher, scheduler: Scheduler, ended: watch::Receiver<bool>) {
    let mut ticking = JoinSet::new();
    let ticker = scheduler.clone();
    ticking.spawn(ticker.run());
    dispatcher.run(ended).await;
    ticking.shutdown().await;
    scheduler.leave().await;
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop_taking();
    }
}
