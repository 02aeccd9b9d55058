//! The layer that keeps out whoever is banned. It stands twice: where addresses are known, and where principals are.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use steadfast_core::Code;
use tower_layer::Layer;
use tower_service::Service;

use super::guard::AbuseGuard;
use crate::{ClientAddress, Principal, RequestId, limits::OwnLimit, refusable::RefusableFuture};

/// Wraps a service in [`BanService`].
#[derive(Clone, Debug)]
pub struct BanLayer {
    gate: Option<Arc<Gate>>,
}

/// What all requests of a route share.
#[derive(Debug)]
struct Gate {
    guard: Arc<AbuseGuard>,
    route: Arc<str>,
    by: By,
}

/// Whom the layer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Address,
    Principal,
}

impl BanLayer {
    /// Keeps out addresses, and counts who shows no good credential. Its place is round authentication. `None` keeps nobody
    /// out.
    #[must_use]
    pub fn of_addresses(guard: Option<Arc<AbuseGuard>>, route: Arc<str>) -> Self {
        Self::by(By::Address, guard, route)
    }

    /// Keeps out principals, compares them with what is usual, and counts who goes on beyond limits. Its place is directly
    /// behind authentication. `None` keeps nobody out.
    #[must_use]
    pub fn of_principals(guard: Option<Arc<AbuseGuard>>, route: Arc<str>) -> Self {
        Self::by(By::Principal, guard, route)
    }

    fn by(by: By, guard: Option<Arc<AbuseGuard>>, route: Arc<str>) -> Self {
        Self { gate: guard.map(|guard| Arc::new(Gate { guard, route, by })) }
    }
}

impl<S> Layer<S> for BanLayer {
    type Service = BanService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BanService { inner, gate: self.gate.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct BanService<S> {
    inner: S,
    gate: Option<Arc<Gate>>,
}

impl<S, B, R> Service<Request<B>> for BanService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BanFuture<S::Future, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(gate) = self.gate.as_deref().filter(|gate| !gate.guard.is_idle()) else {
            return BanFuture::passed(self.inner.call(request), None);
        };
        let Gate { guard, route, by } = gate;
        let extensions = request.extensions();
        let address = extensions.get().map(|ClientAddress(address)| *address);
        let request_id = extensions.get::<RequestId>();
        let (refused, told) = match by {
            By::Address => {
                let refused = address.and_then(|address| guard.refuse_address(address, route, request_id));
                (refused, address.filter(|_| guard.policy_counts().0).map(Caller::Address))
            }
            By::Principal => {
                // One without a name is nobody: all of them would share one ban.
                let principal =
                    extensions.get::<Principal>().filter(|principal| !principal.name().is_empty());
                let refused = principal.and_then(|principal| {
                    let banned = guard.refuse_principal(principal.name(), route, request_id);
                    banned.or_else(|| guard.compare(principal, route, request_id))
                });
                let told = guard.policy_counts().1.then(|| Caller::Known(principal.cloned(), address));
                (refused, told)
            }
        };
        match refused {
            Some(response) => BanFuture::refused(response),
            None => {
                let told = told.map(|caller| Box::new(Told { guard: Arc::clone(guard), caller }));
                BanFuture::passed(self.inner.call(request), told)
            }
        }
    }
}

/// Who is told of with the answer.
#[derive(Debug)]
enum Caller {
    Address(IpAddr),
    Known(Option<Principal>, Option<IpAddr>),
}

/// What is counted once there is an answer.
#[derive(Debug)]
struct Told {
    guard: Arc<AbuseGuard>,
    caller: Caller,
}

impl Told {
    fn answered<R>(&self, response: &Response<R>) {
        match &self.caller {
            Caller::Address(address) => {
                if response.status() == StatusCode::UNAUTHORIZED {
                    self.guard.note_unauthenticated(*address);
                }
            }
            Caller::Known(principal, address) => {
                // What an upstream refuses is its own business, and what all share others may have used up.
                let extensions = response.extensions();
                let is_own = extensions.get::<OwnLimit>().is_some();
                if is_own && extensions.get() == Some(&Code::QuotaExceeded) {
                    self.guard.note_limited(principal.as_ref(), *address);
                }
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// The answer of a [`BanService`].
    pub struct BanFuture<F, R> {
        #[pin]
        inner: RefusableFuture<F, R>,
        // Boxed: only where something is counted is there any.
        told: Option<Box<Told>>,
    }
}

impl<F, R> BanFuture<F, R> {
    fn refused(response: Response<R>) -> Self {
        Self { inner: RefusableFuture::refused(response), told: None }
    }

    fn passed(inner: F, told: Option<Box<Told>>) -> Self {
        Self { inner: RefusableFuture::passed(inner), told }
    }
}

impl<F, R, E> Future for BanFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(this.inner.poll(context));
        if let (Some(told), Ok(response)) = (this.told.take(), &answered) {
            told.answered(response);
        }
        Poll::Ready(answered)
    }
}
