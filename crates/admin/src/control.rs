//! What the admin API needs of the gateway that it belongs to.

use steadfast_ledger::BoxFuture;

/// Knows whether the gateway wants to be sent requests.
pub trait Readiness: Send + Sync + 'static {
    /// Whether it takes no more requests, finishes what is under way and ends. Must not block.
    fn is_draining(&self) -> bool;
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// What is worth knowing of it, one sentence each: what changed, or warnings about the file.
    pub notes: Vec<String>,
}

/// What a gateway keeps of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheHolds {
    /// How many targets it has answers of.
    pub targets: u64,
    /// How many bytes they take up, about.
    pub bytes: u64,
    /// How many they may.
    pub bytes_max: u64,
}

/// What it is to forget of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forget {
    /// All answers of this URL, or of this path and query on every host.
    Url(String),
    /// All answers of URLs, or of paths, that begin with this.
    Prefix(String),
    /// All answers with this tag.
    Tag(String),
    /// All answers.
    All,
}

/// Operates the gateway.
pub trait Control: Send + Sync + 'static {
    /// Reads the config file again and puts it in force as a whole.
    ///
    /// # Errors
    /// The reason in words, for people: the config in force stays.
    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, String>>;

    /// The config in force as TOML, with defaults and overrides filled in and secrets left out.
    fn effective_config(&self) -> String;

    /// Where a reload takes the config from.
    fn config_origin(&self) -> ConfigOrigin;

    /// What is kept of answers just now.
    fn cache(&self) -> CacheHolds;

    /// Forgets kept answers; how many that were.
    fn purge(&self, forget: &Forget) -> u64;
}

/// Where a gateway's config comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigOrigin {
    /// The file; none where the gateway was started without one.
    pub file: Option<String>,
    /// The settings that a flag or a variable goes before, each with what does.
    pub overridden: Vec<(String, String)>,
}
