//! The dispatcher: takes what is due from the backlog, has its attempts made, and writes down how they ended.
//!
//! It takes no more than it can send at once, so nothing that it holds waits to be sent: what is claimed may have been
//! sent, and nobody else may touch it. What it holds the heartbeat renews. While it has room it is woken by the ledger,
//! when something arrives or comes due, and looks by itself once a second in case nobody woke it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use steadfast_core::{AttemptEnd, Backoff, Fence, Next, Timestamp, after_attempt, rerun};
use steadfast_layers::{JobAttempt, LateEnd};
use steadfast_ledger::{
    Backlog, BoxFuture, Conclusion, Finished, Job, LedgerError, LiveClaims, TAKEN_AT_ONCE_MAX, Taken, Wish,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

/// How long the dispatcher sleeps at most.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How many attempts of a route may wait for their ends to be written, in times of its concurrency.
const UNWRITTEN_FACTOR: u32 = 4;

/// The longest time that an upstream's Retry-After is heeded for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// How long something that a policy held back waits at least.
const HELD_BACK_MIN: Duration = Duration::from_millis(100);

/// The longest pause between two tries to write an end.
const WRITE_AGAIN_MAX: Duration = Duration::from_secs(1);

/// What a dispatcher can have done: which routes there are just now, and who makes their attempts.
pub trait Labour: Send + Sync + 'static {
    /// The routes whose operations are to be taken.
    fn routes(&self) -> Arc<[WorkRoute]>;

    /// Whether nothing of this route is to be taken just now: somebody lets it rest.
    fn rests(&self, _route: &str) -> bool {
        false
    }

    /// Makes an attempt; `None` where the route is no longer there.
    fn attempt(&self, job: &Arc<Job>) -> Option<BoxFuture<'static, JobAttempt>>;

    /// Takes note of an attempt that ended, whose end is written.
    fn note(&self, job: &Job, end: &AttemptEnd, next: Next);
}

/// A route whose operations are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkRoute {
    /// Its name.
    pub name: Arc<str>,
    /// How many attempts are made at once.
    pub concurrency: u32,
    /// For how long its upstream repeats safely, by the current policy.
    pub repeatable_for: Option<Duration>,
    /// How pauses between attempts grow.
    pub backoff: Backoff,
}

/// Takes operations from the backlog and has their attempts made.
#[derive(Clone)]
pub struct Dispatcher {
    backlog: Arc<dyn Backlog>,
    live: LiveClaims,
    labour: Arc<dyn Labour>,
    places: Arc<Places>,
}

/// How much of every route is under way.
#[derive(Debug, Default)]
struct Places {
    routes: Mutex<HashMap<Arc<str>, UnderWay>>,
    /// Told when there is room again.
    room: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    /// Attempts that are being made.
    sending: u32,
    /// Those, and those whose ends are being written.
    held: u32,
}

impl UnderWay {
    fn free(self, concurrency: u32) -> u32 {
        let unwritten_max = concurrency.saturating_mul(UNWRITTEN_FACTOR);
        concurrency.saturating_sub(self.sending).min(unwritten_max.saturating_sub(self.held))
    }

    /// Whether there is enough room for it to be worth a question: questions cost more than the places they fill.
    fn has_room(self, concurrency: u32) -> bool {
        self.free(concurrency) >= concurrency.div_ceil(4)
    }
}

impl Dispatcher {
    /// A dispatcher of this backlog; what it holds is among `live`, for the heartbeat to renew.
    #[must_use]
    pub fn new(backlog: Arc<dyn Backlog>, live: LiveClaims, labour: Arc<dyn Labour>) -> Self {
        Self { backlog, live, labour, places: Arc::default() }
    }

    /// Takes and does what is due until `ending` says so, and then waits for what is under way.
    pub async fn run(self, mut ending: watch::Receiver<bool>) {
        let mut arrivals = self.backlog.arrivals();
        let mut under_way = JoinSet::new();
        // Routes of which all that was due was taken, until something arrives or comes due.
        let mut dry: Vec<Arc<str>> = Vec::new();
        let mut look_at = Instant::now();
        while !*ending.borrow() {
            if arrivals.has_changed().unwrap_or(false) || Instant::now() >= look_at {
                dry.clear();
                look_at = Instant::now() + LOOK_AGAIN_AFTER;
            }
            arrivals.borrow_and_update();
            let wishes = self.wishes(&dry);
            if !wishes.is_empty() {
                match self.backlog.take(wishes.clone()).await {
                    Ok(taken) => {
                        note_dry(&wishes, &taken, &mut dry);
                        if let Some(due_in) = taken.next_due_in {
                            look_at = look_at.min(Instant::now() + due_in);
                        }
                        for job in taken.jobs {
                            self.begin(job, &mut under_way, ending.clone());
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "nothing can be taken from the backlog");
                        sleep(LOOK_AGAIN_AFTER).await;
                    }
                }
                // What was taken gets its turn; and whoever ended meanwhile is cleared away.
                tokio::task::yield_now().await;
                while under_way.try_join_next().is_some() {}
                if !self.wishes(&dry).is_empty() {
                    continue;
                }
            }
            tokio::select! {
                // What woke it is still news to the beginning of the loop.
                Ok(()) = arrivals.changed() => arrivals.mark_changed(),
                () = self.places.room.notified() => {}
                () = tokio::time::sleep_until(look_at) => {}
                _ = ending.changed() => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// What could be sent at once.
    fn wishes(&self, dry: &[Arc<str>]) -> Vec<Wish> {
        let under_way = self.places.lock();
        let mut left = TAKEN_AT_ONCE_MAX;
        let mut wishes = Vec::new();
        for route in self.labour.routes().iter() {
            let now = under_way.get(&route.name).copied().unwrap_or_default();
            if dry.contains(&route.name) || !now.has_room(route.concurrency) || self.labour.rests(&route.name)
            {
                continue;
            }
            let limit = now.free(route.concurrency).min(left);
            left -= limit;
            if limit > 0 {
                let repeatable_for = route.repeatable_for;
                wishes.push(Wish { route: Arc::clone(&route.name), limit, repeatable_for });
            }
        }
        wishes
    }

    fn begin(&self, job: Job, under_way: &mut JoinSet<()>, mut ending: watch::Receiver<bool>) {
        let job = Arc::new(job);
        let held = self.live.hold(job.claim.operation, job.claim.fence);
        let place = Place::take(&self.places, &job.route);
        let this = self.clone();
        under_way.spawn(async move {
            let late = this.see_through(&job, place).await;
            // Renewed until its end is on disk, and no longer.
            drop(held);
            let Some((late, next)) = late else { return };
            // A timeout ended the wait, not the reading. Whoever ends this process does not wait for it.
            let end = tokio::select! {
                end = late => end,
                _ = ending.wait_for(|is_ending| *is_ending) => None,
            };
            this.take_in_late(&job, end, next).await;
        });
    }

    /// Makes the attempt and writes down how it ended. Where its time ran out, an answer that comes late is returned, with
    /// what was said to follow.
    async fn see_through(&self, job: &Arc<Job>, mut place: Place) -> Option<(LateEnd, Next)> {
        let taken_at = Instant::now();
        let routes = self.labour.routes();
        let route = routes.iter().find(|route| route.name == job.route);
        let attempt = match self.labour.attempt(job) {
            Some(attempt) => attempt.await,
            None => JobAttempt::held_back("the route is no longer there"),
        };
        place.sent(route.map_or(1, |route| route.concurrency));
        let now = job.claimed_at.after(taken_at.elapsed());
        let next = next(job, &attempt, route, now);
        let JobAttempt { end, excerpt, late, .. } = attempt;
        let conclusion = Conclusion { end, next, excerpt };
        self.conclude_surely(job, &conclusion).await;
        self.labour.note(job, &conclusion.end, next);
        Some((late?, next))
    }

    /// Writes down an answer that came after its time.
    async fn take_in_late(&self, job: &Job, end: Option<AttemptEnd>, next: Next) {
        let Some(end) = end else { return };
        self.conclude_surely(job, &Conclusion { end, next, excerpt: None }).await;
        tracing::info!(operation = %job.claim.operation, "an answer came late");
    }

    /// Writes an end, and tries again for as long as this holder lives.
    async fn conclude_surely(&self, job: &Job, conclusion: &Conclusion) {
        let mut pause = Duration::from_millis(10);
        let operation = job.claim.operation;
        loop {
            match self.backlog.conclude(&job.claim, conclusion.clone()).await {
                Ok(Finished::Recorded(_)) => return,
                Ok(Finished::Superseded(state)) => {
                    let state = state.as_str();
                    tracing::warn!(%operation, state, "an attempt ended that no longer held its claim");
                    return;
                }
                Err(error @ (LedgerError::Closed | LedgerError::Missing)) => {
                    tracing::error!(%operation, %error, "an outcome could not be written");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%operation, %error, "an outcome is not written yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(WRITE_AGAIN_MAX);
                }
            }
        }
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Dispatcher").field("places", &self.places).finish_non_exhaustive()
    }
}

/// What follows the attempt. Without its route nothing is known of the policy: it is left for whoever has it.
fn next(job: &Job, attempt: &JobAttempt, route: Option<&WorkRoute>, now: Timestamp) -> Next {
    let Some(route) = route else { return Next::Again { after: LOOK_AGAIN_AFTER, counts: false } };
    let retry = job.stamina.tries.saturating_sub(1);
    let drawn = route.backoff.pause(retry, random());
    let asked = attempt.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    let least = if attempt.held_back { HELD_BACK_MIN } else { Duration::ZERO };
    let rerun = rerun(job.first_sent, now, job.repeatable_for, route.repeatable_for);
    after_attempt(&attempt.end, job.stamina, rerun, attempt.held_back, (now, drawn.max(asked).max(least)))
}

fn random() -> u64 {
    u64::from_le_bytes(Fence::random().as_bytes()[..8].try_into().unwrap_or_default())
}

/// Notes of which routes less was handed out than could have been.
fn note_dry(wishes: &[Wish], taken: &Taken, dry: &mut Vec<Arc<str>>) {
    for wish in wishes {
        let got = taken.jobs.iter().filter(|job| job.route == wish.route).count();
        if got < wish.limit as usize {
            dry.push(Arc::clone(&wish.route));
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, UnderWay>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one attempt. It is given back in two steps: once the attempt is made, and once its end is written.
struct Place {
    places: Arc<Places>,
    route: Arc<str>,
    sending: bool,
    concurrency: u32,
}

impl Place {
    fn take(places: &Arc<Places>, route: &Arc<str>) -> Self {
        let mut routes = places.lock();
        let under_way = routes.entry(Arc::clone(route)).or_default();
        (under_way.sending, under_way.held) = (under_way.sending + 1, under_way.held + 1);
        drop(routes);
        Self { places: Arc::clone(places), route: Arc::clone(route), sending: true, concurrency: 1 }
    }

    /// The attempt was made.
    fn sent(&mut self, concurrency: u32) {
        self.concurrency = concurrency;
        self.sending = false;
        self.give_back(true, false);
    }

    fn give_back(&self, sending: bool, held: bool) {
        let mut routes = self.places.lock();
        let Some(under_way) = routes.get_mut(&self.route) else { return };
        under_way.sending -= u32::from(sending);
        under_way.held -= u32::from(held);
        let has_room = under_way.has_room(self.concurrency);
        if under_way.held == 0 {
            routes.remove(&self.route);
        }
        drop(routes);
        if has_room {
            self.places.room.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back(self.sending, true);
    }
}
