//! What a duplicate is told: how the operation that already has its name stands.

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body::Body;
use steadfast_core::{Code, Mode, StateName};
use steadfast_ledger::{Occupied, Standing};

use super::{
    InProgress,
    decision::Protection,
    policy::IdempotencyPolicy,
    receipt::{COME_AGAIN, Receipt},
    replay,
    serve::{KeyedRequest, decided},
};
use crate::{HeldBody, Problem};

/// Answers a duplicate.
pub(super) fn answer<R: Body<Data = Bytes>>(
    policy: &IdempotencyPolicy,
    standing: &Standing,
    request: &KeyedRequest,
) -> Response<HeldBody<R>> {
    let operation = standing.operation;
    let refuse = |problem: Problem, protection| {
        let problem = problem.operation(operation).instance(request.request_id.as_ref());
        let mut response = problem.into_response();
        replay::mark_operation(response.headers_mut(), operation);
        decided(response, protection, Some(operation))
    };
    // Before anything else: the same key for something else is a mistake, however the first one stands.
    if standing.fingerprint != request.fingerprint {
        return refuse(Problem::new(Code::IdempotencyKeyReused), Protection::Mismatch);
    }
    match &standing.occupied {
        Occupied::Claimed { .. } | Occupied::Queued => in_progress(policy, standing, refuse),
        Occupied::Completed { answer, .. } => {
            if !standing.owner.discloses_to(&request.owner) {
                return refuse(Problem::new(Code::ReplayWithheld), Protection::Unavailable);
            }
            match answer.as_ref().and_then(|answer| replay::replayed(answer, operation)) {
                Some(mut response) => {
                    mark_origin(&mut response, request);
                    decided(response, Protection::Replayed, Some(operation))
                }
                None => refuse(Problem::new(Code::ReplayUnavailable), Protection::Unavailable),
            }
        }
        Occupied::InDoubt { .. } => refuse(Problem::new(Code::OutcomeInDoubt), Protection::InDoubt),
        Occupied::Dead => refuse(Problem::new(Code::OperationDead), Protection::Unavailable),
        Occupied::Cancelled => refuse(Problem::new(Code::OperationCancelled), Protection::Unavailable),
        Occupied::Tombstone => refuse(Problem::new(Code::KeyExpired), Protection::Unavailable),
    }
}

/// Says where the key came from, if not from the header.
pub(super) fn mark_origin<B>(response: &mut Response<B>, request: &KeyedRequest) {
    if let Some(origin) = request.named.origin.mark() {
        response.headers_mut().insert(replay::KEY_SOURCE, HeaderValue::from_static(origin));
    }
}

fn in_progress<R: Body<Data = Bytes>>(
    policy: &IdempotencyPolicy,
    standing: &Standing,
    refuse: impl Fn(Problem, Protection) -> Response<HeldBody<R>>,
) -> Response<HeldBody<R>> {
    // Who left work is told where it is as often as they ask; nothing comes by waiting for it here.
    let told = match standing.mode {
        Mode::Asynchronous => InProgress::Accepted,
        Mode::Synchronous => policy.in_progress,
    };
    let problem = Problem::new(Code::OperationInProgress).retry_after(COME_AGAIN);
    match told {
        InProgress::Wait(_) | InProgress::Conflict => refuse(problem, Protection::Conflict),
        InProgress::TooManyRequests => refuse(problem.status(429), Protection::Conflict),
        InProgress::Accepted => {
            let state = match &standing.occupied {
                Occupied::Queued => StateName::Queued,
                _ => StateName::Claimed,
            };
            let operation = standing.operation;
            let receipt = Receipt { operation, state, due_at: None, look_after: COME_AGAIN };
            receipt.into_response(Protection::Conflict)
        }
    }
}
