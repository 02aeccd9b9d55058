//! What the admin API needs of the gateway that it belongs to.

use steadfast_ledger::BoxFuture;

/// Whether the gateway wants to be sent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyState {
    /// Not yet.
    Starting,
    /// Yes.
    Ready,
    /// No more: it finishes what is under way and ends.
    Draining,
}

/// Knows whether the gateway wants to be sent requests.
pub trait Readiness: Send + Sync + 'static {
    /// How it stands at this moment. Must not block.
    fn state(&self) -> ReadyState;
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What changed, in words, one thing each.
    pub changed: Vec<String>,
    /// What the file changed that takes effect only after a restart.
    pub needs_restart: Vec<String>,
}

/// A reload changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadRefused {
    /// The gateway was started without a config file.
    #[error("the gateway was started without a config file, so there is nothing to read again")]
    NoFile,
    /// The file cannot be read, or is not a valid config; each finding in words.
    #[error("the config is not valid, and the one in force stays: {}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// Operates the gateway.
pub trait Control: Send + Sync + 'static {
    /// Reads the config file again and puts it in force as a whole.
    ///
    /// # Errors
    /// [`ReloadRefused`]: the config in force stays.
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, ReloadRefused>>;

    /// The config in force as TOML, with defaults and overrides filled in and secrets left out.
    fn effective_config(&self) -> String;
}
