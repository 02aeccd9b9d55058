//! Makes a keyed request take effect once.
//!
//! The request is named (key, namespace, caller) and fingerprinted; its operation is claimed in the ledger before
//! anything is sent, and its outcome is written before the caller sees it. A duplicate gets the stored answer, or
//! waits for it, or learns why not. What nobody knows is recorded as in doubt, and never run again on a guess.

mod accept;
mod background;
mod collect;
mod decision;
mod detach;
mod due;
mod fingerprint;
mod intake;
mod kept;
mod kept_request;
mod lane;
mod naming;
mod policy;
mod receipt;
mod replay;
mod run;
mod serve;
mod spool;
mod standing;
mod work;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use steadfast_ledger::{Backlog, Claims, Clock};
use tower_layer::Layer;
use tower_service::Service;

use accept::Leaving;
pub use background::{BackgroundMode, BackgroundPolicy, Ordering, OrderingKey};
pub use decision::{Decision, OperationContext, Protection};
pub use kept::Kept;
pub use kept_request::under_own_key;
pub use policy::{
    AttemptTimes, BodyFingerprint, IdempotencyPolicy, InProgress, InvalidPolicy, KeySource, NamespaceScope,
    OnLedgerLoss,
};
pub(crate) use replay::SENT;
pub use replay::replayed;
pub use work::{JobAttempt, JobAttempts, LateEnd};

pub(crate) use spool::{CHUNK_BYTES, Spooled};
pub use spool::{Spool, SpoolLimits};

use crate::{AttemptFailed, HeldBody, RequestBody};

/// Wraps a service in [`IdempotencyService`].
#[derive(Clone)]
pub struct IdempotencyLayer {
    shared: Arc<Shared>,
}

/// What all requests of a route share.
struct Shared {
    policy: IdempotencyPolicy,
    ledger: Arc<dyn Claims>,
    clock: Clock,
    spool: Arc<Spool>,
    /// What the route's background needs, where it has one.
    leaving: Option<Leaving>,
}

impl IdempotencyLayer {
    /// A layer that keeps `policy` with operations in `ledger`, and large bodies in a spool of its own with the
    /// usual limits.
    ///
    /// # Errors
    /// [`InvalidPolicy`] where the policy contradicts itself.
    pub fn new(
        policy: IdempotencyPolicy,
        ledger: Arc<dyn Claims>,
        clock: Clock,
    ) -> Result<Self, InvalidPolicy> {
        Self::with_spool(policy, ledger, clock, Spool::new(SpoolLimits::default()))
    }

    /// The same with a spool that it shares with others.
    ///
    /// # Errors
    /// [`InvalidPolicy`] where the policy contradicts itself.
    pub fn with_spool(
        policy: IdempotencyPolicy,
        ledger: Arc<dyn Claims>,
        clock: Clock,
        spool: Arc<Spool>,
    ) -> Result<Self, InvalidPolicy> {
        if policy.background.is_some() {
            return Err(InvalidPolicy::NoBacklog);
        }
        policy.check()?;
        Ok(Self { shared: Arc::new(Shared { policy, ledger, clock, spool, leaving: None }) })
    }

    /// The same with a backlog, in the same ledger, in which requests are left for a worker as the policy's background says.
    ///
    /// # Errors
    /// [`InvalidPolicy`] where the policy contradicts itself.
    pub fn with_backlog(
        policy: IdempotencyPolicy,
        (ledger, backlog): (Arc<dyn Claims>, Arc<dyn Backlog>),
        clock: Clock,
        spool: Arc<Spool>,
    ) -> Result<Self, InvalidPolicy> {
        policy.check()?;
        let leaving = policy.background.clone().map(|policy| Leaving { policy, backlog });
        Ok(Self { shared: Arc::new(Shared { policy, ledger, clock, spool, leaving }) })
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = IdempotencyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdempotencyService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// See the [module](self)'s words.
#[derive(Clone)]
pub struct IdempotencyService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for IdempotencyService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<AttemptFailed> + Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display + Send,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: std::fmt::Display + Send,
{
    type Response = Response<HeldBody<R>>;
    type Error = S::Error;
    type Future = IdempotencyFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let policy = &self.shared.policy;
        let applies = policy.methods.contains(request.method())
            && (policy.required
                || !matches!(policy.key, KeySource::Header)
                || request.headers().contains_key(naming::KEY_HEADER)
                || policy
                    .background
                    .as_ref()
                    .is_some_and(|policy| accept::applies(policy, request.headers())));
        if !applies {
            let request = request.map(RequestBody::passed);
            return IdempotencyFuture { way: Way::Passing { future: self.inner.call(request) } };
        }
        // The service that was made ready goes with the request; the clone waits for its own readiness.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let shared = Arc::clone(&self.shared);
        IdempotencyFuture { way: Way::Keyed { future: Box::pin(serve::serve(shared, inner, request)) } }
    }
}

type Keyed<R, E> = Pin<Box<dyn Future<Output = Result<Response<HeldBody<R>>, E>> + Send>>;

pin_project_lite::pin_project! {
    /// The answer of an [`IdempotencyService`].
    pub struct IdempotencyFuture<F, R, E> {
        #[pin]
        way: Way<F, R, E>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayProjected]
    enum Way<F, R, E> {
        // The policy does not apply: the inner service's own future.
        Passing { #[pin] future: F },
        // The request is keyed, or should be.
        Keyed { future: Keyed<R, E> },
    }
}

impl<F, R, E> Future for IdempotencyFuture<F, R, E>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<HeldBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            WayProjected::Passing { future } => {
                future.poll(context).map(|result| result.map(|response| response.map(HeldBody::Passed)))
            }
            WayProjected::Keyed { future } => future.as_mut().poll(context),
        }
    }
}
