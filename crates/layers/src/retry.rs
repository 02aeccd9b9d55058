//! Tries a request again where that is safe and could help: at once in front of whatever makes the attempts, so that
//! all tries of a keyed request are one attempt of its operation.
//!
//! What is safe is decided in [`steadfast_core::TryEnd`]: what was provably not executed, whatever the method, and what
//! may have been executed only where executing it twice changes nothing. A budget bounds how many requests an upstream
//! is sent in all, however many fail. The decision falls when the head of an answer is there: what follows it is
//! passed on as it comes, and never asked for again.
//!
//! A first try that succeeds costs two atomic instructions and a copy of the request's head.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use steadfast_core::{
    AnswerPolicy, Backoff, NotSentCause, Reading, RetryBudget, RetryBudgetPolicy, TryEnd, TryFacts,
    UnknownCause,
};
use steadfast_ledger::Clock;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{Instrument, Span, instrument::Instrumented};

use crate::{
    AttemptFailed, Deadline, OperationContext, Repeatable, RequestBody, RequestId, Rung, SendBy, Tried,
    UpstreamTally,
    random::next_random,
    repeating::is_repeating,
    retry_after,
    trace::{self, Facts, Part, Verdict},
};

/// The header in which an upstream is told that a request is not the first of its kind: `2` is the first retry.
pub const ATTEMPT_HEADER: HeaderName = HeaderName::from_static("steadfast-attempt");

/// How much of an answer that is thrown away is read, if it is there already, so that its connection can be used again.
const DISCARDED_BYTES_MAX: usize = 64 << 10;

/// How requests are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many tries there are, the first included: 1 to 10. With 1 nothing is ever tried again.
    pub attempts: u32,
    /// How long to wait between them.
    pub backoff: Backoff,
    /// Methods that the upstream executes with the same effect however often it is asked; beside the safe ones.
    pub methods: Vec<Method>,
    /// How many retries there may be.
    pub budget: RetryBudgetPolicy,
    /// Whether the budget is only counted, and nothing kept back.
    pub is_shadow: bool,
}

impl RetryPolicy {
    /// How many tries there may be at most.
    pub const ATTEMPTS_MAX: u32 = 10;
}

impl Default for RetryPolicy {
    /// Three tries, the usual pauses and budget; of what may have been executed only safe methods.
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
            methods: Vec::new(),
            budget: RetryBudgetPolicy::default(),
            is_shadow: false,
        }
    }
}

/// A retry budget that is counted from its own beginning; shared by whoever spends from it.
#[derive(Debug)]
pub struct SharedRetryBudget {
    budget: RetryBudget,
    origin: Instant,
}

impl SharedRetryBudget {
    /// One of which nothing is spent.
    #[must_use]
    pub fn new(policy: RetryBudgetPolicy) -> Self {
        Self { budget: RetryBudget::new(policy), origin: Instant::now() }
    }

    fn at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

/// Everything that the tries of one route go by.
#[derive(Debug)]
pub struct Retrying {
    /// How requests are tried again.
    pub policy: RetryPolicy,
    /// The route's name.
    pub route: Arc<str>,
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// How the statuses of its answers are read, where an answer does not say by a [`Reading`] how it is to be read.
    pub answers: AnswerPolicy,
    /// How long a try of a keyed request may take where another one may follow. Other requests are bounded by whoever
    /// sends them.
    pub try_timeout: Option<Duration>,
    /// How long all tries may take together, to the head of the last one's answer.
    pub total_timeout: Duration,
    /// Whether the upstream has several endpoints, so that a try should avoid those of the tries before it.
    pub several_endpoints: bool,
    /// The route's budget.
    pub route_budget: Arc<SharedRetryBudget>,
    /// The upstream's budget: there must be one left in both.
    pub upstream_budget: Arc<SharedRetryBudget>,
    /// What is counted.
    pub tally: Arc<UpstreamTally>,
    /// On which a claim's time to send is looked up.
    pub clock: Clock,
}

impl Retrying {
    fn deposit(&self, now: Instant) {
        for budget in [&self.route_budget, &self.upstream_budget] {
            budget.budget.deposit(budget.at(now));
        }
    }

    /// Takes one retry out of both budgets, or out of neither.
    fn withdraw(&self) -> bool {
        let (route, upstream, now) = (&self.route_budget, &self.upstream_budget, Instant::now());
        if route.budget.withdraw(route.at(now)) {
            if upstream.budget.withdraw(upstream.at(now)) {
                return true;
            }
            route.budget.give_back(route.at(now));
        }
        if self.policy.is_shadow {
            self.tally.retry_budget_would_exhaust.add();
        } else {
            self.tally.retry_budget_exhausted.add();
        }
        self.policy.is_shadow
    }

    fn count(&self, end: TryEnd) {
        let count = match end {
            TryEnd::NotSent(_) => &self.tally.retries_not_sent,
            TryEnd::Answered(Reading::Refused, _) => &self.tally.retries_refused,
            TryEnd::Answered(..) | TryEnd::Lost | TryEnd::Spoiled => &self.tally.retries_unknown,
        };
        count.add();
    }

    /// What a try came to; `in_doubt` says that an earlier attempt or try of the same operation left doubt.
    fn end_of<R>(&self, ended: &Ended<R>, in_doubt: bool) -> TryEnd {
        match ended {
            Ok(response) => {
                let status = response.status().as_u16();
                let said = response.extensions().get::<Reading>().copied();
                TryEnd::Answered(said.unwrap_or_else(|| self.answers.read(status, in_doubt)), status)
            }
            Err(AttemptFailed::NotSent { cause, .. }) => TryEnd::NotSent(*cause),
            Err(AttemptFailed::HeldBack { .. }) => TryEnd::NotSent(NotSentCause::HeldBack),
            Err(AttemptFailed::Lost { .. }) => TryEnd::Lost,
            Err(AttemptFailed::TooLarge { .. } | AttemptFailed::Broken { .. }) => TryEnd::Spoiled,
        }
    }

    fn span(&self, number: u32) -> Span {
        tracing::debug_span!("try", upstream = &*self.upstream, route = &*self.route, number)
    }
}

/// How a try ended, as its trace says it.
fn word_of(end: TryEnd) -> &'static str {
    match end {
        TryEnd::NotSent(_) => "not_sent",
        TryEnd::Answered(Reading::Refused, _) => "refused",
        TryEnd::Answered(Reading::Unknown, _) => "inconclusive",
        TryEnd::Answered(Reading::Completed, _) => "answered",
        TryEnd::Lost => "lost",
        TryEnd::Spoiled => "request_broke_off",
    }
}

/// How many tries an answer took. An extension of the answer of every try but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries(pub u32);

/// What a try ended with.
type Ended<R> = Result<Response<R>, AttemptFailed>;

/// Wraps a service in [`RetryService`].
#[derive(Clone, Debug)]
pub struct RetryLayer(Option<Arc<Retrying>>);

impl RetryLayer {
    /// `None`, or a policy of one try, tries nothing again.
    #[must_use]
    pub fn new(retrying: Option<Retrying>) -> Self {
        Self(retrying.filter(|retrying| retrying.policy.attempts > 1).map(Arc::new))
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = RetryService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService { inner, retrying: self.0.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct RetryService<S> {
    inner: S,
    retrying: Option<Arc<Retrying>>,
}

impl<S, B, R> Service<Request<RequestBody<B>>> for RetryService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<AttemptFailed>,
    B: Body + Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<R>;
    type Error = AttemptFailed;
    type Future = RetryFuture<S, B, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<RequestBody<B>>) -> Self::Future {
        let Some(retrying) = &self.retrying else {
            return RetryFuture { way: Way::Passing { future: self.inner.call(request) } };
        };
        let began = Instant::now();
        retrying.deposit(began);
        if retrying.several_endpoints {
            request.extensions_mut().insert(Tried::default());
        }
        // What streams through is gone once it was sent.
        let Some(copy) = copy(&request) else {
            return RetryFuture { way: Way::Passing { future: self.inner.call(request) } };
        };
        let kept = Kept { retrying: Arc::clone(retrying), inner: self.inner.clone(), request: copy, began };
        let future = self.inner.call(request).instrument(retrying.span(1));
        if kept.may_be_cut_short(1) {
            return RetryFuture { way: Way::Going { future: Box::pin(kept.go_on(First::UnderWay(future))) } };
        }
        RetryFuture { way: Way::First { future, kept: Some(Box::new(kept)) } }
    }
}

/// The same request again, where its body is there again.
fn copy<B: Body>(request: &Request<RequestBody<B>>) -> Option<Request<RequestBody<B>>> {
    let mut copy = Request::new(request.body().again()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}

/// What is needed to try a request again.
struct Kept<S, B> {
    retrying: Arc<Retrying>,
    inner: S,
    request: Request<RequestBody<B>>,
    began: Instant,
}

/// The first try.
enum First<F, R> {
    UnderWay(Instrumented<F>),
    Ended(Ended<R>),
}

/// What follows from the end of a try.
enum Step<R> {
    /// Nothing: this is what the caller gets.
    Last(Ended<R>),
    /// Another try, after a pause; what the last one brought is thrown away.
    Again(Duration, Option<Ended<R>>),
}

impl<S, B, R> Kept<S, B>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone,
    S::Error: Into<AttemptFailed>,
    B: Body,
    R: Body<Data = Bytes> + Unpin,
{
    /// Whether a claim stands for the request.
    fn is_keyed(&self) -> bool {
        self.request.extensions().get::<SendBy>().is_some()
    }

    /// Whether nothing happens where it is executed twice.
    fn is_repeatable(&self) -> bool {
        let method = self.request.method();
        let repeatable = self.request.extensions().get::<Repeatable>().is_some();
        repeatable || method.is_safe() || self.retrying.policy.methods.contains(method)
    }

    /// Whether an earlier attempt of the same operation left doubt.
    fn is_after_doubt(&self) -> bool {
        self.request.extensions().get::<OperationContext>().is_some_and(|context| context.after_doubt)
    }

    /// Whether try `number` may be given up for another one before its answer is there.
    fn may_be_cut_short(&self, number: u32) -> bool {
        let another = number < self.retrying.policy.attempts;
        self.retrying.try_timeout.is_some() && another && self.is_keyed() && self.is_repeatable()
    }

    /// Whether there is nothing more to do about the first try.
    fn is_over(&self, ended: &Ended<R>) -> bool {
        let end = self.retrying.end_of(ended, self.is_after_doubt());
        !end.may_be_repeated(self.is_repeatable()) || is_repeating(self.request.headers())
    }

    /// How much time is left for all that follows.
    fn left(&self) -> Duration {
        let total = self.retrying.total_timeout.saturating_sub(self.began.elapsed());
        let deadline = self.request.extensions().get::<Deadline>();
        deadline.map_or(total, |deadline| total.min(deadline.remaining()))
    }

    /// How long to wait for another try after one that ended like this, and takes it out of the budget; `None` where
    /// there is none.
    fn another_after(&self, end: TryEnd, number: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let policy = &self.retrying.policy;
        let facts = TryFacts {
            end,
            repeatable: self.is_repeatable(),
            number,
            number_max: policy.attempts,
            left: self.left(),
            pause: policy.backoff.pause(number - 1, next_random()),
            retry_after,
        };
        let pause = facts.next_after()?;
        if is_repeating(self.request.headers()) {
            return None;
        }
        if !self.retrying.withdraw() {
            trace::note(Part::Retry, Verdict::Refused, || Facts::Why("budget_spent"));
            return None;
        }
        trace::note(Part::Retry, Verdict::Repeated, || Facts::Pause { why: word_of(end), pause });
        self.retrying.count(end);
        tracing::info!(
            upstream = &*self.retrying.upstream,
            route = &*self.retrying.route,
            request_id = self.request.extensions().get::<RequestId>().map(RequestId::as_str),
            number,
            why = end.as_str(),
            status = if let TryEnd::Answered(_, status) = end { Some(status) } else { None },
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "a try failed and is repeated"
        );
        Some(pause)
    }

    /// Goes on until there is an answer, or nothing more to try.
    async fn go_on<F>(mut self, first: First<F, R>) -> Ended<R>
    where
        F: Future<Output = Result<Response<R>, S::Error>>,
    {
        // Doubt is sticky: what one try may have executed no later one undoes.
        let mut doubt = None;
        let mut number = 1;
        let mut step = match first {
            First::UnderWay(future) => self.see(future, number, &mut doubt).await,
            First::Ended(ended) => self.weigh(ended, number, &mut doubt),
        };
        loop {
            let pause = match step {
                Step::Last(ended) => return self.said(ended, number),
                Step::Again(pause, discarded) => {
                    if let Some(Ok(response)) = discarded {
                        discard(response.into_body()).await;
                    }
                    pause
                }
            };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            number += 1;
            step = match self.next_request(number) {
                Ok(request) => {
                    let mut inner = self.inner.clone();
                    let sending = async move {
                        std::future::poll_fn(|context| inner.poll_ready(context)).await?;
                        inner.call(request).await
                    };
                    let span = self.retrying.span(number);
                    self.see(sending.instrument(span), number, &mut doubt).await
                }
                Err(failed) => self.weigh(Err(failed), number, &mut doubt),
            };
        }
    }

    /// The request of try `number`, if it may still be sent.
    fn next_request(&self, number: u32) -> Result<Request<RequestBody<B>>, AttemptFailed> {
        let send_by = self.request.extensions().get::<SendBy>();
        // A client of an upstream looks again, just before it hands the bytes over; a handler has only this.
        if send_by.is_some_and(|SendBy(send_by)| self.retrying.clock.boot() >= *send_by) {
            return Err(AttemptFailed::NotSent {
                cause: NotSentCause::SendByPassed,
                detail: "the claim's time to send had passed before the next try".into(),
            });
        }
        let mut request = copy(&self.request)
            .ok_or_else(|| AttemptFailed::Broken { detail: "the body is not there again".into() })?;
        request.headers_mut().insert(ATTEMPT_HEADER, HeaderValue::from(number));
        Ok(request)
    }

    /// Waits for the end of try `number`.
    async fn see<F>(
        &mut self,
        trying: Instrumented<F>,
        number: u32,
        doubt: &mut Option<UnknownCause>,
    ) -> Step<R>
    where
        F: Future<Output = Result<Response<R>, S::Error>>,
    {
        let mut trying = std::pin::pin!(trying);
        if self.is_keyed() {
            if let Some(limit) = self.retrying.try_timeout.filter(|_| self.may_be_cut_short(number)) {
                match tokio::time::timeout(limit, &mut trying).await {
                    Ok(ended) => return self.weigh(ended.map_err(Into::into), number, doubt),
                    Err(_) => {
                        if let Some(pause) = self.another_after(TryEnd::Lost, number, None) {
                            *doubt = Some(UnknownCause::Timeout);
                            return Step::Again(pause, None);
                        }
                        // No other may follow, so its late answer is all that can still come.
                    }
                }
            }
            // Bounded by whoever holds the claim, who goes on reading when its caller waits no more.
            let ended = trying.await.map_err(Into::into);
            return self.weigh(ended, number, doubt);
        }
        let until = self.began + self.retrying.total_timeout;
        let ended = match tokio::time::timeout_at(until, trying).await {
            Ok(ended) => ended.map_err(Into::into),
            Err(_) => Err(AttemptFailed::Lost {
                cause: UnknownCause::Timeout,
                detail: format!("no answer within {} ms", self.retrying.total_timeout.as_millis()),
            }),
        };
        self.weigh(ended, number, doubt)
    }

    /// What follows from the end of try `number`.
    fn weigh(&self, ended: Ended<R>, number: u32, doubt: &mut Option<UnknownCause>) -> Step<R> {
        let in_doubt = self.is_keyed() && (doubt.is_some() || self.is_after_doubt());
        let end = self.retrying.end_of(&ended, in_doubt);
        let asked = ended.as_ref().ok().and_then(|response| retry_after(response.headers()));
        let pause = self.another_after(end, number, asked);
        let Some(pause) = pause else { return Step::Last(self.doubted(ended, end, *doubt)) };
        if end.leaves_doubt() {
            *doubt = Some(match &ended {
                Err(AttemptFailed::Lost { cause, .. }) => *cause,
                _ => UnknownCause::Inconclusive,
            });
        }
        Step::Again(pause, Some(ended))
    }

    /// What the last try brought, if it must not be taken for more than it is: after a try that may have been executed,
    /// one that was not sent, or refused, says nothing of the whole.
    fn doubted(&self, ended: Ended<R>, end: TryEnd, doubt: Option<UnknownCause>) -> Ended<R> {
        let Some(cause) = doubt.filter(|_| self.is_keyed() || !self.request.method().is_safe()) else {
            return ended;
        };
        match ended {
            Ok(mut response) => {
                if !matches!(end, TryEnd::Answered(Reading::Completed, _)) {
                    response.extensions_mut().insert(Reading::Unknown);
                }
                Ok(response)
            }
            Err(failed @ (AttemptFailed::NotSent { .. } | AttemptFailed::HeldBack { .. })) => {
                Err(AttemptFailed::Lost {
                    cause,
                    detail: format!("an earlier try may have been executed, the last was {failed}"),
                })
            }
            Err(failed) => Err(failed),
        }
    }

    /// The last try's answer, which says that it is a later one's.
    fn said(&self, ended: Ended<R>, number: u32) -> Ended<R> {
        ended.map(|mut response| {
            if number > 1 {
                Rung::Retry.mark(response.headers_mut());
                response.extensions_mut().insert(Tries(number));
            }
            response
        })
    }
}

/// Reads what is there already of an answer that nobody will see: if that is all of it, its connection can be used
/// again.
async fn discard<R: Body<Data = Bytes> + Unpin>(mut body: R) {
    let mut read = 0;
    std::future::poll_fn(|context| {
        while read <= DISCARDED_BYTES_MAX {
            match Pin::new(&mut body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => read += frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

type Going<R> = Pin<Box<dyn Future<Output = Ended<R>> + Send>>;

pin_project_lite::pin_project! {
    /// The answer of a [`RetryService`].
    pub struct RetryFuture<S, B, R>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        #[pin]
        way: Way<S, B, R>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayProjected]
    enum Way<S, B, R>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        // Nothing is tried again: the inner service's own future.
        Passing { #[pin] future: S::Future },
        // The first try is under way. What is kept is boxed: futures are moved, and most are of routes that retry nothing.
        First { #[pin] future: Instrumented<S::Future>, kept: Option<Box<Kept<S, B>>> },
        // The first try failed, or may have to be given up.
        Going { future: Going<R> },
    }
}

impl<S, B, R> Future for RetryFuture<S, B, R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<AttemptFailed>,
    B: Body + Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Output = Ended<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended<R>> {
        loop {
            let kept = match self.as_mut().project().way.project() {
                WayProjected::Passing { future } => return future.poll(context).map_err(Into::into),
                WayProjected::Going { future } => return future.as_mut().poll(context),
                WayProjected::First { future, kept } => {
                    let ended = ready!(future.poll(context)).map_err(Into::into);
                    match kept.take() {
                        Some(kept) if !kept.is_over(&ended) => (kept, ended),
                        _ => return Poll::Ready(ended),
                    }
                }
            };
            let (kept, ended) = kept;
            let going: Going<R> = Box::pin(kept.go_on(First::<S::Future, R>::Ended(ended)));
            self.as_mut().project().way.set(Way::Going { future: going });
        }
    }
}
