//! A service that does with each try what the test says, and remembers when it was asked what.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use http_body_util::{Empty, Full};
use steadfast_core::{NotSentCause, UnknownCause};
use steadfast_layers::{AttemptFailed, RequestBody};
use tokio::time::Instant;
use tower_service::Service;

/// What a try is asked for.
pub(crate) type Asked = Request<RequestBody<Empty<Bytes>>>;
/// What a try brings.
pub(crate) type Ended = Result<Response<Full<Bytes>>, AttemptFailed>;

/// One try as the service saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
}

#[derive(Clone, Default)]
pub(crate) struct Scripted {
    script: Arc<Mutex<VecDeque<(Duration, Ended)>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    /// Says what comes of the next try, this long after it was begun. What nothing was said about is answered 200.
    pub(crate) fn will_after(&self, pause: Duration, ended: Ended) {
        self.script.lock().expect("a lock").push_back((pause, ended));
    }

    pub(crate) fn will(&self, ended: Ended) {
        self.will_after(Duration::ZERO, ended);
    }

    /// The tries so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a lock").clone()
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("a lock").len()
    }
}

pub(crate) fn answer(status: u16) -> Ended {
    with(status, &[])
}

pub(crate) fn with(status: u16, headers: &[(&str, &str)]) -> Ended {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    Ok(answer.body(Full::from("a body")).expect("an answer"))
}

pub(crate) fn not_sent(cause: NotSentCause) -> Ended {
    Err(AttemptFailed::NotSent { cause, detail: "as the test says".into() })
}

pub(crate) fn lost() -> Ended {
    Err(AttemptFailed::Lost { cause: UnknownCause::ConnectionLost, detail: "as the test says".into() })
}

impl Service<Asked> for Scripted {
    type Response = Response<Full<Bytes>>;
    type Error = AttemptFailed;
    type Future = Pin<Box<dyn Future<Output = Ended> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Asked) -> Self::Future {
        let seen = Seen { at: Instant::now(), headers: request.headers().clone() };
        self.seen.lock().expect("a lock").push(seen);
        let next = self.script.lock().expect("a lock").pop_front();
        let (pause, ended) = next.unwrap_or_else(|| (Duration::ZERO, answer(200)));
        Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            ended
        })
    }
}

/// A handler of this process, which always answers, is a service of the same kind.
#[expect(dead_code, reason = "it is enough that it compiles")]
fn a_handler_can_be_tried_again<S>(service: S) -> impl Service<Asked, Error = AttemptFailed>
where
    S: Service<Asked, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static,
{
    tower_layer::Layer::layer(&steadfast_layers::RetryLayer::new(None), service)
}
