//! The layer that asks a route's limits before anything inside is, and tells how they stand in every answer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    ending::{LimitedBody, Unsettled},
    per::Facts,
    refusal::Refusal,
    route::{Admitted, AdmittedLater, Decided, RouteLimits, Told},
};
use crate::{
    Deadline, HeldBody,
    request_id::{RequestId, request_id_of},
};

/// How long a request without a deadline waits for its turn at the most.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Wraps a service in [`LimitsService`].
#[derive(Clone, Debug)]
pub struct LimitsLayer {
    limits: Option<Arc<RouteLimits>>,
}

impl LimitsLayer {
    /// These limits; `None` limits nothing.
    #[must_use]
    pub fn new(limits: Option<Arc<RouteLimits>>) -> Self {
        Self { limits }
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = LimitsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LimitsService { inner, limits: self.limits.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct LimitsService<S> {
    inner: S,
    limits: Option<Arc<RouteLimits>>,
}

impl<S, B, R> Service<Request<B>> for LimitsService<S>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>> + Clone,
    R: Body<Data = Bytes> + Unpin,
{
    type Response = Response<HeldBody<LimitedBody<R>>>;
    type Error = S::Error;
    type Future = LimitsFuture<S, B, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(limits) = &self.limits else {
            return LimitsFuture { way: Way::Passing { future: self.inner.call(request) } };
        };
        // Nobody looks at the clock for it where nobody waits.
        let deadline = if limits.may_wait { request.extensions().get::<Deadline>() } else { None };
        let wait_max = deadline.map_or(WAIT_MAX, |deadline| deadline.remaining());
        let decided = limits.decide(&Facts::of(&request, &limits.route), wait_max);
        let way = match decided {
            Decided::Now(Ok(admitted)) if admitted.wait.is_zero() => {
                let after = After::of(limits, admitted);
                Way::Running { future: self.inner.call(request), after }
            }
            Decided::Now(Err(refusal)) => {
                Way::Refused { refusal: Some((refusal, request_id_of(request.extensions()))) }
            }
            Decided::Now(Ok(admitted)) => {
                Way::Waiting { waiting: Some(self.wait(request, Turn::to_come(limits, admitted))) }
            }
            Decided::Later(later) => {
                let turn = Turn::Asked { limits: Arc::clone(limits), later };
                Way::Waiting { waiting: Some(self.wait(request, turn)) }
            }
        };
        LimitsFuture { way }
    }
}

impl<S: Clone> LimitsService<S> {
    /// The service that was made ready goes with the request; the clone waits for its own readiness.
    fn wait<B>(&mut self, request: Request<B>, turn: Turn) -> Box<Waiting<S, B>> {
        let clone = self.inner.clone();
        Box::new(Waiting { turn, inner: std::mem::replace(&mut self.inner, clone), request })
    }
}

/// A request whose turn has not come.
struct Waiting<S, B> {
    turn: Turn,
    inner: S,
    request: Request<B>,
}

/// What it waits for.
enum Turn {
    /// Somebody else is asked.
    Asked { limits: Arc<RouteLimits>, later: AdmittedLater },
    /// The limit lets it go then.
    ToCome { sleep: Pin<Box<Sleep>>, after: After },
}

impl Turn {
    fn to_come(limits: &Arc<RouteLimits>, admitted: Admitted) -> Self {
        let sleep = Box::pin(tokio::time::sleep(admitted.wait));
        Self::ToCome { sleep, after: After::of(limits, admitted) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<After, Box<Refusal>>> {
        loop {
            match self {
                Self::Asked { limits, later } => {
                    let admitted = ready!(later.as_mut().poll(context))?;
                    if admitted.wait.is_zero() {
                        return Poll::Ready(Ok(After::of(limits, admitted)));
                    }
                    *self = Self::to_come(&Arc::clone(limits), admitted);
                }
                Self::ToCome { sleep, after } => {
                    ready!(sleep.as_mut().poll(context));
                    return Poll::Ready(Ok(after.take()));
                }
            }
        }
    }
}

/// What is left to do when there is an answer.
struct After {
    limits: Arc<RouteLimits>,
    told: Told,
    unsettled: Option<Box<Unsettled>>,
}

impl After {
    fn of(limits: &Arc<RouteLimits>, admitted: Admitted) -> Self {
        let unsettled = admitted.charged.filter(|charged| !charged.is_empty());
        let unsettled = unsettled.map(|charged| Box::new(Unsettled::new(Arc::clone(limits), charged)));
        Self { limits: Arc::clone(limits), told: admitted.told, unsettled }
    }

    fn take(&mut self) -> Self {
        let told = std::mem::replace(&mut self.told, Told::Nothing);
        Self { limits: Arc::clone(&self.limits), told, unsettled: self.unsettled.take() }
    }

    fn finish<R: Body<Data = Bytes> + Unpin>(
        &mut self,
        mut response: Response<HeldBody<R>>,
    ) -> Response<HeldBody<LimitedBody<R>>> {
        self.limits.tell(response.headers_mut(), &self.told);
        let unsettled = self.unsettled.take().and_then(|mut unsettled| {
            unsettled.answered(&response);
            unsettled.is_needed().then_some(unsettled)
        });
        response.map(|body| LimitedBody::wrap(body, unsettled))
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`LimitsService`].
    pub struct LimitsFuture<S, B, F> {
        #[pin]
        way: Way<S, B, F>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayProjected]
    enum Way<S, B, F> {
        // Nothing is limited: the inner service's own future.
        Passing { #[pin] future: F },
        // It was let through.
        Running { #[pin] future: F, after: After },
        // Its turn has not come. Boxed, so that it takes no room where nobody waits.
        Waiting { waiting: Option<Box<Waiting<S, B>>> },
        Refused { refusal: Option<(Box<Refusal>, Option<RequestId>)> },
    }
}

impl<S, B, R> Future for LimitsFuture<S, B, S::Future>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>>,
    R: Body<Data = Bytes> + Unpin,
{
    type Output = Result<Response<HeldBody<LimitedBody<R>>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut way = self.project().way;
        loop {
            match way.as_mut().project() {
                WayProjected::Passing { future } => {
                    let result = ready!(future.poll(context));
                    return Poll::Ready(
                        result.map(|response| response.map(|body| LimitedBody::wrap(body, None))),
                    );
                }
                WayProjected::Running { future, after } => {
                    let result = ready!(future.poll(context));
                    return Poll::Ready(result.map(|response| after.finish(response)));
                }
                WayProjected::Waiting { waiting } => {
                    let Some(held) = waiting else { return Poll::Pending };
                    let turn = ready!(held.turn.poll(context));
                    let Some(held) = waiting.take() else { return Poll::Pending };
                    let Waiting { mut inner, request, .. } = *held;
                    match turn {
                        Ok(after) => way.set(Way::Running { future: inner.call(request), after }),
                        Err(refusal) => {
                            let request_id = request_id_of(request.extensions());
                            way.set(Way::Refused { refusal: Some((refusal, request_id)) });
                        }
                    }
                }
                WayProjected::Refused { refusal } => {
                    // It was given, and nobody may ask again.
                    let Some((refusal, request_id)) = refusal.take() else { return Poll::Pending };
                    return Poll::Ready(Ok(refusal.into_response(request_id.as_ref())));
                }
            }
        }
    }
}
