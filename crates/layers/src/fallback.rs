//! The fallback: what the caller of a safe request gets where its upstream brings nothing, instead of a refusal or
//! the upstream's own 5xx. An answer that the route states, or that of another upstream.
//!
//! Only GET and HEAD: they ask how things are, and an older or poorer word on it may be better than none. A made-up
//! answer to a write would say that something took effect which did not.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use steadfast_core::{Code, Reading};
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    HeldBody, Rung,
    deadline::Arrived,
    degraded,
    trace::{self, Facts, Part, Verdict},
};

/// The refusals instead of which a fallback is given: all that say that the upstream brought no answer.
const REFUSALS: [Code; 5] = [
    Code::UpstreamUnavailable,
    Code::UpstreamAnswerLost,
    Code::CircuitOpen,
    Code::TemporaryReducedCapacity,
    Code::DeadlineExceeded,
];

/// The statuses of an upstream's own instead of which it is given, where they are not said to be final.
const STATUSES: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// An answer that is the same for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields. Where `Cache-Control` is not among them, it is `no-store`.
    pub headers: HeaderMap,
    /// Its body; a HEAD gets its length alone.
    pub body: Bytes,
}

impl FixedAnswer {
    fn response<R>(&self, is_head: bool) -> Response<HeldBody<R>> {
        let body = if is_head { Bytes::new() } else { self.body.clone() };
        let mut response = Response::new(HeldBody::whole(body));
        *response.status_mut() = self.status;
        response.headers_mut().clone_from(&self.headers);
        if is_head && !self.body.is_empty() {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        response
    }
}

/// Where a fallback comes from.
#[derive(Clone, Debug)]
pub enum FallbackSource<O> {
    /// It is stated.
    Fixed(FixedAnswer),
    /// It is asked of another service, with the same head, in the time that is left.
    Other(O),
}

/// What a route answers where its upstream brings nothing.
#[derive(Clone, Debug)]
pub struct Fallback<O> {
    /// Where it comes from.
    pub source: FallbackSource<O>,
    /// The upstream's statuses that are final though they are a 5xx: they are passed on.
    pub completed: Vec<u16>,
}

impl<O> Fallback<O> {
    /// Why `response` is none that a caller should see; nothing where it should.
    fn reason<R>(&self, response: &Response<R>) -> Option<String> {
        if let Some(code) = response.extensions().get::<Code>() {
            return REFUSALS.contains(code).then(|| code.as_str().to_owned());
        }
        let status = response.status();
        let failed = match response.extensions().get::<Reading>() {
            // It was read by what the upstream's answers are said to mean.
            Some(reading) => *reading != Reading::Completed && !status.is_client_error(),
            None => STATUSES.contains(&status) && !self.completed.contains(&status.as_u16()),
        };
        failed.then(|| status.as_str().to_owned())
    }
}

/// Wraps a service in [`FallbackService`].
#[derive(Debug)]
pub struct FallbackLayer<O>(Option<Arc<Fallback<O>>>);

impl<O> FallbackLayer<O> {
    /// `None` passes everything on as it is.
    #[must_use]
    pub fn new(fallback: Option<Fallback<O>>) -> Self {
        Self(fallback.map(Arc::new))
    }
}

impl<O> Clone for FallbackLayer<O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, O> Layer<S> for FallbackLayer<O> {
    type Service = FallbackService<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService { inner, fallback: self.0.clone() }
    }
}

/// See the [module](self)'s words.
#[derive(Debug)]
pub struct FallbackService<S, O> {
    inner: S,
    fallback: Option<Arc<Fallback<O>>>,
}

impl<S: Clone, O> Clone for FallbackService<S, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), fallback: self.fallback.clone() }
    }
}

impl<S, O, B, R> Service<Request<B>> for FallbackService<S, O>
where
    S: Service<Request<B>, Response = Response<HeldBody<R>>>,
    O: Service<Request<B>, Response = Response<HeldBody<R>>> + Clone + Send + Sync + 'static,
    O::Future: Send,
    B: Body + Default + Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<HeldBody<R>>;
    type Error = S::Error;
    type Future = FallbackFuture<S::Future, O, B, R>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let guard = self.fallback.as_ref().filter(|_| is_safe(&request)).map(|fallback| Guard {
            is_head: request.method() == Method::HEAD,
            again: match &fallback.source {
                FallbackSource::Fixed(_) => None,
                // A body that was sent cannot be sent again; hardly a GET has one.
                FallbackSource::Other(_) => request.body().is_end_stream().then(|| again(&request)),
            },
            fallback: Arc::clone(fallback),
        });
        FallbackFuture { state: State::First { inner: self.inner.call(request), guard } }
    }
}

/// Whether `request` only asks how things are, and in one answer.
fn is_safe<B>(request: &Request<B>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
        && !request.headers().contains_key(header::UPGRADE)
}

/// The same request once more. Its time has begun already.
fn again<B: Default>(request: &Request<B>) -> Box<Request<B>> {
    let mut again = Request::new(B::default());
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    *again.version_mut() = request.version();
    again.headers_mut().clone_from(request.headers());
    again.extensions_mut().clone_from(request.extensions());
    again.extensions_mut().insert(Arrived(Instant::now()));
    Box::new(again)
}

/// What is held ready for a request that may need a fallback.
struct Guard<O, B> {
    fallback: Arc<Fallback<O>>,
    is_head: bool,
    /// The request for the other service; nothing where none is asked, or the body is gone.
    again: Option<Box<Request<B>>>,
}

/// The attempt at another service. Boxed: it is rarely there, and no other request's future should be larger for it.
type Second<R> = Pin<Box<dyn Future<Output = Response<HeldBody<R>>> + Send>>;

pin_project_lite::pin_project! {
    /// The answer of a [`FallbackService`].
    pub struct FallbackFuture<F, O, B, R> {
        #[pin]
        state: State<F, O, B, R>,
    }
}

pin_project_lite::pin_project! {
    #[project = StateProjection]
    enum State<F, O, B, R> {
        First {
            #[pin]
            inner: F,
            guard: Option<Guard<O, B>>,
        },
        Second { second: Second<R> },
    }
}

impl<F, O, B, R, E> Future for FallbackFuture<F, O, B, R>
where
    F: Future<Output = Result<Response<HeldBody<R>>, E>>,
    O: Service<Request<B>, Response = Response<HeldBody<R>>> + Clone + Send + Sync + 'static,
    O::Future: Send,
    B: Send + 'static,
    R: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let second = match self.as_mut().project().state.project() {
                StateProjection::Second { second } => return second.as_mut().poll(context).map(Ok),
                StateProjection::First { inner, guard } => {
                    let refused = match (ready!(inner.poll(context)), &guard) {
                        (Ok(refused), Some(_)) => refused,
                        (answered, _) => return Poll::Ready(answered),
                    };
                    match guard.take().map(|guard| guard.instead_of(refused)) {
                        Some(Instead::This(response)) => return Poll::Ready(Ok(response)),
                        Some(Instead::Second(second)) => second,
                        // It was looked at just now.
                        None => return Poll::Pending,
                    }
                }
            };
            self.as_mut().project().state.set(State::Second { second });
        }
    }
}

/// What comes instead of an answer.
enum Instead<R> {
    /// This one; perhaps the same.
    This(Response<HeldBody<R>>),
    /// What another service says.
    Second(Second<R>),
}

impl<O, B> Guard<O, B> {
    /// What is given for `answer`, or found out.
    fn instead_of<R>(self, answer: Response<HeldBody<R>>) -> Instead<R>
    where
        O: Service<Request<B>, Response = Response<HeldBody<R>>> + Clone + Send + Sync + 'static,
        O::Future: Send,
        B: Send + 'static,
        R: Send + 'static,
    {
        let Some(reason) = self.fallback.reason(&answer) else { return Instead::This(answer) };
        match (&self.fallback.source, self.again) {
            (FallbackSource::Fixed(fixed), _) => {
                Instead::This(marked(fixed.response(self.is_head), &answer, &reason))
            }
            (FallbackSource::Other(_), None) => Instead::This(answer),
            (FallbackSource::Other(other), Some(again)) => {
                let other = other.clone();
                let fallback = Arc::clone(&self.fallback);
                Instead::Second(Box::pin(async move {
                    match ask(other, *again).await {
                        Some(second) if fallback.reason(&second).is_none() => {
                            marked(second, &answer, &reason)
                        }
                        // It has nothing to say either: the first one's word is the one that explains it.
                        _ => answer,
                    }
                }))
            }
        }
    }
}

/// What `other` answers; nothing where it cannot.
async fn ask<O: Service<Request<B>>, B>(mut other: O, request: Request<B>) -> Option<O::Response> {
    poll_fn(|context| other.poll_ready(context)).await.ok()?;
    other.call(request).await.ok()
}

/// `fallback` as the answer in place of `refused`.
fn marked<R>(
    mut fallback: Response<HeldBody<R>>,
    refused: &Response<HeldBody<R>>,
    reason: &str,
) -> Response<HeldBody<R>> {
    tracing::info!(reason, "a fallback was given");
    trace::note(Part::Fallback, Verdict::Answered, || Facts::None);
    let headers = fallback.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    degraded::inherit(headers, refused.headers());
    Rung::Fallback.mark_for(headers, reason);
    fallback
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Mutex, PoisonError},
        time::Duration,
    };

    use http_body_util::{BodyExt, Empty, Full};

    use super::*;
    use crate::{DEGRADED_HEADER, Deadline, DeadlineLayer, Problem};

    type Answer = Response<HeldBody<Empty<Bytes>>>;

    /// Answers what it is told after a while, and remembers what it was asked.
    #[derive(Clone)]
    struct Says {
        make: fn() -> Answer,
        after: Duration,
        asked: Arc<Mutex<Vec<Request<Full<Bytes>>>>>,
    }

    impl Says {
        fn this(make: fn() -> Answer) -> Self {
            Self { make, after: Duration::ZERO, asked: Arc::default() }
        }

        fn asked(&self) -> Vec<Request<Full<Bytes>>> {
            std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
        }
    }

    impl Service<Request<Full<Bytes>>> for Says {
        type Response = Answer;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            let (make, after) = (self.make, self.after);
            Box::pin(async move {
                tokio::time::sleep(after).await;
                Ok(make())
            })
        }
    }

    fn status(code: u16) -> Answer {
        let mut answer = Response::new(HeldBody::whole(Bytes::from_static(b"own")));
        *answer.status_mut() = StatusCode::from_u16(code).expect("a status");
        answer
    }

    fn refusal(code: Code) -> Answer {
        Problem::new(code).into_response()
    }

    fn request(method: Method) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = "/items?page=2".parse().expect("a target");
        request.headers_mut().insert("x-own", HeaderValue::from_static("1"));
        request
    }

    fn fixed() -> Fallback<Says> {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let (status, headers) = (StatusCode::OK, headers.into_iter().collect());
        let fixed = FixedAnswer { status, headers, body: Bytes::from_static(b"[]") };
        Fallback { source: FallbackSource::Fixed(fixed), completed: vec![504] }
    }

    fn other(other: &Says) -> Fallback<Says> {
        Fallback { source: FallbackSource::Other(other.clone()), completed: Vec::new() }
    }

    async fn ask<S, F>(service: &mut S, request: Request<Full<Bytes>>) -> (u16, String, String)
    where
        S: Service<Request<Full<Bytes>>, Response = Answer, Error = Infallible, Future = F>,
        F: Future<Output = Result<Answer, Infallible>>,
    {
        let Ok(()) = poll_fn(|context| service.poll_ready(context)).await;
        let Ok(answer) = service.call(request).await;
        let used =
            answer.headers().get(DEGRADED_HEADER).map(|value| value.to_str().expect("text").to_owned());
        if used.is_some() {
            assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        }
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        (head.status.as_u16(), used.unwrap_or_default(), body)
    }

    #[tokio::test]
    async fn it_is_given_for_what_says_that_the_upstream_brings_nothing_and_for_nothing_else() {
        for (make, reason) in [
            ((|| refusal(Code::UpstreamUnavailable)) as fn() -> Answer, Some("upstream-unavailable")),
            (|| refusal(Code::UpstreamAnswerLost), Some("upstream-answer-lost")),
            (|| refusal(Code::CircuitOpen), Some("circuit-open")),
            (|| refusal(Code::TemporaryReducedCapacity), Some("temporary-reduced-capacity")),
            (|| refusal(Code::DeadlineExceeded), Some("deadline-exceeded")),
            (|| refusal(Code::BodyTooLarge), None),
            (|| refusal(Code::LedgerUnavailable), None),
            (|| status(500), Some("500")),
            (|| status(502), Some("502")),
            (|| status(503), Some("503")),
            // This upstream means it.
            (|| status(504), None),
            (|| status(501), None),
            (|| status(200), None),
            (|| status(404), None),
            (|| status(429), None),
        ] {
            let mut service = FallbackLayer::new(Some(fixed())).layer(Says::this(make));
            let (status, used, body) = ask(&mut service, request(Method::GET)).await;
            match reason {
                Some(reason) => {
                    let used_for = format!("fallback;for={reason}");
                    assert_eq!((status, &*used, &*body), (200, &*used_for, "[]"));
                }
                None => assert_eq!((status, &*used), (make().status().as_u16(), "")),
            }
        }
    }

    #[tokio::test]
    async fn what_the_upstreams_answers_are_said_to_mean_goes_before_their_status() {
        fn read(code: u16, reading: Reading) -> Answer {
            let mut answer = status(code);
            answer.extensions_mut().insert(reading);
            answer
        }
        for (make, given) in [
            ((|| read(503, Reading::Completed)) as fn() -> Answer, false),
            (|| read(200, Reading::Refused), true),
            (|| read(200, Reading::Unknown), true),
            (|| read(429, Reading::Refused), false),
        ] {
            let mut service = FallbackLayer::new(Some(fixed())).layer(Says::this(make));
            let (_, used, _) = ask(&mut service, request(Method::GET)).await;
            assert_eq!(!used.is_empty(), given, "{}", make().status());
        }
    }

    #[tokio::test]
    async fn a_write_and_a_tunnel_are_never_answered_with_it() {
        let mut tunnel = request(Method::GET);
        tunnel.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
        for request in writes.map(request).into_iter().chain([tunnel]) {
            let mut service = FallbackLayer::new(Some(fixed())).layer(Says::this(|| status(503)));
            assert_eq!(ask(&mut service, request).await, (503, String::new(), "own".into()));
        }
    }

    #[tokio::test]
    async fn a_head_is_told_the_length_and_gets_no_body() {
        let mut service = FallbackLayer::new(Some(fixed())).layer(Says::this(|| status(503)));
        let Ok(answer) = service.call(request(Method::HEAD)).await;
        assert_eq!(answer.headers()[header::CONTENT_LENGTH], "2");
        assert!(answer.body().is_end_stream());
    }

    #[tokio::test]
    async fn another_service_is_asked_with_the_same_head() {
        let backup = Says::this(|| status(203));
        let first = || {
            let mut answer = status(503);
            Rung::Retry.mark(answer.headers_mut());
            answer
        };
        let mut service = FallbackLayer::new(Some(other(&backup))).layer(Says::this(first));
        let answered = ask(&mut service, request(Method::GET)).await;
        assert_eq!(answered, (203, "retry, fallback;for=503".into(), "own".into()));
        let asked = backup.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].method(), asked[0].uri()), (&Method::GET, request(Method::GET).uri()));
        assert_eq!(asked[0].headers(), request(Method::GET).headers());
    }

    #[tokio::test]
    async fn where_the_other_has_nothing_to_say_the_first_word_stands() {
        for make in [(|| status(500)) as fn() -> Answer, || refusal(Code::UpstreamUnavailable)] {
            let backup = Says::this(make);
            let first = Says::this(|| refusal(Code::CircuitOpen));
            let mut service = FallbackLayer::new(Some(other(&backup))).layer(first);
            let (status, used, body) = ask(&mut service, request(Method::GET)).await;
            assert_eq!((status, &*used), (503, ""));
            assert!(body.contains("circuit-open"), "{body}");
            assert_eq!(backup.asked().len(), 1);
        }
    }

    #[tokio::test]
    async fn the_other_is_not_asked_without_need_nor_with_half_a_request() {
        let backup = Says::this(|| status(200));
        let mut well = FallbackLayer::new(Some(other(&backup))).layer(Says::this(|| status(200)));
        assert_eq!(ask(&mut well, request(Method::GET)).await.1, "");
        let mut ill = FallbackLayer::new(Some(other(&backup))).layer(Says::this(|| status(503)));
        let with_body = request(Method::GET).map(|_| Full::from("a body"));
        assert_eq!(ask(&mut ill, with_body).await, (503, String::new(), "own".into()));
        assert_eq!(backup.asked().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_has_what_is_left_of_the_time_and_no_more() {
        let began = Instant::now();
        let deadline = DeadlineLayer::new(Some(Duration::from_millis(100)));
        let first = Says { after: Duration::from_millis(60), ..Says::this(|| status(503)) };
        let backup = Says { after: Duration::from_millis(500), ..Says::this(|| status(200)) };
        let fallback =
            Fallback { source: FallbackSource::Other(deadline.layer(backup.clone())), completed: Vec::new() };
        let mut service = FallbackLayer::new(Some(fallback)).layer(deadline.layer(first));
        let (status, used, _) = ask(&mut service, request(Method::GET)).await;
        assert_eq!((status, &*used), (503, ""));
        assert_eq!(backup.asked()[0].extensions().get(), Some(&Deadline(began + Duration::from_millis(100))));
        assert!(began.elapsed() < Duration::from_millis(120), "{:?}", began.elapsed());
    }
}
