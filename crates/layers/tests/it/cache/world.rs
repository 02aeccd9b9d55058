//! A cache in front of an origin that the test plays itself: it sees each request as it comes, and answers when it likes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use steadfast_core::{NotSentCause, Timestamp};
use steadfast_layers::{
    AttemptFailed, CacheBody, CacheLayer, CacheOutcome, CachePolicy, CacheService, CacheStore, Deadline,
    HeldBody, RouteTally,
};
use steadfast_ledger::Clock;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tower_layer::Layer;
use tower_service::Service;

/// Wed, 01 Jan 2020 00:00:00 GMT, when every test begins.
const BEGIN_MS: i64 = 1_577_836_800_000;

/// How the origin's answers come: chunk by chunk.
pub(crate) struct Chunks(mpsc::UnboundedReceiver<Result<Bytes, &'static str>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

type Answer = Response<HeldBody<Chunks>>;

/// A request that reached the origin.
pub(crate) struct Arrived {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    reply: oneshot::Sender<Result<Answer, AttemptFailed>>,
}

impl Arrived {
    /// Answers with these fields and this body.
    pub(crate) fn answer(self, status: u16, fields: &[(&'static str, &str)], body: &str) {
        let body = HeldBody::whole(Bytes::copy_from_slice(body.as_bytes()));
        let _ = self.reply.send(Ok(response(status, fields, body)));
    }

    /// Answers with a body whose chunks are sent later; it ends when the sender is dropped.
    pub(crate) fn begin(
        self,
        fields: &[(&'static str, &str)],
    ) -> mpsc::UnboundedSender<Result<Bytes, &'static str>> {
        let (sender, chunks) = mpsc::unbounded_channel();
        let _ = self.reply.send(Ok(response(200, fields, HeldBody::Passed(Chunks(chunks)))));
        sender
    }

    /// Does not answer.
    pub(crate) fn fail(self) {
        let failed = AttemptFailed::NotSent { cause: NotSentCause::ConnectFailed, detail: "down".into() };
        let _ = self.reply.send(Err(failed));
    }
}

fn response(status: u16, fields: &[(&'static str, &str)], body: HeldBody<Chunks>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().expect("a status");
    for (name, value) in fields {
        response.headers_mut().append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    response
}

#[derive(Clone)]
pub(crate) struct Origin(mpsc::UnboundedSender<Arrived>);

impl Service<Request<Empty<Bytes>>> for Origin {
    type Response = Answer;
    type Error = AttemptFailed;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, AttemptFailed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(Arrived { method: parts.method, headers: parts.headers, reply });
        Box::pin(async {
            match replied.await {
                Ok(answer) => answer,
                // The test dropped it: there is never an answer.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// What a caller got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) outcome: Option<CacheOutcome>,
    /// `Err` where it broke off.
    pub(crate) body: Result<String, &'static str>,
}

impl Got {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The body of an answer that came whole with this status.
    pub(crate) fn text(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:?}");
        self.body.as_deref().expect("a whole body")
    }
}

pub(crate) struct World {
    pub(crate) service: CacheService<Origin>,
    pub(crate) origin: mpsc::UnboundedReceiver<Arrived>,
    pub(crate) store: Arc<CacheStore>,
    pub(crate) tally: Arc<RouteTally>,
    clock: Clock,
}

pub(crate) const FRESH: (&str, &str) = ("cache-control", "max-age=60");

impl World {
    pub(crate) fn new(policy: CachePolicy) -> Self {
        Self::with_store(policy, CacheStore::new(8 << 20))
    }

    pub(crate) fn with_store(policy: CachePolicy, store: Arc<CacheStore>) -> Self {
        let (sender, origin) = mpsc::unbounded_channel();
        let clock = Clock::manual(Timestamp::from_millis(BEGIN_MS));
        let tally = Arc::new(RouteTally::default());
        let layer = CacheLayer::new(policy, Arc::clone(&store), clock.clone(), Arc::clone(&tally));
        Self { service: layer.layer(Origin(sender)), origin, store, tally, clock }
    }

    /// Lets time pass, on all clocks.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
    }

    /// Sends a request, and goes on.
    pub(crate) fn send(&self, request: Request<Empty<Bytes>>) -> JoinHandle<Got> {
        let response = self.service.clone().call(request);
        Handle::current().spawn(async move { read(response.await).await })
    }

    /// Sends a request that the cache answers by itself.
    pub(crate) async fn ask(&self, request: Request<Empty<Bytes>>) -> Got {
        self.send(request).await.expect("it does not panic")
    }

    /// Sends a request that the origin answers like this.
    pub(crate) async fn fill(
        &mut self,
        request: Request<Empty<Bytes>>,
        fields: &[(&'static str, &str)],
        body: &str,
    ) -> Got {
        let asked = self.send(request);
        self.arrived().await.answer(200, fields, body);
        asked.await.expect("it does not panic")
    }

    /// The next request that reaches the origin.
    pub(crate) async fn arrived(&mut self) -> Arrived {
        self.origin.recv().await.expect("a request reaches the origin")
    }

    /// Lets everything happen that can, and says that the origin is asked nothing more.
    pub(crate) async fn quiet(&mut self) {
        settle().await;
        assert!(self.origin.try_recv().is_err(), "the origin is not asked");
    }
}

/// Lets everything happen that can.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn read(response: Result<Response<HeldBody<CacheBody<Chunks>>>, AttemptFailed>) -> Got {
    let response = match response {
        Ok(response) => response,
        Err(_) => return Got { status: 0, headers: HeaderMap::new(), outcome: None, body: Err("failed") },
    };
    let (parts, body) = response.into_parts();
    let outcome = parts.extensions.get::<CacheOutcome>().copied();
    let body = body.collect().await.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    Got { status: parts.status.as_u16(), headers: parts.headers, outcome, body }
}

/// A request with these fields.
pub(crate) fn request(
    method: Method,
    target: &str,
    fields: &[(&'static str, &str)],
) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().expect("a target");
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("api.example"));
    for (name, value) in fields {
        request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a value"));
    }
    request
}

/// A GET of `/a`.
pub(crate) fn get() -> Request<Empty<Bytes>> {
    request(Method::GET, "/a", &[])
}

/// A GET of `/a` with one field more.
pub(crate) fn get_with(name: &'static str, value: &str) -> Request<Empty<Bytes>> {
    request(Method::GET, "/a", &[(name, value)])
}

/// The same request with a deadline from now.
pub(crate) fn within(mut request: Request<Empty<Bytes>>, time: Duration) -> Request<Empty<Bytes>> {
    request.extensions_mut().insert(Deadline(Instant::now() + time));
    request
}
