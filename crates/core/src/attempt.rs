//! How one attempt against an upstream ended.

use crate::Answer;

/// Why an attempt's request provably never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotSentCause {
    /// No connection could be made.
    ConnectFailed,
    /// The claim's `send_by` had passed before the bytes were handed over.
    SendByPassed,
    /// The caller's deadline had passed before the bytes were handed over.
    DeadlinePassed,
    /// The circuit was open, or the request was shed or limited before it was sent.
    HeldBack,
    /// The upstream gave the HTTP/2 stream back unprocessed: `REFUSED_STREAM`, or above the last id of its GOAWAY
    /// (RFC 9113, section 8.7).
    StreamRefused,
}

/// Why nobody knows what an attempt did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownCause {
    /// No answer within the upstream's total time.
    Timeout,
    /// The connection broke after the first byte had been handed over.
    ConnectionLost,
    /// The upstream answered with a status that tells nothing of whether it executed (408, 5xx).
    Inconclusive,
    /// The holder's lease ran out, or its process died.
    HolderLost,
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Not a byte of it was handed to a connection.
    NotSent(NotSentCause),
    /// The upstream said that it did not execute it, with this status.
    Refused {
        /// The status it said so with.
        status: u16,
    },
    /// The outcome is unknown.
    Unknown {
        /// Why it is unknown.
        cause: UnknownCause,
        /// The status of an inconclusive answer.
        status: Option<u16>,
    },
    /// A conclusive answer came.
    Answered(Answer),
}

macro_rules! stored_names {
    ($type:ty { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every cause there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that ledgers, logs and the admin API write.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The cause that ledgers write as `name`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|cause| cause.name() == name)
            }
        }
    };
}

stored_names!(NotSentCause {
    ConnectFailed = "connect_failed",
    SendByPassed = "send_by_passed",
    DeadlinePassed = "deadline_passed",
    HeldBack = "held_back",
    StreamRefused = "stream_refused",
});
stored_names!(UnknownCause {
    Timeout = "timeout",
    ConnectionLost = "connection_lost",
    Inconclusive = "inconclusive",
    HolderLost = "holder_lost",
});
