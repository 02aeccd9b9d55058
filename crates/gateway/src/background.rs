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
use steadfast_ledger::{Backlog, BoxFuture, Clock, Job, Redrive};
use steadfast_worker::{Chances, Dispatcher, Labour, Redriver, Resting, Scheduler, WorkRoute};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{edge::Edge, schedules::SchedulesInForce, stack::JobStack};

/// How often it is looked whether the last attempt has ended.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The routes of one config whose operations are done in the background.
#[derive(Default)]
pub(crate) struct JobRoutes {
    work: Arc<[WorkRoute]>,
    attempts: HashMap<Arc<str>, JobAttempts<JobStack>>,
    policies: HashMap<Arc<str>, Arc<IdempotencyPolicy>>,
}

impl JobRoutes {
    /// Those of these routes that let anything happen in the background, with what makes their attempts.
    pub(crate) fn new(
        routes: impl IntoIterator<Item = (IdempotencyPolicy, JobStack)>,
        clock: &Clock,
    ) -> Self {
        let (mut work, mut attempts, mut policies) = (Vec::new(), HashMap::new(), HashMap::new());
        for (policy, stack) in routes {
            let Some(background) = &policy.background else { continue };
            let name = Arc::clone(&policy.route);
            work.push(WorkRoute {
                name: Arc::clone(&name),
                concurrency: background.concurrency,
                repeatable_for: policy.repeatable_for,
                backoff: background.backoff,
            });
            let policy = Arc::new(policy);
            policies.insert(Arc::clone(&name), Arc::clone(&policy));
            attempts.insert(name, JobAttempts::new(policy, clock.clone(), stack));
        }
        Self { work: work.into(), attempts, policies }
    }

    /// The names of these routes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.work.iter().map(|route| &route.name)
    }

    /// What the route with this name says of its operations.
    pub(crate) fn policy(&self, route: &str) -> Option<&Arc<IdempotencyPolicy>> {
        self.policies.get(route)
    }

    /// What a dead letter of this route may hope for.
    pub(crate) fn chance(&self, route: &str) -> Option<Redrive> {
        let policy = self.policies.get(route)?;
        let background = policy.background.as_ref()?;
        Some(Redrive {
            tries_max: background.tries_max,
            age_max: background.age_max,
            repeatable_for: policy.repeatable_for,
        })
    }
}

/// The routes in force, as a dispatcher sees them.
struct RoutesInForce {
    edge: Arc<Edge>,
    resting: Resting,
}

impl Labour for RoutesInForce {
    fn routes(&self) -> Arc<[WorkRoute]> {
        Arc::clone(&self.edge.routes.load().jobs.work)
    }

    fn rests(&self, route: &str) -> bool {
        self.resting.rests(route)
    }

    fn attempt(&self, job: &Arc<Job>) -> Option<BoxFuture<'static, JobAttempt>> {
        let attempts = self.edge.routes.load().jobs.attempts.get(&job.route)?.clone();
        let job = Arc::clone(job);
        Some(Box::pin(async move { attempts.attempt(&job).await }))
    }

    fn note(&self, job: &Job, end: &AttemptEnd, next: Next) {
        self.edge.metrics.jobs.attempt(job, end, next);
    }
}

/// The routes in force, as dead letters see them.
struct ChancesInForce(Arc<Edge>);

impl Chances for ChancesInForce {
    fn chance(&self, route: &str) -> Option<Redrive> {
        self.0.routes.load().jobs.chance(route)
    }

    fn note_redriven(&self, route: &str) {
        self.0.metrics.jobs.redriven(route);
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
        let resting = Resting::new(Arc::clone(&edge.ledger));
        let routes = RoutesInForce { edge: Arc::clone(edge), resting: resting.clone() };
        let dispatcher = Dispatcher::new(backlog, edge.ledger.live().clone(), Arc::new(routes));
        let schedules = Arc::new(SchedulesInForce(Arc::clone(edge)));
        let scheduler = Scheduler::new(Arc::clone(&edge.ledger), edge.clock.clone(), schedules);
        let redriver = Redriver::new(Arc::clone(&edge.ledger), Arc::new(ChancesInForce(Arc::clone(edge))));
        let hands = Hands { dispatcher, scheduler, redriver, resting };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("background".into())
            .spawn(move || runtime.block_on(hands.run(ended)))?;
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

/// Who does what is done in the background.
struct Hands {
    dispatcher: Dispatcher,
    scheduler: Scheduler,
    redriver: Redriver,
    resting: Resting,
}

impl Hands {
    /// Takes what is due, heeds which routes rest, lets schedules tick and drives redrive runs, until it is ended.
    async fn run(self, ended: watch::Receiver<bool>) {
        let mut beside = JoinSet::new();
        let ticker = self.scheduler.clone();
        beside.spawn(ticker.run());
        beside.spawn(self.resting.run());
        let mut redriving = JoinSet::new();
        redriving.spawn(self.redriver.run(ended.clone()));
        self.dispatcher.run(ended).await;
        beside.shutdown().await;
        self.scheduler.leave().await;
        while redriving.join_next().await.is_some() {}
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop_taking();
    }
}
