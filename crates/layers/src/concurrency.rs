//! Gives an upstream no more requests at once than it has places, each of which is held until the answer's body has
//! ended. Which requests wait, and which are refused at once, is decided in [`Bulkhead`].

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    AttemptFailed, Bulkhead, Deadline, GuardedBody, Priority,
    bulkhead::{Entered, Entering, Slot},
    trace::{self, Facts, Mark, Part, Verdict},
};

/// Wraps a service in [`ConcurrencyService`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer {
    bulkhead: Option<Arc<Bulkhead>>,
    priority: Priority,
}

impl ConcurrencyLayer {
    /// Requests of this priority take their places in `bulkhead`; without one nothing is bounded.
    #[must_use]
    pub fn new(bulkhead: Option<Arc<Bulkhead>>, priority: Priority) -> Self {
        if let Some(bulkhead) = &bulkhead {
            bulkhead.expect(priority);
        }
        Self { bulkhead, priority }
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = ConcurrencyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyService { inner, bulkhead: self.bulkhead.clone(), priority: self.priority }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct ConcurrencyService<S> {
    inner: S,
    bulkhead: Option<Arc<Bulkhead>>,
    priority: Priority,
}

impl<S, B, R> Service<Request<B>> for ConcurrencyService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<AttemptFailed>,
    R: Body<Data = Bytes>,
{
    type Response = Response<GuardedBody<R, Slot>>;
    type Error = AttemptFailed;
    type Future = ConcurrencyFuture<S, B, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(bulkhead) = &self.bulkhead else {
            return ConcurrencyFuture { way: Way::Running { future: self.inner.call(request), slot: None } };
        };
        let deadline = request.extensions().get::<Deadline>().copied();
        let way = match bulkhead.enter(self.priority, deadline) {
            Ok(Entered::Slot(slot)) => Way::Running { future: self.inner.call(request), slot: Some(slot) },
            Ok(Entered::Waiting(entering)) => {
                // The service that was made ready goes with the request; the clone waits for its own readiness.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let mark = trace::begin(Part::Shed, || Facts::None);
                Way::Waiting { entering, next: Some(Box::new((inner, request, mark))) }
            }
            Err(failed) => {
                trace::note(Part::Shed, Verdict::Refused, || failed.facts());
                Way::Refused { failed: Some(failed) }
            }
        };
        ConcurrencyFuture { way }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`ConcurrencyService`].
    pub struct ConcurrencyFuture<S, B, F> {
        #[pin]
        way: Way<S, B, F>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayProjected]
    enum Way<S, B, F> {
        // It has its place, or needs none.
        Running { #[pin] future: F, slot: Option<Slot> },
        // It waits for one. Boxed, so that it takes no room where nobody waits.
        Waiting { entering: Pin<Box<Entering>>, next: Option<Box<(S, Request<B>, Mark)>> },
        Refused { failed: Option<AttemptFailed> },
    }
}

impl<S, B, R> Future for ConcurrencyFuture<S, B, S::Future>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<AttemptFailed>,
    R: Body<Data = Bytes>,
{
    type Output = Result<Response<GuardedBody<R, Slot>>, AttemptFailed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut way = self.project().way;
        loop {
            match way.as_mut().project() {
                WayProjected::Running { future, slot } => {
                    let result = ready!(future.poll(context)).map_err(Into::into);
                    return Poll::Ready(ended(result, slot.take()));
                }
                WayProjected::Waiting { entering, next } => {
                    let entered = ready!(entering.as_mut().poll(context));
                    let Some(next) = next.take() else { return Poll::Pending };
                    let (mut inner, request, mark) = *next;
                    let slot = match entered {
                        Ok(slot) => slot,
                        Err(failed) => {
                            trace::end(mark, Verdict::Refused, |facts| *facts = failed.facts());
                            return Poll::Ready(Err(failed));
                        }
                    };
                    trace::end(mark, Verdict::Passed, |_| {});
                    way.set(Way::Running { future: inner.call(request), slot: Some(slot) });
                }
                WayProjected::Refused { failed } => {
                    return failed.take().map_or(Poll::Pending, |failed| Poll::Ready(Err(failed)));
                }
            }
        }
    }
}

/// The answer, whose body holds the place; a place whose answer does not come is given back at once.
fn ended<R: Body<Data = Bytes>>(
    result: Result<Response<R>, AttemptFailed>,
    mut slot: Option<Slot>,
) -> Result<Response<GuardedBody<R, Slot>>, AttemptFailed> {
    if let Some(slot) = &mut slot
        && tells_of_upstream(&result)
    {
        slot.answered();
    }
    result.map(|response| response.map(|body| GuardedBody::new(body, slot)))
}

/// Whether it tells how long the upstream takes: it has seen the request, and nobody else is to blame.
fn tells_of_upstream<R>(result: &Result<R, AttemptFailed>) -> bool {
    match result {
        Ok(_) | Err(AttemptFailed::Lost { .. }) => true,
        Err(
            AttemptFailed::NotSent { .. }
            | AttemptFailed::HeldBack { .. }
            | AttemptFailed::TooLarge { .. }
            | AttemptFailed::Broken { .. },
        ) => false,
    }
}
