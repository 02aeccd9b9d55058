//! What the layer decided about a request: for logs, metrics, and the handler inside.

use steadfast_core::{Fence, OperationDigest, OperationId};

/// What became of a request at the idempotency layer. An extension of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What became of it.
    pub protection: Protection,
    /// The operation, where there is one.
    pub operation: Option<OperationId>,
    /// The digest of its name, for logs; the key itself is not logged.
    pub digest: Option<OperationDigest>,
}

/// What became of a request at the idempotency layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protection {
    /// A new attempt was made, and its outcome is known.
    New,
    /// It is kept, and a worker will send it.
    Accepted,
    /// The stored answer was given again.
    Replayed,
    /// The first request is still running.
    Conflict,
    /// The key belongs to another request.
    Mismatch,
    /// The outcome is unknown.
    InDoubt,
    /// There was no key where one is required.
    Missing,
    /// The key, the body or the caller was not accepted.
    Rejected,
    /// The operation is over, and there is nothing to replay: withheld, unavailable, dead, cancelled, expired.
    Unavailable,
    /// The ledger was lost, and nothing was sent.
    LedgerLost,
    /// The ledger was lost, and the request was forwarded unprotected, as the route says.
    Unprotected,
}

impl Protection {
    /// The value of the metric's `outcome` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Accepted => "accepted",
            Self::Replayed => "replayed",
            Self::Conflict => "conflict",
            Self::Mismatch => "mismatch",
            Self::InDoubt => "in_doubt",
            Self::Missing => "missing",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::LedgerLost => "ledger_lost",
            Self::Unprotected => "unprotected",
        }
    }

    /// Every outcome there is.
    pub const ALL: &[Self] = &[
        Self::New,
        Self::Accepted,
        Self::Replayed,
        Self::Conflict,
        Self::Mismatch,
        Self::InDoubt,
        Self::Missing,
        Self::Rejected,
        Self::Unavailable,
        Self::LedgerLost,
        Self::Unprotected,
    ];
}

/// What the service inside may know of the operation it works for. An extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationContext {
    /// The operation.
    pub operation: OperationId,
    /// The attempt's fence.
    pub fence: Fence,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// Whether an earlier attempt's outcome is unknown.
    pub after_doubt: bool,
}
