//! What a route lets happen in the background.

use std::time::Duration;

use http::HeaderName;
use steadfast_core::Backoff;
use steadfast_ledger::{LaneTrouble, Priority};

/// When a request is accepted for a worker instead of being answered by its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackgroundMode {
    /// Always.
    Always,
    /// Where its caller prefers that: `Prefer: respond-async` (RFC 7240, section 4.1).
    Allowed,
    /// Where it could not be sent: the upstream was not reached, held it back, or refused it.
    OnFailure,
}

/// In which order requests that belong together are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordering {
    /// What requests that belong together have in common. One without it is in no order.
    pub by: OrderingKey,
    /// What one that is in doubt or dead does to those behind it.
    pub trouble: LaneTrouble,
}

/// Where the ordering key of a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderingKey {
    /// In this header.
    Header(HeaderName),
    /// In this field of a JSON body (a dotted path).
    Field(String),
}

/// How a route's requests are done in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackgroundPolicy {
    /// When they are.
    pub mode: BackgroundMode,
    /// How many attempts one has; 10 unless stated.
    pub tries_max: u32,
    /// For how long after it is due attempts begin; 24 hours unless stated.
    pub age_max: Duration,
    /// How pauses between attempts grow; up to 1 s before the second, up to 5 minutes unless stated.
    pub backoff: Backoff,
    /// How many attempts one process makes at once; 16 unless stated.
    pub concurrency: u32,
    /// How far ahead callers may set the time of the first attempt; 7 days unless stated.
    pub delay_max: Duration,
    /// Which go first where more are due than can be sent; 0 unless stated.
    pub priority: Priority,
    /// In which order they are sent; none unless stated.
    pub ordering: Option<Ordering>,
    /// Which of the headers that carry credentials are kept and sent along; none unless stated. The ledger must encrypt.
    pub kept_credentials: Vec<HeaderName>,
    /// The largest body that is kept, in bytes; 1 MiB unless stated.
    pub request_bytes_max: usize,
    /// How long a caller is kept waiting at most who would wait for the end; 30 s unless stated.
    pub wait_max: Duration,
}

impl BackgroundPolicy {
    /// The defaults in this mode.
    #[must_use]
    pub fn new(mode: BackgroundMode) -> Self {
        Self {
            mode,
            tries_max: 10,
            age_max: Duration::from_secs(24 * 3_600),
            backoff: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) },
            concurrency: 16,
            delay_max: Duration::from_secs(7 * 24 * 3_600),
            priority: Priority::default(),
            ordering: None,
            kept_credentials: Vec::new(),
            request_bytes_max: 1 << 20,
            wait_max: Duration::from_secs(30),
        }
    }
}
