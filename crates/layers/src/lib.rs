//! The Steadfast layers: each wraps any tower service of HTTP requests, whether a gateway's client of an upstream
//! or an axum handler.
//!
//! Outermost first, as a stack wires them: [`RequestIdLayer`], [`CorsLayer`], [`LifecycleLayer`],
//! [`BanLayer`], [`AuthenticationLayer`], [`BanLayer`] again, [`VersionGateLayer`], [`PreconditionLayer`], [`FallbackLayer`], [`FailureLayer`],
//! [`DeadlineLayer`], [`LimitsLayer`], [`CacheLayer`], [`IdempotencyLayer`], [`OutgoingLayer`], [`RetryLayer`],
//! [`ConcurrencyLayer`], [`CourtesyLayer`].

mod abuse;
mod attempt;
mod authentication;
mod body;
mod bulkhead;
mod cache;
mod circuit;
mod circuit_layer;
mod concurrency;
mod cors;
mod courtesy;
mod deadline;
mod degraded;
mod expression;
mod failure;
mod fallback;
mod guarded_body;
mod idempotency;
mod identity;
mod lifecycle;
mod limits;
mod precondition;
mod prefer;
mod principal;
mod problem;
mod random;
mod refusable;
mod refusal_template;
mod repeating;
mod request_body;
mod request_id;
mod retry;
mod retry_after;
mod rewrite;
mod tally;
pub mod trace;
mod tried;
mod usage;
mod version_gate;

pub use abuse::{
    AbuseGuard, AbusePolicy, AbuseTallies, AutomaticBan, BASELINES_MAX, BanFuture, BanLayer, BanList,
    BanService, BaselineRule, StaticBan, UNWRITTEN_BANS_MAX,
};
pub use attempt::{AttemptFailed, Repeatable, SendBy};
pub use authentication::{
    Algorithm, ApiKeys, AuthenticationFuture, AuthenticationLayer, AuthenticationService, Authenticator,
    CredentialSource, Forward, ForwardPolicy, Head, Introspection, IntrospectionPolicy, InvalidKeySet, Jwt,
    JwtPolicy, KeyRing, KeySet, KeyUse, Keys, Kind, Known, NamedAs, Outbound, PRINCIPAL_HEADER, Reserved,
    RouteAuthentication, RouteAuthenticationPolicy, Verified, form_encoded,
};
pub use body::{BodyTooLarge, HeldBody};
pub use bulkhead::{Bulkhead, BulkheadPolicy, Priority, Slot};
pub use cache::{
    CACHE_STATUS, CacheBody, CacheFuture, CacheLayer, CacheOutcome, CachePolicy, CacheService, CacheStats,
    CacheStore, Purge, Recorded,
};
pub use circuit::{ByHand, Circuit, Permit, Siblings, call_answered, call_failed, held_by_circuit};
pub use circuit_layer::{CircuitFuture, CircuitLayer, CircuitService};
pub use concurrency::{ConcurrencyFuture, ConcurrencyLayer, ConcurrencyService};
pub use cors::{
    AllowedOrigins, CorsFuture, CorsLayer, CorsPolicy, CorsService, InvalidOrigin, OriginPattern,
    announced_method,
};
pub use courtesy::{Courtesy, CourtesyFuture, CourtesyLayer, CourtesyPolicy, CourtesyService};
pub use deadline::{Deadline, DeadlineFuture, DeadlineLayer, DeadlineService, TIMEOUT_HEADER};
pub use degraded::{DEGRADED_HEADER, Rung};
pub use expression::{Expression, InvalidExpression, expression_context, headers_value};
pub use failure::{FailureFuture, FailureLayer, FailureService};
pub use fallback::{Fallback, FallbackFuture, FallbackLayer, FallbackService, FallbackSource, FixedAnswer};
pub use guarded_body::GuardedBody;
pub use idempotency::{
    AttemptTimes, BackgroundMode, BackgroundPolicy, BodyFingerprint, Decision, IdempotencyFuture,
    IdempotencyLayer, IdempotencyPolicy, IdempotencyService, InProgress, InvalidPolicy, JobAttempt,
    JobAttempts, Kept, KeySource, LateEnd, NamespaceScope, OnLedgerLoss, OperationContext, Ordering,
    OrderingKey, Protection, Spool, SpoolLimits, replayed, under_own_key,
};
pub use identity::{IdentityPolicy, owner_of};
pub use lifecycle::{
    DEPRECATION, LifecycleFuture, LifecycleLayer, LifecyclePolicy, LifecycleService, SUNSET,
};
pub use limits::{
    ClientAddress, Cost, CostFromAnswer, ENFORCED_ON_ALL, LIMIT_VARIABLES, LIMITED_KEYS_MAX, LIMITS_MAX,
    Limit, LimitClock, LimitHeaders, LimitPolicy, LimitStore, LimitedBody, LimitedKey, Limiter, LimitsFuture,
    LimitsLayer, LimitsService, LocalLimits, Look, LookedUp, MostRefused, NoSuchSubject, Per, Raise,
    RefusedSubject, RouteLimits, Standing, Take, Taken, TakenLater,
};
pub use precondition::{PRECONDITION_METHODS, PreconditionLayer, PreconditionService};
pub use principal::{PLAN, Principal, PrincipalFacts, TENANT};
pub use problem::Problem;
pub use refusable::RefusableFuture;
pub use refusal_template::{InvalidTemplate, RefusalTemplate};
pub use request_body::{RequestBody, RequestBodyError};
pub use request_id::{REQUEST_ID_HEADER, RequestId, RequestIdFuture, RequestIdLayer, RequestIdService};
pub use retry::{
    ATTEMPT_HEADER, RetryFuture, RetryLayer, RetryPolicy, RetryService, Retrying, SharedRetryBudget, Tries,
};
pub use retry_after::retry_after;
pub use rewrite::{
    AnswersFuture, AnswersLayer, AnswersService, HeaderEdits, OutgoingLayer, OutgoingService, RewritePolicy,
};
pub use tally::{
    BanTally, BaselineTally, Count, Counted, LimitTally, RouteTally, UpstreamTally, VersionTally,
};
pub use tried::{EndpointId, Tried};
pub use usage::{UsageLine, UsageTable, Used, VersionCaller, VersionUsage};
pub use version_gate::{VersionGate, VersionGateLayer, VersionGateService};
