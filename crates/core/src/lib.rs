//! What an operation is, and every rule about it that needs no disk, no socket and no clock.
//!
//! Everything here is a value or a pure function: an idempotency [key](Key), the [namespace](Namespace) in
//! which it is unique, the [fingerprint](Fingerprint) of what was asked, and the [state machine](transition)
//! that an operation lives by. Stores and servers read the clock and hand the facts in as events.

mod answer;
mod api_key;
mod attempt;
mod backoff;
mod ban;
mod baseline;
mod call_window;
mod canonical_json;
pub mod circuit;
mod credential;
mod digest;
mod domain;
mod fence;
mod fingerprint;
mod gcra;
mod gradient;
mod header_fields;
mod health;
mod key;
mod lane;
mod lifecycle;
mod limit;
mod multipart;
mod operation_id;
mod owner;
mod pace;
mod parameters;
mod peak_ewma;
mod problem;
mod rate_limit_header;
mod reading;
mod repeat;
mod resolution;
mod retry;
mod retry_after;
mod retry_budget;
mod stamina;
mod state;
mod timestamp;
mod transition;

pub use answer::{Answer, AnswerDigest};
pub use api_key::{
    ApiKey, ApiKeyDigest, InvalidApiKey, KEY_PREFIX_CHARS_MAX, check_api_key, has_key_prefix, is_key_prefix,
};
pub use attempt::{AttemptEnd, NotSentCause, UnknownCause};
pub use backoff::Backoff;
pub use ban::{
    Ban, BanOrder, BanSource, BanSubject, BanTime, InvalidBanSubject, REPEATED_WITHIN, is_challenge,
};
pub use baseline::{BASELINE_AT_LEAST_MIN, Baseline, BaselinePolicy, Compared};
pub use canonical_json::{NotCanonical, canonical_json};
pub use credential::{CredentialId, InvalidCredentialId};
pub use digest::{Bucket, ForwardedKey, OperationDigest};
pub use fence::Fence;
pub use fingerprint::{Fingerprint, FingerprintBuilder};
pub use gcra::{Gcra, Rate};
pub use gradient::{Gradient, GradientPolicy, Sample};
pub use header_fields::{HeaderFields, NotHeaderFields};
pub use health::{Health, HealthThresholds};
pub use key::{InvalidKey, KEY_CHARS_MAX, Key};
pub use lane::lane_digest;
pub use lifecycle::{Brownout, Lifecycle, Served};
pub use limit::{LimitAlgorithm, LimitDecision, LimitDigest, LimitState, Period, Quota};
pub use multipart::MultipartFingerprint;
pub use operation_id::{InvalidOperationId, OperationId};
pub use owner::{CredentialDigest, EmptyNamespace, Namespace, Owner, Principal};
pub use pace::{PAUSE_MAX, Pace};
pub use peak_ewma::PeakEwma;
pub use problem::{Code, HELP_BASE, Resend};
pub use rate_limit_header::{Allowance, rate_limit, remaining_and_reset};
pub use reading::{AnswerPolicy, Reading};
pub use repeat::{Rerun, rerun};
pub use resolution::{Answered, Learned, LookUp, Resolution, Standing};
pub use retry::{TryEnd, TryFacts};
pub use retry_after::retry_after;
pub use retry_budget::{RetryBudget, RetryBudgetPolicy};
pub use stamina::{ATTEMPTS_MAX, Next, Stamina, after_attempt};
pub use state::{Doubt, Mode, State, StateName};
pub use timestamp::Timestamp;
pub use transition::{AfterUnknown, AfterUnsent, Effect, Event, EventName, Refused, Transition, transition};
