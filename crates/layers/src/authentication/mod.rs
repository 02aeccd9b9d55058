//! Authentication: who is calling, by the credential that came in a header, and whether they may.
//!
//! Most requests are decided at once, from memory. Where somebody has to be asked (an authority's keys, an introspection,
//! a forward-auth service), the request waits for that alone. What the caller says of itself in the headers by which
//! upstreams are told is taken away, whether or not the route asks who is calling.

mod api_keys;
mod authenticator;
mod credential;
mod forward;
mod introspection;
mod jwt;
mod known;
mod learned;
mod outbound;
mod refusal;
mod reserved;
mod route;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use api_keys::{ApiKeys, KeyRing, KeyUse};
pub use authenticator::{Authenticator, Kind};
pub use credential::{CredentialSource, Head};
pub use forward::{Forward, ForwardPolicy};
pub use introspection::{Introspection, IntrospectionPolicy, form_encoded};
pub use jwt::{Algorithm, InvalidKeySet, Jwt, JwtPolicy, KeySet, Keys};
pub use known::{Known, NamedAs};
pub use outbound::Outbound;
pub(crate) use reserved::is_told_of_callers;
pub use reserved::{PRINCIPAL as PRINCIPAL_HEADER, Reserved};
pub use route::{RouteAuthentication, RouteAuthenticationPolicy, Verified};

use crate::{
    HeldBody,
    request_id::request_id_of,
    trace::{self, Facts, Mark, Part, Verdict},
};
use refusal::Refusal;

/// Wraps a service in [`AuthenticationService`].
#[derive(Clone, Debug)]
pub struct AuthenticationLayer {
    guard: Guard,
}

/// What is done about who is calling.
#[derive(Clone, Debug)]
enum Guard {
    /// Nothing: there is no authentication in the whole gateway.
    None,
    /// Nobody is asked, and nobody may say who they are in the gateway's place.
    Strips(Arc<Reserved>),
    /// Callers must show who they are.
    Asks(Arc<RouteAuthentication>),
}

impl AuthenticationLayer {
    /// Nothing is done.
    #[must_use]
    pub fn none() -> Self {
        Self { guard: Guard::None }
    }

    /// Takes away what only the gateway may say, and asks nobody.
    #[must_use]
    pub fn stripping(reserved: Arc<Reserved>) -> Self {
        Self { guard: Guard::Strips(reserved) }
    }

    /// Lets those through that the route lets through.
    #[must_use]
    pub fn asking(route: Arc<RouteAuthentication>) -> Self {
        Self { guard: Guard::Asks(route) }
    }
}

impl<S> Layer<S> for AuthenticationLayer {
    type Service = AuthenticationService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthenticationService { inner, guard: self.guard.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Clone, Debug)]
pub struct AuthenticationService<S> {
    inner: S,
    guard: Guard,
}

impl<S, B, R> Service<Request<B>> for AuthenticationService<S>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>> + Clone,
{
    type Response = Response<HeldBody<R>>;
    type Error = S::Error;
    type Future = AuthenticationFuture<S, Request<B>, S::Future, Response<HeldBody<R>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let route = match &self.guard {
            Guard::None => return AuthenticationFuture::passed(self.inner.call(request)),
            Guard::Strips(reserved) => {
                reserved.strip(request.headers_mut());
                return AuthenticationFuture::passed(self.inner.call(request));
            }
            Guard::Asks(route) => route,
        };
        route.reserved().strip(request.headers_mut());
        match route.at_once(request.headers()) {
            Some(Ok(known)) => {
                note_passed(&known);
                known.stamp(&mut request);
                AuthenticationFuture::passed(self.inner.call(request))
            }
            Some(Err(refusal)) => {
                AuthenticationFuture { state: State::Refused { response: Some(refused(refusal, &request)) } }
            }
            None => {
                let asked = Box::pin(Arc::clone(route).ask(Head::of(&request)));
                let mark = trace::begin(Part::Authenticate, || Facts::None);
                let asking = Asking { asked, request: Some(request), service: self.inner.clone(), mark };
                AuthenticationFuture { state: State::Asking { asking: Box::new(asking) } }
            }
        }
    }
}

/// Notes who is let through.
fn note_passed(known: &Verified) {
    trace::note(Part::Authenticate, Verdict::Passed, || facts_of(known));
}

fn facts_of(known: &Verified) -> Facts {
    known.principal().map_or(Facts::None, |principal| Facts::Caller(principal.clone()))
}

/// Notes a refusal; it, as the caller of `request` gets it.
fn refused<B, R>(refusal: Refusal, request: &Request<B>) -> Box<Response<HeldBody<R>>> {
    trace::note(Part::Authenticate, Verdict::Refused, || refusal.facts());
    answer_to(refusal, request)
}

fn answer_to<B, R>(refusal: Refusal, request: &Request<B>) -> Box<Response<HeldBody<R>>> {
    Box::new(refusal.into_response::<HeldBody<R>>(request_id_of(request.extensions()).as_ref()))
}

/// A request that waits until it is known who makes it.
struct Asking<S, Q> {
    asked: Pin<Box<dyn Future<Output = Result<Verified, Refusal>> + Send>>,
    request: Option<Q>,
    service: S,
    /// Since when somebody is asked.
    mark: Mark,
}

pin_project_lite::pin_project! {
    /// The answer of an [`AuthenticationService`].
    pub struct AuthenticationFuture<S, Q, F, A> {
        #[pin]
        state: State<S, Q, F, A>,
    }
}

impl<S, Q, F, A> AuthenticationFuture<S, Q, F, A> {
    fn passed(inner: F) -> Self {
        Self { state: State::Passed { inner } }
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<S, Q, F, A> {
        Passed { #[pin] inner: F },
        // Boxed: nearly every request is passed on, and moves this future about.
        Asking { asking: Box<Asking<S, Q>> },
        Refused { response: Option<Box<A>> },
    }
}

impl<S, B, R> Future for AuthenticationFuture<S, Request<B>, S::Future, Response<HeldBody<R>>>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>>,
{
    type Output = Result<Response<HeldBody<R>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Passed { inner } => return inner.poll(context),
                StateProjection::Refused { response } => {
                    // Asked again after it answered, it has nothing more to say.
                    return response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(*response)));
                }
                StateProjection::Asking { asking } => {
                    let verdict = ready!(asking.asked.as_mut().poll(context));
                    let Some(mut request) = asking.request.take() else { return Poll::Pending };
                    match verdict {
                        Ok(known) => {
                            trace::end(asking.mark, Verdict::Passed, |facts| *facts = facts_of(&known));
                            known.stamp(&mut request);
                            State::Passed { inner: asking.service.call(request) }
                        }
                        Err(refusal) => {
                            trace::end(asking.mark, Verdict::Refused, |facts| *facts = refusal.facts());
                            State::Refused { response: Some(answer_to(refusal, &request)) }
                        }
                    }
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}
