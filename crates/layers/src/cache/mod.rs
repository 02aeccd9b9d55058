//! Keeps answers to GET and gives them again, as a shared cache may (RFC 9111), stale ones where that is allowed (RFC
//! 5861). A route that does not ask for it has none, and its requests pass.
//!
//! What decides is pure, each in a file of its own: what an answer says ([`directives`]), how long it is fresh
//! ([`freshness`]), whether it may be kept ([`storing`]), which request it is for ([`vary`]).

mod background;
mod collapse;
mod conditional;
mod directives;
mod entry;
mod epochs;
mod freshness;
mod give;
mod invalidation;
mod key;
mod policy;
mod purge;
mod range;
mod recording;
mod serve;
mod status;
mod store;
mod storing;
mod vary;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, header};
use http_body::Body;
use steadfast_ledger::Clock;
use tower_layer::Layer;
use tower_service::Service;

use crate::{AttemptFailed, HeldBody, RouteTally};

use give::{Asker, noted};
use key::KeyRef;
pub use policy::CachePolicy;
pub use purge::Purge;
pub use recording::{CacheBody, Recorded};
use serve::{Asks, Verdict, judge, serve};
pub use status::{CACHE_STATUS, CacheOutcome};
use status::{Said, Why};
pub use store::{CacheStats, CacheStore};

/// Wraps a service in [`CacheService`].
#[derive(Clone, Debug)]
pub struct CacheLayer {
    shared: Option<Arc<Shared>>,
}

/// What all requests of a route share.
#[derive(Debug)]
struct Shared {
    policy: CachePolicy,
    store: Arc<CacheStore>,
    clock: Clock,
    tally: Arc<RouteTally>,
}

impl CacheLayer {
    /// A layer that keeps answers in `store` under `policy`.
    #[must_use]
    pub fn new(policy: CachePolicy, store: Arc<CacheStore>, clock: Clock, tally: Arc<RouteTally>) -> Self {
        Self { shared: Some(Arc::new(Shared { policy, store, clock, tally })) }
    }

    /// A layer that keeps nothing: everything passes.
    #[must_use]
    pub const fn none() -> Self {
        Self { shared: None }
    }

    /// The fresh answer to `request`, where one is kept: the one that [`CacheService`] gives, before any other layer was
    /// asked. `None`, too, where one of the answers of its target depends on a field that `is_told` names: one that has
    /// yet to be written before the service may read it.
    pub fn fresh<B: Body, R>(
        &self,
        request: &Request<B>,
        is_told: fn(&HeaderName) -> bool,
    ) -> Option<Response<HeldBody<R>>> {
        let shared = self.shared.as_deref()?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let (key, asks) = shared.asked(request)?;
        let variants = shared.store.get(&key)?;
        let now = shared.clock.boot();
        match judge(Some(&variants), request.headers(), &asks, now) {
            Verdict::Fresh(entry) if !variants.depend_on(is_told) => {
                Some(shared.hit(&entry, Asker::of(request, &asks), now))
            }
            Verdict::Fresh(_) | Verdict::Stale(_) | Verdict::Refresh(_) | Verdict::Ask(..) => None,
        }
    }
}

impl Shared {
    /// What a request for an answer asks for, and how; `None` where it is none for the cache.
    fn asked<'a, B: Body>(&'a self, request: &'a Request<B>) -> Option<(KeyRef<'a>, Asks)> {
        if !request.body().is_end_stream() {
            return None;
        }
        let headers = request.headers();
        let asks = match self.policy.matters_to_it(headers) {
            false => Asks::default(),
            true if tells_more(headers) => return None,
            true => Asks::of(self, headers),
        };
        Some((KeyRef::of(&self.policy, request.uri(), headers)?, asks))
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = CacheService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheService { inner, shared: self.shared.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct CacheService<S> {
    inner: S,
    shared: Option<Arc<Shared>>,
}

impl<S, B, R> Service<Request<B>> for CacheService<S>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<AttemptFailed> + Send + 'static,
    B: Body + Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<HeldBody<CacheBody<R>>>;
    type Error = S::Error;
    type Future = CacheFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(shared) = &self.shared else { return CacheFuture::passing(self.inner.call(request), None) };
        match *request.method() {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS | Method::TRACE => return CacheFuture::passing(self.inner.call(request), None),
            _ => {
                let shared = Arc::clone(shared);
                let inner = self.take_ready();
                return CacheFuture { way: Way::Asking { future: Box::pin(write(shared, inner, request)) } };
            }
        }
        let Some((key, asks)) = shared.asked(&request) else {
            return CacheFuture::passing(self.inner.call(request), Some(Why::Bypass));
        };
        let now = shared.clock.boot();
        let variants = shared.store.get(&key);
        if let Verdict::Fresh(entry) = judge(variants.as_deref(), request.headers(), &asks, now) {
            let response = noted(shared.hit(&entry, Asker::of(&request, &asks), now), CacheOutcome::Hit);
            return CacheFuture { way: Way::Given { response: Some(Box::new(response)) } };
        }
        let (key, shared) = (key.to_key(), Arc::clone(shared));
        let inner = self.take_ready();
        CacheFuture { way: Way::Asking { future: Box::pin(serve(shared, inner, request, key, asks)) } }
    }
}

impl<S: Clone> CacheService<S> {
    /// The service that was made ready; the clone waits for its own readiness.
    fn take_ready(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

/// Serves a write, after which what is kept of its target is out of date.
async fn write<S, B, R>(
    shared: Arc<Shared>,
    mut inner: S,
    request: Request<B>,
) -> Result<Response<HeldBody<CacheBody<R>>>, S::Error>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>>,
{
    let target = {
        let host = host_of(&request);
        let target = request.uri().path_and_query().map(|target| target.as_str().to_owned());
        host.zip(target)
    };
    let mut response = inner.call(request).await?;
    if let Some((host, target)) = target {
        let (store, policy) = (&shared.store, &shared.policy);
        invalidation::invalidate(store, policy, &host, &target, response.status(), response.headers());
    }
    Said::Forwarded { why: Why::Method, status: None, stored: false }.mark(response.headers_mut());
    response.extensions_mut().insert(CacheOutcome::Bypass);
    Ok(response.map(CacheBody::passed))
}

/// The host that a request is for.
fn host_of<B>(request: &Request<B>) -> Option<String> {
    match request.headers().get(header::HOST) {
        Some(host) => host.to_str().ok().map(str::to_owned),
        None => request.uri().authority().map(|authority| authority.as_str().to_owned()),
    }
}

/// Whether a request is for more than an answer that may be kept.
fn tells_more(headers: &HeaderMap) -> bool {
    [header::UPGRADE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE]
        .iter()
        .any(|name| headers.contains_key(name))
}

type Asked<R, E> = Pin<Box<dyn Future<Output = Result<Response<HeldBody<CacheBody<R>>>, E>> + Send>>;

pin_project_lite::pin_project! {
    /// The answer of a [`CacheService`].
    pub struct CacheFuture<F, R, E> {
        #[pin]
        way: Way<F, R, E>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayProjected]
    enum Way<F, R, E> {
        // The cache has no part in it: the inner service's own future.
        Passing { #[pin] future: F, why: Option<Why> },
        // A kept answer is fresh. Boxed: futures are moved, and most are of routes that keep nothing.
        Given { response: Option<Box<Response<HeldBody<CacheBody<R>>>>> },
        // The upstream is asked, or somebody else does.
        Asking { future: Asked<R, E> },
    }
}

impl<F, R, E> CacheFuture<F, R, E> {
    fn passing(future: F, why: Option<Why>) -> Self {
        Self { way: Way::Passing { future, why } }
    }
}

impl<F, R, E> Future for CacheFuture<F, R, E>
where
    F: Future<Output = Result<Response<HeldBody<R>>, E>>,
{
    type Output = Result<Response<HeldBody<CacheBody<R>>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            WayProjected::Passing { future, why } => {
                let mut result = ready!(future.poll(context));
                if let (Ok(response), Some(why)) = (&mut result, *why) {
                    Said::Forwarded { why, status: None, stored: false }.mark(response.headers_mut());
                    response.extensions_mut().insert(CacheOutcome::Bypass);
                }
                Poll::Ready(result.map(|response| response.map(CacheBody::passed)))
            }
            WayProjected::Given { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(*response)),
                // It was given, and nobody may ask again.
                None => Poll::Pending,
            },
            WayProjected::Asking { future } => future.as_mut().poll(context),
        }
    }
}
