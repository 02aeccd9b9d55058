//! The credentials that the gateway gave out itself: API keys, by their digests.
//!
//! They stand beside the operations because every node needs them and must lose none. No request waits for them: each
//! process keeps all of them in memory and asks from time to time what changed.

use std::time::Duration;

use steadfast_core::{ApiKeyDigest, CredentialId, Timestamp};

use crate::{BoxFuture, LedgerError};

/// How many credentials there may be, the ended ones that are still listed among them. Each process has all of them in
/// memory, at a few hundred bytes each.
pub const CREDENTIALS_MAX: usize = 100_000;

/// For how long a credential that expired or was revoked is still listed, and told of to whoever sends it.
pub const ENDED_KEPT: Duration = Duration::from_secs(90 * 24 * 3_600);

/// What whoever manages credentials, and whoever checks them, needs of a ledger.
pub trait Credentials: Send + Sync + 'static {
    /// Adds a credential, and gives the one that it replaces its last hour, all at once. Credentials that ended
    /// [`ENDED_KEPT`] ago are forgotten meanwhile.
    ///
    /// # Errors
    /// [`CredentialError`]: nothing changed.
    fn issue(&self, order: Issue) -> BoxFuture<'_, Result<(), CredentialError>>;

    /// Ends a credential at this instant, unless it was revoked before.
    ///
    /// # Errors
    /// [`CredentialError`]: nothing changed.
    fn revoke(&self, id: CredentialId, at: Timestamp) -> BoxFuture<'_, Result<(), CredentialError>>;

    /// All credentials that changed after this revision; after 0, all that there are. That one was used is no change.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be read.
    fn credentials(&self, since: Revision) -> BoxFuture<'_, Result<CredentialChanges, LedgerError>>;

    /// Writes down when credentials were last used; an earlier use than is known changes nothing.
    ///
    /// # Errors
    /// [`LedgerError`] where the ledger cannot be written.
    fn note_used(&self, uses: Vec<(CredentialId, Timestamp)>) -> BoxFuture<'_, Result<(), LedgerError>>;
}

/// Counts the changes of credentials, in the order in which they can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialChanges {
    /// Up to which revision this goes.
    pub revision: Revision,
    /// The credentials as they are now.
    pub records: Vec<CredentialRecord>,
}

/// A new credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// It.
    pub record: CredentialRecord,
    /// Until when at most the one that it replaces goes on, which is [`CredentialRecord::replaces`].
    pub overlap_until: Timestamp,
}

/// What is known of a credential. The credential itself is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRecord {
    /// What it is called by.
    pub id: CredentialId,
    /// What it is found by.
    pub digest: ApiKeyDigest,
    /// What it begins with: which authenticator takes it.
    pub prefix: Box<str>,
    /// Whose it is.
    pub principal: Box<str>,
    /// What is said of them, by name. Neither name nor value has control characters, nor a name a `=`.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// What they may do; none has a space.
    pub scopes: Vec<Box<str>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no good any more.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, about.
    pub last_used_at: Option<Timestamp>,
    /// Which one it was made to replace.
    pub replaces: Option<CredentialId>,
}

impl CredentialRecord {
    /// Since when it has been, or from when on it will be, no good.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        match (self.expires_at, self.revoked_at) {
            (Some(expires), Some(revoked)) => Some(expires.min(revoked)),
            (expires, revoked) => expires.or(revoked),
        }
    }

    /// Whether it is good for anything at `now`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.ends_at().is_none_or(|end| now < end)
    }
}

/// A credential could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is none with this id.
    #[error("there is no such credential")]
    NotFound,
    /// It has ended already.
    #[error("the credential has ended already")]
    Ended,
    /// There are as many as there may be.
    #[error("there are {CREDENTIALS_MAX} credentials, as many as there may be")]
    TooMany,
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Attributes as a store keeps them: one a line.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn packed_attributes(attributes: &[(Box<str>, Box<str>)]) -> String {
    attributes.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// Attributes as a store kept them.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn unpacked_attributes(text: &str) -> Vec<(Box<str>, Box<str>)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.into(), value.into())).collect()
}

/// Scopes as a store kept them.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn unpacked_scopes(text: &str) -> Vec<Box<str>> {
    text.split_ascii_whitespace().map(Into::into).collect()
}
