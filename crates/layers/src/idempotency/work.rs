//! One attempt of a background operation: the kept request goes to the upstream, and what comes back is read as that
//! of a caller's own attempt is.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body::Body;
use steadfast_core::{AttemptEnd, ForwardedKey, NotSentCause, UnknownCause};
use steadfast_ledger::{Clock, EXCERPT_BYTES_MAX, Job};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    collect::{Collected, collect},
    decision::OperationContext,
    naming,
    policy::IdempotencyPolicy,
    run::{Exchanged, LAST_WORD_AFTER, Reply, exchange},
};
use crate::{AttemptFailed, Deadline, HeldBody, RequestBody, SendBy, retry_after};

/// Says to the upstream which attempt this is, from 1.
const ATTEMPT_HEADER: HeaderName = HeaderName::from_static("steadfast-attempt");

/// How long the beginning of a failed answer is waited for, for people.
const EXCERPT_WAIT: Duration = Duration::from_millis(500);

/// Makes the attempts of a route's background operations.
#[derive(Clone, Debug)]
pub struct JobAttempts<S> {
    policy: Arc<IdempotencyPolicy>,
    clock: Clock,
    inner: S,
}

/// What an attempt came to.
pub struct JobAttempt {
    /// How it ended.
    pub end: AttemptEnd,
    /// Whether a policy of the gateway kept the request from the upstream.
    pub held_back: bool,
    /// How long the upstream, or that policy, asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The beginning of an answer that was not final, or why none came.
    pub excerpt: Option<Box<str>>,
    /// An attempt whose time ran out, still listened to.
    pub late: Option<LateEnd>,
}

/// The end of an attempt that took too long, where it comes after all.
pub type LateEnd = Pin<Box<dyn Future<Output = Option<AttemptEnd>> + Send>>;

impl<S> JobAttempts<S> {
    /// Attempts at `inner`, read as `policy` says.
    pub fn new(policy: Arc<IdempotencyPolicy>, clock: Clock, inner: S) -> Self {
        Self { policy, clock, inner }
    }

    /// Makes one attempt. It takes as long as the upstream's total time at most; dropped before its end, its outcome is
    /// unknown.
    pub async fn attempt<B, R>(&self, job: &Job) -> JobAttempt
    where
        S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<AttemptFailed> + Send,
        B: Send + 'static,
        R: Body<Data = Bytes> + Send + Unpin + 'static,
        R::Error: std::fmt::Display + Send,
    {
        let times = self.policy.times;
        let began = Instant::now();
        let Some(request) = outgoing(job, Deadline(began + times.total)) else {
            return JobAttempt::unsendable();
        };
        let until = began + times.total + times.late;
        let (policy, clock, inner) = (Arc::clone(&self.policy), self.clock.clone(), self.inner.clone());
        let (after_doubt, send_by) = (job.claim.after_doubt, job.claim.send_by);
        let exchange =
            async move { exchange((&policy, &clock), after_doubt, send_by, until, inner, request).await };
        // Boxed only so that a late one can be moved into a task of its own.
        let mut exchange: Pin<Box<dyn Future<Output = Exchanged<R>> + Send>> = Box::pin(exchange);
        match tokio::time::timeout_at(began + times.total, &mut exchange).await {
            Ok(exchanged) => JobAttempt::of(exchanged).await,
            Err(_) => JobAttempt {
                end: AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None },
                held_back: false,
                retry_after: None,
                excerpt: Some(format!("no answer within {} ms", times.total.as_millis()).into()),
                late: Some(Box::pin(async move {
                    let exchanged = tokio::time::timeout_at(until + LAST_WORD_AFTER, exchange).await.ok()?;
                    matches!(exchanged.end, AttemptEnd::Answered(_)).then_some(exchanged.end)
                })),
            },
        }
    }
}

/// The kept request as the inner service gets it; `None` where no version of this program could have kept it so.
fn outgoing<B>(job: &Job, deadline: Deadline) -> Option<Request<RequestBody<B>>> {
    let mut request = Request::new(RequestBody::from(job.request.body.clone()));
    *request.method_mut() = Method::from_bytes(job.method.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(&*job.request.target).ok()?;
    let headers = request.headers_mut();
    for (name, value) in job.request.headers.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    if !headers.contains_key(naming::KEY_HEADER) {
        // That of a window is known only once the operation is.
        let key = ForwardedKey::of_window(job.claim.operation);
        headers.insert(naming::KEY_HEADER, HeaderValue::from_str(key.as_str()).ok()?);
    }
    headers.insert(ATTEMPT_HEADER, HeaderValue::from(job.claim.attempt));
    let extensions = request.extensions_mut();
    extensions.insert(deadline);
    extensions.insert(SendBy(job.claim.send_by));
    extensions.insert(OperationContext {
        operation: job.claim.operation,
        fence: job.claim.fence,
        attempt: job.claim.attempt,
        after_doubt: job.claim.after_doubt,
    });
    Some(request)
}

impl JobAttempt {
    /// One that was not made, because something here kept it from being made.
    #[must_use]
    pub fn held_back(why: &str) -> Self {
        Self { held_back: true, excerpt: Some(why.into()), ..Self::unsendable() }
    }

    fn unsendable() -> Self {
        Self {
            end: AttemptEnd::NotSent(NotSentCause::HeldBack),
            held_back: false,
            retry_after: None,
            excerpt: Some("the kept request is none that can be sent".into()),
            late: None,
        }
    }

    async fn of<R>(exchanged: Exchanged<R>) -> Self
    where
        R: Body<Data = Bytes> + Unpin,
        R::Error: std::fmt::Display,
    {
        let Exchanged { end, reply } = exchanged;
        let answered = matches!(end, AttemptEnd::Answered(_));
        let (held_back, retry_after, excerpt) = match reply {
            Reply::Response(_) | Reply::Truncated if answered => (false, None, None),
            Reply::Response(response) => {
                (false, retry_after(response.headers()), beginning_of(response).await)
            }
            Reply::Truncated => (false, None, None),
            Reply::Failed(AttemptFailed::HeldBack { retry_after, detail, .. }) => {
                (true, retry_after, Some(detail.into()))
            }
            Reply::Failed(AttemptFailed::NotSent { cause: NotSentCause::SendByPassed, detail }) => {
                (true, None, Some(detail.into()))
            }
            Reply::Failed(failed) => (false, None, Some(failed.to_string().into())),
        };
        Self { end, held_back, retry_after, excerpt, late: None }
    }
}

/// The beginning of an answer's body as text, as far as it comes soon.
async fn beginning_of<R>(response: Response<HeldBody<R>>) -> Option<Box<str>>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: std::fmt::Display,
{
    let read = collect(response.into_body(), |read, _| read <= EXCERPT_BYTES_MAX, EXCERPT_WAIT);
    let bytes = match tokio::time::timeout(EXCERPT_WAIT, read).await.ok()? {
        Collected::Whole(bytes) => bytes,
        Collected::TooLarge(read, _) => read.into_iter().flatten().collect(),
        Collected::Broken(_) | Collected::Stalled => return None,
    };
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES_MAX)]);
    (!text.is_empty()).then(|| text.into())
}
