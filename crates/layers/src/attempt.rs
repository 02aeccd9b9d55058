//! What a layer and the service that makes its attempts tell each other: until when the bytes may be handed over,
//! and, where no answer came, whether they were.

use std::{convert::Infallible, time::Duration};

use steadfast_core::{Code, NotSentCause, UnknownCause};
use steadfast_ledger::BootInstant;

use crate::{
    Problem,
    trace::{AttemptEnd, Facts},
};

/// A request's extension: the instant on the boot clock after which it may not be handed to a connection any
/// more. Whoever sends checks it just before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendBy(pub BootInstant);

/// A request's extension: its upstream takes the key that it carries only once, however often it is sent, for longer
/// than this attempt may last. Whoever holds the claim says so, and only where no earlier attempt left doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeatable;

/// An attempt brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttemptFailed {
    /// Not a byte was handed to a connection.
    #[error("not sent: {detail}")]
    NotSent {
        /// Why not.
        cause: NotSentCause,
        /// What happened, for the log.
        detail: String,
    },
    /// A policy held it back before anything was sent.
    #[error("held back: {detail}")]
    HeldBack {
        /// The refusal that its caller reads.
        code: Code,
        /// When to come again.
        retry_after: Option<Duration>,
        /// What happened, in a sentence that its caller reads too.
        detail: &'static str,
    },
    /// The request may have been executed.
    #[error("no answer: {detail}")]
    Lost {
        /// Why nobody knows.
        cause: UnknownCause,
        /// What happened, for the log.
        detail: String,
    },
    /// The request's own body turned out larger than it may be, while it was being sent. Only a body that streams
    /// through can.
    #[error("the request is too large: {detail}")]
    TooLarge {
        /// What happened, for the log.
        detail: String,
    },
    /// The request's own body broke off while it was being sent. Only a body that streams through can.
    #[error("the request broke off: {detail}")]
    Broken {
        /// What happened, for the log.
        detail: String,
    },
}

impl AttemptFailed {
    /// The refusal for a request that no ledger protects: nobody will find out what became of it.
    #[must_use]
    pub fn unprotected(&self) -> Problem {
        match self {
            Self::NotSent { cause: NotSentCause::DeadlinePassed, .. } => Problem::new(Code::DeadlineExceeded),
            Self::NotSent { .. } => Problem::new(Code::UpstreamUnavailable),
            Self::HeldBack { code, retry_after, detail } => held_back(*code, *retry_after, detail),
            Self::Lost { cause: UnknownCause::Timeout, .. } => {
                Problem::new(Code::UpstreamAnswerLost).status(504)
            }
            Self::Lost { .. } => Problem::new(Code::UpstreamAnswerLost),
            Self::TooLarge { .. } => Problem::new(Code::BodyTooLarge),
            Self::Broken { .. } => Problem::new(Code::BodyInvalid).detail("The body did not arrive whole."),
        }
    }
}

impl AttemptFailed {
    /// What is noted of one that was held back.
    pub(crate) fn facts(&self) -> Facts {
        match self {
            Self::HeldBack { code, retry_after, .. } => {
                Facts::Refusal { code: *code, retry_after: *retry_after }
            }
            other => Facts::Why(other.why()),
        }
    }

    /// What is noted of one that was made.
    #[must_use]
    pub fn attempt_end(&self) -> AttemptEnd {
        AttemptEnd::Nothing(self.why())
    }

    /// Why no answer came, in a word.
    fn why(&self) -> &'static str {
        match self {
            Self::NotSent { cause, .. } => cause.name(),
            Self::HeldBack { code, .. } => code.as_str(),
            Self::Lost { cause, .. } => cause.name(),
            Self::TooLarge { .. } => "request_too_large",
            Self::Broken { .. } => "request_broke_off",
        }
    }
}

/// The refusal for what a policy held back.
pub(crate) fn held_back(code: Code, retry_after: Option<Duration>, detail: &'static str) -> Problem {
    let problem = Problem::new(code).detail(detail);
    match retry_after {
        Some(after) => problem.retry_after(after),
        None => problem,
    }
}

/// A handler in the same process always answers.
impl From<Infallible> for AttemptFailed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
