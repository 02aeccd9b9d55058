//! Calls an upstream no more often than was agreed on, and as often as it asks to be called itself: its 429, its
//! `Retry-After` and its rate limit headers slow all calls to it, whoever makes them. Calls that have to wait do so one
//! behind the other; one that could not go in time is refused at once.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use steadfast_core::{Allowance, Code, Gcra, Pace, Rate, rate_limit, remaining_and_reset, retry_after};
use steadfast_ledger::Clock;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    AttemptFailed, Deadline, UpstreamTally,
    trace::{self, Facts, Mark, Part, Verdict},
};

/// How long a call without a deadline waits at the most.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// How many calls wait at the most.
const WAITING_MAX: usize = 10_000;

/// How long a 429 that does not say for how long stops all calls.
const PAUSE_UNLESS_SAID: Duration = Duration::from_secs(1);

/// By up to this share a pause is longer than it was said, so that many gateways do not come back at once.
const PAUSE_LONGER_BY_MAX: f64 = 0.1;

/// What a refused caller is told to wait, at the least.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static APART: [(HeaderName, HeaderName); 2] = [
    (HeaderName::from_static("ratelimit-remaining"), HeaderName::from_static("ratelimit-reset")),
    (HeaderName::from_static("x-ratelimit-remaining"), HeaderName::from_static("x-ratelimit-reset")),
];

/// What is said of the pace of calls to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CourtesyPolicy {
    /// How often it is called at the most, and how many of those calls may come at once; as often as there is reason
    /// to unless stated.
    pub rate: Option<(Rate, u32)>,
}

/// The pace of calls to one upstream.
#[derive(Debug)]
pub struct Courtesy {
    tally: Arc<UpstreamTally>,
    clock: Clock,
    origin: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// Those behind the first one who waits; each is told when it has become the first.
    behind: VecDeque<(u64, oneshot::Sender<()>)>,
    /// Whether somebody waits for the next moment to go.
    has_first: bool,
    next_ticket: u64,
}

impl Courtesy {
    /// A pace that nothing has slowed yet. `clock` is for what upstreams say in instants.
    #[must_use]
    pub fn new(policy: CourtesyPolicy, clock: Clock, tally: Arc<UpstreamTally>) -> Self {
        let pace = Pace::new(policy.rate.map(|(rate, burst)| Gcra::new(rate, burst)));
        let state = State { pace, behind: VecDeque::new(), has_first: false, next_ticket: 0 };
        Self { tally, clock, origin: Instant::now(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call go: at once, or after it waited; or says why it is refused.
    fn enter(self: &Arc<Self>, deadline: Option<Deadline>) -> Result<Option<Pin<Box<Turn>>>, AttemptFailed> {
        let now = Instant::now();
        let since = now - self.origin;
        let mut state = self.lock();
        if !state.has_first && state.pace.wait(since).is_zero() {
            state.pace.go(since);
            return Ok(None);
        }
        let ahead = state.behind.len() + usize::from(state.has_first);
        let wait = state.pace.wait_behind(u32::try_from(ahead).unwrap_or(u32::MAX), since);
        let until = deadline.map_or(now + WAIT_MAX, |Deadline(deadline)| deadline);
        if now + wait >= until || ahead >= WAITING_MAX {
            drop(state);
            return Err(self.refuse(wait));
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let (first, told) = oneshot::channel();
        let stage = if state.has_first {
            state.behind.push_back((ticket, first));
            Stage::Behind { told, ticket }
        } else {
            state.has_first = true;
            Stage::First
        };
        // Whoever is first looks when it may go; the others, whether it has become too late for them.
        let wakes = if matches!(stage, Stage::First) { now + wait } else { until };
        drop(state);
        self.tally.courtesy_delayed.add();
        let place = Place { courtesy: Arc::clone(self), stage };
        Ok(Some(Box::pin(Turn { place, until, sleep: tokio::time::sleep_until(wakes) })))
    }

    fn refuse(&self, wait: Duration) -> AttemptFailed {
        self.tally.courtesy_refused.add();
        AttemptFailed::HeldBack {
            code: Code::TemporaryReducedCapacity,
            retry_after: Some(wait.max(RETRY_AFTER_MIN)),
            detail: "The upstream is not to be called again that soon.",
        }
    }

    /// Takes in what an answer says of the pace.
    fn hear(&self, status: StatusCode, headers: &HeaderMap) {
        let pause = self.pause_of(status, headers);
        let left = self.allowance(headers);
        if pause.is_none() && left.is_none() {
            return;
        }
        let now = Instant::now() - self.origin;
        let mut longer = Duration::ZERO;
        let mut state = self.lock();
        if let Some(left) = left {
            let reset = if left.remaining == 0 { jittered(left.reset) } else { left.reset };
            longer += state.pace.heed(Allowance { reset, ..left }, now);
        }
        if let Some(pause) = pause {
            longer += state.pace.pause(jittered(pause), now);
        }
        drop(state);
        if !longer.is_zero() {
            self.tally.courtesy_pauses.add();
            self.tally.courtesy_paused_ms.add_many(u64::try_from(longer.as_millis()).unwrap_or(u64::MAX));
            tracing::info!(ms = longer.as_millis(), "an upstream asked to be left alone for a time");
        }
    }

    /// For how long a refusal stops all calls.
    fn pause_of(&self, status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
        if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return None;
        }
        let text = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let said = text.and_then(|text| retry_after(text, Some(self.clock.wall())));
        said.or_else(|| (status == StatusCode::TOO_MANY_REQUESTS).then_some(PAUSE_UNLESS_SAID))
    }

    fn allowance(&self, headers: &HeaderMap) -> Option<Allowance> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let listed = headers.get_all(&RATE_LIMIT).iter().filter_map(|value| value.to_str().ok());
        let listed = listed.filter_map(|text| rate_limit(text, self.clock.wall()));
        let apart = APART.iter().filter_map(|(remaining, reset)| {
            let (remaining, reset) = (text(remaining)?, text(reset)?);
            remaining_and_reset(remaining, reset, self.clock.wall())
        });
        listed.chain(apart).reduce(Allowance::tighter)
    }
}

impl State {
    /// The first one who waited has gone, or left: the next one is told.
    fn pass_on(&mut self) {
        self.has_first = false;
        while let Some((_, next)) = self.behind.pop_front() {
            if next.send(()).is_ok() {
                self.has_first = true;
                return;
            }
        }
    }
}

/// `pause`, and up to a tenth more.
fn jittered(pause: Duration) -> Duration {
    // Without chance it is as it was said.
    let chance = getrandom::u32().unwrap_or(0);
    pause.saturating_add(
        pause
            .min(steadfast_core::PAUSE_MAX)
            .mul_f64(PAUSE_LONGER_BY_MAX * f64::from(chance) / f64::from(u32::MAX)),
    )
}

/// A call's place among those that wait. Dropping it lets the next one come up.
struct Place {
    courtesy: Arc<Courtesy>,
    stage: Stage,
}

enum Stage {
    /// Others go before it.
    Behind { told: oneshot::Receiver<()>, ticket: u64 },
    /// It goes as soon as the pace allows it.
    First,
    /// It has gone.
    Gone,
}

impl Drop for Place {
    fn drop(&mut self) {
        match &mut self.stage {
            Stage::First => self.courtesy.lock().pass_on(),
            Stage::Behind { told, ticket } => {
                let mut state = self.courtesy.lock();
                let found = state.behind.binary_search_by(|(other, _)| other.cmp(ticket));
                match found {
                    Ok(index) => drop(state.behind.remove(index)),
                    // It was told in this very moment.
                    Err(_) if told.try_recv().is_ok() => state.pass_on(),
                    Err(_) => {}
                }
            }
            Stage::Gone => {}
        }
    }
}

pin_project_lite::pin_project! {
    /// Waits for a call's turn.
    struct Turn {
        place: Place,
        until: Instant,
        #[pin]
        sleep: Sleep,
    }
}

impl Future for Turn {
    type Output = Result<(), AttemptFailed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let courtesy = Arc::clone(&this.place.courtesy);
        if let Stage::Behind { told, .. } = &mut this.place.stage {
            if Pin::new(told).poll(context).is_pending() {
                ready!(this.sleep.as_mut().poll(context));
                return Poll::Ready(Err(courtesy.refuse(RETRY_AFTER_MIN)));
            }
            this.place.stage = Stage::First;
        }
        loop {
            let now = Instant::now();
            let since = now - courtesy.origin;
            let mut state = courtesy.lock();
            let wait = state.pace.wait(since);
            if wait.is_zero() {
                state.pace.go(since);
                state.pass_on();
                this.place.stage = Stage::Gone;
                return Poll::Ready(Ok(()));
            }
            drop(state);
            // What the upstream said meanwhile may have moved it beyond its time.
            if now + wait >= *this.until {
                return Poll::Ready(Err(courtesy.refuse(wait)));
            }
            this.sleep.as_mut().reset(now + wait);
            ready!(this.sleep.as_mut().poll(context));
        }
    }
}

/// Wraps a service in [`CourtesyService`].
#[derive(Clone, Debug)]
pub struct CourtesyLayer {
    courtesy: Option<Arc<Courtesy>>,
}

impl CourtesyLayer {
    /// Calls keep to `courtesy`; without one they go as they come.
    #[must_use]
    pub fn new(courtesy: Option<Arc<Courtesy>>) -> Self {
        Self { courtesy }
    }
}

impl<S> Layer<S> for CourtesyLayer {
    type Service = CourtesyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CourtesyService { inner, courtesy: self.courtesy.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct CourtesyService<S> {
    inner: S,
    courtesy: Option<Arc<Courtesy>>,
}

impl<S, B, R> Service<Request<B>> for CourtesyService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<AttemptFailed>,
{
    type Response = Response<R>;
    type Error = AttemptFailed;
    type Future = CourtesyFuture<S, B, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(courtesy) = &self.courtesy else {
            return CourtesyFuture { courtesy: None, way: Way::Calling { future: self.inner.call(request) } };
        };
        let deadline = request.extensions().get::<Deadline>().copied();
        let way = match courtesy.enter(deadline) {
            Ok(None) => Way::Calling { future: self.inner.call(request) },
            Ok(Some(turn)) => {
                // The service that was made ready goes with the request; the clone waits for its own readiness.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let mark = trace::begin(Part::Courtesy, || Facts::None);
                Way::Waiting { turn, next: Some(Box::new((inner, request, mark))) }
            }
            Err(failed) => {
                trace::note(Part::Courtesy, Verdict::Refused, || failed.facts());
                Way::Refused { failed: Some(failed) }
            }
        };
        CourtesyFuture { courtesy: Some(Arc::clone(courtesy)), way }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`CourtesyService`].
    pub struct CourtesyFuture<S, B, F> {
        courtesy: Option<Arc<Courtesy>>,
        #[pin]
        way: Way<S, B, F>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayProjected]
    enum Way<S, B, F> {
        // It has gone.
        Calling { #[pin] future: F },
        // It waits for its turn. Boxed, so that it takes no room where nobody waits.
        Waiting { turn: Pin<Box<Turn>>, next: Option<Box<(S, Request<B>, Mark)>> },
        Refused { failed: Option<AttemptFailed> },
    }
}

impl<S, B, R> Future for CourtesyFuture<S, B, S::Future>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<AttemptFailed>,
{
    type Output = Result<Response<R>, AttemptFailed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut way = this.way;
        loop {
            match way.as_mut().project() {
                WayProjected::Calling { future } => {
                    let response = ready!(future.poll(context)).map_err(Into::into)?;
                    if let Some(courtesy) = this.courtesy {
                        courtesy.hear(response.status(), response.headers());
                    }
                    return Poll::Ready(Ok(response));
                }
                WayProjected::Waiting { turn, next } => {
                    let come = ready!(turn.as_mut().poll(context));
                    let Some(next) = next.take() else { return Poll::Pending };
                    let (mut inner, request, mark) = *next;
                    if let Err(failed) = come {
                        trace::end(mark, Verdict::Refused, |facts| *facts = failed.facts());
                        return Poll::Ready(Err(failed));
                    }
                    trace::end(mark, Verdict::Passed, |_| {});
                    way.set(Way::Calling { future: inner.call(request) });
                }
                WayProjected::Refused { failed } => {
                    return failed.take().map_or(Poll::Pending, |failed| Poll::Ready(Err(failed)));
                }
            }
        }
    }
}
