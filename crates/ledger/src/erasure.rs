//! Erasing what is kept of somebody's operations.
//!
//! Everything that a finished operation says of its owner goes: its answer, its evidence, attempts, cases and
//! settlements, its namespace and key, its path, its principal and credential, the digest of what it asked. What stays is
//! that its name is taken, known by the digest of the name alone, for as long as it would have been: so a retry meets a
//! tombstone and nothing runs twice. What is unfinished, or in doubt, is left: to forget it would be to guess.

use steadfast_core::{CredentialDigest, Namespace, OperationId, Owner, Principal};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use steadfast_core::{Event, State, transition};

use crate::{BoxFuture, Cursor, LedgerError, OperationName};

/// The most operations that one call erases.
pub const ERASED_AT_ONCE_MAX: u32 = 1_000;

/// What whoever erases needs of a ledger.
pub trait Erasure: Send + Sync + 'static {
    /// Erases a bounded number of an owner's operations. Called again with [`Erased::next`] until that is `None`, it has
    /// erased all that were there at the beginning and finished.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be written: nothing of this call is erased.
    fn erase(&self, order: Erase) -> BoxFuture<'_, Result<Erased, LedgerError>>;

    /// Makes sure that nothing erased is left in what the ledger keeps beside its tables, such as logs of its own. It
    /// may take seconds, and hold up whoever writes.
    ///
    /// # Errors
    /// [`LedgerError`]: something may be left. To be called again.
    fn scour(&self) -> BoxFuture<'_, Result<(), LedgerError>>;
}

/// Whose operations to erase, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erase {
    /// Whose.
    pub whose: Whose,
    /// Where the call before it ended.
    pub from: Option<Cursor>,
    /// How many operations at most: 1 to [`ERASED_AT_ONCE_MAX`].
    pub limit: u32,
    /// Only say what would be erased.
    pub dry_run: bool,
}

/// Whose operations are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those that this principal made.
    Principal(Principal),
    /// Those that were made with this credential.
    Credential(CredentialDigest),
    /// Those in this namespace, whoever made them.
    Namespace(Namespace),
}

/// What a call erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// How many operations.
    pub erased: u32,
    /// Which were left, because they are unfinished or in doubt.
    pub left: Vec<OperationId>,
    /// From where to go on; `None` where all were looked at.
    pub next: Option<Cursor>,
}

impl Whose {
    /// Whether an operation of this name and owner is meant.
    #[must_use]
    pub fn is_of(&self, name: &OperationName, owner: &Owner) -> bool {
        match self {
            _ if name.is_erased() => false,
            Self::Principal(principal) => owner.principal.as_ref() == Some(principal),
            Self::Credential(credential) => owner.credential.as_ref() == Some(credential),
            Self::Namespace(namespace) => name.namespace() == namespace,
        }
    }
}

/// What becomes of an operation that is to be erased.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes altogether: its name is free already.
    Removed,
    /// Its name stays taken.
    Entombed,
    /// Nobody knows yet what it did.
    Left,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Fate {
    /// The fate of an operation in `state`, its expiry taken into account.
    pub(crate) fn of(state: State) -> Self {
        match transition(state, Event::Purge).map(|purged| purged.state) {
            Ok(State::Absent) => Self::Removed,
            Ok(_) => Self::Entombed,
            Err(_) if state == State::Absent => Self::Removed,
            Err(_) if state == State::Tombstone => Self::Entombed,
            Err(_) => Self::Left,
        }
    }
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use steadfast_core::{Doubt, Fence, Mode};

    use super::*;

    #[test]
    fn nothing_is_forgotten_whose_outcome_is_unknown() {
        let (mode, fence) = (Mode::Synchronous, Fence::from_bytes([1; 16]));
        for state in [
            State::InDoubt { mode },
            State::Claimed { mode, fence, doubt: Doubt::None },
            State::Queued { doubt: Doubt::None },
            State::Waiting { doubt: Doubt::None },
            State::Dead { doubt: Doubt::Standing },
        ] {
            assert_eq!(Fate::of(state), Fate::Left, "{state:?}");
        }
        let done = [State::Completed { answer: None }, State::Dead { doubt: Doubt::None }, State::Cancelled];
        assert!(done.into_iter().chain([State::Tombstone]).all(|state| Fate::of(state) == Fate::Entombed));
        assert!([State::Absent, State::Released].into_iter().all(|state| Fate::of(state) == Fate::Removed));
    }
}
