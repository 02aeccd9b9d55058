//! The client of one endpoint: takes a connection, checks that the request may still be sent, hands it over, and
//! says exactly what is known when no answer comes. Where no connection could be made it gives the request back, so
//! that it can go elsewhere.

use std::{error::Error, io, pin::Pin, sync::Arc, task::Poll, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use steadfast_core::{NotSentCause, UnknownCause};
use steadfast_layers::{AttemptFailed, Deadline, SendBy};
use steadfast_ledger::Clock;
use tokio::time::Instant;

use crate::{
    Location, OutgoingBody, TlsError, UpstreamBody, UpstreamPolicy,
    connection::{self, Connection, ExchangeError},
    dial::{Connectors, Dialer},
    hop_by_hop::{self, Asked},
    names::Unresolved,
    outgoing::again,
    pool::Pool,
    prepare::Preparation,
    stream::Stream,
    upstream::nothing_to_send,
    watched::{BodyFailed, Watched, is_too_large},
};

/// How often one request is sent at most: the upstream gave it back unprocessed each time before.
const TRIES_MAX: u32 = 3;
/// What a stream and a connection of HTTP/2 may be ahead of the reader, in bytes.
const WINDOW_BYTES: u32 = 1 << 20;
/// How often a connection of HTTP/2 is asked whether it is still there, and how long it may think.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What sends requests to one endpoint.
pub(crate) struct Client<B: OutgoingBody> {
    policy: Arc<UpstreamPolicy>,
    location: Location,
    preparation: Preparation,
    dialer: Dialer,
    pool: Arc<Pool<B>>,
    clock: Clock,
}

/// An extension of an answer that turned its connection into a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel {
    /// How long the tunnel may stay silent.
    pub silence_max: Duration,
}

/// A connection to send over.
enum Link<B: OutgoingBody> {
    /// One of HTTP/1.1, for this request alone.
    Own(Connection<B>),
    /// One of HTTP/2.
    Shared(http2::SendRequest<Watched<B>>),
}

/// What came of handing a request to a connection that others use too.
enum Sent<B: OutgoingBody> {
    Answered(Box<Response<UpstreamBody<B>>>),
    /// It was not executed, or executing it twice is always allowed: it goes out over a new connection.
    Again(Box<Request<B>>),
}

impl<B: OutgoingBody> Client<B> {
    /// One that keeps `policy` towards `location`, and checks `send_by` on `clock`.
    ///
    /// # Errors
    /// Its name cannot be that of a server.
    pub(crate) fn new(
        policy: Arc<UpstreamPolicy>,
        location: Location,
        connectors: Option<Arc<Connectors>>,
        unresolved: Unresolved,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let pool = Arc::new(Pool::new(policy.idle_timeout, policy.idle_max));
        let preparation = Preparation::new(location.address.clone(), policy.host.clone());
        let dialer = Dialer::new(&policy, location.clone(), connectors, unresolved)?;
        Ok(Self { policy, location, preparation, dialer, pool, clock })
    }

    /// Where it sends to.
    pub(crate) fn location(&self) -> &Location {
        &self.location
    }

    /// Whether what its name stands for was not known when it was made.
    pub(crate) fn is_unresolved(&self) -> bool {
        self.dialer.is_unresolved()
    }

    /// Sends a request of the gateway's own over a connection of its own, which is closed as soon as the head of the
    /// answer is there. The error is for the log.
    pub(crate) async fn ask_apart(&self, mut request: Request<B>) -> Result<StatusCode, String> {
        let failed = |error: AttemptFailed| error.to_string();
        self.preparation.name_host(&mut request).map_err(failed)?;
        let dialed = self.dialer.dial().await?;
        if dialed.is_http2 {
            let mut sender = self.handshake_http2(dialed.stream).await?;
            self.preparation.for_http2(&mut request).map_err(failed)?;
            let answer = sender.send_request(request.map(Watched::sure)).await;
            return answer.map(|answer| answer.status()).map_err(|error| error.to_string());
        }
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let mut connection = Connection::over(dialed.stream).await?;
        match connection.exchange(request).await {
            Ok(answer) => Ok(answer.status()),
            Err(ExchangeError::Unsent(_)) => Err("closed before the request was taken".into()),
            Err(ExchangeError::Lost(error)) => Err(error.to_string()),
        }
    }

    /// Turns the caller's request into what is sent. What the caller asked of its connection is returned.
    pub(crate) fn prepare(&self, request: &mut Request<B>) -> Result<Asked, AttemptFailed> {
        self.preparation.prepare(request)
    }

    /// Takes over a request that was prepared for another endpoint.
    pub(crate) fn readdress(&self, request: &mut Request<B>) {
        self.preparation.readdress(request);
    }

    /// Sends a request that was [prepared](Self::prepare). Where no connection to send it over could be made it is still
    /// in its place afterwards: not a byte of it is gone, of its body neither.
    pub(crate) async fn send(
        &self,
        limits: &Limits,
        asked: &Asked,
        place: &mut Option<Request<B>>,
    ) -> Result<Response<UpstreamBody<B>>, AttemptFailed> {
        // A keyed request is answered once; what becomes a tunnel has no such answer.
        if let Some(protocol) = asked.upgrade.as_ref().filter(|_| limits.send_by.is_none()) {
            return Box::pin(self.upgrade(limits, place, protocol.clone())).await;
        }
        let mut reused_allowed = true;
        let mut tries = 0;
        loop {
            tries += 1;
            let kept = if reused_allowed { self.kept() } else { None };
            let (link, reused) = match kept {
                Some(link) => (link, true),
                // Boxed: a request is seldom the one that connects, and every future has room for its largest part.
                None => match Box::pin(limits.before_head(self.open())).await {
                    Some(opened) => (opened?, false),
                    None => {
                        // No time is left for it elsewhere either.
                        *place = None;
                        return Err(self.no_connection("no time was left to connect".into()));
                    }
                },
            };
            let mut request = place.take().ok_or_else(nothing_to_send)?;
            let mut connection = match link {
                Link::Own(connection) => connection,
                // Boxed, so that it takes no room where HTTP/1.1 is spoken.
                Link::Shared(sender) => {
                    match Box::pin(self.send_among_others(limits, sender, reused, request, tries)).await? {
                        Sent::Answered(response) => return Ok(*response),
                        Sent::Again(again) => (*place, reused_allowed) = (Some(*again), false),
                    }
                    continue;
                }
            };
            // Repeating a safe request is always allowed (RFC 9110, section 9.2.2), and a kept connection may turn out
            // closed.
            let safe = reused && request.method().is_safe() && request.body().is_end_stream();
            let resend = if safe { again(&request) } else { None };
            frame(&mut request);
            limits.check(&self.clock)?;
            limits.tell(request.headers_mut());
            let judged = self.to_be_judged(&request);
            let answered = {
                let exchange = std::pin::pin!(connection.exchange(request));
                limits.first_byte(self.policy.first_byte_timeout, exchange).await
            };
            let answered = answered.map_err(|too_late| self.timed_out(too_late))?;
            (*place, reused_allowed) = match answered {
                // Nobody asked for that, and what follows is no HTTP.
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(self.broken_off("it switched protocols unasked"));
                }
                Ok(response) => {
                    let response = self.answered(limits, response, connection).await;
                    return Ok(self.judge(judged, response).await);
                }
                // A kept connection was closed before it took the request: nothing was sent, a new one will do.
                Err(ExchangeError::Unsent(back)) if reused => (Some(*back), false),
                Err(ExchangeError::Unsent(back)) => {
                    *place = Some(*back);
                    return Err(self.no_connection("closed before the request was taken".into()));
                }
                Err(ExchangeError::Lost(error)) => match resend {
                    Some(again) if !error.is_user() => (Some(again), false),
                    _ => return Err(self.lost(&error)),
                },
            };
        }
    }

    /// A connection that is there already.
    fn kept(&self) -> Option<Link<B>> {
        self.pool.take().map(Link::Own).or_else(|| self.pool.shared().map(Link::Shared))
    }

    /// A new connection.
    async fn open(&self) -> Result<Link<B>, AttemptFailed> {
        let dialed = self.dialer.dial().await.map_err(connect_failed)?;
        if dialed.is_http2 {
            let sender =
                self.handshake_http2(dialed.stream).await.map_err(|error| self.no_connection(error))?;
            self.pool.share(&sender);
            Ok(Link::Shared(sender))
        } else {
            let connection = Connection::over(dialed.stream).await;
            connection.map(Link::Own).map_err(|error| self.no_connection(error))
        }
    }

    async fn handshake_http2(&self, stream: Stream) -> Result<http2::SendRequest<Watched<B>>, String> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let (sender, driver) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let location = self.location.clone();
        drive_apart(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, %location, "a connection to an upstream ended badly");
            }
        });
        Ok(sender)
    }

    /// Sends over a connection that others use too.
    async fn send_among_others(
        &self,
        limits: &Limits,
        mut sender: http2::SendRequest<Watched<B>>,
        reused: bool,
        mut request: Request<B>,
        tries: u32,
    ) -> Result<Sent<B>, AttemptFailed> {
        // The upstream may give it back.
        let resend = again(&request);
        let safe = request.method().is_safe();
        let judged = self.to_be_judged(&request);
        self.preparation.for_http2(&mut request)?;
        limits.check(&self.clock)?;
        limits.tell(request.headers_mut());
        let (head, body) = request.into_parts();
        // What is whole in memory cannot fail.
        let (body, failure) = match &resend {
            Some(_) => (Watched::sure(body), None),
            None => {
                let (body, failure) = Watched::new(body);
                (body, Some(failure))
            }
        };
        let exchange = std::pin::pin!(sender.try_send_request(Request::from_parts(head, body)));
        let answered = limits.first_byte(self.policy.first_byte_timeout, exchange).await;
        let answered = answered.map_err(|too_late| self.timed_out(too_late))?;
        let mut error = match answered {
            Ok(response) => {
                let body = |incoming| UpstreamBody::new(incoming, self.silence_max(limits));
                let response = self.judge(judged, passed_on(response).map(body)).await;
                return Ok(Sent::Answered(Box::new(response)));
            }
            Err(error) => error,
        };
        let unsent = error.take_message().is_some();
        let error = error.into_error();
        let refused = unsent || is_refused(&error);
        if refused {
            self.pool.retire_shared();
        }
        match resend {
            Some(again) if tries < TRIES_MAX && !error.is_user() && (refused || (reused && safe)) => {
                Ok(Sent::Again(Box::new(again)))
            }
            _ if unsent => Err(self.no_connection("closed before the request was taken".into())),
            _ if refused => Err(AttemptFailed::NotSent {
                cause: NotSentCause::StreamRefused,
                detail: format!("{}: {error}", self.location),
            }),
            _ => match failure.and_then(|failure| failure.get().copied()) {
                Some(failed) => Err(self.failed(failed, error.to_string())),
                None => Err(self.lost(&error)),
            },
        }
    }

    /// Sends a request that asks its connection to become something else, over a connection of its own.
    async fn upgrade(
        &self,
        limits: &Limits,
        place: &mut Option<Request<B>>,
        protocol: HeaderValue,
    ) -> Result<Response<UpstreamBody<B>>, AttemptFailed> {
        let stream = self.dialer.dial_http1().await.map_err(connect_failed)?;
        let mut request = place.take().ok_or_else(nothing_to_send)?;
        let handshake = connection::handshake(stream).await;
        let (mut sender, driver) = handshake.map_err(|error| self.no_connection(error))?;
        drive_apart(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(%error, "a connection that was to become a tunnel ended badly");
            }
        });
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
        limits.check(&self.clock)?;
        limits.tell(request.headers_mut());
        let exchange = std::pin::pin!(sender.send_request(request));
        let answered = limits.first_byte(self.policy.first_byte_timeout, exchange).await;
        let answered = answered.map_err(|too_late| self.timed_out(too_late))?;
        let mut response = answered.map_err(|error| self.lost(&error))?;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = response.headers().get(header::UPGRADE).cloned();
        response = passed_on(response);
        if let Some(protocol) = protocol.filter(|_| switched) {
            response.extensions_mut().insert(Tunnel { silence_max: self.policy.between_bytes_timeout });
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
        Ok(response.map(|incoming| UpstreamBody::new(incoming, self.silence_max(limits))))
    }

    /// The answer, with its connection behind its body.
    async fn answered(
        &self,
        limits: &Limits,
        response: Response<Incoming>,
        connection: Connection<B>,
    ) -> Response<UpstreamBody<B>> {
        let mut response = passed_on(response).map(|incoming| {
            UpstreamBody::new(incoming, self.silence_max(limits)).over(connection, Arc::clone(&self.pool))
        });
        if response.body().is_end_stream() {
            std::future::poll_fn(|context| {
                response.body_mut().release(context);
                Poll::Ready(())
            })
            .await;
        }
        response
    }

    /// What the rules want to know of a request, where there are any.
    fn to_be_judged(&self, request: &Request<B>) -> Option<(Method, Uri)> {
        (!self.policy.rules.is_empty()).then(|| (request.method().clone(), request.uri().clone()))
    }

    /// Lets the rules say what an answer means.
    async fn judge(
        &self,
        asked: Option<(Method, Uri)>,
        response: Response<UpstreamBody<B>>,
    ) -> Response<UpstreamBody<B>> {
        let Some((method, uri)) = asked else { return response };
        let until = Instant::now() + self.policy.first_byte_timeout;
        Box::pin(self.policy.rules.judge(&method, uri.path(), response, until)).await
    }

    /// How long an answer may stay silent. An attempt that a claim stands for is bounded by whoever holds it.
    fn silence_max(&self, limits: &Limits) -> Option<Duration> {
        limits.send_by.is_none().then_some(self.policy.between_bytes_timeout)
    }

    fn broken_off(&self, why: &str) -> AttemptFailed {
        let detail = format!("{}: {why}", self.location);
        AttemptFailed::Lost { cause: UnknownCause::ConnectionLost, detail }
    }

    fn no_connection(&self, detail: String) -> AttemptFailed {
        connect_failed(format!("{}: {detail}", self.location))
    }

    fn lost(&self, error: &hyper::Error) -> AttemptFailed {
        if error.is_user() {
            let failed = if is_too_large(error) { BodyFailed::TooLarge } else { BodyFailed::Broken };
            return self.failed(failed, error.to_string());
        }
        let detail = format!("{}: {error}", self.location);
        let cause = if is_timeout(error) { UnknownCause::Timeout } else { UnknownCause::ConnectionLost };
        AttemptFailed::Lost { cause, detail }
    }

    /// The caller's own body failed.
    fn failed(&self, failed: BodyFailed, error: String) -> AttemptFailed {
        let detail = format!("{}: {error}", self.location);
        match failed {
            BodyFailed::TooLarge => AttemptFailed::TooLarge { detail },
            BodyFailed::Broken => AttemptFailed::Broken { detail },
        }
    }

    fn timed_out(&self, TooLate(waited): TooLate) -> AttemptFailed {
        let detail = format!("{}: no answer within {} ms", self.location, waited.as_millis());
        AttemptFailed::Lost { cause: UnknownCause::Timeout, detail }
    }
}

/// Until when a request may be handed over, and its answer's head may come.
pub(crate) struct Limits {
    send_by: Option<SendBy>,
    deadline: Option<Deadline>,
    /// Until when the head of the answer may come, however long each step may take. An attempt that a claim stands for
    /// is bounded by whoever holds the claim, who goes on reading when it stops waiting; here it must not be cut off.
    head_until: Option<Instant>,
}

/// The head of the answer did not come for that long.
struct TooLate(Duration);

impl Limits {
    /// Those that stand in a request's extensions and in the policy of its upstream.
    pub(crate) fn of<B>(request: &Request<B>, policy: &UpstreamPolicy) -> Self {
        let send_by = request.extensions().get::<SendBy>().copied();
        let try_timeout = policy.try_timeout.unwrap_or(policy.total_timeout);
        Self {
            send_by,
            deadline: request.extensions().get::<Deadline>().copied(),
            head_until: send_by.is_none().then(|| Instant::now() + try_timeout),
        }
    }

    /// By when its caller must have an answer.
    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Whether its holder goes on reading when it stops waiting.
    pub(crate) fn is_detached(&self) -> bool {
        self.send_by.is_some()
    }

    /// Waits for a step on the way, but never past the moment at which the answer would be too late.
    async fn before_head<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        match self.head_until {
            None => Some(step.await),
            Some(until) => tokio::time::timeout_at(until, step).await.ok(),
        }
    }

    /// Tells the upstream how much time is left.
    fn tell(&self, headers: &mut HeaderMap) {
        if let Some(deadline) = self.deadline {
            deadline.tell(headers);
        }
    }

    /// Waits for the head of an answer: so long, and not past the moment at which it would be too late.
    async fn first_byte<T>(
        &self,
        timeout: Duration,
        exchange: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, TooLate> {
        let Some(head_until) = self.head_until else { return Ok(exchange.await) };
        let now = Instant::now();
        let until = head_until.min(now + timeout);
        tokio::time::timeout_at(until, exchange)
            .await
            .map_err(|_| TooLate(until.saturating_duration_since(now)))
    }

    /// The last look before the bytes are handed over.
    pub(crate) fn check(&self, clock: &Clock) -> Result<(), AttemptFailed> {
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

fn connect_failed(detail: String) -> AttemptFailed {
    AttemptFailed::NotSent { cause: NotSentCause::ConnectFailed, detail }
}

/// Whether the connection failed because the upstream took nothing of what was sent to it.
fn is_timeout(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the upstream said that it did not process the request: the stream was refused, or is above the last id
/// of its GOAWAY (RFC 9113, section 8.7). The streams below that id end otherwise.
fn is_refused(error: &hyper::Error) -> bool {
    let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let refused_stream = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused_stream || error.is_go_away())
}

/// Says that a body follows where it might be taken for none: hyper leaves out that of a GET or HEAD whose length it does
/// not know, and the upstream would be asked something else than was said.
fn frame<B: OutgoingBody>(request: &mut Request<B>) {
    let usual = !matches!(*request.method(), Method::GET | Method::HEAD);
    let body = request.body();
    if usual || body.is_end_stream() || body.size_hint().exact().is_some() {
        return;
    }
    if !request.headers().contains_key(header::CONTENT_LENGTH) {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// An answer without the fields of its connection.
fn passed_on(mut response: Response<Incoming>) -> Response<Incoming> {
    hop_by_hop::remove(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    response
}

/// Drives a connection that several requests use, or that becomes a tunnel, beside them. It ends when nobody
/// holds the connection's other end any more, or with its worker.
fn drive_apart(connection: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "this is the named place: see above")]
    drop(tokio::spawn(connection));
}
