//! The states of an operation. Each carries just what its transitions need to know.

use crate::{AnswerDigest, Fence};

/// Who makes an operation's attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The request that brought it, while its caller waits.
    Synchronous,
    /// A worker, from the stored request.
    Asynchronous,
}

/// Whether an earlier attempt of the operation has an unknown outcome. Doubt is sticky: only an answer or a
/// settlement ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// No attempt's outcome is unknown.
    None,
    /// An attempt's outcome is unknown.
    Standing,
    /// An attempt's outcome was unknown, and its answer came while another attempt was under way. It is kept as
    /// evidence, and completes the operation should that other attempt bring no answer.
    Answered(AnswerDigest),
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// There is no such operation.
    Absent,
    /// Accepted, waiting for a worker.
    Queued {
        /// Whether an earlier attempt is in doubt.
        doubt: Doubt,
    },
    /// An attempt may have been sent.
    Claimed {
        /// Who makes the attempt.
        mode: Mode,
        /// The attempt that holds the claim.
        fence: Fence,
        /// Whether an earlier attempt is in doubt.
        doubt: Doubt,
    },
    /// An attempt brought nothing final; the next comes later.
    Waiting {
        /// Whether an earlier attempt is in doubt.
        doubt: Doubt,
    },
    /// Nobody knows whether it took effect.
    InDoubt {
        /// Who makes its attempts.
        mode: Mode,
    },
    /// It took effect, or was decided for good; its answer is stored.
    Completed {
        /// The answer's digest; `None` where a person settled it without knowing the answer.
        answer: Option<AnswerDigest>,
    },
    /// It took no effect; the next request with its key executes afresh.
    Released,
    /// It ran out of attempts.
    Dead {
        /// Whether an attempt is in doubt.
        doubt: Doubt,
    },
    /// Its caller called it off before an attempt was made.
    Cancelled,
    /// It is gone; its key stays taken until the tombstone expires.
    Tombstone,
}

/// The name of a state, as ledgers, logs and the API write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the state of the same name")]
pub enum StateName {
    Absent,
    Queued,
    Claimed,
    Waiting,
    InDoubt,
    Completed,
    Released,
    Dead,
    Cancelled,
    Tombstone,
}

impl StateName {
    /// Every state there is.
    pub const ALL: &[Self] = &[
        Self::Absent,
        Self::Queued,
        Self::Claimed,
        Self::Waiting,
        Self::InDoubt,
        Self::Completed,
        Self::Released,
        Self::Dead,
        Self::Cancelled,
        Self::Tombstone,
    ];

    /// The state's name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Queued => "queued",
            Self::Claimed => "claimed",
            Self::Waiting => "waiting",
            Self::InDoubt => "in_doubt",
            Self::Completed => "completed",
            Self::Released => "released",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Tombstone => "tombstone",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == name)
    }
}

impl State {
    /// The state's name.
    #[must_use]
    pub const fn name(self) -> StateName {
        match self {
            Self::Absent => StateName::Absent,
            Self::Queued { .. } => StateName::Queued,
            Self::Claimed { .. } => StateName::Claimed,
            Self::Waiting { .. } => StateName::Waiting,
            Self::InDoubt { .. } => StateName::InDoubt,
            Self::Completed { .. } => StateName::Completed,
            Self::Released => StateName::Released,
            Self::Dead { .. } => StateName::Dead,
            Self::Cancelled => StateName::Cancelled,
            Self::Tombstone => StateName::Tombstone,
        }
    }

    /// Whether some attempt's outcome is unknown, whatever else is going on.
    #[must_use]
    pub const fn is_doubtful(self) -> bool {
        match self {
            Self::InDoubt { .. } => true,
            Self::Queued { doubt }
            | Self::Claimed { doubt, .. }
            | Self::Waiting { doubt }
            | Self::Dead { doubt } => !matches!(doubt, Doubt::None),
            Self::Absent | Self::Completed { .. } | Self::Released | Self::Cancelled | Self::Tombstone => {
                false
            }
        }
    }
}
