//! An upstream that answers when the test says so, for the layers that bound what it is given.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use steadfast_layers::AttemptFailed;
use tokio::sync::oneshot;
use tower_service::Service;

type Answer = Result<Response<Full<Bytes>>, AttemptFailed>;

/// The upstream; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Upstream(Arc<Mutex<VecDeque<Asked>>>);

/// The path of a request, and where its answer goes.
type Asked = (String, oneshot::Sender<Answer>);

impl Upstream {
    /// What it was asked and has not answered, in the order in which it came.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().map(|(path, _)| path.clone()).collect()
    }

    /// Answers what it was asked first.
    pub(crate) fn answer(&self, answer: Answer) {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (_, sender) = first.expect("it was asked");
        let _ = sender.send(answer);
    }

    /// Answers it without a body.
    pub(crate) fn answer_empty(&self) {
        self.answer(Ok(Response::new(Full::default())));
    }
}

impl Service<Request<()>> for Upstream {
    type Response = Response<Full<Bytes>>;
    type Error = AttemptFailed;
    type Future = std::pin::Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AttemptFailed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let (sender, answer) = oneshot::channel();
        let path = request.uri().path().to_owned();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back((path, sender));
        Box::pin(async { answer.await.expect("the test answers") })
    }
}
