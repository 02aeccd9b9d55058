//! The Steadfast layers: each wraps any tower service of HTTP requests, whether a gateway's client of an upstream
//! or an axum handler.
//!
//! Outermost first, as a stack wires them: [`RequestIdLayer`], [`DeadlineLayer`], [`IdempotencyLayer`].

mod attempt;
mod body;
mod deadline;
mod idempotency;
mod identity;
mod problem;
mod request_id;

pub use attempt::{AttemptFailed, SendBy};
pub use body::HeldBody;
pub use deadline::{Deadline, DeadlineFuture, DeadlineLayer, DeadlineService, TIMEOUT_HEADER};
pub use idempotency::{
    AttemptTimes, BodyFingerprint, Decision, IdempotencyFuture, IdempotencyLayer, IdempotencyPolicy,
    IdempotencyService, InProgress, InvalidPolicy, Kept, KeySource, NamespaceScope, OnLedgerLoss,
    OperationContext, Protection,
};
pub use identity::{IdentityPolicy, owner_of};
pub use problem::Problem;
pub use request_id::{REQUEST_ID_HEADER, RequestId, RequestIdFuture, RequestIdLayer, RequestIdService};
