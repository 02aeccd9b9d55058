//! The Steadfast layers: each wraps any tower service of HTTP requests, whether a gateway's client of an upstream
//! or an axum handler.
//!
//! Outermost first, as a stack wires them: [`RequestIdLayer`], [`CorsLayer`], [`FallbackLayer`], [`FailureLayer`],
//! [`DeadlineLayer`], [`IdempotencyLayer`].

mod attempt;
mod body;
mod cors;
mod deadline;
mod degraded;
mod failure;
mod fallback;
mod idempotency;
mod identity;
mod problem;
mod request_body;
mod request_id;
mod rewrite;
mod tally;

pub use attempt::{AttemptFailed, SendBy};
pub use body::{BodyTooLarge, HeldBody};
pub use cors::{
    AllowedOrigins, CorsFuture, CorsLayer, CorsPolicy, CorsService, InvalidOrigin, OriginPattern,
    announced_method,
};
pub use deadline::{Deadline, DeadlineFuture, DeadlineLayer, DeadlineService, TIMEOUT_HEADER};
pub use degraded::{DEGRADED_HEADER, Rung};
pub use failure::{FailureFuture, FailureLayer, FailureService};
pub use fallback::{Fallback, FallbackFuture, FallbackLayer, FallbackService, FallbackSource, FixedAnswer};
pub use idempotency::{
    AttemptTimes, BodyFingerprint, Decision, IdempotencyFuture, IdempotencyLayer, IdempotencyPolicy,
    IdempotencyService, InProgress, InvalidPolicy, Kept, KeySource, NamespaceScope, OnLedgerLoss,
    OperationContext, Protection, Spool, SpoolLimits,
};
pub use identity::{IdentityPolicy, owner_of};
pub use problem::Problem;
pub use request_body::{RequestBody, RequestBodyError};
pub use request_id::{REQUEST_ID_HEADER, RequestId, RequestIdFuture, RequestIdLayer, RequestIdService};
pub use rewrite::{
    AnswersFuture, AnswersLayer, AnswersService, HeaderEdits, OutgoingLayer, OutgoingService, RewritePolicy,
};
pub use tally::{Count, Counted, RouteTally, UpstreamTally};
