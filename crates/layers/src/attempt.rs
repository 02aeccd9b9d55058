//! What a layer and the service that makes its attempts tell each other: until when the bytes may be handed over,
//! and, where no answer came, whether they were.

use std::convert::Infallible;

use steadfast_core::{NotSentCause, UnknownCause};
use steadfast_ledger::BootInstant;

/// A request's extension: the instant on the boot clock after which it may not be handed to a connection any
/// more. Whoever sends checks it just before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendBy(pub BootInstant);

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
    /// The request may have been executed.
    #[error("no answer: {detail}")]
    Lost {
        /// Why nobody knows.
        cause: UnknownCause,
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

/// A handler in the same process always answers.
impl From<Infallible> for AttemptFailed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
