//! One attempt, from a granted claim to an outcome on disk: what is sent, how its answer is read, and what the
//! caller sees.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::Body;
use steadfast_core::{AttemptEnd, Code, NotSentCause, Reading, Resend, StateName, UnknownCause};
use steadfast_ledger::{BootInstant, Claim, Clock, Finished, Held, LedgerError};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    Shared,
    accept::Undone,
    collect::{Collected, collect},
    decision::{OperationContext, Protection},
    detach, naming,
    policy::IdempotencyPolicy,
    replay,
    serve::{KeyedRequest, decided},
    standing,
};
use crate::{
    AttemptFailed, HeldBody, Problem, Repeatable, RequestBody, SendBy,
    attempt::held_back,
    trace::{self, Facts, Part, Verdict},
};

/// The longest pause between two tries to write an outcome.
const WRITE_AGAIN_MAX: Duration = Duration::from_secs(1);

/// How long after its last moment an exchange is given up: one that has a conclusive head ends by itself.
pub(super) const LAST_WORD_AFTER: Duration = Duration::from_millis(100);

/// A granted claim and what it was granted for.
pub(super) struct Attempt {
    pub(super) shared: Arc<Shared>,
    pub(super) claim: Claim,
    /// Kept until the outcome is on disk: the heartbeat renews what is held.
    pub(super) held: Held,
    pub(super) request: Box<KeyedRequest>,
}

/// What an exchange with the inner service came to.
pub(super) struct Exchanged<R> {
    pub(super) end: AttemptEnd,
    pub(super) reply: Reply<R>,
}

/// What the caller would see of it.
pub(super) enum Reply<R> {
    /// The inner service's own answer.
    Response(Response<HeldBody<R>>),
    /// Its head came, its body broke off.
    Truncated,
    /// No answer: nothing was sent, or nobody knows.
    Failed(AttemptFailed),
}

/// Makes the attempt and answers its caller. Runs to its end whether or not the caller waits.
pub(super) async fn run<S, B, R>(mut attempt: Attempt, inner: S) -> Response<HeldBody<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<AttemptFailed> + Send,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: std::fmt::Display + Send,
{
    if attempt.request.deadline.is_some_and(|deadline| deadline.remaining().is_zero()) {
        let failed = AttemptFailed::NotSent {
            cause: NotSentCause::DeadlinePassed,
            detail: "the deadline passed before anything was sent".into(),
        };
        return conclude(attempt, failed_exchange(failed)).await;
    }
    let began = Instant::now();
    let times = attempt.shared.policy.times;
    let request = outgoing(&mut attempt);
    let (shared, after_doubt, send_by) =
        (Arc::clone(&attempt.shared), attempt.claim.after_doubt, attempt.claim.send_by);
    let until = began + times.total + times.late;
    let exchange = async move {
        exchange((&shared.policy, &shared.clock), after_doubt, send_by, until, inner, request).await
    };
    // Boxed only so that a late one can be moved into a task of its own.
    let mut exchange: Pin<Box<dyn Future<Output = Exchanged<R>> + Send>> = Box::pin(exchange);
    match tokio::time::timeout_at(began + times.total, &mut exchange).await {
        Ok(exchanged) => conclude(attempt, exchanged).await,
        Err(_) => {
            // A timeout ends the wait, not the reading.
            let (shared, claim) = (Arc::clone(&attempt.shared), attempt.claim.clone());
            let failed = AttemptFailed::Lost {
                cause: UnknownCause::Timeout,
                detail: format!("no answer within {} ms", times.total.as_millis()),
            };
            let response = conclude(attempt, failed_exchange(failed)).await;
            detach::spawn(take_in_late(shared, claim, exchange, until + LAST_WORD_AFTER));
            response
        }
    }
}

/// Writes down an answer that comes after its time.
async fn take_in_late<R>(
    shared: Arc<Shared>,
    claim: Claim,
    exchange: Pin<Box<dyn Future<Output = Exchanged<R>> + Send>>,
    until: Instant,
) {
    let Ok(exchanged) = tokio::time::timeout_at(until, exchange).await else { return };
    if matches!(exchanged.end, AttemptEnd::Answered(_)) {
        let finished = finish_surely(&shared, &claim, exchanged.end).await;
        tracing::info!(operation = %claim.operation, ?finished, "an answer came late");
    }
}

fn failed_exchange<R>(failed: AttemptFailed) -> Exchanged<R> {
    let end = match &failed {
        AttemptFailed::NotSent { cause, .. } => AttemptEnd::NotSent(*cause),
        AttemptFailed::HeldBack { .. } => AttemptEnd::NotSent(NotSentCause::HeldBack),
        AttemptFailed::Lost { cause, .. } => AttemptEnd::Unknown { cause: *cause, status: None },
        AttemptFailed::Broken { .. } | AttemptFailed::TooLarge { .. } => {
            AttemptEnd::Unknown { cause: UnknownCause::ConnectionLost, status: None }
        }
    };
    Exchanged { end, reply: Reply::Failed(failed) }
}

/// The request as the inner service gets it. It is taken out of the attempt, which needs it no more.
fn outgoing<B>(attempt: &mut Attempt) -> Request<RequestBody<B>> {
    let KeyedRequest { parts, body, named, owner, .. } = &mut *attempt.request;
    let nothing = Request::new(()).into_parts().0;
    let mut parts = std::mem::replace(parts, nothing);
    let own_header = named.origin == naming::KeyOrigin::Header && owner.principal.is_none();
    if !own_header {
        let key = naming::forwarded_key(named, owner, attempt.claim.operation);
        // Keys are printable ASCII, so they are valid values.
        if let Ok(value) = HeaderValue::from_str(&key) {
            parts.headers.insert(naming::KEY_HEADER, value);
        }
    }
    parts.extensions.insert(SendBy(attempt.claim.send_by));
    parts.extensions.insert(OperationContext {
        operation: attempt.claim.operation,
        fence: attempt.claim.fence,
        attempt: attempt.claim.attempt,
        after_doubt: attempt.claim.after_doubt,
    });
    if may_be_sent_again(&attempt.shared.policy, &attempt.claim) {
        parts.extensions.insert(Repeatable);
    }
    Request::from_parts(parts, std::mem::take(body).into())
}

/// Whether this attempt may be sent more than once. Rule 5 counts from the first send, so the upstream must remember
/// the key for as long as this attempt can last, and no earlier one may have used up some of that.
fn may_be_sent_again(policy: &IdempotencyPolicy, claim: &Claim) -> bool {
    let lasts = policy.times.total + policy.times.late;
    !claim.after_doubt && policy.repeatable_for.is_some_and(|remembers| remembers >= lasts)
}

/// Hands the request over, and reads what comes.
pub(super) async fn exchange<S, B, R>(
    (policy, clock): (&IdempotencyPolicy, &Clock),
    after_doubt: bool,
    send_by: BootInstant,
    until: Instant,
    mut inner: S,
    request: Request<RequestBody<B>>,
) -> Exchanged<R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    S::Error: Into<AttemptFailed>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: std::fmt::Display,
{
    if let Err(error) = std::future::poll_fn(|context| inner.poll_ready(context)).await {
        return failed_exchange(error.into());
    }
    // A client of an upstream looks again, just before it hands the bytes over; a handler has only this.
    if clock.boot() >= send_by {
        return failed_exchange(AttemptFailed::NotSent {
            cause: NotSentCause::SendByPassed,
            detail: "the claim's time to send had passed".into(),
        });
    }
    let response = match inner.call(request).await {
        Ok(response) => response,
        Err(error) => return failed_exchange(error.into()),
    };
    let status = response.status().as_u16();
    let reading = response.extensions().get::<Reading>().copied();
    match reading.unwrap_or_else(|| policy.answers.read(status, after_doubt)) {
        Reading::Completed => take_in(response, policy, until).await,
        Reading::Refused => Exchanged {
            end: AttemptEnd::Refused { status },
            reply: Reply::Response(response.map(HeldBody::Passed)),
        },
        Reading::Unknown => Exchanged {
            end: AttemptEnd::Unknown { cause: UnknownCause::Inconclusive, status: Some(status) },
            reply: Reply::Response(response.map(HeldBody::Passed)),
        },
    }
}

/// Reads a conclusive answer, as far as it is to be kept and comes until then.
async fn take_in<R>(response: Response<R>, policy: &IdempotencyPolicy, until: Instant) -> Exchanged<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: std::fmt::Display,
{
    let status = response.status().as_u16();
    let (head, body) = response.into_parts();
    let answered =
        |body: Option<&Bytes>| AttemptEnd::Answered(policy.kept.answer(status, &head.headers, body));
    let too_large = body.size_hint().lower() > policy.answer_bytes_max as u64;
    if too_large || !policy.kept.body || is_stream(&head.headers) {
        let end = answered(None);
        return Exchanged { end, reply: Reply::Response(Response::from_parts(head, HeldBody::Passed(body))) };
    }
    let idle_max = policy.times.total + policy.times.late;
    let collecting = collect(body, |read, _| read <= policy.answer_bytes_max, idle_max);
    match tokio::time::timeout_at(until, collecting).await.unwrap_or(Collected::Stalled) {
        Collected::Whole(bytes) => {
            let end = answered(Some(&bytes));
            Exchanged { end, reply: Reply::Response(Response::from_parts(head, HeldBody::whole(bytes))) }
        }
        Collected::TooLarge(read, rest) => {
            let end = answered(None);
            let body = HeldBody::resumed(read, rest);
            Exchanged { end, reply: Reply::Response(Response::from_parts(head, body)) }
        }
        Collected::Broken(reason) => {
            tracing::warn!(reason, status, "an answer's body broke off");
            Exchanged { end: answered(None), reply: Reply::Truncated }
        }
        Collected::Stalled => Exchanged { end: answered(None), reply: Reply::Truncated },
    }
}

/// A stream that may never end is passed on as it comes, and so is what says in its trailers how it went: they are
/// not kept.
fn is_stream(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"text/event-stream") || kind.starts_with(b"application/grpc"))
}

/// Writes the outcome down, and then lets the caller see it.
async fn conclude<R>(attempt: Attempt, exchanged: Exchanged<R>) -> Response<HeldBody<R>>
where
    R: Body<Data = Bytes>,
{
    let Attempt { shared, claim, held, request } = attempt;
    let answered = matches!(exchanged.end, AttemptEnd::Answered(_));
    let undone = Undone::leaves(&exchanged.end);
    let mark = trace::begin(Part::Outcome, || Facts::None);
    let finished = finish_surely(&shared, &claim, exchanged.end).await;
    let (verdict, state) = match &finished {
        Ok(Finished::Recorded(state)) => (Verdict::Written, Some(state.as_str())),
        // Another attempt holds the claim now.
        Ok(Finished::Superseded(state)) => (Verdict::Occupied, Some(state.as_str())),
        Err(_) => (Verdict::Failed, None),
    };
    trace::end(mark, verdict, |facts| *facts = Facts::Operation { operation: None, attempt: None, state });
    drop(held);
    let operation = claim.operation;
    let state = match finished {
        Ok(Finished::Recorded(state)) => state,
        // An answer that the operation does not have must not be shown: a retry would see another.
        Ok(Finished::Superseded(_)) if answered => return superseded(&shared, &claim, &request),
        Ok(Finished::Superseded(state)) => state,
        Err(error) => {
            tracing::error!(%operation, %error, "an outcome could not be written");
            return superseded(&shared, &claim, &request);
        }
    };
    let (mut response, protection) = match exchanged.reply {
        Reply::Response(mut response) => {
            let protection = mark_outcome(&mut response, state);
            (response, protection)
        }
        Reply::Truncated => {
            let problem = Problem::new(Code::ReplayUnavailable)
                .status(502)
                .detail("The request took effect, but the upstream's answer broke off.");
            (
                problem.operation(operation).instance(request.request_id.as_ref()).into_response(),
                Protection::New,
            )
        }
        Reply::Failed(failed) => {
            let repeatable = shared.policy.repeatable_for.is_some();
            let problem = failure(failed, repeatable).operation(operation);
            let protection = if state == StateName::InDoubt { Protection::InDoubt } else { Protection::New };
            (problem.instance(request.request_id.as_ref()).into_response(), protection)
        }
    };
    replay::mark_operation(response.headers_mut(), operation);
    standing::mark_origin(&mut response, &request);
    if let Some(undone) = undone.filter(|_| state == StateName::Released) {
        response.extensions_mut().insert(undone);
    }
    decided(response, protection, Some(operation))
}

/// Says on the upstream's own answer what it was taken for, where that is not "final".
fn mark_outcome<R>(response: &mut Response<HeldBody<R>>, state: StateName) -> Protection {
    match state {
        StateName::InDoubt => {
            response.headers_mut().insert(replay::OUTCOME, HeaderValue::from_static("in-doubt"));
            Protection::InDoubt
        }
        StateName::Released => {
            response.headers_mut().insert(replay::OUTCOME, HeaderValue::from_static("refused"));
            Protection::New
        }
        _ => Protection::New,
    }
}

/// The attempt lost its claim, or its outcome could not be written: the caller learns what the ledger knows.
fn superseded<R: Body<Data = Bytes>>(
    shared: &Shared,
    claim: &Claim,
    request: &KeyedRequest,
) -> Response<HeldBody<R>> {
    let resend = if shared.policy.repeatable_for.is_some() { Resend::Yes } else { Resend::No };
    let problem = Problem::new(Code::OutcomeInDoubt)
        .status(502)
        .detail("The outcome could not be written down as this attempt's.")
        .resend(resend)
        .operation(claim.operation)
        .instance(request.request_id.as_ref());
    let mut response = problem.into_response();
    replay::mark_operation(response.headers_mut(), claim.operation);
    decided(response, Protection::InDoubt, Some(claim.operation))
}

/// The refusal for an attempt that brought no answer.
fn failure(failed: AttemptFailed, repeatable: bool) -> Problem {
    match failed {
        AttemptFailed::NotSent { cause, detail } => {
            tracing::info!(detail, "an attempt was not sent");
            match cause {
                NotSentCause::ConnectFailed | NotSentCause::StreamRefused => {
                    Problem::new(Code::UpstreamUnavailable)
                }
                NotSentCause::DeadlinePassed => Problem::new(Code::DeadlineExceeded),
                NotSentCause::SendByPassed | NotSentCause::HeldBack => {
                    Problem::new(Code::TemporaryReducedCapacity).retry_after(Duration::from_secs(1))
                }
            }
        }
        AttemptFailed::HeldBack { code, retry_after, detail } => {
            tracing::debug!(detail, "an attempt was held back");
            held_back(code, retry_after, detail)
        }
        AttemptFailed::Lost { cause, detail } => {
            tracing::info!(detail, "an attempt's answer was lost");
            let status = if cause == UnknownCause::Timeout { 504 } else { 502 };
            let resend = if repeatable { Resend::Yes } else { Resend::No };
            let problem = Problem::new(Code::OutcomeInDoubt).status(status).resend(resend);
            if repeatable { problem.retry_after(Duration::from_secs(1)) } else { problem }
        }
        AttemptFailed::Broken { detail } | AttemptFailed::TooLarge { detail } => {
            failure(AttemptFailed::Lost { cause: UnknownCause::ConnectionLost, detail }, repeatable)
        }
    }
}

/// Writes an outcome, and tries again for as long as this holder lives.
async fn finish_surely(shared: &Shared, claim: &Claim, end: AttemptEnd) -> Result<Finished, LedgerError> {
    let mut pause = Duration::from_millis(10);
    loop {
        match shared.ledger.finish(claim, end.clone()).await {
            Ok(finished) => return Ok(finished),
            Err(error @ (LedgerError::Closed | LedgerError::Missing)) => return Err(error),
            Err(error) => {
                tracing::warn!(operation = %claim.operation, %error, "an outcome is not written yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(WRITE_AGAIN_MAX);
            }
        }
    }
}
