//! The client of one upstream: takes a connection, checks that the request may still be sent, hands it over, and
//! says exactly what is known when no answer comes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, Version, header, uri::PathAndQuery};
use http_body::Body;
use steadfast_core::{NotSentCause, UnknownCause};
use steadfast_layers::{AttemptFailed, Deadline, SendBy};
use steadfast_ledger::Clock;
use tower_service::Service;

use crate::{
    UpstreamBody, UpstreamPolicy,
    connection::{Connection, ExchangeError},
    hop_by_hop,
    pool::Pool,
};

/// A client of one upstream; clones share its connections.
pub struct Upstream<B: Body + 'static> {
    shared: Arc<Shared<B>>,
}

struct Shared<B: Body + 'static> {
    policy: UpstreamPolicy,
    /// The Host for requests that came without one.
    authority: HeaderValue,
    pool: Arc<Pool<B>>,
    clock: Clock,
}

impl<B: Body + 'static> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + From<Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A client that keeps `policy`, and checks `send_by` on `clock`.
    #[must_use]
    pub fn new(policy: UpstreamPolicy, clock: Clock) -> Self {
        let authority = policy.address.to_string();
        let authority = authority.trim_start_matches("http://").trim_end_matches(policy.address.path());
        let authority =
            HeaderValue::from_str(authority).unwrap_or_else(|_| HeaderValue::from_static("upstream"));
        let pool = Arc::new(Pool::new(policy.idle_timeout, policy.idle_max));
        Self { shared: Arc::new(Shared { policy, authority, pool, clock }) }
    }
}

impl<B> Service<Request<B>> for Upstream<B>
where
    B: Body<Data = Bytes> + From<Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<UpstreamBody<B>>;
    type Error = AttemptFailed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AttemptFailed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(send(Arc::clone(&self.shared), request))
    }
}

async fn send<B>(
    shared: Arc<Shared<B>>,
    mut request: Request<B>,
) -> Result<Response<UpstreamBody<B>>, AttemptFailed>
where
    B: Body<Data = Bytes> + From<Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    prepare(&shared, &mut request)?;
    let limits = Limits {
        send_by: request.extensions().get::<SendBy>().copied(),
        deadline: request.extensions().get::<Deadline>().copied(),
    };
    let mut resend = None;
    let mut reused_allowed = true;
    loop {
        let safe = can_be_sent_again(&request);
        let kept = if reused_allowed { shared.pool.take() } else { None };
        let (mut connection, reused) = match kept {
            Some(connection) => (connection, true),
            None => (open(&shared).await?, false),
        };
        if reused && safe {
            resend = Some(copy(&request));
        }
        limits.check(&shared.clock)?;
        let exchange = connection.exchange(request);
        match limits.first_byte(&shared.policy, exchange).await {
            Ok(Ok(response)) => return Ok(finished(&shared, response, connection).await),
            // A kept connection was closed before it took the request: nothing was sent, a new one will do.
            Ok(Err(ExchangeError::Unsent(back))) if reused => {
                (request, reused_allowed) = (*back, false);
            }
            Ok(Err(ExchangeError::Unsent(_))) => {
                return Err(AttemptFailed::NotSent {
                    cause: NotSentCause::ConnectFailed,
                    detail: format!("{}: closed before the request was taken", shared.policy.address),
                });
            }
            Ok(Err(ExchangeError::Lost(error))) if error.is_user() => {
                return Err(AttemptFailed::Broken { detail: format!("{}: {error}", shared.policy.address) });
            }
            Ok(Err(ExchangeError::Lost(error))) => match resend.take().filter(|_| reused) {
                // Repeating a safe request is always allowed (RFC 9110, section 9.2.2).
                Some(again) => (request, reused_allowed) = (again, false),
                None => {
                    return Err(AttemptFailed::Lost {
                        cause: UnknownCause::ConnectionLost,
                        detail: format!("{}: {error}", shared.policy.address),
                    });
                }
            },
            Err(TooLate) => {
                return Err(AttemptFailed::Lost {
                    cause: UnknownCause::Timeout,
                    detail: format!(
                        "{}: no answer within {} ms",
                        shared.policy.address,
                        shared.policy.first_byte_timeout.as_millis()
                    ),
                });
            }
        }
    }
}

/// Whether a request is safe and has no body to lose: it may be sent again should a kept connection turn out
/// closed.
fn can_be_sent_again<B: Body>(request: &Request<B>) -> bool {
    request.method().is_safe() && request.body().is_end_stream()
}

/// A copy of a request without a body.
fn copy<B: Body + From<Bytes>>(request: &Request<B>) -> Request<B> {
    let mut copy = Request::new(B::from(Bytes::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Until when a request may be handed over.
struct Limits {
    send_by: Option<SendBy>,
    deadline: Option<Deadline>,
}

/// The head of the answer did not come in time.
struct TooLate;

impl Limits {
    /// Waits for the head of an answer. An attempt that a claim stands for is bounded by whoever holds the claim,
    /// who goes on reading when it stops waiting; here it must not be cut off.
    async fn first_byte<T>(
        &self,
        policy: &UpstreamPolicy,
        exchange: impl Future<Output = T>,
    ) -> Result<T, TooLate> {
        if self.send_by.is_some() {
            return Ok(exchange.await);
        }
        tokio::time::timeout(policy.first_byte_timeout, exchange).await.map_err(|_| TooLate)
    }

    /// The last look before the bytes are handed over.
    fn check(&self, clock: &Clock) -> Result<(), AttemptFailed> {
        if self.send_by.is_some_and(|SendBy(send_by)| clock.boot() >= send_by) {
            return Err(AttemptFailed::NotSent {
                cause: NotSentCause::SendByPassed,
                detail: "the claim's time to send had passed".into(),
            });
        }
        if self.deadline.is_some_and(|deadline| deadline.remaining().is_zero()) {
            return Err(AttemptFailed::NotSent {
                cause: NotSentCause::DeadlinePassed,
                detail: "the deadline passed before anything was sent".into(),
            });
        }
        Ok(())
    }
}

async fn open<B>(shared: &Shared<B>) -> Result<Connection<B>, AttemptFailed>
where
    B: Body<Data = Bytes> + From<Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Connection::open(&shared.policy.address, shared.policy.connect_timeout)
        .await
        .map_err(|detail| AttemptFailed::NotSent { cause: NotSentCause::ConnectFailed, detail })
}

/// The answer, with its connection behind its body.
async fn finished<B>(
    shared: &Shared<B>,
    response: Response<hyper::body::Incoming>,
    connection: Connection<B>,
) -> Response<UpstreamBody<B>>
where
    B: Body<Data = Bytes> + From<Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut response =
        response.map(|incoming| UpstreamBody::new(incoming, connection, Arc::clone(&shared.pool)));
    hop_by_hop::remove(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    if response.body().is_end_stream() {
        std::future::poll_fn(|context| {
            response.body_mut().release(context);
            Poll::Ready(())
        })
        .await;
    }
    response
}

/// Turns the caller's request into the upstream's: origin-form target, no fields of the caller's connection.
fn prepare<B>(shared: &Shared<B>, request: &mut Request<B>) -> Result<(), AttemptFailed>
where
    B: Body + 'static,
{
    *request.version_mut() = Version::HTTP_11;
    hop_by_hop::remove(request.headers_mut());
    let prefix = shared.policy.address.path();
    let uri = request.uri();
    let in_origin_form = uri.scheme().is_none() && uri.authority().is_none();
    if !(in_origin_form && prefix.is_empty()) {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let target = if path == "*" { path.to_owned() } else { format!("{prefix}{path}") };
        let uri = Uri::try_from(target).map_err(|error| AttemptFailed::NotSent {
            cause: NotSentCause::HeldBack,
            detail: format!("the target cannot be passed on: {error}"),
        })?;
        *request.uri_mut() = uri;
    }
    if !request.headers().contains_key(header::HOST) {
        request.headers_mut().insert(header::HOST, shared.authority.clone());
    }
    if request.method() == Method::CONNECT {
        return Err(AttemptFailed::NotSent {
            cause: NotSentCause::HeldBack,
            detail: "CONNECT is not passed on".into(),
        });
    }
    Ok(())
}
