//! One keyed request, from its first byte to its answer.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, request::Parts};
use http_body::Body;
use steadfast_core::{Code, Fence, Fingerprint, Mode, OperationId, Owner, Resend, StateName};
use steadfast_ledger::{ClaimOutcome, ClaimRequest, Durability, LedgerError, Occupied, Standing};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    IdempotencyPolicy, InProgress, KeySource, OnLedgerLoss, Shared,
    accept::{self, Asked, Undone, When},
    decision::{Decision, Protection},
    detach::Detach,
    intake::{self, Kept},
    naming::{self, Named},
    replay,
    run::{self, Attempt},
    standing,
};
use crate::{
    AttemptFailed, Deadline, HeldBody, Problem, RequestBody, owner_of,
    request_id::{RequestId, request_id_of},
    trace::{self, Facts, Part, Verdict},
};

/// How long after an attempt's own time a caller without a deadline is kept waiting for its outcome to be
/// written.
const OUTCOME_WAIT: Duration = Duration::from_secs(5);

/// A request that was read and named. It is boxed wherever it goes: it is large, and passes through many futures.
pub(super) struct KeyedRequest {
    pub(super) parts: Parts,
    pub(super) body: Kept,
    pub(super) named: Named,
    pub(super) owner: Owner,
    pub(super) fingerprint: Fingerprint,
    pub(super) request_id: Option<RequestId>,
    pub(super) deadline: Option<Deadline>,
    /// How it is to be done in the background, if at all.
    pub(super) asked: Option<Asked>,
}

impl KeyedRequest {
    /// What of its path is written down.
    pub(super) fn kept_path(&self, policy: &IdempotencyPolicy) -> Box<str> {
        if policy.kept.path { self.parts.uri.path().into() } else { Box::default() }
    }
}

/// Serves a request that the policy applies to.
pub(super) async fn serve<S, B, R>(
    shared: Arc<Shared>,
    mut inner: S,
    request: Request<B>,
) -> Result<Response<HeldBody<R>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<AttemptFailed> + Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display + Send,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: std::fmt::Display + Send,
{
    let request_id = request_id_of(request.extensions());
    let read = read_and_name(&shared, request).await;
    match read {
        Ok(Read::Keyed(keyed)) => Ok(match (&shared.leaving, keyed.asked) {
            (Some(leaving), Some(asked)) if asked.when == When::AtOnce => {
                // Boxed: most requests are none of these.
                Box::pin(accept::accept(&shared, leaving, &keyed, asked)).await
            }
            _ => execute(shared, inner, keyed).await,
        }),
        Ok(Read::Unkeyed(request)) => {
            std::future::poll_fn(|context| inner.poll_ready(context)).await?;
            Ok(inner.call(*request).await?.map(HeldBody::Passed))
        }
        Err(problem) => {
            let protection = match problem.code() {
                Code::IdempotencyKeyMissing => Protection::Missing,
                _ => Protection::Rejected,
            };
            Ok(decided(problem.instance(request_id.as_ref()).into_response(), protection, None))
        }
    }
}

/// A request after its body was looked at.
enum Read<B> {
    Keyed(Box<KeyedRequest>),
    /// It has no key, and needs none.
    Unkeyed(Box<Request<RequestBody<B>>>),
}

async fn read_and_name<B>(shared: &Shared, request: Request<B>) -> Result<Read<B>, Problem>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let policy = &shared.policy;
    // The key is checked before anything is read or looked up.
    let header_key = naming::key_in_header(request.headers())?;
    let asked = match &shared.leaving {
        Some(leaving) => accept::asked(&leaving.policy, request.headers(), shared.clock.wall())?,
        None => None,
    };
    if header_key.is_none() && policy.key == KeySource::Header && (policy.required || asked.is_none()) {
        return Err(Problem::new(Code::IdempotencyKeyMissing));
    }
    let owner = owner_of(&request, &policy.identity);
    let (mut parts, body) = request.into_parts();
    let when = asked.map(|asked| asked.when);
    // Nothing was promised to it: it passes as it would if there were no background.
    let is_nobodys = header_key.is_none() && policy.key == KeySource::Header;
    if is_nobodys && when == Some(When::OnFailure) && !naming::has_room(policy, &owner) {
        return Ok(Read::Unkeyed(Box::new(Request::from_parts(parts, RequestBody::passed(body)))));
    }
    let kept_max = shared.leaving.as_ref().filter(|_| when == Some(When::AtOnce));
    let kept_max = kept_max.map(|leaving| leaving.policy.request_bytes_max);
    let (body, fingerprint) = intake::take_in(shared, &parts, body, kept_max).await?;
    // The body is whole now: how it was framed, and whether to ask before sending it, is settled.
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::EXPECT);
    let room = naming::host_of(&parts);
    let named = match naming::name(policy, header_key, &owner, room, fingerprint, body.in_memory())? {
        Some(named) => named,
        None if policy.required => {
            return Err(Problem::new(Code::IdempotencyKeyMissing).detail(missing_key(&policy.key)));
        }
        None if asked.is_some() => naming::generated(policy, &owner, room)?,
        None => return Ok(Read::Unkeyed(Box::new(Request::from_parts(parts, body.into())))),
    };
    let request_id = request_id_of(&parts.extensions);
    let deadline = parts.extensions.get::<Deadline>().copied();
    let keyed = KeyedRequest { parts, body, named, owner, fingerprint, request_id, deadline, asked };
    Ok(Read::Keyed(Box::new(keyed)))
}

fn missing_key(source: &KeySource) -> String {
    match source {
        KeySource::Header | KeySource::Window(_) => "Send it in the Idempotency-Key header.".into(),
        KeySource::HeaderOrField(path) => {
            format!("Send it in the Idempotency-Key header or in the JSON body's `{path}`.")
        }
        KeySource::Fields(paths) => {
            format!(
                "It is made from these fields of the JSON body, all of which must be there: {}.",
                paths.join(", ")
            )
        }
    }
}

/// What became of a claim.
enum Step<S, R> {
    Answered(Response<HeldBody<R>>),
    Occupied(Arc<Standing>, S, Box<KeyedRequest>),
    /// The ledger could not claim it; nothing was sent.
    Lost(LedgerError, S, Box<KeyedRequest>),
}

async fn execute<S, B, R>(
    shared: Arc<Shared>,
    mut inner: S,
    mut request: Box<KeyedRequest>,
) -> Response<HeldBody<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<AttemptFailed> + Send,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: std::fmt::Display + Send,
{
    let request_id = request.request_id.clone();
    let arrived = Instant::now();
    let deadline = request.deadline.map(|deadline| deadline.0);
    let mut watch = None;
    let spare = accept::spare(shared.leaving.as_ref(), &request);
    loop {
        let operation = Arc::new(OnceLock::new());
        let claiming = claim_and_run(Arc::clone(&shared), inner, request, Arc::clone(&operation));
        // From here on the caller may leave, and the claim is seen through without it.
        let unit = Detach::new(claiming);
        let last = deadline.unwrap_or_else(|| {
            Instant::now() + shared.policy.times.total + shared.ledger_wait() + OUTCOME_WAIT
        });
        let step = match tokio::time::timeout_at(last, unit).await {
            Ok(step) => step,
            Err(_) => return left_behind(operation.get().copied(), request_id.as_ref()),
        };
        let standing = match step {
            Step::Answered(response) => {
                let spare = spare.filter(|_| response.extensions().get::<Undone>().is_some());
                return match (&shared.leaving, spare) {
                    (Some(leaving), Some(spare)) => {
                        Box::pin(accept::accept_instead(&shared, leaving, &spare, response)).await
                    }
                    _ => response,
                };
            }
            Step::Lost(error, inner, request) => return ledger_lost(&shared, error, inner, request).await,
            Step::Occupied(standing, service, back) => {
                (inner, request) = (service, back);
                standing
            }
        };
        let wait_until = match (&standing.occupied, shared.policy.in_progress) {
            (Occupied::Claimed { .. }, InProgress::Wait(wait))
                if standing.fingerprint == request.fingerprint && standing.mode == Mode::Synchronous =>
            {
                let until = arrived + wait;
                deadline.map_or(until, |deadline| until.min(deadline))
            }
            _ => return standing::answer(&shared.policy, &standing, &request),
        };
        // Subscribe, read again, then wait: so that no completion is missed.
        match &mut watch {
            None => match shared.ledger.watch(standing.name.digest()) {
                Ok(subscribed) => watch = Some(subscribed),
                Err(_) => return standing::answer(&shared.policy, &standing, &request),
            },
            Some(watch) => {
                if tokio::time::timeout_at(wait_until, watch.changed()).await.is_err() {
                    return standing::answer(&shared.policy, &standing, &request);
                }
            }
        }
    }
}

async fn claim_and_run<S, B, R>(
    shared: Arc<Shared>,
    inner: S,
    request: Box<KeyedRequest>,
    operation: Arc<OnceLock<OperationId>>,
) -> Step<S, R>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<AttemptFailed> + Send,
    B: Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: std::fmt::Display + Send,
{
    let mark = trace::begin(Part::Claim, || Facts::None);
    let claimed = shared.ledger.claim(claim_request(&shared, &request)).await;
    let (verdict, facts) = noted(&claimed, &request);
    trace::end(mark, verdict, |noted| *noted = facts);
    match claimed {
        Ok(ClaimOutcome::Granted(claim)) => {
            let _ = operation.set(claim.operation);
            let held = shared.ledger.live().hold(claim.operation, claim.fence);
            let attempt = Attempt { shared, claim, held, request };
            Step::Answered(run::run(attempt, inner).await)
        }
        Ok(ClaimOutcome::Occupied(standing)) => Step::Occupied(standing, inner, request),
        Err(error) => Step::Lost(error, inner, request),
    }
}

/// What is noted of a claim.
fn noted(claimed: &Result<ClaimOutcome, LedgerError>, request: &KeyedRequest) -> (Verdict, Facts) {
    match claimed {
        Ok(ClaimOutcome::Granted(claim)) => {
            let (operation, attempt) = (Some(claim.operation), Some(claim.attempt));
            (Verdict::Passed, Facts::Operation { operation, attempt, state: None })
        }
        Ok(ClaimOutcome::Occupied(standing)) => noted_standing(standing, request),
        // The refusal that follows says which.
        Err(_) => (Verdict::Failed, Facts::Why("ledger")),
    }
}

/// What is noted of an operation that has the key already. How it stands is told to nobody else than whose it is, and
/// only of the same request.
pub(super) fn noted_standing(standing: &Standing, request: &KeyedRequest) -> (Verdict, Facts) {
    let operation = Some(standing.operation);
    let is_the_same = standing.fingerprint == request.fingerprint;
    if !is_the_same || !standing.owner.discloses_to(&request.owner) {
        return (Verdict::Occupied, Facts::Operation { operation, attempt: None, state: None });
    }
    let (state, verdict) = match &standing.occupied {
        Occupied::Completed { answer: Some(answer), .. } if replay::is_readable(answer) => {
            (StateName::Completed, Verdict::Replayed)
        }
        Occupied::Completed { .. } => (StateName::Completed, Verdict::Occupied),
        Occupied::Claimed { .. } => (StateName::Claimed, Verdict::Occupied),
        Occupied::InDoubt { .. } => (StateName::InDoubt, Verdict::Occupied),
        Occupied::Queued => (StateName::Queued, Verdict::Occupied),
        Occupied::Dead => (StateName::Dead, Verdict::Occupied),
        Occupied::Cancelled => (StateName::Cancelled, Verdict::Occupied),
        Occupied::Tombstone => (StateName::Tombstone, Verdict::Occupied),
    };
    (verdict, Facts::Operation { operation, attempt: None, state: Some(state.as_str()) })
}

fn claim_request(shared: &Shared, request: &KeyedRequest) -> ClaimRequest {
    let policy = &shared.policy;
    ClaimRequest {
        name: request.named.name.clone(),
        fingerprint: request.fingerprint,
        owner: request.owner.clone(),
        fence: Fence::random(),
        route: Arc::clone(&policy.route),
        method: request.parts.method.as_str().into(),
        path: request.kept_path(policy),
        request_id: request.request_id.as_ref().map(|id| id.as_str().into()),
        repeatable_for: policy.repeatable_for,
        retention: request.named.retention,
        // The loss of such a claim costs only a repeat that is allowed; a window's would forget the window.
        durability: match (policy.repeatable_for, request.named.origin) {
            (Some(_), origin) if origin != naming::KeyOrigin::Window => Durability::Relaxed,
            _ => Durability::Synced,
        },
    }
}

impl Shared {
    /// How long a claim may wait for the ledger itself.
    fn ledger_wait(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// The caller's time is up, and what it asked for goes on.
fn left_behind<R>(operation: Option<OperationId>, request_id: Option<&RequestId>) -> Response<HeldBody<R>>
where
    R: Body<Data = Bytes>,
{
    let mut problem = Problem::new(Code::OutcomeInDoubt)
        .status(504)
        .detail("The deadline passed while the request was under way. It goes on without you.")
        .resend(Resend::Yes)
        .retry_after(Duration::from_secs(1))
        .instance(request_id);
    if let Some(operation) = operation {
        problem = problem.operation(operation);
    }
    let mut response = problem.into_response();
    if let Some(operation) = operation {
        replay::mark_operation(response.headers_mut(), operation);
    }
    decided(response, Protection::InDoubt, operation)
}

/// The ledger could not claim it, and nothing was sent: refused, or forwarded unprotected where the route says so.
async fn ledger_lost<S, B, R>(
    shared: &Shared,
    error: LedgerError,
    mut inner: S,
    request: Box<KeyedRequest>,
) -> Response<HeldBody<R>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>>,
    S::Error: Into<AttemptFailed>,
    R: Body<Data = Bytes>,
{
    let code = match error {
        LedgerError::Overloaded { .. } => Code::TemporaryReducedCapacity,
        _ => Code::LedgerUnavailable,
    };
    if code == Code::LedgerUnavailable {
        tracing::warn!(%error, route = %shared.policy.route, "the ledger could not claim an operation");
    }
    if code == Code::TemporaryReducedCapacity || shared.policy.on_ledger_loss == OnLedgerLoss::Refuse {
        let problem =
            Problem::new(code).retry_after(Duration::from_secs(1)).instance(request.request_id.as_ref());
        return decided(problem.into_response(), Protection::LedgerLost, None);
    }
    let request_id = request.request_id;
    let ready = std::future::poll_fn(|context| inner.poll_ready(context)).await;
    let result = match ready {
        Ok(()) => inner.call(Request::from_parts(request.parts, request.body.into())).await,
        Err(error) => Err(error),
    };
    let mut response = match result {
        Ok(response) => response.map(HeldBody::Passed),
        Err(error) => error.into().unprotected().instance(request_id.as_ref()).into_response(),
    };
    response.headers_mut().insert(replay::PROTECTION, HeaderValue::from_static("none"));
    decided(response, Protection::Unprotected, None)
}

/// Leaves word of the decision for whoever logs and counts.
pub(super) fn decided<R>(
    mut response: Response<HeldBody<R>>,
    protection: Protection,
    operation: Option<OperationId>,
) -> Response<HeldBody<R>> {
    response.extensions_mut().insert(Decision { protection, operation, digest: None });
    response
}
