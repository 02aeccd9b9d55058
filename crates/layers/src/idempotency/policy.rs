//! What a route says about idempotency, checked once when it is made.

use std::{sync::Arc, time::Duration};

use http::Method;
use steadfast_core::{ATTEMPTS_MAX, AnswerPolicy};
use steadfast_ledger::{KeepFrom, Retention};

use super::{BackgroundPolicy, Kept};
use crate::IdentityPolicy;

/// Where a request's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The `Idempotency-Key` header.
    Header,
    /// The header, or this field of a JSON body (a dotted path). The header wins; where both are there and
    /// disagree, the request is refused.
    HeaderOrField(String),
    /// Derived from these fields of a JSON body (dotted paths), all of which must be there.
    Fields(Vec<String>),
    /// The header where there is one; else the same request by the same caller within this time is the same
    /// operation, counted from its claim and bound while it is unfinished.
    Window(Duration),
}

/// In what room a key is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceScope {
    /// Every caller of the route: what is right where nothing in front verifies principals.
    Route,
    /// The verified principal, on every route.
    Principal,
    /// The verified principal, on this route.
    PrincipalAndRoute,
    /// Everything.
    Global,
}

/// What a duplicate of a running operation gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InProgress {
    /// Waits this long at most, never past its deadline, for the answer; then as [`InProgress::Conflict`].
    Wait(Duration),
    /// 409 and Retry-After, at once.
    Conflict,
    /// 429 and Retry-After, at once.
    TooManyRequests,
    /// 202 and the operation's Location, at once.
    Accepted,
}

/// How a body counts in the fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyFingerprint {
    /// Byte by byte.
    Bytes,
    /// As JSON in canonical form, without these fields (dotted paths). A body that is not JSON counts byte by byte.
    Json {
        /// The fields to leave out.
        omit: Vec<String>,
    },
    /// As multipart whose boundary does not count, without the parts of these names. A body that is not multipart
    /// counts byte by byte.
    Multipart {
        /// The parts to leave out, by the `name` in their Content-Disposition.
        omit: Vec<String>,
    },
}

/// What happens to a keyed request when the ledger cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLedgerLoss {
    /// 503 and Retry-After; nothing is sent.
    Refuse,
    /// It is forwarded unprotected, and marked so.
    Forward,
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptTimes {
    /// From the claim to the end of the answer; then its outcome is unknown.
    pub total: Duration,
    /// How much longer a late answer is still taken in.
    pub late: Duration,
}

/// Everything that a route says about idempotency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyPolicy {
    /// The route's name.
    pub route: Arc<str>,
    /// The methods it applies to; others pass untouched.
    pub methods: Vec<Method>,
    /// Where the key comes from.
    pub key: KeySource,
    /// Whether a request without a key is refused; if not, it passes unprotected.
    pub required: bool,
    /// Whether a keyed request without any identity is accepted.
    pub anonymous: bool,
    /// In what room a key is unique.
    pub namespace: NamespaceScope,
    /// Whether each host has a room of its own on this route. For one that serves any number of hosts, which are
    /// different tenants rather than different names of one API.
    pub room_per_host: bool,
    /// Which headers carry the credential.
    pub identity: IdentityPolicy,
    /// What a duplicate of a running operation gets.
    pub in_progress: InProgress,
    /// How a body counts in the fingerprint.
    pub fingerprint: BodyFingerprint,
    /// For how long a finished operation is kept. For a window, [`KeySource::Window`] goes before it.
    pub retention: Retention,
    /// The largest body of a keyed request, in bytes.
    pub request_bytes_max: usize,
    /// Up to how many bytes a keyed request's body stays in memory; a larger one is spooled to disk. What must be
    /// read whole (JSON that is compared as such, keys in a body) may not be larger.
    pub request_memory_max: usize,
    /// How long a keyed request's body may stay away without a byte.
    pub request_idle_max: Duration,
    /// The largest answer that is kept for replay, in bytes.
    pub answer_bytes_max: usize,
    /// What of a request and its answer is written down.
    pub kept: Kept,
    /// How statuses are read.
    pub answers: AnswerPolicy,
    /// For how long after the first send the upstream takes the same key once; `None`: it is not repeatable.
    pub repeatable_for: Option<Duration>,
    /// How long an attempt may take.
    pub times: AttemptTimes,
    /// What happens when the ledger cannot be reached.
    pub on_ledger_loss: OnLedgerLoss,
    /// What is done in the background; nothing unless stated.
    pub background: Option<BackgroundPolicy>,
}

/// A policy contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A window needs to know who is calling, or two strangers' equal requests would be one.
    #[error("a window needs an identity: it cannot be combined with anonymous = true")]
    AnonymousWindow,
    /// There are no fields to derive a key from.
    #[error("there are no fields to derive a key from")]
    NoFields,
    /// Nothing can be left to a worker where there is no backlog to leave it in.
    #[error("a background needs a ledger with a backlog")]
    NoBacklog,
    /// An operation has one attempt at least, and a bounded number of them.
    #[error("1 to {ATTEMPTS_MAX} attempts are possible")]
    Attempts,
    /// A duration must be longer than zero.
    #[error("{0} must be longer than zero")]
    Zero(&'static str),
}

impl IdempotencyPolicy {
    /// The defaults for a route of this name: keys optional on POST and PATCH, kept for 24 hours, waiting 5
    /// seconds for a running duplicate, nothing repeatable, bodies up to 10 MB (1 MB of them in memory) and
    /// answers up to 1 MB.
    #[must_use]
    pub fn for_route(route: &str) -> Self {
        Self {
            route: route.into(),
            methods: vec![Method::POST, Method::PATCH],
            key: KeySource::Header,
            required: false,
            anonymous: false,
            namespace: NamespaceScope::Route,
            room_per_host: false,
            identity: IdentityPolicy::default(),
            in_progress: InProgress::Wait(Duration::from_secs(5)),
            fingerprint: BodyFingerprint::Bytes,
            retention: Retention {
                keep: Duration::from_secs(24 * 3600),
                from: KeepFrom::Finish,
                tombstone: None,
            },
            request_bytes_max: 10 << 20,
            request_memory_max: 1 << 20,
            request_idle_max: Duration::from_secs(30),
            answer_bytes_max: 1 << 20,
            kept: Kept::default(),
            answers: AnswerPolicy::default(),
            repeatable_for: None,
            times: AttemptTimes { total: Duration::from_secs(30), late: Duration::from_secs(30) },
            on_ledger_loss: OnLedgerLoss::Refuse,
            background: None,
        }
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`InvalidPolicy`] names the contradiction.
    pub fn check(&self) -> Result<(), InvalidPolicy> {
        match &self.key {
            KeySource::Window(_) if self.anonymous => return Err(InvalidPolicy::AnonymousWindow),
            KeySource::Window(window) if window.is_zero() => return Err(InvalidPolicy::Zero("the window")),
            KeySource::Fields(fields) if fields.is_empty() => return Err(InvalidPolicy::NoFields),
            _ => {}
        }
        if let Some(background) = &self.background {
            if !(1..=ATTEMPTS_MAX).contains(&background.tries_max) {
                return Err(InvalidPolicy::Attempts);
            }
            if background.age_max.is_zero() {
                return Err(InvalidPolicy::Zero("age_max"));
            }
        }
        for (duration, name) in [(self.times.total, "total"), (self.retention.keep, "keep")] {
            if duration.is_zero() {
                return Err(InvalidPolicy::Zero(name));
            }
        }
        Ok(())
    }
}
