//! Accepts a request for a worker to send, instead of sending it while its caller waits: what is accepted is on disk before
//! its caller is told, and is sent whatever becomes of this process. A 202 is a promise.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use steadfast_core::{AttemptEnd, Code, Mode, NotSentCause, OperationId, Resend, StateName, Timestamp};
use steadfast_ledger::{Backlog, Enqueue, Enqueued, LedgerError, Occupied, Standing, Watch};
use tokio::time::Instant;

use super::{
    BackgroundMode, BackgroundPolicy, InProgress, Shared,
    decision::{Decision, Protection},
    due,
    kept_request::kept_request,
    lane::lane,
    naming::KeyOrigin,
    receipt::{COME_AGAIN, Receipt},
    replay,
    serve::{KeyedRequest, decided, noted_standing},
    standing,
};
use crate::{
    HeldBody, Problem, Tries,
    prefer::{PREFERENCE_APPLIED, Preferences},
    retry_after,
    trace::{self, Facts, Part, Verdict},
};

/// How long a caller without a deadline waits for the ledger.
const LEDGER_WAIT: Duration = Duration::from_secs(10);

/// What a route needs to leave work to a worker.
pub(super) struct Leaving {
    pub(super) policy: BackgroundPolicy,
    pub(super) backlog: Arc<dyn Backlog>,
}

/// How a request of a route with a background is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) when: When,
    /// How long from now it is due.
    delay: Duration,
    /// How long its caller would wait for the end.
    wait: Duration,
    /// Whether it is for the caller's preference that it is accepted,
    for_preference: bool,
    /// and whether the wait was one.
    waits_by_preference: bool,
}

/// When a request is accepted for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// As soon as it is there.
    AtOnce,
    /// Once it was tried, and nothing of it was done.
    OnFailure,
}

/// Whether the background may have to do with a request with these headers.
pub(super) fn applies(policy: &BackgroundPolicy, headers: &HeaderMap) -> bool {
    match policy.mode {
        BackgroundMode::Always | BackgroundMode::OnFailure => true,
        BackgroundMode::Allowed => due::is_said(headers) || Preferences::of(headers).respond_async,
    }
}

/// How a request with these headers is to be done; `None` where the background has nothing to do with it.
///
/// # Errors
/// What it says of when cannot be followed.
pub(super) fn asked(
    policy: &BackgroundPolicy,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<Asked>, Problem> {
    let delay = due::delay(headers, now, policy.delay_max)?;
    let preferences = Preferences::of(headers);
    // What is to be done later is not done now, whatever else is said.
    let when = match policy.mode {
        _ if delay.is_some() => When::AtOnce,
        BackgroundMode::Always => When::AtOnce,
        BackgroundMode::Allowed if preferences.respond_async => When::AtOnce,
        BackgroundMode::Allowed => return Ok(None),
        BackgroundMode::OnFailure => When::OnFailure,
    };
    let wait = preferences.wait_s.map(|seconds| Duration::from_secs(seconds.into()).min(policy.wait_max));
    Ok(Some(Asked {
        when,
        delay: delay.unwrap_or_default(),
        // Who was answered once, if only that it failed, has waited.
        wait: wait.filter(|_| when == When::AtOnce).unwrap_or_default(),
        for_preference: policy.mode == BackgroundMode::Allowed && preferences.respond_async,
        waits_by_preference: wait.is_some() && when == When::AtOnce,
    }))
}

impl Asked {
    /// Says which of its caller's preferences were followed.
    fn mark_applied<B>(&self, response: &mut Response<B>) {
        let wait = format!("wait={}", self.wait.as_secs());
        let applied = match (self.for_preference, self.waits_by_preference) {
            (false, false) => return,
            (true, false) => "respond-async".to_owned(),
            (false, true) => wait,
            (true, true) => format!("respond-async, {wait}"),
        };
        if let Ok(applied) = HeaderValue::from_str(&applied) {
            response.headers_mut().insert(PREFERENCE_APPLIED, applied);
        }
    }
}

/// Accepts a request, or answers how the operation of its name stands. Waits for the end where its caller would.
pub(super) async fn accept<R: Body<Data = Bytes>>(
    shared: &Shared,
    leaving: &Leaving,
    request: &KeyedRequest,
    asked: Asked,
) -> Response<HeldBody<R>> {
    if request.deadline.is_some_and(|deadline| deadline.remaining().is_zero()) {
        let problem = Problem::new(Code::DeadlineExceeded).instance(request.request_id.as_ref());
        return decided(problem.into_response(), Protection::Rejected, None);
    }
    let mut response = accepted_or_found(shared, leaving, request, asked).await;
    // An upstream's own answer may be a 202 as well.
    let protection = response.extensions().get::<Decision>().map(|decision| decision.protection);
    let is_unfinished = matches!(protection, Some(Protection::Accepted | Protection::Conflict));
    if is_unfinished && response.status() == StatusCode::ACCEPTED {
        standing::mark_origin(&mut response, request);
        asked.mark_applied(&mut response);
    }
    response
}

/// How the operation of a request stands.
enum Found {
    /// The request made it just now.
    Fresh(Mine),
    /// It was there already; it may be the request's own by now.
    Standing(Arc<Standing>),
}

async fn accepted_or_found<R: Body<Data = Bytes>>(
    shared: &Shared,
    leaving: &Leaving,
    request: &KeyedRequest,
    asked: Asked,
) -> Response<HeldBody<R>> {
    let arrived = Instant::now();
    let deadline = request.deadline.map(|deadline| deadline.0);
    let work = work(shared, &leaving.policy, request, asked.delay);
    let mut mine: Option<Mine> = None;
    let mut watch: Option<Watch> = None;
    loop {
        let last = deadline.unwrap_or_else(|| Instant::now() + LEDGER_WAIT);
        let found = match enqueue(leaving, request, work.clone(), last).await {
            Ok(Enqueued::Accepted { operation, due_at }) => Found::Fresh(Mine { operation, due_at }),
            Ok(Enqueued::Occupied(standing)) => Found::Standing(standing),
            // What was accepted is, whether or not the ledger can still be asked.
            Err(error) => match mine {
                Some(mine) => Found::Fresh(mine),
                None => return not_accepted(shared, request, &error),
            },
        };
        if let Found::Fresh(fresh) = &found {
            mine = Some(*fresh);
        }
        let until = patience(shared, &found, request, asked).map(|patience| {
            let until = arrived + patience;
            deadline.map_or(until, |deadline| until.min(deadline))
        });
        // Subscribe, read again, then wait: so that no completion is missed. Accepting it again reads it.
        let goes_on = match (&mut watch, until.filter(|until| *until > Instant::now())) {
            (_, None) => false,
            (Some(watch), Some(until)) => tokio::time::timeout_at(until, watch.changed()).await.is_ok(),
            (None, Some(_)) => {
                watch = shared.ledger.watch(request.named.name.digest()).ok();
                watch.is_some()
            }
        };
        if !goes_on {
            return match (found, mine) {
                (Found::Fresh(fresh), _) => fresh.receipt(StateName::Queued, asked.delay),
                (Found::Standing(standing), Some(mine)) if mine.operation == standing.operation => {
                    mine.answer(shared, &standing, request, asked)
                }
                (Found::Standing(standing), _) => standing::answer(&shared.policy, &standing, request),
            };
        }
    }
}

/// How long the caller waits for an operation that stands so; `None` where there is nothing to wait for.
fn patience(shared: &Shared, found: &Found, request: &KeyedRequest, asked: Asked) -> Option<Duration> {
    let standing = match found {
        Found::Fresh(_) => return Some(asked.wait),
        Found::Standing(standing) => standing,
    };
    if standing.fingerprint != request.fingerprint {
        return None;
    }
    match (&standing.occupied, standing.mode, shared.policy.in_progress) {
        (Occupied::Claimed { .. } | Occupied::Queued, Mode::Asynchronous, _) => Some(asked.wait),
        // The request that brought it is making its attempt.
        (Occupied::Claimed { .. }, Mode::Synchronous, InProgress::Wait(wait)) => Some(wait),
        _ => None,
    }
}

/// Hands work to the ledger, and notes what came of it.
async fn enqueue(
    leaving: &Leaving,
    request: &KeyedRequest,
    work: Enqueue,
    last: Instant,
) -> Result<Enqueued, LedgerError> {
    let mark = trace::begin(Part::Accept, || Facts::None);
    let enqueued = match tokio::time::timeout_at(last, leaving.backlog.enqueue(work)).await {
        Ok(enqueued) => enqueued,
        Err(_) => Err(LedgerError::Unreachable("it did not answer in time".into())),
    };
    let (verdict, facts) = match &enqueued {
        Ok(Enqueued::Accepted { operation, .. }) => {
            let state = Some(StateName::Queued.as_str());
            (Verdict::Written, Facts::Operation { operation: Some(*operation), attempt: None, state })
        }
        Ok(Enqueued::Occupied(standing)) => noted_standing(standing, request),
        // The refusal that follows says which.
        Err(_) => (Verdict::Failed, Facts::Why("ledger")),
    };
    trace::end(mark, verdict, |noted| *noted = facts);
    enqueued
}

fn work(shared: &Shared, background: &BackgroundPolicy, request: &KeyedRequest, delay: Duration) -> Enqueue {
    let policy = &shared.policy;
    Enqueue {
        name: request.named.name.clone(),
        fingerprint: request.fingerprint,
        owner: request.owner.clone(),
        route: Arc::clone(&policy.route),
        method: request.parts.method.as_str().into(),
        path: request.kept_path(policy),
        repeatable_for: policy.repeatable_for,
        retention: request.named.retention,
        request: kept_request(policy, background, request),
        delay,
        priority: background.priority,
        lane: background.ordering.as_ref().and_then(|ordering| lane(&policy.route, ordering, request)),
        tries_max: background.tries_max,
        age_max: background.age_max,
    }
}

/// An operation that this request made.
#[derive(Clone, Copy, Debug)]
struct Mine {
    operation: OperationId,
    due_at: Timestamp,
}

impl Mine {
    fn receipt<R: Body<Data = Bytes>>(self, state: StateName, delay: Duration) -> Response<HeldBody<R>> {
        let look_after = delay.max(COME_AGAIN);
        let receipt = Receipt { operation: self.operation, state, due_at: Some(self.due_at), look_after };
        receipt.into_response(Protection::Accepted)
    }

    /// How it stands now, said to the one who made it.
    fn answer<R: Body<Data = Bytes>>(
        self,
        shared: &Shared,
        standing: &Standing,
        request: &KeyedRequest,
        asked: Asked,
    ) -> Response<HeldBody<R>> {
        match &standing.occupied {
            Occupied::Queued => return self.receipt(StateName::Queued, asked.delay),
            Occupied::Claimed { .. } => return self.receipt(StateName::Claimed, Duration::ZERO),
            _ => {}
        }
        let mut response = standing::answer(&shared.policy, standing, request);
        // Whoever waited for the first answer gets no other one's.
        if response.headers_mut().remove(replay::REPLAYED).is_some() {
            return decided(response, Protection::New, Some(self.operation));
        }
        response
    }
}

/// The ledger does not say that it has it. Nothing was sent, and nothing is promised.
fn not_accepted<R: Body<Data = Bytes>>(
    shared: &Shared,
    request: &KeyedRequest,
    error: &LedgerError,
) -> Response<HeldBody<R>> {
    let problem = if let LedgerError::Overloaded { .. } = error {
        Problem::new(Code::TemporaryReducedCapacity).retry_after(COME_AGAIN)
    } else {
        tracing::warn!(%error, route = %shared.policy.route, "the ledger could not accept work");
        let problem = Problem::new(Code::LedgerUnavailable);
        // Whether it was written just before the ledger was lost, nobody knows.
        if request.named.origin == KeyOrigin::Generated {
            problem
                .detail("Nobody knows whether the request was kept, and it has no key by which to find out.")
                .next_step("Sent again, it may be done twice. With an Idempotency-Key it would not be.")
                .resend(Resend::No)
        } else {
            problem
                .retry_after(COME_AGAIN)
                .detail("Nobody knows whether the request was kept.")
                .next_step("Send the same request with the same key again after the time in Retry-After: it is done once.")
        }
    };
    decided(problem.instance(request.request_id.as_ref()).into_response(), Protection::LedgerLost, None)
}

/// An extension of an answer: nothing of the request was done, and the same request may be kept for later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Undone;

impl Undone {
    /// Whether an attempt that ended so left everything undone, for a reason that passes by itself.
    pub(super) fn leaves(end: &AttemptEnd) -> Option<Self> {
        let undone = match end {
            AttemptEnd::Refused { .. } => true,
            AttemptEnd::NotSent(cause) => match cause {
                NotSentCause::ConnectFailed | NotSentCause::StreamRefused | NotSentCause::HeldBack => true,
                // The caller is gone, or about to be told so.
                NotSentCause::DeadlinePassed | NotSentCause::SendByPassed => false,
            },
            AttemptEnd::Answered(_) | AttemptEnd::Unknown { .. } => false,
        };
        undone.then_some(Self)
    }
}

/// What is accepted if the attempt of a request brings nothing: a copy of it, where it can be kept.
pub(super) fn spare(leaving: Option<&Leaving>, request: &KeyedRequest) -> Option<Box<KeyedRequest>> {
    let leaving = leaving.filter(|_| request.asked.is_some_and(|asked| asked.when == When::OnFailure))?;
    let body = request.body.shared().filter(|body| body.len() <= leaving.policy.request_bytes_max)?;
    Some(Box::new(KeyedRequest {
        parts: request.parts.clone(),
        body: body.into(),
        named: request.named.clone(),
        owner: request.owner.clone(),
        fingerprint: request.fingerprint,
        request_id: request.request_id.clone(),
        deadline: request.deadline,
        asked: request.asked,
    }))
}

/// Accepts what could not be done at once, in place of the refusal.
pub(super) async fn accept_instead<R: Body<Data = Bytes>>(
    shared: &Shared,
    leaving: &Leaving,
    request: &KeyedRequest,
    mut refusal: Response<HeldBody<R>>,
) -> Response<HeldBody<R>> {
    let Some(asked) = request.asked else { return refusal };
    let backoff = leaving.policy.backoff;
    // What was just refused will be again: it comes when it is asked to, or after the first pause.
    let delay = retry_after(refusal.headers()).unwrap_or(backoff.base).max(backoff.base).min(backoff.cap);
    let mut response = accept(shared, leaving, request, Asked { delay, ..asked }).await;
    if let Some(tries) = refusal.extensions_mut().remove::<Tries>() {
        response.extensions_mut().insert(tries);
    }
    response
}

#[cfg(test)]
mod tests {
    use steadfast_core::UnknownCause;

    use super::*;

    /// When it is accepted, how long is waited for its end, and what is said of its caller's preferences.
    fn asks(mode: BackgroundMode, fields: &[(&'static str, &str)]) -> Option<(When, u64, Option<String>)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        let policy = BackgroundPolicy::new(mode);
        let asked = asked(&policy, &headers, Timestamp::from_millis(0)).expect("valid");
        assert!(asked.is_none() || applies(&policy, &headers));
        let asked = asked?;
        let mut response = Response::new(());
        asked.mark_applied(&mut response);
        let applied = response.headers().get(PREFERENCE_APPLIED);
        let applied = applied.map(|value| value.to_str().expect("a text").to_owned());
        Some((asked.when, asked.wait.as_secs(), applied))
    }

    #[test]
    fn what_is_done_in_the_background_depends_on_the_route_and_on_what_is_asked() {
        use BackgroundMode::{Allowed, Always, OnFailure};
        let (rather, wait) = (("prefer", "respond-async"), ("prefer", "wait=7"));
        let delayed = ("steadfast-delay", "5");
        for (mode, fields, expected) in [
            (Always, &[][..], Some((When::AtOnce, 0, None))),
            (Always, &[rather], Some((When::AtOnce, 0, None))),
            (Always, &[wait], Some((When::AtOnce, 7, Some("wait=7")))),
            (Always, &[("prefer", "wait=99")], Some((When::AtOnce, 30, Some("wait=30")))),
            (Allowed, &[], None),
            (Allowed, &[wait], None),
            (Allowed, &[rather], Some((When::AtOnce, 0, Some("respond-async")))),
            (Allowed, &[rather, wait], Some((When::AtOnce, 7, Some("respond-async, wait=7")))),
            (Allowed, &[delayed], Some((When::AtOnce, 0, None))),
            (OnFailure, &[], Some((When::OnFailure, 0, None))),
            (OnFailure, &[rather, wait], Some((When::OnFailure, 0, None))),
            (OnFailure, &[delayed], Some((When::AtOnce, 0, None))),
        ] {
            let expected = expected.map(|(when, wait, said)| (when, wait, said.map(str::to_owned)));
            assert_eq!(asks(mode, fields), expected, "{mode:?} {fields:?}");
        }
    }

    #[test]
    fn only_what_left_everything_undone_and_passes_by_itself_is_accepted_instead() {
        for (end, leaves) in [
            (AttemptEnd::Refused { status: 429 }, true),
            (AttemptEnd::NotSent(NotSentCause::ConnectFailed), true),
            (AttemptEnd::NotSent(NotSentCause::HeldBack), true),
            (AttemptEnd::NotSent(NotSentCause::DeadlinePassed), false),
            (AttemptEnd::NotSent(NotSentCause::SendByPassed), false),
            (AttemptEnd::Unknown { cause: UnknownCause::Timeout, status: None }, false),
        ] {
            assert_eq!(Undone::leaves(&end).is_some(), leaves, "{end:?}");
        }
    }
}
